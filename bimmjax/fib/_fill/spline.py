"""Labels between slices by cubic splines along z, without the holes that those leave."""

from __future__ import annotations

import numpy as np

from bimmjax.fib._fill.curves import needed, sums
from bimmjax.fib._fill.given import Given
from bimmjax.fib._fill.holes import fill_small_holes
from bimmjax.volumes import Volume


def spline_box(
    slices: Volume, given: Given, z: slice, y: slice, x: slice, *, holes: int
) -> np.ndarray:
    """A box of filled labels, uint8; solid is whatever is not 0."""
    if holes == 0:
        return _splined(slices, given, z, y, x)[0]
    # A hole of so many pixels reaches no further than that from any of them.
    deep = slice(max(z.start - holes, 0), min(z.stop + holes, given.depth))
    wide = slice(max(x.start - holes, 0), min(x.stop + holes, slices.shape[2]))
    labels, solid = _splined(slices, given, deep, y, wide)
    gaps = np.zeros(deep.stop - deep.start, bool)
    gaps[np.asarray(given.missing(deep), np.int64) - deep.start] = True
    for row in range(labels.shape[1]):
        filled = fill_small_holes(labels[:, row] > 0, holes) & gaps[:, None]
        plane, instead = labels[:, row], solid[:, row]
        np.copyto(plane, instead, where=filled & (plane == 0))
    z_kept = slice(z.start - deep.start, z.stop - deep.start)
    x_kept = slice(x.start - wide.start, x.stop - wide.start)
    return labels[z_kept, :, x_kept]


def _splined(
    slices: Volume, given: Given, z: slice, y: slice, x: slice
) -> tuple[np.ndarray, np.ndarray]:
    """Labels whose spline is highest, and the same among those that are solid."""
    shape = (z.stop - z.start, y.stop - y.start, x.stop - x.start)
    labels, solid = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    if 0 in shape:
        return labels, solid
    highest, highest_solid = (np.full(shape, -np.inf, np.float32) for _ in range(2))
    read = needed(given, z, 3)
    values = slices.read(read, y, x)
    for label in np.unique(values):
        # Labels that are not among the slices here are nowhere above 0, and the highest is.
        own = (values == label).astype(np.float32)
        for k, found in enumerate(sums(own, read.start, given, z, 3)):
            _take(label, found, labels[k], highest[k])
            if label:
                _take(label, found, solid[k], highest_solid[k])
    return labels, solid


def _take(label: np.uint8, found: np.ndarray, labels: np.ndarray, highest: np.ndarray) -> None:
    better = found > highest
    np.copyto(labels, label, where=better)
    np.copyto(highest, found, where=better)
