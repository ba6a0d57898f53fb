"""Non-local means of volumes of any size, worked out box by box as they are read."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.ndimage import correlate1d

from bimmjax._core.checks import InputError, real_number, whole_number
from bimmjax.segmentation._boxes import Box, shape_of, tiles, within
from bimmjax.volumes import Volume, open_volume, sample_blocks

# Sums over a tile take four times its size in float64 and lose digits as they grow.
_TILE_2D, _TILE_3D = 256, 96
# Details of the Daubechies wavelet with two vanishing moments: blind to slopes, of norm 1.
_ROOT = math.sqrt(3.0)
_DETAILS = np.array([1 - _ROOT, _ROOT - 3, 3 + _ROOT, -1 - _ROOT]) / math.sqrt(32.0)
# Half of normally distributed values lie within this many standard deviations.
_QUARTILE = 0.674489750196
# Patches whose squared distance exceeds this have no weight in the library's fast mode.
_CUTOFF = 5.0


def non_local_means(
    volume: Any,
    *,
    noise_std: float | None = None,
    patch: int = 5,
    distance: int = 6,
    strength: float = 0.8,
    by_slice: bool = True,
    **options: Any,
) -> Volume:
    """Grey values denoised by non-local means, as a volume that is worked out when read.

    Each voxel becomes the mean of those nearby whose surroundings look alike.

    Source: Buades, Coll and Morel 2005; quick sums by Darbon et al. 2008; step 1 of data
    annotation in the Modular U-Net paper.

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x), grey values.
    noise_std : float, optional
        Of the noise, in grey values; 0 leaves them as they are. None: from the finest details of
        a sample, which takes the noise of neighbouring voxels to be independent.
    patch : int
        Edge of the surroundings that are compared, voxels; odd, from 3 on.
    distance : int
        How far off a voxel may lie, along each axis.
    strength : float
        Tolerance to differences between patches, in `noise_std`.
    by_slice : bool
        Each slice (y, x) by itself; else in 3D, some 25 times as long with the defaults.
    **options
        `spacing`, `unit`, `dataset`, `dtype`: as in `open_volume`.

    Returns
    -------
    Volume
        float32, grey values. What is read does not depend on the box, up to rounding. Voxels
        that are not finite become NaN, and no others are averaged with them.

    Raises
    ------
    InputError
        Arguments out of range, or a volume too thin or too empty to tell its noise.

    Examples
    --------
    >>> import numpy as np, bimmjax
    >>> from bimmjax.segmentation import non_local_means
    >>> noise = np.random.default_rng(0).normal(0.0, 10.0, (2, 40, 40))
    >>> denoised = non_local_means(100.0 + noise).read(*(slice(None),) * 3)
    >>> bool(denoised.std() < 3.0)
    True
    """
    patch = whole_number("patch", patch, 3, 99)
    if patch % 2 == 0:
        raise InputError(f"patch: got {patch}, wants an odd number")
    distance = whole_number("distance", distance, 1, 99)
    strength = real_number("strength", strength, 0.01, 100.0)
    opened = open_volume(volume, **options)
    if noise_std is None:
        noise = _noise_std(opened, by_slice)
    else:
        noise = real_number("noise_std", noise_std, 0.0, 1e30)

    def denoise(data: np.ndarray) -> np.ndarray:
        return _denoised(data, noise, patch, distance, strength)

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        box: Box = (z, y, x)
        result = np.empty(shape_of(box), np.float32)
        for part in tiles(box, _TILE_2D if by_slice else _TILE_3D)[0]:
            outer = _enlarged(part, opened, patch // 2 + distance, by_slice)
            data = opened.read(*outer).astype(np.float64)
            found = np.stack([denoise(d) for d in data]) if by_slice else denoise(data)
            result[within(part, box)] = found[within(part, outer)]
        return result

    return replace(opened, reader=read, dtype=np.dtype(np.float32), name=f"{opened.name} denoised")


def _enlarged(box: Box, volume: Volume, halo: int, by_slice: bool) -> Box:
    """Cut at the faces, so that what is reflected there is the same for any box."""
    z, y, x = (
        slice(max(s.start - halo, 0), min(s.stop + halo, n))
        for s, n in zip(box, volume.shape, strict=True)
    )
    return (box[0] if by_slice else z), y, x


def _denoised(
    data: np.ndarray, noise: float, patch: int, distance: int, strength: float
) -> np.ndarray:
    known = np.isfinite(data)
    if noise == 0.0 or not known.any():
        return np.where(known, data, np.nan)
    from skimage.restoration import denoise_nl_means  # slow to import

    # One voxel of such a difference makes patches too different to have weight, so gaps are
    # averaged with gaps alone, whatever their value is.
    far = 2.0 * patch * noise * (math.sqrt(_CUTOFF) * strength + math.sqrt(2.0))
    filled = np.where(known, data, data.min(where=known, initial=np.inf) - far)
    found = denoise_nl_means(
        filled,
        patch_size=patch,
        patch_distance=distance,
        h=strength * noise,
        sigma=noise,
        fast_mode=True,
        preserve_range=True,
    )
    return np.where(known, found, np.nan)


def _noise_std(volume: Volume, by_slice: bool) -> float:
    """From the median of the finest diagonal details of a sample (Donoho and Johnstone 1994)."""
    axes = (1, 2) if by_slice else (0, 1, 2)
    taps = len(_DETAILS)
    if min(volume.shape[axis] for axis in axes) < taps:
        raise InputError(
            f"noise_std: got None for a volume of shape {volume.shape}, wants a number, as the "
            f"volume has less than {taps} voxels along an axis"
        )
    found = []
    for block in sample_blocks(volume):
        details = block.astype(np.float64)
        details[~np.isfinite(details)] = np.nan
        for axis in axes:
            details = correlate1d(details, _DETAILS, axis)
            ends = slice(taps // 2, details.shape[axis] - taps // 2 + 1)
            details = details[tuple(ends if k == axis else slice(None) for k in range(3))]
        found.append(details[np.isfinite(details)])
    values = np.concatenate(found)
    if values.size == 0:
        raise InputError(
            "noise_std: got None for a volume without finite neighbours in a sample, wants a number"
        )
    return float(np.median(np.abs(values)) / _QUARTILE)
