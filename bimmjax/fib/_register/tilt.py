"""A milled face that is looked at under an angle."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError, choice, real_number
from bimmjax.fib._register.registration import opened
from bimmjax.volumes import Volume


def untilt(volume: Any, tilt: float, *, method: str = "cubic") -> Volume:
    """Undo the foreshortening of y on a face that the electron beam sees under an angle.

    Convention: `tilt` is the angle between the electron beam and the milled face, degrees. 90:
    the beam stands upright on it and nothing is foreshortened. With the stage at 52°, facing the
    ion beam, it is 52°: a pixel along y covers 1 / sin(tilt) = 1.27 times as much of the face as
    along x. The y spacing of `volume` is taken as the scan's, uncorrected.

    Parameters
    ----------
    volume
        Array (z, y, x), path or `Volume`, y along the direction of milling.
    tilt
        Degrees, above 0, at most 90.
    method
        "cubic" (convolution, Keys 1981, a = -1/2), "linear" or "nearest" (labels): y is
        resampled to pixels as large as before, there are more of them, the first one stays;
        "spacing": no voxel is touched, only the y spacing corrected.

    Returns
    -------
    Volume
        Made as it is read. float32 for "cubic" and "linear", else the dtype of `volume`; the
        volume itself for 90°.

    Raises
    ------
    InputError
        A tilt that is not above 0 and at most 90, or another method.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.fib import untilt
    >>> upright = untilt(np.arange(5.0).reshape(1, 5, 1), 30.0, method="linear")
    >>> np.asarray(upright).ravel().tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]
    """
    given = opened("volume", volume)
    angle = real_number("tilt", tilt, 0.0, 90.0)
    if angle == 0.0:
        raise InputError("tilt: got 0, wants degrees above 0, at most 90 (upright)")
    choice("method", method, ("cubic", "linear", "nearest", "spacing"))
    if angle == 90.0:
        return given
    step = math.sin(math.radians(angle))
    z, y, x = given.spacing
    if method == "spacing":
        return replace(given, spacing=(z, y / step, x))
    return _resampled(given, step, method)


def _resampled(given: Volume, step: float, method: str) -> Volume:
    total, rows, columns = given.shape
    places = np.arange(math.floor((rows - 1) / step + 1e-9) + 1) * step
    taps, weights = _taps(places, method)

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        if min(s.stop - s.start for s in (z, y, x)) == 0:
            return np.empty([s.stop - s.start for s in (z, y, x)], given.dtype)
        rows_of = np.clip(taps[:, y], 0, rows - 1)
        low, high = int(rows_of.min()), int(rows_of.max()) + 1
        box = given.read(z, slice(low, high), x)
        if method == "nearest":
            return box[:, rows_of[0] - low]
        seen = box.astype(np.float32)
        out = np.zeros((seen.shape[0], y.stop - y.start, seen.shape[2]), np.float32)
        for row, weight in zip(rows_of, weights[:, y], strict=True):
            out += weight[:, None].astype(np.float32) * seen[:, row - low]
        return out

    return replace(
        given, shape=(total, places.size, columns), reader=read,
        dtype=given.dtype if method == "nearest" else np.dtype(np.float32),
        chunks=(given.chunks[0], min(given.chunks[1], places.size), given.chunks[2]),
        format=f"untilted {given.format}",
    )  # fmt: skip


def _taps(places: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows (taps, y) that a new row is made of, and their weights."""
    if method == "nearest":
        return np.floor(places + 0.5).astype(int)[None], np.ones((1, places.size))
    below = np.floor(places).astype(int)
    u = places - below
    if method == "linear":
        return np.stack([below, below + 1]), np.stack([1.0 - u, u])
    weights = np.stack(
        [
            u * (-0.5 + u * (1.0 - 0.5 * u)),
            1.0 + u * u * (-2.5 + 1.5 * u),
            u * (0.5 + u * (2.0 - 1.5 * u)),
            u * u * (-0.5 + 0.5 * u),
        ]
    )
    return below + np.arange(-1, 3)[:, None], weights
