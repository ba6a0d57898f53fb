"""Otsu's thresholds: two classes or several, plain or after adaptive histogram equalisation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError, real_number, whole_number
from bimmjax.segmentation._grey import by_thresholds, coarser, grey_values
from bimmjax.volumes import Volume, open_volume

# More bins take long: the search goes through all sets of thresholds.
_BINS = {2: 4096, 3: 1024, 4: 256, 5: 128}


def otsu_thresholds(volume: Any, classes: int = 2, **options: Any) -> np.ndarray:
    """Thresholds between classes of grey values that make the variance within them least.

    Source: Otsu (1979); for several classes Liao, Chen and Chung (2001), both as in scikit-image.

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x), grey values. Streamed.
    classes : int
        2 to 5.
    **options
        `spacing`, `unit`, `dataset`, `dtype`: as in `open_volume`.

    Returns
    -------
    (classes - 1,) float64, ascending, grey values.

    Raises
    ------
    InputError
        Fewer grey values than classes, or no finite ones.

    Examples
    --------
    >>> import numpy as np
    >>> otsu_thresholds(np.array([[[0, 1, 2, 200, 201, 203]]], np.uint8)).tolist()
    [101.0]
    """
    return _thresholds(open_volume(volume, **options), classes)


def _thresholds(
    volume: Volume, classes: int, limits: tuple[float, float] | None = None
) -> np.ndarray:
    from skimage.filters import threshold_multiotsu, threshold_otsu

    whole_number("classes", classes, 2, max(_BINS))
    found = coarser(grey_values(volume, limits=limits), _BINS[classes])
    held = found.centres[found.counts > 0]
    if held.size < classes:
        raise InputError(
            f"classes: got {classes} for {held.size} grey values that can be told apart, wants no "
            "more than that"
        )
    histogram = (found.counts, found.centres)
    if classes == 2:
        last = np.array([threshold_otsu(hist=histogram)], float)
    else:
        last = np.asarray(threshold_multiotsu(hist=histogram, classes=classes), float)
    # The library gives the last bin of each class; the cut lies between it and the next one held.
    step = found.centres[1] - found.centres[0]
    above = np.searchsorted(held, last + 0.5 * step)
    return 0.5 * (held[above - 1] + held[above])


def otsu(volume: Any, classes: int = 2, **options: Any) -> Volume:
    """Labels 0 ... classes - 1 by Otsu's thresholds, as a volume worked out when read.

    Parameters and errors as for `otsu_thresholds`; 255 where the volume is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> volume = np.array([[[0, 1, 2, 200, 201, 203]]], np.uint8)
    >>> otsu(volume).read(slice(None), slice(None), slice(None)).tolist()
    [[[0, 0, 0, 1, 1, 1]]]
    """
    opened = open_volume(volume, **options)
    return by_thresholds(opened, otsu_thresholds(opened, classes), "Otsu")


def clahe(volume: Any, *, clip_limit: float = 0.01, **options: Any) -> Volume:
    """Contrast-limited adaptive histogram equalisation, slice by slice along z.

    Source: Spheres paper, §II; Zuiderveld (1994), as in scikit-image.

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x), grey values.
    clip_limit : float
        Above 0, up to 1: the higher, the more contrast.
    **options
        As in `open_volume`.

    Returns
    -------
    Volume
        float32 from 0 to 1, NaN where the volume is; worked out when read, in whole slices.
    """
    opened = open_volume(volume, **options)
    real_number("clip_limit", clip_limit, 1e-6, 1.0)
    everything = slice(None)

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        slices = [
            _equalised(opened.read(slice(k, k + 1), everything, everything)[0], clip_limit)[y, x]
            for k in range(z.start, z.stop)
        ]
        shape = (z.stop - z.start, y.stop - y.start, x.stop - x.start)
        return np.array(slices, np.float32).reshape(shape)

    chunks = (1, *opened.shape[1:])
    name = f"{opened.name} equalised"
    return replace(opened, reader=read, dtype=np.dtype(np.float32), chunks=chunks, name=name)


def _equalised(image: np.ndarray, clip_limit: float) -> np.ndarray:
    from skimage.exposure import equalize_adapthist

    values = image.astype(float)
    known = np.isfinite(values)
    low = values.min(where=known, initial=np.inf)
    span = values.max(where=known, initial=-np.inf) - low
    if not span > 0.0:
        return np.where(known, np.float32(0.0), np.float32(np.nan))
    scaled = np.where(known, (values - low) / span, 0.0)
    return np.where(known, equalize_adapthist(scaled, clip_limit=clip_limit), np.nan)


def clahe_otsu(
    volume: Any, classes: int = 2, *, clip_limit: float = 0.01, **options: Any
) -> Volume:
    """Labels by Otsu's thresholds after `clahe`, as a volume worked out when read.

    Parameters and errors as for `clahe` and `otsu`. Whole slices are worked out at a time: read
    it slice by slice, or write it first.
    """
    even = clahe(volume, clip_limit=clip_limit, **options)
    return by_thresholds(even, _thresholds(even, classes, (0.0, 1.0)), "CLAHE + Otsu")
