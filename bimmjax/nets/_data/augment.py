"""Variations of a patch that leave it credible: symmetries, stretch, brightness, noise."""

from __future__ import annotations

from itertools import permutations, product
from typing import NamedTuple

import numpy as np

from bimmjax._core.checks import choice

SYMMETRIES = ("all", "plane", "none")


class Symmetry(NamedTuple):
    """An element of a square's or cube's symmetry group: axes in a new order, some mirrored."""

    order: tuple[int, ...]
    mirrored: tuple[bool, ...]

    def __call__(self, box: np.ndarray) -> np.ndarray:
        """The box (z, y, x, ...) so turned, a view."""
        turned = box.transpose(*self.order, *range(3, box.ndim))
        return np.flip(turned, tuple(a for a, mirror in enumerate(self.mirrored) if mirror))

    def source(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Shape of the box that has `shape` when it has been turned."""
        found = [0, 0, 0]
        for size, axis in zip(shape, self.order, strict=True):
            found[axis] = size
        return found[0], found[1], found[2]


def symmetries(which: str, dims: int) -> list[Symmetry]:
    """All elements that may be drawn: 48 of a cube ("all" in 3D), 8 of a square, or only one.

    "plane" leaves z as it is: for images in which up and down differ, such as a FIB-SEM's, where
    what lies below shines through. In 2D it is the same as "all".

    Examples
    --------
    >>> [len(symmetries(which, dims)) for which, dims in (("all", 3), ("all", 2), ("none", 3))]
    [48, 8, 1]
    """
    choice("symmetries", which, SYMMETRIES)
    if which == "none":
        return [Symmetry((0, 1, 2), (False, False, False))]
    found = [
        Symmetry(order, mirrored)
        for order in permutations(range(3))
        for mirrored in product((False, True), repeat=3)
    ]
    if which == "all" and dims == 3:
        return found
    return [one for one in found if one.order[0] == 0 and not one.mirrored[0]]


def stretched(
    box: np.ndarray, extent: tuple[float, ...], shape: tuple[int, ...], *, nearest: bool
) -> np.ndarray:
    """The middle `extent` voxels of a box along each of its first axes, resampled to `shape`.

    Linearly, or to the nearest voxel (labels).

    Examples
    --------
    >>> stretched(np.array([0.0, 1.0, 2.0, 3.0]), (2.0,), (4,), nearest=False).tolist()
    [0.75, 1.25, 1.75, 2.25]
    """
    for axis, (size, wanted) in enumerate(zip(extent, shape, strict=True)):
        if size == wanted == box.shape[axis]:
            continue
        middle = 0.5 * (box.shape[axis] - size)
        at = (np.arange(wanted) + 0.5) * (size / wanted) - 0.5 + middle
        at = np.clip(at, 0.0, box.shape[axis] - 1.0)
        if nearest:
            box = np.take(box, np.rint(at).astype(int), axis)
            continue
        below = np.minimum(at.astype(int), max(box.shape[axis] - 2, 0))
        above = np.minimum(below + 1, box.shape[axis] - 1)
        share = (at - below).astype(box.dtype)
        share = share.reshape([-1 if a == axis else 1 for a in range(box.ndim)])
        box = np.take(box, below, axis) * (1 - share) + np.take(box, above, axis) * share
    return box
