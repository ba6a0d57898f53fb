"""Where to put the bins of a joint histogram: from a small sample of the volume."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.volumes._volume import Volume

# Fixed sizes: whatever the volume, the same compiled code fits it.
INTENSITY_BINS = 128
GRADIENT_BINS = 64

_TAIL = 5e-4
_BODY = 1e-3
_COMB = 0.08


@dataclass(frozen=True)
class Grid:
    """Bins of intensity and gradient magnitude; the outermost bins reach to infinity.

    Attributes
    ----------
    u_edges : (n_u + 1,) float64
        Grey values. For integer data they lie halfway between grey levels that occur.
    v_edges : (n_v + 1,) float64
        Grey values per voxel, evenly spaced from 0.
    step : float
        Distance of the grey levels of integer data, 0 for continuous data.
    lattice : (n_v,) float64
        Gradients of integer data lie on a lattice, which fills thin bins unevenly: the number
        of lattice points in a bin over the bin's share of space. Ones for continuous data.
    clipped : (low, high)
        Share of sampled voxels at the lowest and at the highest value, where it is a spike.
    """

    u_edges: np.ndarray
    v_edges: np.ndarray
    step: float
    lattice: np.ndarray
    clipped: tuple[float, float]


def sample_blocks(volume: Volume, count: int = 8, edge: int = 34) -> list[np.ndarray]:
    """Small blocks spread over the volume without overlap, always the same ones.

    At most `count`, of at most `edge` voxels along each axis; all that fit if they are fewer.
    """
    extent = [min(edge, n) for n in volume.shape]
    starts = [
        np.array([(n - e) // 2])
        if n < 2 * e
        else np.rint(np.linspace(0, n - e, n // e)).astype(int)
        for n, e in zip(volume.shape, extent, strict=True)
    ]
    places = math.prod(len(along) for along in starts)
    # Multiples of the golden ratio spread evenly, however many of them are taken.
    chosen = sorted({int((0.5 + 0.6180339887 * k) % 1.0 * places) for k in range(count)})
    if count >= places:
        chosen = list(range(places))
    blocks = []
    for place in chosen:
        index = np.unravel_index(place, [len(along) for along in starts])
        corner = [int(along[i]) for along, i in zip(starts, index, strict=True)]
        blocks.append(volume.read(*(slice(a, a + e) for a, e in zip(corner, extent, strict=True))))
    return blocks


def choose_grid(volume: Volume, *, count: int = 8) -> Grid:
    """Bins that suit the volume, from a sample of `count` blocks.

    Raises `InputError` if the sample is constant or holds no finite voxel.
    """
    blocks = sample_blocks(volume, count)
    u = np.concatenate([block.ravel() for block in blocks])
    finite = u if u.dtype.kind in "iub" else u[np.isfinite(u)]
    if finite.size == 0 and volume.voxels > u.size and count < 512:
        return choose_grid(volume, count=8 * count)
    if finite.size == 0:
        raise InputError("volume: got no finite voxel in a sample, wants finite grey values")
    lowest, highest = finite.min(), finite.max()
    if lowest == highest:
        if volume.voxels > u.size and count < 512:
            return choose_grid(volume, count=8 * count)
        where = "" if volume.voxels == u.size else " in a sample"
        raise InputError(
            f"volume: got the constant value {lowest}{where}, wants at least two grey values"
        )
    clipped = tuple(_spike(finite, end) for end in (lowest, highest))
    v = np.concatenate([_gradients(block) for block in blocks])
    top = _upper_quantile(v[np.isfinite(v)]) * 1.1
    levels = _grey_levels(finite)
    if levels is None:
        u_edges, step, dense = _even_edges(finite.astype(np.float64)), 0.0, False
    else:
        numbers, origin, unit = levels
        uneven = finite.dtype.kind in "iub" and finite.dtype.itemsize <= 2
        edges, step, dense = _level_edges(numbers, allow_comb=uneven)
        u_edges, step = origin + unit * edges, unit * step
        dense = dense and unit == 1.0
    if not np.all(np.diff(u_edges) > 0):
        raise InputError(
            f"volume: got grey values from {lowest} to {highest}, wants a range that is wide "
            "against the numbers themselves: subtract an offset first"
        )
    # No three differences of values within the bins are larger; hot pixels' may be.
    top = min(top, np.sqrt(0.75) * (u_edges[-1] - u_edges[0]))
    v_edges = np.linspace(0.0, max(top, 0.5 * step), GRADIENT_BINS + 1)
    lattice = _lattice(v_edges) if dense else np.ones(GRADIENT_BINS)
    return Grid(u_edges, v_edges, step, lattice, (clipped[0], clipped[1]))


def _gradients(block: np.ndarray) -> np.ndarray:
    if min(block.shape) < 3:
        return np.zeros(1, np.float32)
    f = block.astype(np.float64)
    inner = slice(1, -1)
    squares = (f[2:, inner, inner] - f[:-2, inner, inner]) ** 2
    squares += (f[inner, 2:, inner] - f[inner, :-2, inner]) ** 2
    squares += (f[inner, inner, 2:] - f[inner, inner, :-2]) ** 2
    return 0.5 * np.sqrt(squares).ravel()


def _upper_quantile(values: np.ndarray) -> float:
    if values.size == 0:
        return 1.0
    rank = int((1.0 - _TAIL) * (values.size - 1))
    return float(np.partition(values, rank)[rank]) or 1.0


def _spike(values: np.ndarray, end: np.generic) -> float:
    """Share of values exactly at an end, if that is more than its neighbours would explain."""
    levels, counts = np.unique(values, return_counts=True)
    if levels.size < 3:
        return 0.0
    at_end, beside = counts[[0, 1]] if end == levels[0] else counts[[-1, -2]]
    return at_end / values.size if at_end > max(1e-3 * values.size, 2.0 * beside) else 0.0


def _grey_levels(values: np.ndarray) -> tuple[np.ndarray, float, float] | None:
    """Whole numbers, origin and step such that values = origin + step * number, if there are.

    Floating point volumes are often converted integers; their few values betray them.
    """
    if values.dtype.kind in "iub":
        numbers = values.astype(np.int64)
        return (numbers, 0.0, 1.0) if numbers.max() - numbers.min() < 2**16 else None
    few = np.unique(values[:: max(1, values.size // 20_000)]).astype(np.float64)
    if not 2 < few.size <= 1024:
        return None
    step = float(np.diff(few).min())
    scaled = (values.astype(np.float64) - few[0]) / step
    numbers = np.rint(scaled)
    if np.abs(scaled - numbers).max() > 0.05 or np.ptp(numbers) >= 2**16:
        return None
    return numbers.astype(np.int64), float(few[0]), step


def _even_edges(values: np.ndarray) -> np.ndarray:
    quantiles = np.quantile(values, [_TAIL, _BODY, 1.0 - _BODY, 1.0 - _TAIL])
    low, high = _without_far_tails(*(float(q) for q in quantiles))
    if high <= low:
        low, high = values.min(), values.max()
    margin = 0.02 * (high - low)
    return np.linspace(low - margin, high + margin, INTENSITY_BINS + 1)


def _level_edges(levels: np.ndarray, *, allow_comb: bool) -> tuple[np.ndarray, float, bool]:
    """Edges halfway between grey levels in use; the usual step; whether every level is in use.

    A stretched histogram leaves gaps (a comb): each level in use then stands for the interval
    up to the midpoints of its neighbours, so bins that follow the levels in use stay exact.
    """
    first = levels.min()
    counts = np.bincount(levels - first)
    cumulative = np.cumsum(counts) / levels.size
    low, high = _without_far_tails(
        *(int(np.searchsorted(cumulative, q)) for q in (_TAIL, _BODY, 1.0 - _BODY, 1.0 - _TAIL))
    )
    low, high = max(int(low), 0), min(int(high), counts.size - 1)
    used = np.flatnonzero(counts[low : high + 1]) + low
    # Judge the gaps where voxels are plenty: in thin tails levels are missing by chance.
    plenty = np.flatnonzero(counts > 20)
    gaps = np.diff(plenty[(cumulative[plenty] > 0.02) & (cumulative[plenty] < 0.98)])
    comb = (
        allow_comb
        and counts[plenty].sum() > 0.9 * levels.size
        and gaps.size > 8
        and np.mean(gaps > 1) > _COMB
        and np.mean(gaps) < 8
    )
    if comb:
        step = float(np.mean(gaps))
        inner = 0.5 * (plenty[1:] + plenty[:-1])
        outer = [plenty[0] - 0.5 * step, plenty[-1] + 0.5 * step]
        every = np.concatenate([outer[:1], inner, outer[1:]])
    else:
        step = 1.0
        margin = max(1, (int(used[-1]) - int(used[0])) // 50)
        every = np.arange(used[0] - margin, used[-1] + margin + 2) - 0.5
    group = -(-(every.size - 1) // INTENSITY_BINS)
    edges = every[::group]
    width = group * step
    missing = INTENSITY_BINS + 1 - edges.size
    edges = np.concatenate([edges, edges[-1] + width * np.arange(1, missing + 1)])
    return edges + float(first), step, not comb


def _without_far_tails(
    lowest: float, low: float, high: float, highest: float
) -> tuple[float, float]:
    """Ends of the bins from four quantiles: a few hot pixels must not stretch them."""
    spread = max(high - low, 1e-30)
    return max(lowest, low - spread), min(highest, high + spread)


def _lattice(v_edges: np.ndarray) -> np.ndarray:
    """Lattice points (sums of three squares of whole numbers) in each shell, over its volume."""
    top = int(4.0 * v_edges[-1] ** 2) + 1
    if top > 4_000_000:
        return np.ones(v_edges.size - 1)
    root = int(np.sqrt(top))
    squares = np.zeros(top + 1)
    np.add.at(squares, np.arange(-root, root + 1) ** 2, 1.0)
    size = 3 * top + 1
    triples = np.rint(np.fft.irfft(np.fft.rfft(squares, size) ** 3, size))
    v = 0.5 * np.sqrt(np.arange(top + 1, dtype=np.float32))
    scale = np.float32((v_edges.size - 1) / v_edges[-1])
    bins = (v * scale).astype(int)
    inside = bins < v_edges.size - 1
    points = np.bincount(bins[inside], triples[: top + 1][inside], minlength=v_edges.size - 1)
    shells = 4.0 / 3.0 * np.pi * np.diff((2.0 * v_edges) ** 3)
    factor = points / shells
    # The last bin reaches to infinity, where the lattice is dense.
    factor[-1] = 1.0
    return factor
