"""The global fit that local fits are centred on, from a sample of the volume if it is large."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax._core.clock import timed
from bimmjax.fitting import Fit
from bimmjax.fitting._believe import with_errors
from bimmjax.fitting._fit import check_levels, described
from bimmjax.fitting._histogram_fit import fit_histogram
from bimmjax.fitting._result import FAILED
from bimmjax.maps._counting import window_counts
from bimmjax.maps._source import Source
from bimmjax.maps._windows import Shape, Unit, Windows
from bimmjax.models import Params
from bimmjax.volumes import Grid, JointHistogram, Volume
from bimmjax.volumes._grid import choose_grid

# A 256³ volume is fitted whole; of larger ones as many voxels tell all that is asked here.
_VOXELS = 2**24
_EDGE = 64
_MOST_BLOCKS = 2048
_NOTHING = "volume: got no voxel to count (mask, NaN or damage), wants grey values"


def global_grid(source: Source) -> Grid:
    """Bins for the voxels that count."""
    return choose_grid(_filled(source))


def fit_sample(
    source: Source,
    grid: Grid,
    phases: int,
    *,
    gradient: str,
    noise: str,
    interface: str,
    correct: bool,
    blur_std: float | None,
    seed: int,
    start: Params | None = None,
) -> Fit:
    """BIMM-2D fitted to blocks spread over the volume: all of it up to 2²⁴ voxels.

    With `correct` its bias is found and taken off, where the volume allows it.

    Raises
    ------
    InputError
        If the mask or damage leaves nothing, or the volume holds too few grey values.
    """
    with timed() as counting:
        histogram = _sample(source, grid)
    with timed() as fitting:
        check_levels(histogram, phases)
        best = fit_histogram(
            histogram,
            phases,
            model="bimm2d",
            gradient=gradient,
            noise=noise,
            interface=interface,
            start=start,
            blur_std=blur_std,
        )
    seconds = {"histogram": counting.total, "compile": fitting.compiling, "fit": fitting.total}
    fit = described(
        best,
        histogram,
        source.volume,
        noise=noise,
        seconds=seconds,
        seed=seed,
        known_blur=blur_std is not None,
    )
    if not correct or fit.code == FAILED:
        return fit
    return with_errors(fit, best, _with_gaps(source), correct=True, intervals=False)


def _sample(source: Source, grid: Grid) -> JointHistogram:
    block = _sample_block(source.volume)
    windows = Windows(source.volume.shape, block, block)
    order = _spread(windows.count)
    if windows.count * int(np.prod(block)) <= _VOXELS:
        order = list(range(windows.count))
    units = (
        Unit((int(z), int(y), int(x)), (1, 1, 1))
        for z, y, x in (np.unravel_index(i, windows.shape) for i in order)
    )
    cells, voxels, possible = [], 0, 0
    before = time.perf_counter()
    for found in window_counts(source, grid, windows, units, join=1):
        cells.append(found.counts[0].astype(np.int64))
        voxels += int(cells[-1].sum())
        possible += int(found.possible[0])
        if voxels >= _VOXELS:
            break
    if voxels == 0:
        raise InputError(_NOTHING)
    counts = np.stack(cells)[:, None, None]
    # Those that a mask or damage takes are not NaN, and meant or flagged.
    whole = source.mask is None and not source.damaged
    missing = possible - voxels if whole else 0
    return JointHistogram(counts, grid, missing, time.perf_counter() - before)


def _sample_block(volume: Volume) -> Shape:
    z, y, x = (n // max(n // _EDGE, 1) for n in volume.shape)
    return (z, y, x)


def _spread(count: int) -> list[int]:
    """Up to `_MOST_BLOCKS` of `count` numbers, spread evenly however many of them are taken."""
    # Multiples of the golden ratio.
    ranks = (0.5 + 0.6180339887 * np.arange(min(count, _MOST_BLOCKS))) % 1.0
    return list(dict.fromkeys((ranks * count).astype(int).tolist()))


def _filled(source: Source) -> Volume:
    """The volume with nothing, or a usual grey value, where voxels do not count.

    So the bins suit those that do.
    """
    floats = source.volume.dtype.kind == "f"

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        data = source.volume.read(z, y, x)
        good = source.counting((z, y, x))
        if good is None:
            return data
        if floats:
            data[~good] = np.nan
            return data
        if good.any():
            kept[0] = data[good][good.sum() // 2]
        data[~good] = _some_value(source) if kept[0] is None else kept[0]
        return data

    kept: list[Any] = [None]
    return replace(source.volume, reader=read)


def _with_gaps(source: Source) -> Volume:
    """The volume as floats, NaN where voxels do not count."""

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        data = source.volume.read(z, y, x).astype(float)
        good = source.counting((z, y, x))
        return data if good is None else np.where(good, data, np.nan)

    return replace(source.volume, reader=read, dtype=np.dtype(float))


def _some_value(source: Source) -> Any:
    """A grey value of a voxel that counts."""
    block = _sample_block(source.volume)
    windows = Windows(source.volume.shape, block, block)
    for index in _spread(windows.count):
        at = [int(i) for i in np.unravel_index(index, windows.shape)]
        z, y, x = (slice(a, a + n) for a, n in zip(windows.voxel_start(at), block, strict=True))
        data = source.volume.read(z, y, x)
        good = source.counting((z, y, x))
        if good is None or good.any():
            return data.ravel()[data.size // 2] if good is None else data[good][good.sum() // 2]
    raise InputError(_NOTHING)
