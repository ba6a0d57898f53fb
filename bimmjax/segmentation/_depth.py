"""Depth maps: where grey values change most along z."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bimmjax._core.checks import InputError, real_number
from bimmjax.volumes import Volume, open_volume

_SLAB = 2**24


class DepthMap(NamedTuple):
    """What a volume shows seen along z.

    Attributes
    ----------
    depth : array
        (y, x) float64: sum of |du/dz| over z, smoothed; grey values.
    threshold : float
        Of `depth`.
    objects : array
        (y, x) int32: numbers from 1 on of the connected parts above the threshold, 0 elsewhere.
    """

    depth: np.ndarray
    threshold: float
    objects: np.ndarray


def depth_map(
    volume: Any, *, blur: float = 2.0, threshold: float | None = None, **options: Any
) -> DepthMap:
    """Sum of the changes along z, smoothed and cut at a threshold, and the objects that stand out.

    Source: Spheres paper, §II.C. Central differences inside, one-sided ones at the ends; changes
    beside NaN count as none.

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x), grey values, at least two slices. Streamed.
    blur : float
        Standard deviation of the Gaussian that smooths the map, pixels.
    threshold : float, optional
        Of the smoothed map; by default Otsu's.
    **options
        As in `open_volume`.

    Returns
    -------
    DepthMap

    Raises
    ------
    InputError
        A single slice, or a map without contrast.

    Examples
    --------
    >>> import numpy as np
    >>> volume = np.zeros((8, 20, 20))
    >>> volume[3:5, 5:12, 6:14] = 1.0
    >>> int(depth_map(volume, blur=1.0).objects.max())
    1
    """
    from scipy.ndimage import gaussian_filter
    from skimage.filters import threshold_otsu
    from skimage.measure import label

    opened = open_volume(volume, **options)
    real_number("blur", blur, 0.0, 1e6)
    if opened.shape[0] < 2:
        raise InputError(f"volume: got shape {opened.shape}, wants at least two slices along z")
    depth = gaussian_filter(_changes(opened), blur)
    if threshold is None:
        if depth.min() == depth.max():
            raise InputError("volume: got the same changes along z everywhere, wants some contrast")
        threshold = float(threshold_otsu(depth))
    threshold = real_number("threshold", threshold, -np.inf, np.inf)
    objects = np.asarray(label(depth > threshold, connectivity=1), np.int32)
    return DepthMap(depth, threshold, objects)


def _changes(volume: Volume) -> np.ndarray:
    """Sum of |du/dz|, (y, x)."""
    z, y, x = volume.shape
    total = np.zeros((y, x))
    thick = max(_SLAB // (y * x), 1)
    for start in range(0, z, thick):
        stop = min(start + thick, z)
        low, high = max(start - 1, 0), min(stop + 1, z)
        data = volume.read(slice(low, high), slice(None), slice(None)).astype(np.float32)
        change = np.abs(np.gradient(data, axis=0))[start - low : stop - low]
        total += np.nan_to_num(change, posinf=0.0).sum(0, dtype=float)
    return total
