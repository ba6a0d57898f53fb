"""A trained network applied to volumes of any size."""
