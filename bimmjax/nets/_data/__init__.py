"""Patches to train on, and tiles to validate on, from lazy volumes."""
