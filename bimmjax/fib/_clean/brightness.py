"""Slices that are brighter or darker than those around them, brought to one brightness."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from bimmjax._core.checks import InputError, real_number, whole_number
from bimmjax.volumes import Volume, open_volume

_PIXELS = 2**20  # of a slice, whose quantiles are found


class Equalised(NamedTuple):
    """A stack of even brightness, and what was taken out of it.

    Attributes
    ----------
    volume : Volume
        float32, worked out as it is read: (grey values - offset) / gain.
    gains : array
        (n,) float64, by which the contrast of each slice was off.
    offsets : array
        (n,) float64, grey values.
    """

    volume: Volume
    gains: np.ndarray
    offsets: np.ndarray


def equalise_brightness(
    volume: Any,
    *,
    quantiles: tuple[float, float] = (0.3, 0.9),
    window: int = 31,
    progress: Callable[[int, int], Any] | None = None,
    **options: Any,
) -> Equalised:
    """Take out jumps of brightness and contrast from slice to slice.

    Otsu's threshold parts the grey values of each slice; a quantile of the dark ones and one of the
    bright ones are brought to the running median of theirs over slices. What changes slowly is
    kept, and so is the share of the solid: how much there is of it hardly moves the quantiles
    within it. (Quantiles of all grey values do move with it, by more than a detector's brightness
    changes where the solid is sparse.)

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x), grey values.
    quantiles : (float, float)
        Between 0 and 1, of the dark and of the bright grey values.
    window : int
        Slices of the running median, odd; at the ends of the stack it is cut off. Longer than
        twice the stack: one brightness for all of it.
    progress : callable, optional
        `progress(slices done, slices in all)`.
    **options
        `spacing`, `unit`, `dataset`, `dtype`: as in `open_volume`.

    Returns
    -------
    Equalised
        Slices of one grey value are only moved, not stretched. Values that are not finite stay so.

    Raises
    ------
    InputError
        Quantiles or a window out of range, a slice without a finite value.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.fib import equalise_brightness
    >>> ramp = np.linspace(0.0, 1.0, 400).reshape(1, 20, 20)
    >>> stack = np.concatenate([ramp, 1.1 * ramp + 0.2, ramp])
    >>> found = equalise_brightness(stack)
    >>> found.gains.round(2), found.offsets.round(2) + 0.0
    (array([1. , 1.1, 1. ]), array([0. , 0.2, 0. ]))
    >>> bool(np.allclose(found.volume, ramp, atol=1e-6))
    True
    """
    low, high = _quantiles(quantiles)
    window = whole_number("window", window, 1, 2**31 - 1)
    if window % 2 == 0:
        raise InputError(f"window: got {window}, wants an odd number")
    opened = open_volume(volume, **options)
    slices = opened.shape[0]
    ends = np.empty((slices, 2))
    for i in range(slices):
        ends[i] = _ends(opened, i, low, high)
        if progress is not None:
            progress(i + 1, slices)
    aim = _running_median(ends, window)
    spans = ends[:, 1] - ends[:, 0]
    flat = (spans <= 0.0) | (aim[:, 1] <= aim[:, 0])
    gains = np.where(flat, 1.0, spans / np.where(flat, 1.0, aim[:, 1] - aim[:, 0]))
    offsets = ends[:, 0] - gains * aim[:, 0]
    scale, base = (1.0 / gains).astype(np.float32), offsets.astype(np.float32)

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        data = opened.read(z, y, x).astype(np.float32)
        return (data - base[z, None, None]) * scale[z, None, None]

    even = replace(opened, dtype=np.dtype(np.float32), reader=read, name=f"{opened.name} equalised")
    return Equalised(even, gains, offsets)


def _quantiles(quantiles: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = quantiles
    except (TypeError, ValueError):
        raise InputError(f"quantiles: got {quantiles!r}, wants two numbers") from None
    return real_number("quantiles", low, 0.0, 1.0), real_number("quantiles", high, 0.0, 1.0)


def _ends(volume: Volume, i: int, low: float, high: float) -> np.ndarray:
    from skimage.filters import threshold_otsu

    values = volume.read(slice(i, i + 1), slice(None), slice(None)).ravel()
    # Every so many pixels: what has no factor in common with a row's meets all columns in turn.
    stride = -(-values.size // _PIXELS)
    while math.gcd(stride, volume.shape[2]) > 1:
        stride += 1
    values = values[::stride].astype(np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        raise InputError(f"volume: got slice {i} without a finite value, wants grey values")
    if values.min() == values.max():
        return values[:1].repeat(2)
    threshold = threshold_otsu(values)
    # Otsu's counts what is equal to the threshold among the dark.
    parts = values[values <= threshold], values[values > threshold]
    return np.array([np.quantile(parts[0], low), np.quantile(parts[1], high)])


def _running_median(values: np.ndarray, window: int) -> np.ndarray:
    half = window // 2
    slices = len(values)
    return np.stack(
        [np.median(values[max(i - half, 0) : i + half + 1], axis=0) for i in range(slices)]
    )
