"""Thicknesses from the images alone: how much a slice differs from its neighbours."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bimmjax._core.checks import InputError, real_number, whole_number
from bimmjax.fib._thickness.result import Thickness, check_outliers, check_slices, finished
from bimmjax.fib._thickness.variogram import (
    Lags,
    box_means,
    box_sizes,
    differences,
    in_plane_lags,
    nugget,
    sharp_semivariogram,
    tile_means,
)
from bimmjax.volumes import Volume, open_volume

_LARGEST = 16.0  # pixels
_STEP = 0.02  # pixels
_EVEN = 8.0  # pixels, up to which steps are even: beyond, they are as fine a share of what is found
_LEAST = 0.1  # pixels, of the largest thickness that is looked for
_LARGEST_BLUR = 4.0  # pixels
_TILES = 4
_LOCAL_LAGS = (1, 2, 4)
# Pixels of slices whose in-plane semivariogram is measured: as many as are worth their time.
_PIXELS = 2**27
_LEAST_EDGE = 32
_RIDGE = 1e-3
_HUBER = 3.0


class _Seen(NamedTuple):
    distances: np.ndarray
    semivariogram: np.ndarray
    pairs: list[np.ndarray]
    """Of neighbours 1, 2 ... apart: (pairs, boxes, tiles) half mean squared differences."""
    local: np.ndarray
    """(n, lags, tiles), semivariograms within each slice."""


def thickness_from_images(
    volume: Any,
    *,
    largest: float | None = None,
    neighbours: int = 2,
    noise_std: float | None = None,
    blur_std: float = 0.0,
    outlier_rule: str = "robust",
    outlier_score: float | None = None,
    progress: Callable[[int, int], Any] | None = None,
    **options: Any,
) -> Thickness:
    """Thicknesses of slices of an isotropic structure, without any mark.

    Two slices differ as much as two places of one slice that lie as far apart. The semivariogram
    within slices, averaged over all directions, tells how much that is for every distance; what
    slices differ by is measured on pixels and on means over boxes of 2, 4 ... 32 pixels, as details
    that are finer than a slice is thick tell nothing. Scales are weighted by how much they scatter
    over 16 tiles of the slices. Neighbours two apart are as far as the sum of two thicknesses, and
    all are put together by (robust) least squares.

    Source: semivariograms for thicknesses of sections: Sporring et al. (2014); boxes, weights and
    neighbours are this package's.

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x), registered, grey values or labels. Brightness must not change from slice to
        slice (`equalise_brightness`). Its spacing along y and x is the unit of the result.
    largest : float, optional
        Thickness to look for at most, in that unit. Default: 16 pixels.
    neighbours : int
        Up to how many slices apart pairs are compared.
    noise_std : float, optional
        Of white noise, in grey values. It matters to thicknesses below a pixel alone. None: from
        what the semivariogram tends to at short distances; 0 for labels.
    blur_std : float
        Of the blur of the images along y and x, in the unit of the spacing. Slices are not blurred
        along z, so thicknesses come out too large by about blur_std² over the thickness if it is
        not told.
    outlier_rule
        See `thickness_from_ruler`.
    outlier_score
        See `thickness_from_ruler`.
    progress : callable, optional
        `progress(slices done, slices in all)`.
    **options
        `spacing`, `unit`, `dataset`, `dtype`: as in `open_volume`.

    Returns
    -------
    Thickness
        `source` is "images".

    Raises
    ------
    InputError
        A single slice, slices of less than 32 pixels along an edge, values that are not finite,
        images in which nothing is to be seen, or nothing changes from slice to slice.

    Notes
    -----
    The field should show some hundred features: the error is about that of counting them. Images
    in which the beam shows what lies below a slice change less from slice to slice than the
    structure does: thicknesses come out too small (by 17 and 37 % for ligaments of 30 nm at 1 and 2
    kV). Labels do not have this bias.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from bimmjax.fib import thickness_from_images
    >>> from bimmjax.sim import draw_waves, wave_field
    >>> places = np.array([0, 2, 3, 6, 8, 9, 12, 14, 17, 20])
    >>> field = np.asarray(wave_field(draw_waves(jax.random.key(0), 12.0, 1000), (21, 192, 192)))
    >>> found = thickness_from_images(field[places])
    >>> bool(np.abs(found.thickness - np.diff(places)).max() < 0.5)
    True
    """
    score = check_outliers(outlier_rule, outlier_score)
    opened = open_volume(volume, **options)
    check_slices("volume", opened.shape[0])
    neighbours = min(whole_number("neighbours", neighbours, 1, 8), opened.shape[0] - 1)
    shape = (opened.shape[1], opened.shape[2])
    if min(shape) < _LEAST_EDGE:
        raise InputError(
            f"volume: got slices of {shape[0]} x {shape[1]} pixels, wants at least {_LEAST_EDGE} "
            "along each edge"
        )
    _, down, pixel = opened.spacing
    if largest is None:
        most = min(_LARGEST, min(shape) / 4.0)
    else:
        most = real_number("largest", largest, 1e-30, 1e30) / pixel
        if not _LEAST <= most <= min(shape) / 2.0:
            raise InputError(
                f"largest: got {largest:g}, wants a thickness from {_LEAST * pixel:g} to half the "
                f"slices' edge, {min(shape) / 2.0 * pixel:g}"
            )
    noise = None if noise_std is None else real_number("noise_std", noise_std, 0.0, 1e30) ** 2
    blur = real_number("blur_std", blur_std, 0.0, 1e30) / pixel
    if blur > _LARGEST_BLUR:
        raise InputError(f"blur_std: got {blur_std:g}, wants at most {_LARGEST_BLUR:g} pixels")
    sizes = box_sizes(shape)
    reach = min(np.hypot(1.5 * sizes[-1] * max(1.0, down / pixel), most * neighbours),
                min(shape[0] * down / pixel, shape[1]) * 0.75)  # fmt: skip
    lags = in_plane_lags(shape, float(reach), down / pixel)
    seen = _look(opened, lags, len(sizes), neighbours, progress)
    if not seen.semivariogram.max() > 0.0:
        raise InputError("volume: got images of one grey value, wants a structure to be seen")
    if noise is None:
        labels = opened.dtype.kind in "iu" and _few_values(opened)
        noise = 0.0 if labels else nugget(seen.distances, seen.semivariogram)
    known = sharp_semivariogram(seen.distances, seen.semivariogram, noise, blur)
    found, grids = [], [_grid(most * (k + 1)) for k in range(neighbours)]
    for k, apart in enumerate(grids):
        model = differences(known, noise, sizes, down / pixel, blur, apart)
        found.append(_matched(seen, k, model, apart))
    measured, std = _together(found)
    # At the end of the search nothing was found.
    first, edge = found[0][0], grids[0][-2]
    measured = np.where((first >= edge) & (measured > 0.8 * most), np.nan, measured)
    nothing = "volume: got slices that do not differ as places within them do, wants a structure"
    return finished(measured * pixel, std * pixel, "images", outlier_rule, score, nothing)


def _grid(most: float) -> np.ndarray:
    """Distances that are tried, below `most`, in pixels."""
    even = np.arange(_STEP, min(most, _EVEN), _STEP)
    if most <= _EVEN:
        return even
    ratio = 1.0 + _STEP / _EVEN
    count = int(np.ceil(np.log(most / _EVEN) / np.log(ratio)))
    return np.concatenate([even, _EVEN * ratio ** np.arange(count)])


def _few_values(volume: Volume) -> bool:
    plane = volume.read(slice(0, 1), slice(None), slice(None))
    return np.unique(plane).size <= 8


def _look(
    volume: Volume,
    lags: Lags,
    boxes: int,
    neighbours: int,
    progress: Callable[[int, int], Any] | None,
) -> _Seen:
    """One pass over the slices."""
    slices = volume.shape[0]
    stride = max(-(-volume.voxels // _PIXELS), 1)
    before: deque[list[np.ndarray]] = deque(maxlen=neighbours)
    curves, local = [], []
    pairs: list[list[np.ndarray]] = [[] for _ in range(neighbours)]
    for i in range(slices):
        plane = volume.read(slice(i, i + 1), slice(None), slice(None))[0].astype(np.float32)
        if not np.isfinite(plane).all():
            raise InputError(
                f"volume: got slice {i} with values that are not finite, wants numbers"
            )
        if i % stride == 0:
            curves.append(lags.measure(plane))
        means = box_means(plane, boxes)
        for k, other in enumerate(reversed(before)):
            halves = [
                tile_means(0.5 * (a - b) ** 2, _TILES) for a, b in zip(means, other, strict=True)
            ]
            pairs[k].append(np.stack(halves))
        local.append(np.stack([_within(plane, lag) for lag in _LOCAL_LAGS]))
        before.append(means)
        if progress is not None:
            progress(i + 1, slices)
    return _Seen(lags.distances, np.mean(curves, 0), [np.stack(p) for p in pairs], np.stack(local))


def _within(plane: np.ndarray, lag: int) -> np.ndarray:
    along = tile_means(0.5 * (plane[lag:] - plane[:-lag]) ** 2, _TILES)
    across = tile_means(0.5 * (plane[:, lag:] - plane[:, :-lag]) ** 2, _TILES)
    return 0.5 * (along + across)


def _matched(
    seen: _Seen, k: int, model: np.ndarray, apart: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distances of slices k + 1 apart, and standard errors, in pixels: generalised least squares.

    How far a pair's own semivariogram within its slices is off the mean one is fitted too, with
    expectation 0: what it has in common with the differences is so taken out of them.
    """
    between = seen.pairs[k]
    within = 0.5 * (seen.local[: -k - 1] + seen.local[k + 1 :])
    tiny = 1e-9 * seen.semivariogram.max()
    values, own = between.mean(2) + tiny, within.mean(2) + tiny
    scatter = (
        np.concatenate([(between + tiny) / values[..., None], (within + tiny) / own[..., None]], 1)
        - 1.0
    )
    tiles = scatter.shape[2]
    covariance = np.einsum("pat,pbt->ab", scatter, scatter) / len(scatter) / (tiles - 1) / tiles
    covariance += np.diag(_RIDGE * np.diag(covariance) + 1e-12)
    weights = np.linalg.inv(covariance)
    logs = np.log(np.maximum(model, tiny))
    beside = np.log(own / (seen.local.mean((0, 2)) + tiny))
    boxes = logs.shape[1]
    slopes = np.gradient(logs, apart, axis=0)
    found, std, misfit = (np.empty(len(values)) for _ in range(3))
    for i, value in enumerate(values):
        off = np.concatenate(
            [np.log(value) - logs, np.broadcast_to(beside[i], (len(apart), beside.shape[1]))], 1
        )
        best = int(np.einsum("ta,ab,tb->t", off, weights, off, optimize=True).argmin())
        found[i] = apart[best]
        misfit[i] = off[best] @ weights @ off[best] / (off.shape[1] - 1)
        slope = slopes[best]
        steep = slope @ weights[:boxes, :boxes] @ slope
        std[i] = 1.0 / np.sqrt(max(steep, 1e-12))
    # What the scatter of tiles does not explain makes all of them less certain.
    return found, std * np.sqrt(max(np.median(misfit), 1.0))


def _together(found: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Thicknesses whose sums are the distances: least squares, those far off counting less."""
    from scipy.linalg import solveh_banded

    count, width = found[0][0].size, len(found)
    weights = [1.0 / np.maximum(std, 1e-9) ** 2 for _, std in found]
    used = [w.copy() for w in weights]
    thickness = found[0][0]
    bands = np.zeros((width, count))
    for _ in range(10):
        bands = np.zeros((width, count))
        right = np.zeros(count)
        for k, (distance, _) in enumerate(found):
            for a in range(k + 1):
                right[a : a + distance.size] += used[k] * distance
                for b in range(a + 1):
                    bands[a - b, b : b + distance.size] += used[k]
        thickness = solveh_banded(bands, right, lower=True)
        for k, (distance, _) in enumerate(found):
            sums = sum(thickness[a : a + distance.size] for a in range(k + 1))
            off = np.abs(distance - sums) * np.sqrt(weights[k])
            used[k] = weights[k] * np.minimum(1.0, _HUBER / np.maximum(off, 1e-9))
    # Pairs that share slices share their errors: what several say is not more certain than one.
    return thickness, np.minimum(found[0][1], 3.0 / np.sqrt(bands[0]))
