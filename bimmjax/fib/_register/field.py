"""Moved slices as a volume that is read as it is wanted, and the field they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError, whole_number
from bimmjax.fib._register.registration import opened
from bimmjax.sim import shift_slices
from bimmjax.volumes import Volume, crop

_MARGIN = 2  # pixels that cubic convolution reaches
_SLACK = 1e-6


def common_field(shifts: Any, shape: Sequence[int]) -> tuple[slice, slice]:
    """The largest part of a slice that all slices still cover once they are moved.

    Parameters
    ----------
    shifts
        (n, 2) pixels along y and x, or a list of them, of several stacks.
    shape
        Of a slice (y, x), or of the volume.

    Returns
    -------
    y, x : slice

    Raises
    ------
    InputError
        If nothing is left, or shifts are not finite.

    Examples
    --------
    >>> from bimmjax.fib import common_field
    >>> common_field([[0.0, 0.0], [2.5, -1.0]], (64, 80))
    (slice(3, 64, None), slice(0, 79, None))
    """
    try:
        listed = [np.asarray(s, np.float64).reshape(-1, 2) for s in _several(shifts)]
        found = np.concatenate(listed)
    except (TypeError, ValueError):
        raise InputError("shifts: got no arrays (n, 2), wants pixels along y and x") from None
    if found.size == 0 or not np.isfinite(found).all():
        raise InputError("shifts: got none, or NaN among them, wants finite pixels (n, 2)")
    parts = []
    for size, most, least in zip(shape[-2:], found.max(0), found.min(0), strict=True):
        low = max(math.ceil(most - _SLACK), 0)
        high = min(math.floor(size + least + _SLACK), size)
        parts.append(slice(low, high))
    if any(p.stop <= p.start for p in parts):
        far_y, far_x = np.ptp(found, axis=0)
        raise InputError(
            f"shifts: got slices up to {far_y:.0f} and {far_x:.0f} pixels apart along y and x, "
            f"wants less than their {shape[-2]} x {shape[-1]} pixels: they share no field"
        )
    return parts[0], parts[1]


def _several(shifts: Any) -> Sequence[Any]:
    """`shifts` as a list of arrays: one stack's, or several stacks'."""
    if isinstance(shifts, np.ndarray):
        return list(shifts) if shifts.ndim == 3 else [shifts]
    several = isinstance(shifts, Sequence) and len(shifts) > 0 and np.ndim(shifts[0]) == 2
    return shifts if several else [shifts]


def move_slices(volume: Any, shifts: Any, field: tuple[slice, slice] | None = None) -> Volume:
    """Each slice moved by its own fraction of pixels, by cubic convolution (`sim.shift_slices`).

    Parameters
    ----------
    volume
        Array (z, y, x), path or `Volume`.
    shifts
        (z, 2) pixels along y and x, towards larger indices: `Registration.shifts`.
    field
        Y and x to keep, of the unmoved grid: `common_field`. Default: all of it; what comes
        into the frame repeats the slice's edge.

    Returns
    -------
    Volume
        (z, y, x) float32, moved as it is read; whole-pixel shifts give the values as they are.

    Raises
    ------
    InputError
        Not two finite shifts for each slice, or a field outside the slices.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.fib import move_slices
    >>> moved = move_slices(np.arange(5.0).reshape(1, 1, 5), [[0.0, 1.0]])
    >>> np.asarray(moved).tolist()
    [[[0.0, 0.0, 1.0, 2.0, 3.0]]]
    """
    given = opened("volume", volume)
    total, *size = given.shape
    try:
        told = np.asarray(shifts, np.float64)
    except (TypeError, ValueError):
        told = np.empty(0)
    if told.shape != (total, 2) or not np.isfinite(told).all():
        raise InputError(f"shifts: got shape {told.shape}, or NaN, wants finite ({total}, 2)")
    chosen = (slice(None), slice(None)) if field is None else field
    ends = [part.indices(n) for part, n in zip(chosen, size, strict=True)]
    if any(step != 1 or stop <= start for start, stop, step in ends):
        raise InputError(
            f"field: got {field}, wants parts of slices of {size[0]} x {size[1]} pixels"
        )
    (y0, y1, _), (x0, x1, _) = ends

    def one(i: int, y: slice, x: slice) -> np.ndarray:
        whole = np.floor(told[i]).astype(int)
        part = told[i] - whole
        # Where the box comes from, and what cubic convolution needs around it.
        wanted = [(y.start + y0, y.stop + y0), (x.start + x0, x.stop + x0)]
        margin = [_MARGIN if p > 0 else 0 for p in part]
        taken = [
            np.clip(np.arange(a - w - m, b - w + m), 0, n - 1)
            for (a, b), w, m, n in zip(wanted, whole, margin, size, strict=True)
        ]
        box = [slice(int(t[0]), int(t[-1]) + 1) for t in taken]
        plane = given.read(slice(i, i + 1), *box)[0].astype(np.float32)
        plane = plane[np.ix_(*(t - t[0] for t in taken))]
        if part.any():
            plane = np.asarray(shift_slices(plane[None], part[None]))[0]
        return plane[margin[0] : plane.shape[0] - margin[0], margin[1] : plane.shape[1] - margin[1]]

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        out = np.empty([s.stop - s.start for s in (z, y, x)], np.float32)
        if out.size:
            for k, i in enumerate(range(z.start, z.stop)):
                out[k] = one(i, y, x)
        return out

    return replace(
        given, shape=(total, y1 - y0, x1 - x0), dtype=np.dtype(np.float32), reader=read,
        chunks=(1, min(given.chunks[1], y1 - y0), min(given.chunks[2], x1 - x0)),
        format=f"moved slices of {given.format}",
    )  # fmt: skip


def drop_slices(volume: Any, first: int = 0, last: int = 0) -> Volume:
    """A stack without its leading slices, which curtains spoil, and its last ones.

    Source: FIB thesis, §2.1 (curtains in the first 10 to 30 slices).

    Parameters
    ----------
    volume
        Array (z, y, x), path or `Volume`.
    first, last
        How many to leave out at the beginning and at the end.

    Raises
    ------
    InputError
        If no slice is left.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.fib import drop_slices
    >>> drop_slices(np.zeros((30, 8, 8)), 20).shape
    (10, 8, 8)
    """
    given = opened("volume", volume)
    total = given.shape[0]
    first = whole_number("first", first, 0, total - 1)
    last = whole_number("last", last, 0, total - 1 - first)
    return crop(given, slice(first, total - last))
