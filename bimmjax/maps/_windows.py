"""Where the windows of a map lie: blocks at every stride, made of the cells that they share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bimmjax._core.checks import InputError, whole_number
from bimmjax.volumes import Volume

Shape = tuple[int, int, int]

SMALLEST_BLOCK = 8
_SMALLEST_CELL = 4
# Windows of one unit of work: a 64th of all, but enough to keep the devices busy, and few enough
# to lose to a kill.
_UNITS = 64
_FEWEST, _MOST = 128, 4096
# Cells of one unit, or of one window: their histograms are held at once, of 2 kB each where the
# noise is as usual and 32 kB where it is very low.
_MOST_CELLS = 2**16
# Larger cells would be read whole.
_LARGEST_CELL = 128


@dataclass(frozen=True)
class Unit:
    """A box of windows that are fitted, written and resumed together.

    start, shape : (z, y, x) in windows.
    """

    start: Shape
    shape: Shape

    @property
    def windows(self) -> int:
        """How many windows."""
        return math.prod(self.shape)

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """Its place in a map."""
        z, y, x = (slice(s, s + n) for s, n in zip(self.start, self.shape, strict=True))
        return z, y, x


@dataclass(frozen=True)
class Windows:
    """Windows of `block` voxels at every `stride`, all along (z, y, x), within a volume.

    The first window begins at the volume's first voxel, or at `origin`. Voxels beyond the last
    window that fits belong to none. Maps that exist have their `chunk` from where they are stored.
    """

    volume_shape: Shape
    block: Shape
    stride: Shape
    origin: Shape = (0, 0, 0)
    stored_chunk: Shape | None = field(default=None, compare=False)

    @cached_property
    def shape(self) -> Shape:
        """Windows along (z, y, x)."""
        z, y, x = (
            (n - a - b) // s + 1
            for n, a, b, s in zip(
                self.volume_shape, self.origin, self.block, self.stride, strict=True
            )
        )
        return (z, y, x)

    @property
    def count(self) -> int:
        """Windows in all."""
        return math.prod(self.shape)

    @cached_property
    def cell(self) -> Shape:
        """Edges of the cells that every window is made of: the largest, up to 128 voxels."""
        z, y, x = (_divisor(math.gcd(b, s)) for b, s in zip(self.block, self.stride, strict=True))
        return (z, y, x)

    @cached_property
    def chunk(self) -> Shape:
        """Windows of one unit (fewer at the far edges), which is one chunk of every map.

        Whole rows, then whole layers, then several layers; parts of rows where that many windows
        would hold too many cells.
        """
        if self.stored_chunk is not None:
            return self.stored_chunk
        room = min(max(self.count // _UNITS, _FEWEST), _MOST)
        cells = _MOST_CELLS
        size = [1, 1, 1]
        for axis in (2, 1, 0):
            # What this axis may hold, with one window's cells along the axes still to come.
            rest = math.prod(self._cells(k, 1) for k in range(axis))
            most = max(
                (n for n in range(1, room + 1) if self._cells(axis, n) * rest <= cells), default=1
            )
            # Even shares instead of a thin last one.
            whole = self.shape[axis]
            size[axis] = -(-whole // -(-whole // min(whole, most)))
            room = max(room // size[axis], 1)
            cells //= self._cells(axis, size[axis])
        return (size[0], size[1], size[2])

    def _cells(self, axis: int, windows: int) -> int:
        """Cells along an axis that so many windows reach over."""
        reach = (windows - 1) * self.stride[axis] + self.block[axis]
        return reach // self.cell[axis]

    def units(self) -> Iterator[Unit]:
        """All units: strip after strip of rows, and layer after layer within each.

        So the cells that one unit shares with the next, one layer on, are at hand.
        """
        along_z, along_y, along_x = (
            [(start, min(step, whole - start)) for start in range(0, whole, step)]
            for whole, step in zip(self.shape, self.chunk, strict=True)
        )
        for (y, rows), (x, width), (z, layers) in itertools.product(along_y, along_x, along_z):
            yield Unit((z, y, x), (layers, rows, width))

    def voxel_start(self, window: Sequence[int]) -> Shape:
        """First voxel (z, y, x) of a window."""
        z, y, x = (a + int(w) * s for a, w, s in zip(self.origin, window, self.stride, strict=True))
        return (z, y, x)


def windows_of(volume: Volume, block: int | Sequence[int], stride: object = None) -> Windows:
    """Windows for a volume from what a user gives: one number or three, stride = block if None.

    Raises
    ------
    InputError
        A block larger than the volume or too small to fit, a stride of 0, or a stride that has
        no useful divisor in common with the block.
    """
    edges = _three("block", block, SMALLEST_BLOCK)
    steps = edges if stride is None else _three("stride", stride, 1)
    if any(b > n for b, n in zip(edges, volume.shape, strict=True)):
        raise InputError(
            f"block: got {_short(edges)}, wants at most the volume's shape {volume.shape}"
        )
    if math.prod(edges) >= 2**31:
        raise InputError(f"block: got {_short(edges)}, wants fewer than 2147483648 voxels")
    if max(steps) >= 2**31:
        raise InputError(f"stride: got {_short(steps)}, wants less than 2147483648 voxels")
    for b, s in zip(edges, steps, strict=True):
        if math.gcd(b, s) < _SMALLEST_CELL:
            raise InputError(
                f"stride: got {_short(steps)} with blocks of {_short(edges)}, wants a common "
                f"divisor of at least {_SMALLEST_CELL} (half the block, say)"
            )
    windows = Windows(volume.shape, edges, steps)
    held = math.prod(b // c for b, c in zip(edges, windows.cell, strict=True))
    if held > _MOST_CELLS:
        raise InputError(
            f"stride: got {_short(steps)} with blocks of {_short(edges)}, wants a larger common "
            f"divisor (half the block, say): a block is counted in {held:,} parts, wants at most "
            f"{_MOST_CELLS:,}"
        )
    return windows


def _divisor(edge: int) -> int:
    """The largest divisor that is no larger than a cell may be; the edge itself if none will do."""
    fit = [n for n in range(_SMALLEST_CELL, min(edge, _LARGEST_CELL) + 1) if edge % n == 0]
    return fit[-1] if fit else edge


def _three(name: str, value: object, smallest: int) -> Shape:
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3:
        z, y, x = (whole_number(name, n, smallest) for n in value)
        return (z, y, x)
    if isinstance(value, Sequence):
        raise InputError(f"{name}: got {value!r}, wants one whole number or three (z, y, x)")
    edge = whole_number(name, value, smallest)
    return (edge, edge, edge)


def _short(edges: Shape) -> str:
    return str(edges[0]) if len(set(edges)) == 1 else str(edges)
