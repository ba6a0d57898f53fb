"""A stand-in for the noise-free volume, and the noise on top of it, from a block of data."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from bimmjax.models import Params

_REACH = 6
_FEWEST_FLAT = 2000


class Reference(NamedTuple):
    """A block whose truth is known: expected grey values, and the noise on top.

    expected, noise_std : (z, y, x). amplitude : of `rfftn` of white noise, for noise of unit
    variance. correlation : of that noise two voxels apart. volume_fractions : (N,), of the
    voxels that have six neighbours.
    """

    expected: np.ndarray
    noise_std: np.ndarray
    amplitude: np.ndarray
    correlation: float
    volume_fractions: np.ndarray

    @property
    def inner_voxels(self) -> int:
        """Voxels that have six neighbours."""
        return int(np.prod(np.array(self.expected.shape) - 2))


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
    if flat.sum() >= _FEWEST_FLAT and residual.any():
        covariance = _autocovariance(residual, flat)
    else:
        covariance = _assumed(block.shape, params)
    power = np.maximum(np.fft.rfftn(covariance).real, 0.0)
    power = power / np.mean(_full(power, block.shape))
    covariance = np.fft.irfftn(power, block.shape, (0, 1, 2))
    two_apart = (covariance[2, 0, 0] + covariance[0, 2, 0] + covariance[0, 0, 2]) / 3.0
    inner = labels[1:-1, 1:-1, 1:-1].ravel()
    fractions = np.bincount(inner, minlength=len(means)) / inner.size
    return Reference(expected, np.sqrt(variance), np.sqrt(power), float(two_apart), fractions)


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
    axes = (0, 1, 2)
    return np.fft.irfftn(np.abs(np.fft.rfftn(values, shape, axes)) ** 2, shape, axes)


def _assumed(shape: tuple[int, ...], params: Params) -> np.ndarray:
    rho = 0.0 if params.correlation is None else float(params.correlation)
    squared = np.zeros((1, 1, 1))
    for axis, n in enumerate(shape):
        lag = np.minimum(np.arange(n), n - np.arange(n)).astype(float)
        squared = squared + (lag**2).reshape([-1 if k == axis else 1 for k in range(3)])
    if rho <= 0.01:
        return (squared == 0).astype(float)
    return np.minimum(rho, 0.98) ** (squared / 4.0)


def _full(power: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Weights of a half spectrum so that its mean is that of the whole one."""
    weight = np.full(power.shape[-1], 2.0)
    weight[0] = 1.0
    if shape[-1] % 2 == 0:
        weight[-1] = 1.0
    return power * weight * power.shape[-1] / weight.sum()
