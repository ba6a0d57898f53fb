"""Parameter maps: thousands of local fits of one volume, or of a series of volumes."""
