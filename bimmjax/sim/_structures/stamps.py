"""How deep voxels lie within balls of a periodic volume, one ball's neighbourhood at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from bimmjax.sim._structures.exposed import Balls

Shape = tuple[int, int, int]
# Voxels around a ball in which its distance is kept: what its surface takes to be found.
MARGIN = 2.0


def empty(shape: Shape) -> np.ndarray:
    """The depth where there is nothing: (z, y, x) float32, and as low as it gets."""
    return np.full(shape, -MARGIN, np.float32)


def stamp(depth: np.ndarray, centre: np.ndarray, radius: float) -> None:
    """Raise `depth` to radius - distance around a ball; its diameter and margins fit the volume."""
    windows, squares, inside = [], [], True
    for middle, size in zip(centre, depth.shape, strict=True):
        low, high = (math.ceil(middle - radius - MARGIN), math.floor(middle + radius + MARGIN) + 1)
        inside &= low >= 0 and high <= size
        places = np.arange(low, high)
        squares.append((places - middle) ** 2)
        windows.append(places)
    distance = squares[0][:, None, None] + squares[1][:, None] + squares[2]
    own = (radius - np.sqrt(distance)).astype(np.float32)
    if inside:  # slices, which are faster than lists of places
        near = depth[tuple(slice(w[0], w[-1] + 1) for w in windows)]
        np.maximum(near, own, out=near)
        return
    wrapped = np.ix_(*(w % size for w, size in zip(windows, depth.shape, strict=True)))
    depth[wrapped] = np.maximum(depth[wrapped], own)


def stamp_until(
    rng: np.random.Generator,
    depth: np.ndarray,
    draw: Callable[[int], np.ndarray],
    voxels: int,
    free: np.ndarray | None = None,
) -> Balls:
    """Stamp balls at random places, with radii from `draw`, until they hold `voxels` voxels.

    free : bool, where voxels count. By how much the last ball is too much, the level at which
    depth is cut makes up for.
    """
    size = np.array(depth.shape, float)
    centres, radii = [], []
    total = depth.size if free is None else int(np.count_nonzero(free))
    while True:
        held = depth > 0.0
        count = int(np.count_nonzero(held if free is None else held & free))
        if count >= voxels:
            return Balls(np.array(centres), np.array(radii))
        # Balls fall on what is not held yet with its share; most of the way at once.
        each = 4.0 / 3.0 * math.pi * float(np.mean(draw(256) ** 3)) * total / depth.size
        missing = -math.log1p(-(voxels - count) / (total - count)) * total / each
        for radius in draw(max(int(0.9 * missing), 1)):
            centres.append(rng.uniform(size=3) * size)
            radii.append(radius)
            stamp(depth, centres[-1], radius)
