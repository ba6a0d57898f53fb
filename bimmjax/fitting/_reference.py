"""A stand-in for the noise-free volume, and the noise on top of it, from a block of data."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from bimmjax.models import Params

_REACH = 6
_FEWEST_FLAT = 2000
_DOUBTFUL = 0.1


class Reference(NamedTuple):
    """A block whose truth is known: expected grey values, and the noise on top.

    expected, noise_std : (z, y, x). amplitude : of `rfftn` of white noise, for noise of unit
    variance. lags : correlation of that noise one and two voxels apart. volume_fractions : (N,),
    of the voxels counted. interface_areas : (N(N-1)/2,) per volume, or None where they
    are not known. margin : voxels nearer than that to a face are not counted.
    """

    expected: np.ndarray
    noise_std: np.ndarray
    amplitude: np.ndarray
    lags: tuple[float, float]
    volume_fractions: np.ndarray
    interface_areas: np.ndarray | None = None
    margin: int = 1

    @property
    def correlation(self) -> float:
        """Of the noise two voxels apart."""
        return self.lags[1]

    @property
    def counted(self) -> int:
        """Voxels that are `margin` or more from every face."""
        return int(np.prod(np.array(self.expected.shape) - 2 * self.margin))


def reference(block: np.ndarray, params: Params) -> Reference:
    """Stand-in for a block (z, y, x), all in the units of `params` (NumPy arrays).

    The phases are told apart after slight smoothing, then blurred as the fit says. The noise
    has the autocovariance of what is left in flat places; where there are too few of them, that
    of Gaussian-filtered white noise with the fitted correlation two voxels apart.
    """
    # A blur beyond the block is a fit gone astray, and would only cost time.
    blur = 1.0 if params.blur_std is None else min(float(params.blur_std), max(block.shape) / 4)
    means = params.intensities
    smooth = gaussian_filter(block, 1.0)
    labels = np.searchsorted(0.5 * (means[1:] + means[:-1]), smooth)
    expected = np.zeros_like(block)
    purest = np.zeros_like(block)
    variance = np.zeros_like(block)
    noise = np.broadcast_to(params.noise_std, means.shape)
    for label, mean in enumerate(means):
        share = gaussian_filter((labels == label).astype(block.dtype), blur)
        expected += mean * share
        variance += noise[label] ** 2 * share
        purest = np.maximum(purest, share)
    flat = purest > 0.995
    residual = np.where(flat, block - expected, 0.0)
    for label in range(len(means)):
        there = flat & (labels == label)
        if there.any():
            residual[there] -= residual[there].mean()
    measured = None
    if flat.sum() >= _FEWEST_FLAT and residual.any():
        measured = _unit_noise(_autocovariance(residual, flat))
    # Where what is left holds structure as well, the gradients' own word on the noise is better.
    rho = params.correlation
    if measured is None or (rho is not None and abs(measured[1][1] - float(rho)) > _DOUBTFUL):
        measured = _unit_noise(_assumed(block.shape, params))
    amplitude, lags = measured
    inner = labels[1:-1, 1:-1, 1:-1].ravel()
    fractions = np.bincount(inner, minlength=len(means)) / inner.size
    return Reference(expected, np.sqrt(variance), amplitude, lags, fractions)


def _unit_noise(covariance: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Amplitude of the Fourier series of noise of unit variance; correlation one and two apart."""
    shape = covariance.shape
    power = np.maximum(np.fft.rfftn(covariance.astype(np.float32)).real, 0.0)
    power = power / np.mean(full_spectrum(power, shape))
    covariance = np.fft.irfftn(power, shape, (0, 1, 2))
    lags = [(covariance[k, 0, 0] + covariance[0, k, 0] + covariance[0, 0, k]) / 3.0 for k in (1, 2)]
    return np.sqrt(power), (float(lags[0]), float(lags[1]))


def _autocovariance(residual: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Autocovariance at lags up to 6, tapered, laid out periodically on the block."""
    shape = residual.shape
    padded = [n + _REACH for n in shape]
    products = _correlate(residual, padded)
    pairs = _correlate(flat.astype(float), padded)
    covariance = np.zeros(shape)
    lags = [np.arange(-min(_REACH, n // 2 - 1), min(_REACH, n // 2 - 1) + 1) for n in shape]
    box = np.ix_(*lags)
    taper = np.ones((1, 1, 1))
    for axis, lag in enumerate(lags):
        window = np.cos(0.5 * np.pi * lag / (_REACH + 1)) ** 2
        taper = taper * window.reshape([-1 if k == axis else 1 for k in range(3)])
    covariance[box] = taper * products[box] / np.maximum(pairs[box], 1.0)
    return covariance


def _correlate(values: np.ndarray, shape: list[int]) -> np.ndarray:
    """Sums of products of values a lag apart, zero-padded to `shape`."""
    # Single precision is enough, and several times faster.
    axes = (0, 1, 2)
    power = np.abs(np.fft.rfftn(values.astype(np.float32), shape, axes)) ** 2
    return np.fft.irfftn(power, shape, axes)


def _assumed(shape: tuple[int, ...], params: Params) -> np.ndarray:
    rho = 0.0 if params.correlation is None else float(params.correlation)
    squared = np.zeros((1, 1, 1))
    for axis, n in enumerate(shape):
        lag = np.minimum(np.arange(n), n - np.arange(n)).astype(float)
        squared = squared + (lag**2).reshape([-1 if k == axis else 1 for k in range(3)])
    if rho <= 0.01:
        return (squared == 0).astype(float)
    return np.minimum(rho, 0.98) ** (squared / 4.0)


def full_spectrum(power: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Weights of a half spectrum so that its mean is that of the whole one."""
    weight = np.full(power.shape[-1], 2.0)
    weight[0] = 1.0
    if shape[-1] % 2 == 0:
        weight[-1] = 1.0
    return power * weight * power.shape[-1] / weight.sum()
