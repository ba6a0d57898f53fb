"""A stand-in for the noise-free volume, and the noise on top of it, from a block of data."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.ndimage import gaussian_filter

from bimmjax.fitting._posterior import phase_shares
from bimmjax.fitting._restore import blurred, image, inside, interface_areas, restored
from bimmjax.models import Params
from bimmjax.models._nodes import Gradient

_REACH = 6
_FEWEST_FLAT = 2000
_DOUBTFUL = 0.1
# What noise adds to the slope of a restored surface, over the slope itself: its square is about
# the share of area that roughness adds.
_ROUGHNESS = 0.03
_CREASED = 2.5  # blurs
_LEAST_COUNTED = 8
_SMOOTHINGS = np.arange(0.5, 6.0, 0.1)


class Reference(NamedTuple):
    """A block whose truth is known: expected grey values, and the noise on top.

    expected, noise_std : (z, y, x). amplitude : of `rfftn` of white noise, for noise of unit
    variance. lags : correlation of that noise one and two voxels apart. volume_fractions : (N,),
    of the voxels counted. interface_areas : (N(N-1)/2,) per volume, or None where the stand-in is
    too rough for it. margin : voxels nearer than that to a face are not counted.
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
    power = np.maximum(np.fft.rfftn(covariance).real, 0.0)
    power = power / np.mean(_full(power, shape))
    covariance = np.fft.irfftn(power, shape, (0, 1, 2))
    lags = [(covariance[k, 0, 0] + covariance[0, k, 0] + covariance[0, 0, k]) / 3.0 for k in (1, 2)]
    return np.sqrt(power), (float(lags[0]), float(lags[1]))


def sharpened(rough: Reference, block: np.ndarray, params: Params, gradient: Gradient) -> Reference:
    """A stand-in for a block with the sharp body behind it, and so its areas.

    gradient : the gradient law of the fit.
    """
    assert params.blur_std is not None
    means = params.intensities
    blur = min(float(params.blur_std), max(block.shape) / 4)
    noise = float(np.sqrt(np.mean(np.square(np.asarray(params.noise_std, float)))))
    step = float(np.diff(means).min())
    found = _smoothing(_full(rough.amplitude**2, block.shape), block.shape, noise / step, blur)
    smoothing, left, slope = found
    width = np.hypot(blur, smoothing)
    target = blurred(jnp.asarray(block, jnp.float32), jnp.asarray(smoothing, jnp.float32))
    if len(means) == 2:
        bright = (target - means[0]) / step - 0.5
        fields = 0.5 * jnp.stack([-bright, bright])
    else:
        # The mixture as the smoothed block has it: wider interfaces, less noise.
        weights = np.concatenate(
            [params.interior_weights, params.interface_weights * (width / blur)]
        )
        weights = weights / weights.sum()
        smooth = params._replace(
            blur_std=width,
            noise_std=np.asarray(max(left * step, 1e-3 * step)),
            correlation=np.asarray(np.clip(1.0 - 2.0 * (slope / left) ** 2, -0.9, 0.99)),
            interior_weights=weights[: len(means)],
            interface_weights=weights[len(means) :],
        )
        smooth = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), smooth)
        fields = _start(target, smooth, gradient)
    arrays = means, width, smoothing, left * step
    fields = restored(fields, target, *(jnp.asarray(x, jnp.float32) for x in arrays))
    expected, shares = image(fields, *(jnp.asarray(x, jnp.float32) for x in (means, blur)))
    # Beyond its faces a block is taken to be mirrored, and surfaces have a crease there.
    room = (min(block.shape) - _LEAST_COUNTED) // 2
    margin = max(1, min(int(np.ceil(_CREASED * blur)), room))
    counted = inside(block.shape, margin)
    inner = np.asarray((shares * counted).sum((1, 2, 3)), float)
    # The voxels counted reach half a voxel beyond their centres: between these two.
    areas = [np.asarray(interface_areas(fields, m)) for m in (margin - 1, margin)]
    by_phase = np.broadcast_to(np.square(np.asarray(params.noise_std, float)), (len(means),))
    variance = np.tensordot(by_phase, np.asarray(shares, float), 1)
    return rough._replace(
        expected=np.asarray(expected, block.dtype),
        noise_std=np.sqrt(variance),
        volume_fractions=inner / inner.sum(),
        interface_areas=np.mean(areas, 0),
        margin=margin,
    )


@partial(jax.jit, static_argnames="gradient")
def _start(target: Array, params: Params, gradient: Gradient) -> Array:
    shares = phase_shares(target, params, gradient)
    width = jnp.asarray(params.blur_std)
    # Voxel by voxel they jump: smooth enough that the first body is no rougher than the last.
    return jax.vmap(lambda share: blurred(share, 0.7 * width))(shares)


def _smoothing(
    power: np.ndarray, shape: tuple[int, ...], noise: float, blur: float
) -> tuple[float, float, float]:
    """The least blur that leaves surfaces smooth enough.

    Also the std of the noise that it leaves, and of that noise's slope along an axis.
    """
    waves = [2.0 * np.pi * np.fft.fftfreq(n) for n in shape[:2]]
    waves.append(2.0 * np.pi * np.fft.rfftfreq(shape[2]))
    squared = sum(
        (w**2).reshape([-1 if k == axis else 1 for k in range(3)]) for axis, w in enumerate(waves)
    )
    edges = np.linspace(0.0, 3.0 * np.pi**2, 400)
    held, _ = np.histogram(squared, edges, weights=power)
    held = held * noise**2 / power.size
    middle = 0.5 * (edges[1:] + edges[:-1])
    smoothing = left = slope = 0.0
    for smoothing in _SMOOTHINGS:
        kept = held * np.exp(-(smoothing**2) * middle)
        left, slope = np.sqrt(kept.sum()), np.sqrt((kept * middle).sum() / 3.0)
        if slope <= _ROUGHNESS / np.sqrt(2.0 * np.pi * (blur**2 + smoothing**2)):
            break
    return float(smoothing), float(left), float(slope)


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
