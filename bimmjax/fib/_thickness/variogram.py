"""Semivariograms: within slices, and of slices averaged over boxes against their neighbours.

Of an isotropic structure with the semivariogram γ(r), half the mean squared difference of two
slices t apart, each averaged over boxes of b pixels, is

    D_b(t) = Σ_ρ w_b(ρ) [γ(√(ρ² + t²)) - γ(ρ)],

w_b the autocorrelation of a box; b = 1 is γ(t) itself. White noise adds the same to both sides as
long as γ is what was measured: with the noise for any lag above 0, and 0 at lag 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.fft
from scipy.interpolate import PchipInterpolator

# Distances up to this are kept apart, further ones are averaged over a pixel.
_FINE = 5.0
_NUGGET_LAGS = 3.1


class Lags(NamedTuple):
    """Distances at which semivariograms are known, and the function that measures them."""

    distances: np.ndarray
    """(k,) ascending from 0, in pixels along x."""
    measure: Callable[[np.ndarray], np.ndarray]
    """Of a slice (y, x): (k,) float64, averaged over all directions."""


def in_plane_lags(shape: tuple[int, int], reach: float, aspect: float) -> Lags:
    """What measures the in-plane semivariogram of slices, without bias at their edges.

    Parameters
    ----------
    shape : (y, x) of the slices.
    reach : longest distance, in pixels along x.
    aspect : height of a pixel over its width.
    """
    far = [min(int(np.ceil(reach / step)) + 1, n) for step, n in zip((aspect, 1.0), shape,
           strict=True)]  # fmt: skip
    size = [scipy.fft.next_fast_len(n + r, real=True) for n, r in zip(shape, far, strict=True)]
    down = np.fft.fftfreq(size[0], 1.0 / size[0])[:, None]
    right = np.fft.fftfreq(size[1], 1.0 / size[1])[None]
    # Lags that the slice does not have room for would be wrapped around.
    known = (np.abs(down) < far[0]) & (np.abs(right) < far[1])
    distance = np.sqrt((down * aspect) ** 2 + right**2)
    known &= distance <= reach
    key = np.where(distance <= _FINE, np.rint(distance * 1e4), 1e6 + np.rint(distance))
    _, index = np.unique(key[known], return_inverse=True)
    counts = np.bincount(index).astype(float)
    distances = np.bincount(index, distance[known]) / counts
    ones = scipy.fft.rfft2(np.ones(shape), size)
    pairs = np.maximum(scipy.fft.irfft2(np.abs(ones) ** 2, size), 1.0)[known]

    def measure(plane: np.ndarray) -> np.ndarray:
        # Squares of small differences come out of a difference of large sums: less is lost so.
        plane = plane.astype(np.float64) - float(plane.mean(dtype=np.float64))
        values, squares = scipy.fft.rfft2(plane, size), scipy.fft.rfft2(plane**2, size)
        both = (squares * np.conj(ones)).real - np.abs(values) ** 2
        found = scipy.fft.irfft2(both, size)[known] / pairs
        return np.bincount(index, found) / counts

    return Lags(distances, measure)


def nugget(distances: np.ndarray, semivariogram: np.ndarray) -> float:
    """What the semivariogram tends to as the distance tends to 0: the variance of white noise."""
    near = (distances > 0) & (distances <= _NUGGET_LAGS * distances[1])
    steps = distances[near]
    terms = np.stack([np.ones_like(steps), steps, steps**2], 1)
    value = float(np.linalg.lstsq(terms, semivariogram[near], rcond=None)[0][0])
    return min(max(value, 0.0), float(semivariogram[near].min()))


def box_sizes(shape: tuple[int, int], largest: int = 32, least: int = 8) -> list[int]:
    """1, 2, 4 ... `largest`, of which at least `least` fit along each edge."""
    sizes = [1]
    while 2 * sizes[-1] <= largest and min(shape) // (2 * sizes[-1]) >= least:
        sizes.append(2 * sizes[-1])
    return sizes


def box_means(plane: np.ndarray, count: int) -> list[np.ndarray]:
    """The slice, its means over boxes of 2 x 2, of 4 x 4 ... pixels; `count` of them."""
    found = [plane.astype(np.float32)]
    while len(found) < count:
        y, x = (n // 2 for n in found[-1].shape)
        found.append(found[-1][: 2 * y, : 2 * x].reshape(y, 2, x, 2).mean((1, 3)))
    return found


def tile_means(values: np.ndarray, tiles: int) -> np.ndarray:
    """(tiles²,) float64, means over as many parts of equal size."""
    starts = [np.arange(tiles) * n // tiles for n in values.shape]
    sums = np.add.reduceat(values.astype(np.float64), starts[0], 0)
    sums = np.add.reduceat(sums, starts[1], 1)
    sizes = [np.diff(s, append=n) for s, n in zip(starts, values.shape, strict=True)]
    return (sums / np.outer(*sizes)).ravel()


def differences(
    distances: np.ndarray,
    semivariogram: np.ndarray,
    noise: float,
    sizes: list[int],
    aspect: float,
    apart: np.ndarray,
) -> np.ndarray:
    """D_b(t) for each t of `apart` and each b of `sizes`: (t, b)."""
    # At lag 0 the noise of a pixel cancels against itself; between slices it never does.
    known = PchipInterpolator(distances, np.concatenate([[noise], semivariogram[1:]]))
    found = np.empty((apart.size, len(sizes)))
    for k, size in enumerate(sizes):
        steps = np.arange(1 - size, size)
        weights = (1.0 - np.abs(steps) / size) / size
        lags = np.sqrt((steps[:, None] * aspect) ** 2 + steps**2)
        lags, index = np.unique(lags.round(6), return_inverse=True)
        share = np.bincount(index.ravel(), np.outer(weights, weights).ravel())
        far = np.minimum(np.sqrt(lags**2 + apart[:, None] ** 2), distances[-1])
        own = np.where(lags > 0, known(lags), 0.0)
        found[:, k] = (known(far) - own) @ share
    return found
