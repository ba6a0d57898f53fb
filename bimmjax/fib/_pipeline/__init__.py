"""The steps from raw stacks to a measured structure, and the order in which they are run."""
