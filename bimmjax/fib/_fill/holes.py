"""Small holes of a plane that are solid all around."""

from __future__ import annotations

import numpy as np


def fill_small_holes(solid: np.ndarray, size: int) -> np.ndarray:
    """A plane (z, x) bool with holes of fewer than `size` pixels filled.

    Pores that touch the rim are no holes: nobody knows how they go on.

    Source: FIB thesis, Article II, supplement §4.
    """
    from skimage.morphology import remove_small_holes  # slow to import

    # With a rim of pores as wide, what touches it is no longer small.
    padded = np.pad(solid, size)
    return remove_small_holes(padded, max_size=size - 1)[size:-size, size:-size]
