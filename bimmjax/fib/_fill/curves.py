"""Values between slices along lines in z: weighted sums of the slices around a place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bimmjax.fib._fill.given import Given
from bimmjax.volumes import Volume

# Slices on either side of a gap that its spline runs through. What a slice weighs falls by about
# four from each to the next, so that one left out is felt by less than a thousandth.
_AROUND = 6


class Weights(NamedTuple):
    """The slices that a place is made of."""

    first: int
    shares: np.ndarray
    """(m,) float64 of slices `first`, `first` + 1, ...; they add up to 1."""


def weights(given: Given, z: int, order: int) -> Weights:
    """What slices weigh at a place: order 3 is a cubic spline, 1 a straight line.

    Where there is a slice it is taken alone; before the first and after the last, too.
    """
    at = given.before(z)
    if not given.within(z) or given.places[at] == z:
        return Weights(given.nearest(z), np.ones(1))
    part = _around(given, at, at, order)
    places = given.places[part].astype(np.float64)
    one_each = np.eye(places.size)
    if order == 1:
        return Weights(part.start, np.array([np.interp(z, places, row) for row in one_each]))
    from scipy.interpolate import CubicSpline

    return Weights(part.start, CubicSpline(places, one_each)(float(z)))


def needed(given: Given, z: slice, order: int) -> slice:
    """The slices that the places of a range are made of, at most."""
    return _around(given, given.before(z.start), given.before(z.stop - 1), order)


def _around(given: Given, first: int, last: int, order: int) -> slice:
    """Slices around the gaps after slices `first` to `last`; near the ends as many as elsewhere."""
    around, count = _AROUND if order == 3 else 1, given.places.size
    start = min(first + 1 - around, count - 2 * around)
    stop = max(last + 1 + around, 2 * around)
    return slice(max(start, 0), min(stop, count))


def sums(
    values: np.ndarray, first: int, given: Given, z: slice, order: int
) -> Iterator[np.ndarray]:
    """The (y, x) float32 values at the places of a range, from those of the slices around it.

    values : (m, y, x) float32 of slices `first` and on: all that `needed` tells.
    """
    for k in range(z.start, z.stop):
        found = weights(given, k, order)
        total = np.zeros(values.shape[1:], np.float32)
        # One after the other: a sum must not depend on the size of the box it is made for.
        for i, share in enumerate(found.shares):
            total += np.float32(share) * values[found.first - first + i]
        yield total


def grey_box(
    slices: Volume, given: Given, z: slice, y: slice, x: slice, *, order: int
) -> np.ndarray:
    """A box of filled grey values, float32."""
    shape = (z.stop - z.start, y.stop - y.start, x.stop - x.start)
    if 0 in shape:
        return np.zeros(shape, np.float32)
    read = needed(given, z, order)
    values = slices.read(read, y, x).astype(np.float32)
    return np.stack(list(sums(values, read.start, given, z, order)))
