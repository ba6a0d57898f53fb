"""Electrons followed one by one through voxels, and what is known of them in bulk."""
