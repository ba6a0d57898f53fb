"""Encoders that also classify photographs, so that their trained weights can be taken over."""
