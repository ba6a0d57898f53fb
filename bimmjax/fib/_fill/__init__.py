"""Filling the gaps between repositioned slices."""
