"""Where slices lie within their planes, and how they are moved onto each other."""
