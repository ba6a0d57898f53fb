"""Gaps filled with the nearest slice as it is."""

from __future__ import annotations

import numpy as np

from bimmjax.fib._fill.given import Given
from bimmjax.volumes import Volume


def nearest_box(slices: Volume, given: Given, z: slice, y: slice, x: slice) -> np.ndarray:
    """A box of the filled volume, in the dtype of the slices."""
    chosen = [given.nearest(k) for k in range(z.start, z.stop)]
    first = chosen[0] if chosen else 0
    read = slices.read(slice(first, chosen[-1] + 1 if chosen else 0), y, x)
    return read[np.asarray(chosen, np.int64) - first]
