"""From voxels to one joint histogram per window: each voxel is counted once.

The volume is cut into the cells that windows share; histograms add up, so a window's is the sum
of its cells'.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from bimmjax.maps._source import Source
from bimmjax.maps._windows import Shape, Unit, Windows
from bimmjax.volumes import Block, Grid, Volume, stream
from bimmjax.volumes._histogram import Binning

_BLOCK_VOXELS = 2**22


class UnitCounts(NamedTuple):
    """The histograms of a unit's windows (n in C order).

    counts : (n, n_u, n_v) int32. possible : (n,) voxels of each window that have six neighbours
    in the volume. unreadable : (n,) bool, whether any of its voxels could not be read.
    """

    unit: Unit
    counts: np.ndarray
    possible: np.ndarray
    unreadable: np.ndarray


class _Cells(NamedTuple):
    """A box of cells: first cell, counts (cz, cy, cx, bins), damage (cz, cy, cx)."""

    start: Shape
    counts: np.ndarray
    damaged: np.ndarray


def window_counts(
    source: Source, grid: Grid, windows: Windows, units: Iterable[Unit], *, join: int
) -> Iterator[UnitCounts]:
    """Histograms of units, in their order, one unit ahead of the consumer.

    Cells that a unit shares with the one before it are not counted again.
    """
    counting = _count_units(source, grid, windows, units, join)
    with ThreadPoolExecutor(1, thread_name_prefix="bimmjax-count") as pool:
        coming = pool.submit(next, counting, None)
        try:
            while (found := coming.result()) is not None:
                coming = pool.submit(next, counting, None)
                yield found
        finally:
            coming.cancel()


def _count_units(
    source: Source, grid: Grid, windows: Windows, units: Iterable[Unit], join: int
) -> Iterator[UnitCounts]:
    binning = Binning.of(grid, source.volume.dtype)
    bins = (grid.u_edges.size - 1) // join, (grid.v_edges.size - 1) // join
    before: _Cells | None = None
    for unit in units:
        first = [
            a * s // c for a, s, c in zip(unit.start, windows.stride, windows.cell, strict=True)
        ]
        last = [
            ((a + n - 1) * s + b) // c
            for a, n, s, b, c in zip(
                unit.start, unit.shape, windows.stride, windows.block, windows.cell, strict=True
            )
        ]
        fresh = first[0]
        if before is not None and _goes_on(before, first, last):
            fresh = min(max(before.start[0] + len(before.counts), first[0]), last[0])
        cells = _count_cells(source, binning, windows, (fresh, *first[1:]), last, join, bins)
        if before is not None and fresh > first[0]:
            kept = slice(first[0] - before.start[0], fresh - before.start[0])
            cells = _Cells(
                (first[0], *cells.start[1:]),
                np.concatenate([before.counts[kept], cells.counts]),
                np.concatenate([before.damaged[kept], cells.damaged]),
            )
        before = cells
        per_window = [b // c for b, c in zip(windows.block, windows.cell, strict=True)]
        step = [s // c for s, c in zip(windows.stride, windows.cell, strict=True)]
        counts = _slide(cells.counts, unit.shape, per_window, step)
        damaged = _slide(cells.damaged.astype(np.int32), unit.shape, per_window, step)
        yield UnitCounts(
            unit,
            counts.reshape(unit.windows, *bins),
            _possible(windows, unit).ravel(),
            damaged.ravel() > 0,
        )


def _goes_on(before: _Cells, first: list[int], last: list[int]) -> bool:
    """Whether cells `first` to `last` begin within those before, or after them, in one strip."""
    across = tuple(b - a for a, b in zip(first[1:], last[1:], strict=True))
    return (
        before.start[0] <= first[0]
        and before.start[1:] == tuple(first[1:])
        and before.counts.shape[1:3] == across
    )


def _count_cells(
    source: Source,
    binning: Binning,
    windows: Windows,
    first: Iterable[int],
    last: Iterable[int],
    join: int,
    bins: tuple[int, int],
) -> _Cells:
    (low_z, low_y, low_x), (high_z, high_y, high_x) = first, last
    low, high = (low_z, low_y, low_x), (high_z, high_y, high_x)
    shape = tuple(b - a for a, b in zip(low, high, strict=True))
    counts = np.zeros((*shape, bins[0] * bins[1]), np.int32)
    damaged = np.zeros(shape, bool)
    if 0 in shape:
        return _Cells(low, counts, damaged)
    cell = windows.cell
    per_block = _cells_per_block(shape, cell)
    corner = [o + a * c for o, a, c in zip(windows.origin, low, cell, strict=True)]
    for block in _with_halo(source.volume, corner, shape, cell, per_block):
        # The halo is there on every side; at a face of the volume it is made up.
        place = tuple(
            slice((a - f) // c, (a - f + n) // c)
            for a, n, c, f in zip(block.start, block.core, cell, corner, strict=True)
        )
        size = math.prod(s.stop - s.start for s in place)
        offsets = _offsets(block, cell, source.volume.shape, size)
        keep = source.usable(block.start, block.core)
        found = binning.count(block.data, offsets, size, join=join, keep=keep)
        target = counts[place]
        target[...] = np.asarray(found).reshape(target.shape)
    _mark(damaged, source, corner, cell)
    return _Cells(low, counts, damaged)


def _mark(damaged: np.ndarray, source: Source, corner: list[int], cell: Shape) -> None:
    """Mark the cells that a damaged voxel lies in, or beside."""
    whole: Any = tuple(
        slice(f - 1, f + n * c + 1) for f, n, c in zip(corner, damaged.shape, cell, strict=True)
    )
    for box in source.damaged.within(whole):
        touched = tuple(
            slice(max((s.start - 1 - f) // c, 0), max(-(-(s.stop + 1 - f) // c), 0))
            for s, f, c in zip(box, corner, cell, strict=True)
        )
        damaged[touched] = True


def _offsets(
    block: Block, cell: Shape, volume_shape: Shape, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per axis, what each voxel adds to its cell's number; too much where it has no neighbour."""
    numbers = [n // c for n, c in zip(block.core, cell, strict=True)]
    strides = [numbers[1] * numbers[2], numbers[2], 1]
    offsets = []
    for a, n, c, whole, stride in zip(
        block.start, block.core, cell, volume_shape, strides, strict=True
    ):
        along = np.arange(n) // c * stride
        at = a + np.arange(n)
        offsets.append(np.where((at == 0) | (at == whole - 1), size, along))
    return offsets[0], offsets[1], offsets[2]


def _cells_per_block(shape: tuple[int, ...], cell: Shape) -> Shape:
    """Cells of one streamed block: rows, then layers of rows, as even shares."""
    size = [1, 1, 1]
    room = max(_BLOCK_VOXELS // math.prod(cell), 1)
    for axis in (2, 1, 0):
        most = max(1, min(shape[axis], room))
        size[axis] = -(-shape[axis] // -(-shape[axis] // most))
        room //= size[axis]
        room = max(room, 1)
    return (size[0], size[1], size[2])


def _with_halo(
    volume: Volume, first: list[int], cells: tuple[int, ...], cell: Shape, per_block: Shape
) -> Iterator[Block]:
    """Blocks of whole cells from voxel `first` on, with a halo on every side.

    The halo is repeated voxels where the volume ends. Blocks start at voxels of the volume.
    """
    shape = tuple(n * c + 2 for n, c in zip(cells, cell, strict=True))

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        box, missing = [], []
        for part, a, whole in zip((z, y, x), first, volume.shape, strict=True):
            start, stop = part.start + a - 1, part.stop + a - 1
            inside = slice(max(start, 0), min(stop, whole))
            box.append(inside)
            missing.append((inside.start - start, stop - inside.stop))
        data = volume.read(box[0], box[1], box[2])
        return np.pad(data, missing, mode="edge") if np.any(missing) else data

    part = replace(volume, shape=(shape[0], shape[1], shape[2]), reader=read)
    voxels = tuple(n * c for n, c in zip(per_block, cell, strict=True))
    for block in stream(part, voxels, halo=1):
        z, y, x = (s - 1 + a for s, a in zip(block.start, first, strict=True))
        yield Block((z, y, x), block.core, block.data)


def _slide(cells: np.ndarray, shape: Shape, per_window: list[int], step: list[int]) -> np.ndarray:
    """Sums over the cells of each window, axis by axis."""
    for axis in range(3):
        starts = np.arange(shape[axis]) * step[axis]
        total = np.take(cells, starts, axis=axis)
        for k in range(1, per_window[axis]):
            total += np.take(cells, starts + k, axis=axis)
        cells = total
    return cells


def _possible(windows: Windows, unit: Unit) -> np.ndarray:
    """Voxels of each window that have six neighbours in the volume, of the unit's shape."""
    along = []
    corner = windows.voxel_start(unit.start)
    for a, n, s, b, whole in zip(
        corner, unit.shape, windows.stride, windows.block, windows.volume_shape, strict=True
    ):
        start = a + np.arange(n) * s
        along.append(b - (start == 0) - (start + b == whole))
    return along[0][:, None, None] * along[1][:, None] * along[2]
