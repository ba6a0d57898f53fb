"""Semivariograms: within slices, and of slices averaged over boxes against their neighbours.

Of an isotropic structure with the semivariogram γ(r), half the mean squared difference of two
slices t apart, each averaged over boxes of b pixels, is

    D_b(t) = Σ_ρ w_b(ρ) [γ(√(ρ² + t²)) - γ(ρ)],

w_b the autocorrelation of a box; b = 1 is γ(t) itself. White noise adds the same to both sides as
long as γ is what was measured: with the noise for any lag above 0, and 0 at lag 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
from scipy.interpolate import PchipInterpolator

# Distances up to this are kept apart, further ones are averaged over a pixel.
_FINE = 5.0
_NUGGET_LAGS = 3.1
_SMOOTHNESS = 0.05
_BIN = 0.05


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
    size = [_fast(n + r) for n, r in zip(shape, far, strict=True)]
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
    # SciPy's transforms tell no types.
    ones: Any = scipy.fft.rfft2(np.ones(shape), size)
    overlap: Any = scipy.fft.irfft2(np.abs(ones) ** 2, size)
    pairs = np.maximum(overlap, 1.0)[known]

    def measure(plane: np.ndarray) -> np.ndarray:
        # Squares of small differences come out of a difference of large sums: less is lost so.
        plane = plane.astype(np.float64) - float(plane.mean(dtype=np.float64))
        values: Any = scipy.fft.rfft2(plane, size)
        squares: Any = scipy.fft.rfft2(plane**2, size)
        both = (squares * np.conj(ones)).real - np.abs(values) ** 2
        found: Any = scipy.fft.irfft2(both, size)
        return np.bincount(index, found[known] / pairs) / counts

    return Lags(distances, measure)


def _fast(size: int) -> int:
    found: Any = scipy.fft.next_fast_len(size, real=True)
    return int(found)


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


def sharp_semivariogram(
    distances: np.ndarray, semivariogram: np.ndarray, noise: float, blur: float
) -> Callable[[np.ndarray], np.ndarray]:
    """γ of the structure itself, for any distance: less the noise, and not blurred within slices.

    A blur along y and x alone, of std `blur`, leaves (γ ∗ g)(ρ) - (γ ∗ g)(0) within slices, g a
    Gaussian of std √2 `blur`. γ is piecewise linear here, and as smooth as what is seen allows.
    """
    last = distances[-1]
    seen = np.maximum(semivariogram - np.where(distances > 0, noise, 0.0), 0.0)
    if blur == 0.0:
        known = PchipInterpolator(distances, seen)
        return lambda r: known(np.minimum(r, last))
    knots = np.concatenate([np.arange(0.0, 10.0, 0.5), np.arange(10.0, last + 1.0)])
    offsets, share = _gaussian_nodes(blur)
    places = np.hypot(distances[:, None] + offsets[:, 0], offsets[:, 1])
    mixed = _hats(knots, places, share)
    mixed = mixed - mixed[0]
    # At lag 0 γ is 0, and so it has no knot to fit there.
    mixed = mixed[1:, 1:]
    curl = np.diff(np.eye(knots.size), 2, axis=0)[:, 1:]
    full = np.concatenate([mixed, _SMOOTHNESS * curl])
    values = np.linalg.lstsq(full, np.concatenate([seen[1:], np.zeros(len(curl))]), rcond=None)[0]
    values = np.concatenate([[0.0], np.maximum(values, 0.0)])
    return lambda r: np.interp(r, knots, values)


def _gaussian_nodes(blur: float) -> tuple[np.ndarray, np.ndarray]:
    """Points (k, 2) and weights of a Gaussian of std √2 `blur` in the plane."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    weights = weights / weights.sum()
    both = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2)
    return np.sqrt(2.0) * blur * both, np.outer(weights, weights).ravel()


def _hats(knots: np.ndarray, places: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(n, knots): weights of the knots in the mean of a piecewise linear function over places."""
    places = np.minimum(places, knots[-1])
    below = np.clip(np.searchsorted(knots, places, side="right") - 1, 0, knots.size - 2)
    part = (places - knots[below]) / (knots[below + 1] - knots[below])
    found = np.zeros((len(places), knots.size))
    for i in range(len(places)):
        np.add.at(found[i], below[i], share * (1.0 - part[i]))
        np.add.at(found[i], below[i] + 1, share * part[i])
    return found


def differences(
    known: Callable[[np.ndarray], np.ndarray],
    noise: float,
    sizes: list[int],
    aspect: float,
    blur: float,
    apart: np.ndarray,
) -> np.ndarray:
    """D_b(t) for each t of `apart` and each b of `sizes`: (t, b)."""
    found = np.empty((apart.size, len(sizes)))
    for k, size in enumerate(sizes):
        lags, share = _box_lags(size, aspect, blur)
        far = np.sqrt(lags**2 + apart[:, None] ** 2)
        # What is white within slices is so between them: two pixels have twice the noise of one.
        found[:, k] = (known(far) - known(lags)) @ share + noise / size**2
    return found


def _box_lags(size: int, aspect: float, blur: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances of two pixels of a box, after a blur, and how often they are met."""
    steps = np.arange(1 - size, size)
    weights = (1.0 - np.abs(steps) / size) / size
    down, right = np.meshgrid(steps * aspect, steps, indexing="ij")
    share = np.outer(weights, weights).ravel()
    if blur == 0.0:
        lags = np.hypot(down, right).ravel().round(6)
    else:
        nodes, parts = _gaussian_nodes(blur)
        moved = [np.add.outer(v.ravel(), n) for v, n in zip((down, right), nodes.T, strict=True)]
        lags = (np.hypot(*moved) / _BIN).round().ravel() * _BIN
        share = np.outer(share, parts).ravel()
    lags, index = np.unique(lags, return_inverse=True)
    return lags, np.bincount(index.ravel(), share)
