"""A stand-in with the sharp body behind a block of data: its areas are known."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax.fitting._posterior import phase_shares
from bimmjax.fitting._reference import Reference, full_spectrum
from bimmjax.fitting._restore import blurred, image, inside, interface_areas, restored
from bimmjax.models import Params
from bimmjax.models._nodes import Gradient

# What noise adds to the slope of a restored surface, over the slope itself: its square is about
# the share of area that roughness adds.
_ROUGHNESS = 0.03
_SMOOTHINGS = np.arange(0.5, 6.0, 0.1)
_CREASED = 2.5  # blurs
_LEAST_COUNTED = 8
_SHELLS = 400


def sharpened(rough: Reference, block: np.ndarray, params: Params, gradient: Gradient) -> Reference:
    """`rough` with the body behind its block (z, y, x), blurred as `params` say, and its areas.

    All in the units of `params` (NumPy arrays). gradient : the gradient law of the fit.
    """
    assert params.blur_std is not None
    blur = min(float(params.blur_std), max(block.shape) / 4)
    noise = float(np.sqrt(np.mean(np.square(np.asarray(params.noise_std, float)))))
    step = float(np.diff(params.intensities).min())
    prepared = _prepared(
        full_spectrum(rough.amplitude**2, block.shape), block.shape, noise / step, blur
    )
    # Beyond its faces a block is taken to be mirrored, and surfaces have a crease there.
    room = (min(block.shape) - _LEAST_COUNTED) // 2
    margin = max(1, min(int(np.ceil(_CREASED * blur)), room))
    given = block, params._replace(blur_std=np.asarray(blur)), prepared
    data, law, against = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), given)
    expected, variance, shares, areas = _made(data, law, against, margin, gradient)
    shares = np.asarray(shares, float)
    return rough._replace(
        expected=np.asarray(expected, block.dtype),
        noise_std=np.sqrt(np.asarray(variance, float)),
        volume_fractions=shares / shares.sum(),
        interface_areas=np.asarray(areas, float),
        margin=margin,
    )


class _Prepared(NamedTuple):
    """A blur against the noise, voxels; std of what it leaves, and of its slope along an axis.

    Both over the smallest step of intensity.
    """

    smoothing: float
    left: float
    slope: float


def _made(
    block: Array, params: Params, prepared: _Prepared, margin: int, gradient: Gradient
) -> tuple[Array, Array, Array, Array]:
    """Expected grey values, variance of the noise, volume of the phases, and their areas.

    Not compiled as one: the compiler would work elementwise steps out anew for each that uses them.
    """
    means = params.intensities
    assert params.blur_std is not None
    blur, smoothing = jnp.asarray(params.blur_std), jnp.asarray(prepared.smoothing)
    width = jnp.sqrt(blur**2 + smoothing**2)
    left = prepared.left * jnp.min(jnp.diff(means))
    target = blurred(block, smoothing)
    fields = _start(target, params, prepared, width, left, gradient)
    fields = restored(fields, target, means, width, smoothing, left)
    expected, shares = image(fields, means, blur)
    variance, volume = _sums(shares, params.noise_std, margin)
    return expected, variance, volume, interface_areas(fields, margin)


@jax.jit
def _sums(shares: Array, noise_std: Array, margin: int) -> tuple[Array, Array]:
    by_phase = jnp.broadcast_to(noise_std**2, shares.shape[:1])
    volume = jnp.sum(shares * inside(shares.shape[1:], margin), (1, 2, 3))
    return jnp.tensordot(by_phase, shares, 1), volume


@partial(jax.jit, static_argnames="gradient")
def _start(
    target: Array,
    params: Params,
    prepared: _Prepared,
    width: Array,
    left: Array,
    gradient: Gradient,
) -> Array:
    means = params.intensities
    phases = means.shape[0]
    if phases == 2:
        bright = (target - means[0]) / (means[1] - means[0]) - 0.5
        return 0.5 * jnp.stack([-bright, bright])
    # The mixture as the smoothed block has it: wider interfaces, less noise.
    wider = params.interface_weights * (width / jnp.asarray(params.blur_std))
    total = params.interior_weights.sum() + wider.sum()
    correlation = 1.0 - 2.0 * (prepared.slope / jnp.maximum(prepared.left, 1e-9)) ** 2
    smooth = params._replace(
        blur_std=width,
        noise_std=jnp.maximum(left, 1e-3 * jnp.min(jnp.diff(means))),
        correlation=jnp.clip(correlation, -0.9, 0.99),
        interior_weights=params.interior_weights / total,
        interface_weights=wider / total,
    )
    shares = phase_shares(target, smooth, gradient)
    # Voxel by voxel they jump: smooth enough that the first body is no rougher than the last.
    return jnp.stack([blurred(share, 0.7 * width) for share in shares])


def _prepared(power: np.ndarray, shape: tuple[int, ...], noise: float, blur: float) -> _Prepared:
    """The least blur that leaves surfaces smooth enough."""
    waves = [2.0 * np.pi * np.fft.fftfreq(n) for n in shape[:2]]
    waves.append(2.0 * np.pi * np.fft.rfftfreq(shape[2]))
    squared = sum(
        (w**2).reshape([-1 if k == axis else 1 for k in range(3)]) for axis, w in enumerate(waves)
    )
    widest = 3.0 * np.pi**2 * (1.0 + 1e-9)
    shells = (np.asarray(squared) * (_SHELLS / widest)).astype(int)
    held = np.bincount(shells.ravel(), power.ravel(), minlength=_SHELLS) * noise**2 / power.size
    middle = (np.arange(_SHELLS) + 0.5) * (widest / _SHELLS)
    found = _Prepared(0.0, 0.0, 0.0)
    for smoothing in _SMOOTHINGS:
        kept = held * np.exp(-(smoothing**2) * middle)
        left, slope = np.sqrt(kept.sum()), np.sqrt((kept * middle).sum() / 3.0)
        found = _Prepared(float(smoothing), float(left), float(slope))
        if slope <= _ROUGHNESS / np.sqrt(2.0 * np.pi * (blur**2 + smoothing**2)):
            break
    return found
