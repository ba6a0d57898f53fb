"""Which places of a stack have slices, and what the fillings need to know of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError, whole_number
from bimmjax.volumes import Volume, open_volume

MOST_PLACES = 2**31 - 1
# Makes a box of the filled volume out of the slices: `way(slices, given, z, y, x)`.
Way = Callable[[Volume, "Given", slice, slice, slice], np.ndarray]


@dataclass(frozen=True, eq=False)
class Given:
    """Slices that there are, at places of a stack of `depth`."""

    places: np.ndarray
    """(n,) int64, strictly ascending, from 0 to depth - 1."""
    depth: int

    def before(self, z: int) -> int:
        """The number of the slice at or before a place; that of the first before all."""
        return max(int(np.searchsorted(self.places, z, "right")) - 1, 0)

    def nearest(self, z: int) -> int:
        """The number of the slice nearest to a place; the former of two."""
        one = self.before(z)
        other = min(one + 1, self.places.size - 1)
        return one if abs(z - self.places[one]) <= abs(self.places[other] - z) else other

    def within(self, z: int) -> bool:
        """Whether a place lies between the first slice and the last."""
        return bool(self.places[0] <= z <= self.places[-1])

    def missing(self, z: slice) -> list[int]:
        """Places of a range that have no slice."""
        there = set(self.places.tolist())
        return [k for k in range(z.start, z.stop) if k not in there]


def check_given(slices: Any, places: Any, depth: int | None) -> tuple[Volume, Given]:
    """Slices as a volume, and where they are, or an `InputError`."""
    volume = slices if isinstance(slices, Volume) else open_volume(_array(slices))
    count = volume.shape[0]
    found = np.asarray(places)
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise InputError(
            f"places: got an array of {found.dtype} of shape {found.shape}, wants whole numbers, "
            f"one for each slice ({count})"
        )
    if found.size != count:
        raise InputError(f"places: got {found.size}, wants one for each slice ({count})")
    found = found.astype(np.int64)
    steps = np.diff(found)
    if found[0] < 0 or np.any(steps <= 0):
        at = 0 if found[0] < 0 else int(np.argmax(steps <= 0))
        told = f"{found[0]}" if found[0] < 0 else f"{found[at]} and then {found[at + 1]}"
        raise InputError(f"places: got {told}, wants ascending whole numbers from 0 on")
    last = int(found[-1])
    deep = last + 1 if depth is None else whole_number("depth", depth, 1, MOST_PLACES)
    if deep <= last:
        raise InputError(f"depth: got {deep}, wants at least {last + 1}, for the last slice")
    return volume, Given(found, deep)


def check_labels(volume: Volume) -> None:
    """Refuse slices that are no labels."""
    if volume.dtype != np.uint8:
        raise InputError(
            f"slices: got {volume.dtype}, wants labels as uint8; grey values are filled with "
            'kind="grey"'
        )


def _array(slices: Any) -> np.ndarray:
    try:
        found = np.asarray(slices)
    except ValueError as error:
        raise InputError(f"slices: got arrays of different shapes ({error})") from None
    if found.ndim != 3 or found.size == 0:
        raise InputError(f"slices: got an array of shape {found.shape}, wants (n, y, x)")
    return found.astype(np.uint8) if found.dtype == bool else found
