"""Slices put on the places of a fine grid: none lost, in order, moved as little as can be."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError, real_number

_MOST = 2**40


def reposition(positions: Any, spacing: float) -> np.ndarray:
    """Places of slices on a grid: whole numbers, in order, every slice on a place of its own.

    A slice's own place is the one nearest to its position. Where thin slices share one, they and
    as many of their neighbours as need be move on, such that all of them together move as few
    places as possible: Σ |q_i - round((p_i - p_0) / spacing)| is as small as it can be with q_0 = 0
    and q strictly increasing. (It is the isotonic regression by absolute distance of the places
    less 0, 1, 2, ...; n slices take n log n steps.) Where several answers are as good, one of them.

    Source: FIB thesis, Article II, §2.2.2.

    Parameters
    ----------
    positions : (n,) ascending
        Of the slices along the milling direction, in any unit of length; see
        `bimmjax.sim.slice_positions`.
    spacing : float
        Distance of the grid's places, in the same unit.

    Returns
    -------
    (n,) int64
        The first is 0.

    Raises
    ------
    InputError
        Positions that are not finite or not ascending, a spacing that is not above 0.

    Examples
    --------
    >>> from bimmjax.fib import reposition
    >>> reposition([0.0, 10.0, 11.0, 22.6], 2.5)
    array([0, 3, 4, 9])
    """
    own = own_places(positions, spacing)
    own -= np.arange(own.size)
    # The first slice is where it is, and no other may come before it: 0 bounds all from below.
    return np.concatenate([[0], np.maximum(_isotonic(own[1:]), 0)]) + np.arange(own.size)


def check_grid_spacing(thickness: Any, spacing: float) -> None:
    """Refuse a grid that is coarser than the slices are, on which they would have to spread.

    Parameters
    ----------
    thickness : (n,)
        Of the slices.
    spacing : float
        Distance of the grid's places, in the same unit.

    Raises
    ------
    InputError
        A spacing above the mean thickness; thicknesses that are not above 0, or none.

    Examples
    --------
    >>> from bimmjax.fib import check_grid_spacing
    >>> check_grid_spacing([10.0, 7.5, 12.5], 20.0)
    Traceback (most recent call last):
        ...
    bimmjax._core.checks.InputError: spacing: got 20, a grid coarser than the slices, wants at most
    their mean thickness, 10
    """
    found = _numbers("thickness", thickness, "numbers above 0")
    if found.min() <= 0:
        raise InputError(f"thickness: got {found.min():g}, wants numbers above 0")
    apart = _spacing(spacing)
    mean = float(found.mean())
    # Means of thicknesses that are all the same may be rounded.
    if apart > mean * (1.0 + 1e-9):
        raise InputError(
            f"spacing: got {apart:g}, a grid coarser than the slices, wants at most their mean "
            f"thickness, {mean:g}"
        )


def own_places(positions: Any, spacing: float) -> np.ndarray:
    """(n,) int64, the place nearest to each position; slices may share one."""
    found = _numbers("positions", positions, "ascending numbers")
    apart = _spacing(spacing)
    steps = np.diff(found)
    if np.any(steps <= 0):
        at = int(np.argmax(steps <= 0))
        raise InputError(
            f"positions: got {found[at]:g} and then {found[at + 1]:g}, wants ascending numbers"
        )
    places = (found - found[0]) / apart
    if places[-1] > _MOST:
        raise InputError(
            f"spacing: got {apart:g}, wants more: the slices span {places[-1]:g} of it"
        )
    return np.floor(places + 0.5).astype(np.int64)


def _isotonic(values: np.ndarray) -> np.ndarray:
    """Whole numbers that never fall, closest to some whole numbers by absolute distance.

    The slopes of the least cost as a function of the last number change at the entries of a heap;
    its top is where that cost is least.
    """
    heap: list[int] = []
    tops = np.empty(values.size, np.int64)
    for i, value in enumerate(values.tolist()):
        heapq.heappush(heap, -value)
        if -heap[0] > value:
            heapq.heapreplace(heap, -value)
        tops[i] = -heap[0]
    return np.minimum.accumulate(tops[::-1])[::-1]


def _spacing(spacing: float) -> float:
    found = real_number("spacing", spacing, 0.0, 1e300)
    if found == 0.0:
        raise InputError("spacing: got 0, wants a number above 0")
    return found


def _numbers(name: str, values: Any, wants: str) -> np.ndarray:
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: got {values!r}, wants {wants}") from None
    if found.ndim != 1 or found.size == 0:
        raise InputError(f"{name}: got an array of shape {found.shape}, wants (n,) {wants}")
    if not np.all(np.isfinite(found)):
        raise InputError(f"{name}: got {found[~np.isfinite(found)][0]:g}, wants {wants}")
    return found
