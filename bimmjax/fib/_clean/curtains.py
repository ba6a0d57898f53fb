"""Curtains, the stripes along y that an ion beam leaves, taken out of each slice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.fft
from scipy.ndimage import uniform_filter1d

from bimmjax._core.checks import InputError, choice, real_number
from bimmjax.fib._clean.slicewise import slicewise
from bimmjax.volumes import Volume, open_volume

# Neighbouring wavelengths whose power is averaged, and rows of coefficients they are held against.
_SMOOTH, _BESIDE = 9, 16
_LEAST_EDGE = 16
_GAIN = 2.0  # a stripe that is brighter or darker than this is none


def remove_curtains(
    volume: Any,
    *,
    strength: float = 1.0,
    widest: float = 64.0,
    shortest: float | None = None,
    kind: str = "multiply",
    **options: Any,
) -> Volume:
    """Grey values without vertical stripes, as a volume that is worked out when read.

    What is constant along y, or changes slowly, has more power in a slice with stripes than what
    changes a little faster, at the same wavelength along x. In a structure it has not, so what is
    too much is damped (a Wiener filter on the cosine transform), wavelength by wavelength. Slices
    without stripes stay nearly as they are.

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x), grey values, stripes along y.
    strength : float
        0 leaves slices as they are, 1 damps stripes to what structures have, above 1 further.
    widest : float
        Stripes up to this period along x are taken out, pixels.
    shortest : float, optional
        Length along y, pixels, from which on they are stripes. Default: half the slices' height.
    kind : str
        "multiply": stripes are a gain, as curtains are, in grey values in which 0 is black;
        "add": they are added to grey values.
    **options
        `spacing`, `unit`, `dataset`, `dtype`: as in `open_volume`.

    Returns
    -------
    Volume
        float32. Each slice is filtered whole, so what is read does not depend on the box.

    Raises
    ------
    InputError
        Arguments out of range, slices of less than 16 pixels along an edge; when read, a slice
        with values that are not finite.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from bimmjax.fib import remove_curtains
    >>> from bimmjax.sim import curtains
    >>> striped, _ = curtains(jax.random.key(0), np.full((1, 128, 128), 0.5, np.float32))
    >>> bool(np.asarray(remove_curtains(np.asarray(striped))).std() < 0.1 * striped.std())
    True

    Source: the idea of damping what stripes leave in a transform, Münch et al. (2009); the filter
    is this package's.
    """
    strength = real_number("strength", strength, 0.0, 100.0)
    choice("kind", kind, ("multiply", "add"))
    opened = open_volume(volume, **options)
    _, rows, columns = opened.shape
    if min(rows, columns) < _LEAST_EDGE:
        raise InputError(
            f"volume: got slices of {rows} x {columns} pixels, wants at least {_LEAST_EDGE} along "
            "each edge"
        )
    widest = real_number("widest", widest, 2.0, 1e9)
    length = rows / 2.0 if shortest is None else real_number("shortest", shortest, 2.0, 1e9)
    # Coefficient k of the transform has a period of 2 n / k pixels.
    few = min(math.floor(2.0 * rows / length), rows // 4)
    first = max(math.ceil(2.0 * columns / widest), 1)
    if first >= columns:
        raise InputError(f"widest: got {widest:g}, wants a period of more than 2 pixels")

    def work(plane: np.ndarray) -> np.ndarray:
        return _without(plane, strength, few + 1, first, kind == "multiply")

    return slicewise(opened, work, "without curtains")


def _without(
    plane: np.ndarray, strength: float, few: int, first: int, multiply: bool
) -> np.ndarray:
    """`few` rows of coefficients, from the column `first` on, may hold stripes."""
    # Few rows of the transform along y are wanted; in float64, as the mean is far larger.
    along = scipy.fft.dct(plane.astype(np.float64), axis=0, norm="ortho")[: few + _BESIDE]
    both = scipy.fft.dct(along, axis=1, norm="ortho")
    power = uniform_filter1d(both[:, first:] ** 2, _SMOOTH, axis=1, mode="nearest")
    usual = power[few:].mean(0)
    share = np.minimum(1.0, usual / np.maximum(power[:few], 1e-300)) ** strength
    change = np.zeros((plane.shape[0], plane.shape[1]))
    change[:few, first:] = both[:few, first:] * (1.0 - share)
    stripes = scipy.fft.idctn(change, norm="ortho")
    if not multiply:
        return plane - stripes
    smooth = np.zeros_like(change)
    smooth[:few, :first] = both[:few, :first]
    ground = scipy.fft.idctn(smooth, norm="ortho")
    ground = np.maximum(ground, 1e-3 * max(float(ground.max()), 1e-30))
    return plane / np.clip(1.0 + stripes / ground, 1.0 / _GAIN, _GAIN)
