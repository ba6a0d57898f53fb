"""Labels as distances from their outline, which move between slices where labels only jump."""

from __future__ import annotations

import numpy as np

from bimmjax.fib._fill.curves import needed, sums
from bimmjax.fib._fill.given import Given
from bimmjax.volumes import Volume

FARTHEST = 8
"""Pixels. Distances beyond count as this one, so that none depends on what lies further away."""


def signed_distances(inside: np.ndarray) -> np.ndarray:
    """Distances (y, x) float32 from the outline of a slice: above 0 inside, below 0 outside.

    From the middle of a pixel to the edge of the nearest one on the other side, at most `FARTHEST`.

    Examples
    --------
    >>> import numpy as np
    >>> signed_distances(np.array([[False, True, True]])).tolist()
    [[-0.5, 0.5, 1.5]]
    """
    from scipy.ndimage import distance_transform_edt

    if inside.all() or not inside.any():
        return np.full(inside.shape, FARTHEST if inside.all() else -FARTHEST, np.float32)
    far = np.asarray(distance_transform_edt(inside)) - np.asarray(distance_transform_edt(~inside))
    return np.clip(far - 0.5 * np.sign(far), -FARTHEST, FARTHEST).astype(np.float32)


def distance_box(slices: Volume, given: Given, z: slice, y: slice, x: slice) -> np.ndarray:
    """A box of filled labels, uint8: those that reach furthest, by splines of their distances."""
    shape = (z.stop - z.start, y.stop - y.start, x.stop - x.start)
    labels = np.zeros(shape, np.uint8)
    if 0 in shape:
        return labels
    highest = np.full(shape, -np.inf, np.float32)
    wide = [
        slice(max(part.start - FARTHEST - 1, 0), min(part.stop + FARTHEST + 1, size))
        for part, size in zip((y, x), slices.shape[1:], strict=True)
    ]
    inner = tuple(
        slice(part.start - more.start, part.stop - more.start)
        for part, more in zip((y, x), wide, strict=True)
    )
    read = needed(given, z, 3)
    values = slices.read(read, wide[0], wide[1])
    for label in np.unique(values):
        # Labels that are far from all of this box lose to those in it.
        far = np.stack([signed_distances(one == label)[inner] for one in values])
        for k, found in enumerate(sums(far, read.start, given, z, 3)):
            better = found > highest[k]
            np.copyto(labels[k], label, where=better)
            np.copyto(highest[k], found, where=better)
    return labels
