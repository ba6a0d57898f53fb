"""Images of backscattered electrons by a model of what shines through, and its numbers."""
