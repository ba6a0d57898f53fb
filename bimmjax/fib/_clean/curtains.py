"""Curtains, the stripes along y that an ion beam leaves, taken out of each slice."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import scipy.fft
from scipy.ndimage import binary_dilation, gaussian_filter1d, uniform_filter1d

from bimmjax._core.checks import InputError, choice, real_number
from bimmjax.fib._clean.slicewise import slicewise
from bimmjax.volumes import Volume, open_volume

_LEAST_EDGE = 32
_BANDS = 4  # of rows, whose patterns tell stripes from chance
_SMOOTH = 9  # neighbouring wavelengths whose power is averaged
_STEPS = 8
_CUT = 2.0  # robust stds beyond which a step from column to column is an edge of the structure
_GAIN = 2.0  # a stripe that is brighter or darker than this is none
_DARK = 0.05  # of a slice's usual grey value, below which columns show no stripes
_FLAT = 0.03  # of the usual std of a column, below which it shows nothing but a border
_BESIDE = 2  # columns to either side of an edge, over which it may be blurred


def remove_curtains(
    volume: Any,
    *,
    strength: float = 1.0,
    widest: float = 64.0,
    length: float | None = None,
    kind: str = "multiply",
    **options: Any,
) -> Volume:
    """Grey values without vertical stripes, as a volume that is worked out when read.

    The step from a column to the next is estimated robustly from all rows (Tukey's biweight):
    edges of the structure are outliers there. Added up they are the stripes' pattern. As much of
    it is taken out, wavelength by wavelength, as four bands of rows have in common (a Wiener
    filter), so slices without stripes stay nearly as they are. Columns that are
    black ("multiply") or of one grey value ("add"), and steps beyond a factor of 2, or half the
    span of grey values, are left out: black borders and edges along all rows are no stripes.

    Source: this package's; curtains as in FIB thesis, §2.1.

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x), grey values, stripes along y.
    strength : float
        0 leaves slices as they are, 1 takes out what was found.
    widest : float
        Stripes up to about half this period along x are taken out, pixels; of wider ones, ever
        less.
    length : float, optional
        Rows over which stripes stay as strong as they are: slices are cut into pieces of about
        this height, between which patterns are interpolated. Default: all rows. Shorter pieces
        tell patterns less well.
    kind : str
        "multiply": stripes are a gain, as curtains are, in grey values in which 0 is black;
        "add": they are added to grey values.
    **options
        `spacing`, `unit`, `dataset`, `dtype`: as in `open_volume`.

    Returns
    -------
    Volume
        float32. Each slice is filtered whole, so what is read does not depend on the box. Slices
        read last are kept in 128 MiB of memory: if tiles of more slices than these hold are to be
        read, write it with `volumes.write_resumably(whole_slices=True)` first.

    Raises
    ------
    InputError
        Arguments out of range, slices of less than 32 pixels along an edge; when read, a slice
        with values that are not finite.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from bimmjax.fib import remove_curtains
    >>> from bimmjax.sim import curtains
    >>> striped, _ = curtains(jax.random.key(0), np.full((1, 64, 512), 0.5, np.float32))
    >>> bool(np.asarray(remove_curtains(np.asarray(striped))).std() < 0.5 * striped.std())
    True
    """
    strength = real_number("strength", strength, 0.0, 1.0)
    choice("kind", kind, ("multiply", "add"))
    opened = open_volume(volume, **options)
    _, rows, columns = opened.shape
    if min(rows, columns) < _LEAST_EDGE:
        raise InputError(
            f"volume: got slices of {rows} x {columns} pixels, wants at least {_LEAST_EDGE} along "
            "each edge"
        )
    widest = real_number("widest", widest, 2.0, 1e9)
    height = float(rows) if length is None else real_number("length", length, 1.0, 1e9)
    if height < _LEAST_EDGE:
        raise InputError(f"length: got {height:g}, wants at least {_LEAST_EDGE} rows")
    pieces = max(round(rows / height), 1)

    def work(plane: np.ndarray) -> np.ndarray:
        return _without(plane.astype(np.float64), strength, widest, pieces, kind == "multiply")

    return slicewise(opened, work, "without curtains")


def _without(
    plane: np.ndarray, strength: float, widest: float, pieces: int, multiply: bool
) -> np.ndarray:
    rows = plane.shape[0]
    ends = np.arange(pieces + 1) * rows // pieces
    patterns = [_pattern(plane[a:b], widest, multiply) for a, b in itertools.pairwise(ends)]
    stripes = strength * np.stack(patterns)
    if pieces > 1:
        middles = 0.5 * (ends[:-1] + ends[1:] - 1)
        place = np.interp(np.arange(rows), middles, np.arange(pieces))
        below = np.minimum(place.astype(int), pieces - 2)
        part = (place - below)[:, None]
        stripes = (1.0 - part) * stripes[below] + part * stripes[below + 1]
    if not multiply:
        return plane - stripes
    return plane / np.clip(1.0 + stripes, 1.0 / _GAIN, _GAIN)


def _pattern(plane: np.ndarray, widest: float, multiply: bool) -> np.ndarray:
    """(x,) what all rows have in common, less what changes slowly along x."""
    steps = np.diff(plane, axis=1)
    ground = 0.5 * (plane[:, 1:] + plane[:, :-1]) if multiply else np.ones_like(steps)
    ground = np.maximum(ground, 0.0)
    # Strong stripes are no edges: half the rows at least are within one phase.
    start = np.median(steps, axis=0) / np.maximum(np.median(ground, axis=0), 1e-30)
    if multiply:
        most, level, least = 2.0 * (_GAIN - 1.0) / (_GAIN + 1.0), ground.mean(0), _DARK
    else:
        most = 0.5 * float(np.diff(np.quantile(plane, (0.01, 0.99)))[0])
        spreads = plane.std(0)
        level, least = np.minimum(spreads[1:], spreads[:-1]), _FLAT
    lit = level[level > 0.0]
    empty = level <= least * np.median(lit) if lit.size else np.zeros(level.size, bool)
    # SciPy's types are vague.
    none: Any = binary_dilation(empty | (np.abs(start) > most), iterations=_BESIDE)
    if none.all():
        return np.zeros(plane.shape[1])
    start = np.where(none, 0.0, start)
    spread = 1.4826 * float(np.median(np.abs(steps - start * ground)[:, ~none]))
    # Slices without noise: most of what is left is 0 then, and anything else is an edge.
    spread = max(spread, 1e-6 * float(np.abs(plane).max()), 1e-30)
    ends = np.arange(_BANDS + 1) * plane.shape[0] // _BANDS
    bands = []
    for a, b in itertools.pairwise(ends):
        slope = _common(steps[a:b], ground[a:b], start, _CUT * spread)
        slope = np.where(none | (np.abs(slope) > most), 0.0, slope)
        pattern = np.concatenate([[0.0], np.cumsum(slope)])
        bands.append(pattern - gaussian_filter1d(pattern, widest / 4.0, mode="nearest"))
    waves: Any = scipy.fft.dct(np.stack(bands), axis=1, norm="ortho")
    mean = waves.mean(0)
    power = uniform_filter1d(mean**2, _SMOOTH, mode="nearest")
    chance = uniform_filter1d(waves.var(0, ddof=1), _SMOOTH, mode="nearest") / _BANDS
    share = np.maximum(1.0 - chance / np.maximum(power, 1e-300), 0.0)
    found: Any = scipy.fft.idct(share * mean, norm="ortho")
    return found


def _common(steps: np.ndarray, ground: np.ndarray, start: np.ndarray, cut: float) -> np.ndarray:
    """The slope of each column's steps over its ground, least squares with a biweight."""
    slope = start
    for _ in range(_STEPS):
        weights = np.clip(1.0 - ((steps - slope * ground) / cut) ** 2, 0.0, 1.0) ** 2
        scale = (weights * ground**2).sum(0)
        slope = (weights * ground * steps).sum(0) / np.where(scale > 0.0, scale, np.inf)
    return slope
