"""Layers and blocks for any number of space axes, from which all networks are assembled."""
