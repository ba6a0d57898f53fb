"""Where tiles lie along an axis, and which voxels each answers for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bimmjax._core.checks import InputError, whole_number

# Of a Gaussian window over its tile, as is usual (Isensee et al. 2021).
_WIDTH = 0.125


class Piece(NamedTuple):
    """A tile along one axis."""

    start: int
    """Of the tile, a multiple of the network's."""
    core: slice
    """The voxels of the volume that it answers for, or has a say in."""
    weights: np.ndarray
    """Its say in each of them, float32; those of all pieces sum to 1 in every voxel."""


class Tiling(NamedTuple):
    """Tiles along each of the network's axes.

    exact : tiles answer for what lies `halo` or more from their ends, and for all that lies at
        the volume's; else they overlap by half and have a say by a Gaussian window.
    """

    sizes: tuple[int, ...]
    halo: tuple[int, ...]
    multiple: tuple[int, ...]
    exact: bool

    def pieces(self, axis: int, length: int, part: slice) -> list[Piece]:
        """The tiles that cover a part of an axis of `length` voxels, in order."""
        size, multiple = self.sizes[axis], self.multiple[axis]
        if self.exact:
            return _exact(length, size, self.halo[axis], multiple, part)
        return _blended(length, size, multiple, part)


def whole(length: int, multiple: int) -> int:
    """The length up to the next multiple."""
    return -(-length // multiple) * multiple


def ends_of(lengths: Sequence[int], multiple: Sequence[int]) -> tuple[int, ...]:
    """Where the last tiles end: what lies beyond the volume is made up."""
    return tuple(whole(n, m) for n, m in zip(lengths, multiple, strict=True))


def _exact(length: int, size: int, halo: int, multiple: int, part: slice) -> list[Piece]:
    """Tiles as far on as their halo allows; at the far end moved inwards, not made smaller."""
    end, found, at = whole(length, multiple), [], part.start
    while at < part.stop:
        start = min(max((at - halo) // multiple * multiple, 0), end - size)
        stop = part.stop if start + size == end else min(start + size - halo, part.stop)
        assert stop > at
        found.append(Piece(start, slice(at, stop), np.ones(stop - at, np.float32)))
        at = stop
    return found


def _blended(length: int, size: int, multiple: int, part: slice) -> list[Piece]:
    """Those that lie in the part, of tiles which overlap by half or more over the whole axis.

    Tiles of a single multiple stand side by side.
    """
    end = whole(length, multiple)
    # In multiples, so that rounding to them makes no step longer.
    last, most = (end - size) // multiple, max(size // (2 * multiple), 1)
    starts = (np.linspace(0, last, 1 - (-last // most)).astype(int) * multiple).tolist()
    middle = 0.5 * size
    window = np.exp(-0.5 * ((np.arange(size) + 0.5 - middle) / (_WIDTH * size)) ** 2)
    total = np.zeros(end)
    for start in starts:
        total[start : start + size] += window
    found = []
    for start in starts:
        core = slice(max(start, part.start), min(start + size, part.stop))
        if core.start < core.stop:
            weights = window[core.start - start : core.stop - start] / total[core]
            found.append(Piece(start, core, weights.astype(np.float32)))
    return found


def exact_sizes(
    lengths: Sequence[int],
    multiple: Sequence[int],
    halo: Sequence[int],
    parts: Sequence[int],
    most: int,
) -> tuple[int, ...]:
    """Tiles of about `most` voxels that share `parts` of the axes evenly.

    A whole part with its halo where that is not more. Never less than the halo asks for.

    Examples
    --------
    >>> exact_sizes((1000, 1000), (8, 8), (20, 20), (1000, 1000), 2**20)
    (1000, 1000)
    >>> exact_sizes((1000, 1000), (8, 8), (20, 20), (1000, 1000), 2**18)
    (384, 552)
    """
    found = list(ends_of(lengths, multiple))
    # Short axes first, so that there is more room along the long ones.
    left, room = len(found), most
    for axis in np.argsort(found, kind="stable").tolist():
        side = int(room ** (1.0 / left) + 1e-6)
        step, border = multiple[axis], whole(halo[axis], multiple[axis])
        part = min(parts[axis], found[axis])
        core = whole(part, step)
        if min(core + 2 * border, found[axis]) > side:
            most_of_core = max((side - 2 * border) // step * step, step)
            core = whole(-(-part // -(-part // most_of_core)), step)
        found[axis] = min(core + 2 * border, found[axis])
        room, left = max(room // found[axis], 1), left - 1
    return tuple(found)


def passes(tiling: Tiling, lengths: Sequence[int], parts: Sequence[int]) -> float:
    """How often a network looks at a voxel, on average, where it works part by part."""
    found = 1.0
    for axis, (length, part) in enumerate(zip(lengths, parts, strict=True)):
        tiles = sum(
            len(tiling.pieces(axis, length, slice(at, min(at + part, length))))
            for at in range(0, length, part)
        )
        found *= tiles * tiling.sizes[axis] / length
    return found


def check_tile(
    tile: Sequence[int],
    lengths: Sequence[int],
    multiple: Sequence[int],
    halo: Sequence[int] | None,
) -> tuple[int, ...]:
    """Sizes of tiles that were asked for, cut to the volume's; `halo` None if they are blended.

    Raises
    ------
    InputError
        Not one for each axis, no multiples, or with nothing left between two halos.
    """
    try:
        sizes = tuple(whole_number("tile", n, 1, 2**20) for n in tile)
    except TypeError:
        raise InputError(f"tile: got {tile!r}, wants {len(multiple)} sizes") from None
    if len(sizes) != len(multiple) or any(n % m for n, m in zip(sizes, multiple, strict=True)):
        raise InputError(
            f"tile: got {sizes}, wants {len(multiple)} sizes, multiples of {tuple(multiple)}"
        )
    ends = ends_of(lengths, multiple)
    found = tuple(min(n, end) for n, end in zip(sizes, ends, strict=True))
    if halo is None:
        return found
    least = [whole(2 * h + m, m) for h, m in zip(halo, multiple, strict=True)]
    if any(n < min(low, end) for n, low, end in zip(found, least, ends, strict=True)):
        raise InputError(
            f"tile: got {sizes}, wants at least {tuple(least)}, or all of the volume: outputs "
            f"depend on {tuple(halo)} voxels on either side"
        )
    return found
