"""Random structures, and the truth that can be known of them."""
