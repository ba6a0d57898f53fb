"""How thick slices are: from a ruler, from the images, or from a file."""
