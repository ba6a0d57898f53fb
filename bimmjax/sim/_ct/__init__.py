"""Images as X-ray tomography makes them."""
