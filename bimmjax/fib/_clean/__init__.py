"""Brightness, curtains and noise of slices, corrected as they are read."""
