"""Two-point correlation over all directions of a plane, or of space, by Fourier transforms."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import fft as _fft
from scipy.ndimage import map_coordinates

from bimmjax._core.checks import whole_number
from bimmjax.descriptors._labels import axis_number, open_labels, open_mask
from bimmjax.volumes import Volume, stream

# Their types are those of a dispatcher.
fft: Any = _fft

# Edge of the blocks that the radial correlation takes one by one.
_EDGE = 256
_PLANES = 2**24


def plane_two_point(
    labels: Any,
    phase: int = 1,
    axis: str = "z",
    *,
    lags: int | None = None,
    periodic: bool = False,
    mask: Any = None,
    **options: Any,
) -> np.ndarray:
    """S2 in the planes perpendicular to an axis, (lags,): mean over a quarter of each circle.

    Source: FIB thesis, Eq. 2.7 (its plus sign is a misprint), interpolated between voxels.

    Parameters
    ----------
    labels : path, array or Volume
        (z, y, x) of whole numbers. Streamed.
    phase : int
        Its label.
    axis : str
        "z", "y" or "x".
    lags : int, optional
        From 0 on, in steps of the finer of the planes' two voxel sizes; half the shorter edge
        by default.
    periodic : bool
        The volume repeats.
    mask : volume, optional
        Only voxels where it is not 0 count.
    **options
        `spacing`, `unit`, `dataset`: as in `open_volume`.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.random.default_rng(0).integers(0, 2, (4, 32, 32))
    >>> found = plane_two_point(labels)
    >>> bool(found[0] == labels.mean()), found.shape
    (True, (16,))
    """
    volume = open_labels(labels, **options)
    covered = open_mask(mask, volume)
    across = axis_number(axis)
    edges = tuple(n for k, n in enumerate(volume.shape) if k != across)
    sizes = np.array([h for k, h in enumerate(volume.spacing) if k != across])
    lags = min(edges) // 2 if lags is None else whole_number("lags", lags, 1, min(edges))
    lags = max(lags, 1)
    reach = np.minimum(np.ceil((lags - 1) * sizes.min() / sizes).astype(int) + 1, edges)
    padded = edges if periodic else _padded(edges, reach)
    power = np.zeros((2, padded[0], padded[1] // 2 + 1))
    thick = max(_PLANES // (padded[0] * padded[1]), 1)
    shape = [thick if k == across else n for k, n in enumerate(volume.shape)]
    for inside, good in _phases(volume, covered, shape, phase):
        for kept, values in zip(power, (inside, good), strict=True):
            if values is not None:
                planes = np.moveaxis(values, across, 0)
                found = fft.rfft2(planes.astype(float), padded, workers=-1)
                kept += np.sum(found.real**2 + found.imag**2, 0)
    pairs = _counts(power[0], padded, reach)
    if covered is None:
        possible = volume.shape[across] * _possible(edges, reach, periodic)
    else:
        possible = _counts(power[1], padded, reach)
    told = possible > 0.5  # counts, up to rounding
    ratio = np.where(told, pairs / np.maximum(possible, 1.0), 0.0)
    steps = sizes.min() / sizes
    return np.array([_on_circle(ratio, told.astype(float), k * steps, k) for k in range(lags)])


def radial_two_point(
    labels: Any,
    phase: int = 1,
    *,
    lags: int | None = None,
    periodic: bool = False,
    mask: Any = None,
    **options: Any,
) -> np.ndarray:
    """S2 over all directions of space, (lags,): of all pairs whose distance rounds to the lag.

    Parameters and source as for `plane_two_point`; lags are in steps of the finest voxel size.
    Volumes beyond 256 voxels along an axis are taken in blocks, and pairs within blocks count;
    periodic ones are taken whole.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.random.default_rng(0).integers(0, 2, (16, 16, 16))
    >>> found = radial_two_point(labels, periodic=True)
    >>> bool(found[0] == labels.mean()), found.shape
    (True, (8,))
    """
    volume = open_labels(labels, **options)
    covered = open_mask(mask, volume)
    parts = [1 if periodic else -(-n // _EDGE) for n in volume.shape]
    block = [-(-n // k) for n, k in zip(volume.shape, parts, strict=True)]
    sizes = np.array(volume.spacing)
    lags = min(block) // 2 if lags is None else whole_number("lags", lags, 1, min(block))
    lags = max(lags, 1)
    reach = np.minimum(np.ceil((lags - 0.5) * sizes.min() / sizes).astype(int) + 1, block)
    pairs, possible = np.zeros(lags), np.zeros(lags)
    shells = _shells(reach, sizes, lags)
    for inside, good in _phases(volume, covered, block, phase):
        edges = inside.shape
        padded = edges if periodic else _padded(edges, reach)
        pairs += _by_shell(_of_space(inside, padded, reach), shells, lags)
        if good is not None:
            counts = _of_space(good, padded, reach)
        else:
            counts = _all_signs(_possible(edges, reach, periodic))
        possible += _by_shell(counts, shells, lags)
    return np.where(possible > 0, pairs / np.maximum(possible, 1.0), np.nan)


def _phases(volume: Volume, mask: Volume | None, shape: Any, phase: int) -> Any:
    """Blocks of where the phase is, and of what counts (None without a mask)."""
    masks = None if mask is None else stream(mask, shape, halo=0, threads=1, ahead=0)
    for block in stream(volume, shape, halo=0, threads=1, ahead=0):
        good = None if masks is None else next(masks).data != 0
        inside = block.data == phase
        yield (inside if good is None else inside & good), good


def _padded(edges: tuple[int, ...], reach: np.ndarray) -> tuple[int, ...]:
    return tuple(
        fft.next_fast_len(int(n + r), real=True) for n, r in zip(edges, reach, strict=True)
    )


def _counts(power: np.ndarray, shape: tuple[int, ...], reach: np.ndarray) -> np.ndarray:
    """Counts of pairs for lags from 0 to `reach` along both axes."""
    found = fft.irfft2(power, shape, workers=-1)
    return np.rint(found[: reach[0], : reach[1]])


def _possible(edges: tuple[int, ...], reach: np.ndarray, periodic: bool) -> np.ndarray:
    """Pairs of voxels for lags from 0 to `reach` along all axes."""
    along = [
        np.full(r, float(n)) if periodic else n - np.arange(r, dtype=float)
        for n, r in zip(edges, reach, strict=True)
    ]
    found = along[0]
    for counts in along[1:]:
        found = found[..., None] * counts
    return np.maximum(found, 0.0)


def _on_circle(ratio: np.ndarray, told: np.ndarray, radii: np.ndarray, lag: int) -> float:
    """Mean over a quarter circle, of 2 lag + 1 points; NaN where no two voxels are that far apart.

    What no two voxels tell (0 in `told`, and in `ratio`) is left out.
    """
    angles = 0.5 * np.pi * np.arange(2 * lag + 1) / max(2 * lag, 1)
    points = np.stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)])
    values, weights = (
        map_coordinates(field, points, order=1, mode="nearest") for field in (ratio, told)
    )
    kept = weights > 1e-6
    return float(np.mean(values[kept] / weights[kept])) if kept.any() else float("nan")


def _of_space(inside: np.ndarray, shape: tuple[int, ...], reach: np.ndarray) -> np.ndarray:
    """Pairs for lags of either sign along y and x, (reach, 2 reach - 1, 2 reach - 1)."""
    found = fft.rfftn(inside.astype(float), shape, workers=-1)
    power = found.real**2 + found.imag**2
    counts = fft.irfftn(power, shape, workers=-1, overwrite_x=True)
    at = [
        np.arange(1 - r if k else 0, r) % n
        for k, (r, n) in enumerate(zip(reach, shape, strict=True))
    ]
    return np.rint(counts[np.ix_(*at)])


def _all_signs(counts: np.ndarray) -> np.ndarray:
    """The same counts for negative lags along y and x."""
    counts = np.concatenate([counts[:, :0:-1], counts], 1)
    return np.concatenate([counts[:, :, :0:-1], counts], 2)


def _shells(reach: np.ndarray, sizes: np.ndarray, lags: int) -> np.ndarray:
    """Number of the shell of each lag; `lags` for those beyond."""
    z, y, x = (
        np.arange(1 - r if k else 0, r) * h / sizes.min()
        for k, (r, h) in enumerate(zip(reach, sizes, strict=True))
    )
    radius = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    return np.minimum(np.rint(radius), lags).astype(int)


def _by_shell(counts: np.ndarray, shells: np.ndarray, lags: int) -> np.ndarray:
    return np.bincount(shells.ravel(), counts.ravel(), minlength=lags + 1)[:lags]
