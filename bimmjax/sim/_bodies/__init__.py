"""Sharp bodies whose fractions, areas and curvatures are known."""
