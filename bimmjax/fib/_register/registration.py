"""What registration finds, and how a stack is read for it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.fib._register.translation import search
from bimmjax.volumes import Volume, crop, open_volume, stream

Progress = Callable[[int, int], None]
Region = Sequence[slice | Sequence[int]]
_VOXELS = 2**24  # of slices that are looked at together
_MOST = 16


class Registration(NamedTuple):
    """How the slices of a stack have to be moved.

    Attributes
    ----------
    shifts : array
        (n, 2) float64, pixels along y and x by which each slice has to be moved, towards larger
        indices: the drift curve, with its sign turned.
    correlation : array
        (n,) float64, of each slice with the one it was compared with (the one before it, or the
        reference), at their best; 1 for the first slice of a chain, NaN where refused.
    refused : array
        (n,) bool: nothing was found for these (constant, NaN, too far away); their shifts are
        interpolated between those of their neighbours.
    """

    shifts: np.ndarray
    correlation: np.ndarray
    refused: np.ndarray


def opened(name: str, volume: Any) -> Volume:
    """`volume` as one; InputErrors name the argument."""
    return volume if isinstance(volume, Volume) else open_volume(volume)


def cut_region(volume: Volume, region: Region | None, margin: int = 0) -> Volume:
    """The part of each slice that is looked at, and `margin` pixels around it if there are any."""
    if region is None:
        return volume
    wants = "wants a slice (or start and stop) along y and one along x, such as ((0, 64), (10, 90))"
    try:
        parts = [p if isinstance(p, slice) else slice(*p) for p in region]
        ends = [p.indices(n) for p, n in zip(parts, volume.shape[1:], strict=True)]
    except (TypeError, ValueError):
        raise InputError(f"region: got {region!r}, {wants}") from None
    (y0, y1, dy), (x0, x1, dx) = ends
    beyond = any(
        s.stop is not None and s.stop > n for s, n in zip(parts, volume.shape[1:], strict=True)
    )
    if (dy, dx) != (1, 1) or y1 <= y0 or x1 <= x0 or beyond:
        raise InputError(f"region: got {region!r} of slices {volume.shape[1:]}, {wants}")
    y0, x0 = max(y0 - margin, 0), max(x0 - margin, 0)
    y1, x1 = min(y1 + margin, volume.shape[1]), min(x1 + margin, volume.shape[2])
    return crop(volume, y=slice(y0, y1), x=slice(x0, x1))


def searched(
    volume: Volume, region: Region | None, reach: object, default: int | None, edges: bool
) -> tuple[int, int]:
    """Pixels along y and x that are searched. Default: at most a quarter of the shorter edge."""
    rows, columns = cut_region(volume, region).shape[1:]
    name = "volume" if region is None else "region"
    usual = min(rows, columns) // 4 if default is None else default
    return search(name, (rows, columns), reach, usual, edges)


def together(volume: Volume) -> int:
    """Slices that fit into memory together, and through one program."""
    return max(1, min(_MOST, _VOXELS // (volume.shape[1] * volume.shape[2]), volume.shape[0]))


def slices_of(volume: Volume, count: int) -> Generator[tuple[int, np.ndarray]]:
    """First number and (count, y, x) float32 of the stack's slices, read ahead.

    The last ones are repeated, so that one program does for all.
    """
    for block in stream(volume, (count, *volume.shape[1:]), halo=0):
        data = block.data.astype(np.float32)
        missing = count - len(data)
        yield block.start[0], np.pad(data, ((0, missing), (0, 0), (0, 0)), mode="edge")


def at_once() -> int:
    """Slices a device works on at once: one on a CPU, whose cache holds no more."""
    return 1 if jax.default_backend() == "cpu" else _MOST


def interpolated(shifts: np.ndarray, refused: np.ndarray) -> np.ndarray:
    """`shifts` (n, 2) with those of refused slices drawn from their neighbours."""
    if refused.all():
        raise InputError(
            f"volume: got {refused.size} slices of which none can be registered (constant, NaN, or "
            "moved beyond the reach), wants images that resemble each other"
        )
    numbers = np.arange(refused.size)
    good = ~refused
    columns = [np.interp(numbers, numbers[good], column[good]) for column in shifts.T]
    return np.stack(columns, 1)
