"""How far the three axes differ: of correlation, of lineal path, of ligament diameter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bimmjax._core.checks import InputError


def curve_error(one: np.ndarray, other: np.ndarray) -> float:
    """2 |f - g| / (|f| + |g|), from 0 to 2; 0 where both are nothing.

    Curves (lags,) of one length, in the same steps of length.

    Examples
    --------
    >>> import numpy as np
    >>> curve_error(np.array([1.0, 0.5]), np.array([1.0, 0.5]))
    0.0
    """
    if one.shape != other.shape:
        raise InputError(f"other: got shape {other.shape}, wants {one.shape}, that of one")
    size = np.linalg.norm(one) + np.linalg.norm(other)
    return float(2.0 * np.linalg.norm(one - other) / size) if size > 0.0 else 0.0


def curve_anisotropy(curves: Mapping[str, np.ndarray]) -> float:
    """E of two-point correlation or lineal path: mean of (x, z) and (y, z).

    Source: FIB thesis, Eq. 2.12.

    Parameters
    ----------
    curves
        "z", "y", "x" to (lags,), in the same steps of length; as many count as all three share.
    """
    shared = min(len(curves[axis]) for axis in "zyx")
    z, y, x = (np.asarray(curves[axis])[:shared] for axis in "zyx")
    return 0.5 * (curve_error(x, z) + curve_error(y, z))


def diameter_anisotropy(diameters: Mapping[str, float]) -> float:
    """e_D from the mean chords along "z", "y", "x"; NaN where there is none.

    In planes the diameter is the mean of its two axes'.

    Source: FIB thesis, Eq. 2.13.

    Examples
    --------
    >>> diameter_anisotropy({"z": 15.0, "y": 10.0, "x": 10.0})
    0.25
    """
    z, y, x = (diameters[axis] for axis in "zyx")
    xy, xz, yz = 0.5 * (x + y), 0.5 * (x + z), 0.5 * (y + z)
    return 0.5 * (abs(xz - xy) + abs(yz - xy)) / xy if xy > 0.0 else float("nan")
