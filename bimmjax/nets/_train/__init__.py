"""Training: recipes, steps, checkpoints, and the loop around them."""
