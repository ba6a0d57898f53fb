"""The joint histogram of intensity and gradient magnitude of all voxels, streamed, exact.

Histograms add up. The volume is divided into cells, each with a histogram of its own: their sum
is the volume's, their scatter tells how well the volume stands for its material.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax._core.checks import InputError, whole_number
from bimmjax.volumes._gradient import gradient_magnitude
from bimmjax.volumes._grid import GRADIENT_BINS, INTENSITY_BINS, Grid, choose_grid
from bimmjax.volumes._stream import stream, suggest_block
from bimmjax.volumes._volume import Volume

_BLOCK_VOXELS = 2**24
_LARGEST_TAIL = 4e-3
_SMALLEST_CELL = 16
_SANE = 1e-12


@dataclass(frozen=True)
class JointHistogram:
    """Counts of voxels by intensity and gradient magnitude, cell by cell.

    Attributes
    ----------
    cell_counts : (cells_z, cells_y, cells_x, n_u, n_v) int64
    grid : Grid
        The bins; the outermost reach to infinity.
    excluded : int
        Voxels left out because they, or a neighbour, are NaN or infinite.
    reading : float
        Seconds spent waiting for data.
    """

    cell_counts: np.ndarray
    grid: Grid
    excluded: int
    reading: float

    @cached_property
    def counts(self) -> np.ndarray:
        """Counts of the whole volume, (n_u, n_v) int64."""
        return self.cell_counts.sum((0, 1, 2))

    @property
    def voxels(self) -> int:
        """Voxels counted: all that have six neighbours, less the excluded."""
        return int(self.counts.sum())


def joint_histogram(
    volume: Volume,
    grid: Grid | None = None,
    *,
    cells: int = 6,
    ignore_nan: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> JointHistogram:
    """Joint histogram of all voxels that have six neighbours; memory bounded for any size.

    Parameters
    ----------
    volume : Volume
    grid : Grid, optional
        The bins; chosen from a sample of the volume if not given, and chosen anew from a larger
        one if too many voxels fall outside.
    cells : int
        Cells along each axis; fewer where they would be thinner than 16 voxels.
    ignore_nan : bool
        Leave out voxels that are not finite, and their neighbours, instead of refusing.
    progress : callable, optional
        Called with (voxels done, voxels in all).

    Raises
    ------
    InputError
        If an axis is shorter than 3 voxels, if the volume is constant, or if it holds NaN or
        infinite values and `ignore_nan` is not set.
    """
    whole_number("cells", cells, 1, 64)
    if min(volume.shape) < 3:
        raise InputError(
            f"volume: got shape {volume.shape}, wants at least 3 voxels along each axis"
        )
    chosen = choose_grid(volume) if grid is None else grid
    result = _count(volume, chosen, cells, ignore_nan, progress)
    counts = result.counts
    outside = counts[[0, -1]].sum() + counts[:, -1].sum()
    if grid is None and outside > _LARGEST_TAIL * result.voxels + 100:
        return _count(volume, choose_grid(volume, count=64), cells, ignore_nan, progress)
    return result


def _count(
    volume: Volume,
    grid: Grid,
    cells: int,
    ignore_nan: bool,
    progress: Callable[[int, int], None] | None,
) -> JointHistogram:
    inner = np.array(volume.shape) - 2
    numbers = tuple(int(n) for n in np.clip(inner // _SMALLEST_CELL, 1, cells))
    cell_of = [np.arange(n) * m // n for n, m in zip(inner, numbers, strict=True)]
    size = int(np.prod(numbers))
    total = np.zeros(size * INTENSITY_BINS * GRADIENT_BINS, np.int64)
    done = 0
    waited = 0.0
    binning = Binning.of(grid, volume.dtype)
    voxels = int(np.prod(inner))
    blocks = stream(volume, suggest_block(volume, _BLOCK_VOXELS), halo=1)
    while True:
        before = time.perf_counter()
        block = next(blocks, None)
        waited += time.perf_counter() - before
        if block is None:
            break
        places = [
            cells_along[start - 1 : start - 1 + length]
            for cells_along, start, length in zip(cell_of, block.start, block.core, strict=True)
        ]
        offsets = places[0] * numbers[1] * numbers[2], places[1] * numbers[2], places[2]
        total += np.asarray(binning.count(block.data, offsets, size))
        done += int(np.prod(block.core))
        if progress is not None:
            progress(done, voxels)
    finite = int(total.sum())
    if finite < done and not ignore_nan:
        raise InputError(
            f"volume: got {done - finite} voxels that are NaN or infinite or touch one, wants "
            "finite grey values (--ignore-nan leaves them out)"
        )
    if finite == 0:
        raise InputError("volume: got no finite voxel, wants finite grey values")
    shape = (*numbers, INTENSITY_BINS, GRADIENT_BINS)
    return JointHistogram(total.reshape(shape), grid, done - finite, waited)


@dataclass(frozen=True)
class Binning:
    """How grey values become bin numbers: a table for integers up to 16 bits, else a line.

    The line comes after `scale`: 1, but in units so large or small that squares of gradients
    do not fit float32 (electrons per m³, say) a power of two, which rounds nothing.
    """

    table: np.ndarray | None
    lowest: int
    scale: float
    origin: float
    per_value: float
    per_gradient: float

    @classmethod
    def of(cls, grid: Grid, dtype: np.dtype) -> Binning:
        width = float(grid.u_edges[1] - grid.u_edges[0])
        table, lowest = None, 0
        scale = 1.0 if _SANE < width < 1.0 / _SANE else 2.0 ** -np.rint(np.log2(width))
        if grid.step > 0 and dtype.itemsize <= 2 and dtype.kind in "iub":
            scale = 1.0
            info = np.iinfo(np.uint8 if dtype.kind == "b" else dtype)
            lowest = int(info.min)
            levels = np.arange(info.min, int(info.max) + 1)
            found = np.searchsorted(grid.u_edges[1:-1], levels, side="right")
            table = found.astype(np.int32)
        return cls(
            table,
            lowest,
            float(scale),
            float(grid.u_edges[0] * scale),
            1.0 / (width * scale),
            (grid.v_edges.size - 1) / float(grid.v_edges[-1] * scale),
        )

    def count(
        self,
        data: np.ndarray,
        offsets: tuple[np.ndarray, ...],
        cells: int,
        *,
        join: int = 1,
        keep: np.ndarray | None = None,
    ) -> Array:
        """Counts (cells * n_u * n_v,) int32 of one block with its halo.

        A voxel's cell is the sum of the offsets of its z, y and x. `join` bins along each axis
        are counted as one. `keep` (of the shape of the block without halo) leaves voxels out.
        """
        if data.dtype.kind == "b":
            data = data.view(np.uint8)
        origin = self.origin
        if self.table is None and data.dtype != np.float32:
            # Wide numbers lose digits in float32: take off the origin while they are whole.
            with np.errstate(over="ignore"):
                data = (data - origin / self.scale).astype(np.float32)
            origin = 0.0
        if self.scale != 1.0:
            data = data * np.float32(self.scale)
        cell_numbers = [jnp.asarray(offset, jnp.int32) for offset in offsets]
        line = jnp.asarray([origin, self.per_value, self.per_gradient], jnp.float32)
        table = None if self.table is None else jnp.asarray(self.table)
        return _count_block(data, cell_numbers, table, self.lowest, line, keep, cells, join)


@partial(jax.jit, static_argnames=("cells", "join"))
def _count_block(
    data: Array,
    offsets: list[Array],
    table: Array | None,
    lowest: int,
    line: Array,
    kept: Array | None,
    cells: int,
    join: int,
) -> Array:
    inner = data[1:-1, 1:-1, 1:-1]
    v = gradient_magnitude(data)
    v_bin = jnp.minimum(v * line[2], GRADIENT_BINS - 1).astype(jnp.int32)
    if table is None:
        u = (inner - line[0]) * line[1]
        u_bin = jnp.clip(u, 0, INTENSITY_BINS - 1).astype(jnp.int32)
        keep = jnp.isfinite(u) & jnp.isfinite(v)
    else:
        u_bin = table[inner.astype(jnp.int32) - lowest]
        keep = True
    if kept is not None:
        keep = keep & kept
    cell = offsets[0][:, None, None] + offsets[1][:, None] + offsets[2]
    rows, columns = INTENSITY_BINS // join, GRADIENT_BINS // join
    number = (cell * rows + u_bin // join) * columns + v_bin // join
    size = cells * rows * columns
    number = jnp.where(keep, number, size)
    return jnp.zeros(size, jnp.int32).at[number.ravel()].add(1, mode="drop")
