"""The parameters that all four mixture models share, and their map to unconstrained space."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.special import logit

_SMALLEST_WEIGHT = 1e-10

# Where interfaces curve more than this over one blur the expansion behind tilt and bend says
# nothing, and they would only imitate what else the model lacks. A bend above 0 takes surfaces of
# very unequal curvature.
TILT_BOUNDS = (-0.5, 0.5)
BEND_BOUNDS = (-0.3, 0.03)


class Params(NamedTuple):
    """Parameters of a mixture model of N phases, a pytree; fields a model lacks are None.

    Source: BIMM paper, Eqs. 1-12; tilt and bend are ours.

    Attributes
    ----------
    intensities : (N,)
        Mean intensity of each phase, ascending, in the grey values of the volume.
    noise_std : () or (N,)
        Standard deviation of the noise, shared or one per phase; grey values.
    correlation : () or None
        ρ, correlation of the noise of voxels two apart, in (-1, 1).
    blur_std : () or None
        σ_b, standard deviation of the blur; voxels.
    interface_halfwidth : () or None
        d, half the width of the interface regions, in units of σ_b.
    interior_weights : (N,)
        w_i, share of voxels in the interior of each phase.
    interface_weights : (N(N-1)/2,)
        w_ij, share of voxels in each interface region; pairs (0,1), (0,2), ..., (1,2), ...
        Empty for the Gaussian mixture. All weights together sum to 1.
    interface_tilt, interface_bend : (N(N-1)/2,) or None
        Curved interfaces: at t blurs from the interface, towards the brighter phase, voxels are
        exp(tilt t + bend t²) times as many as at it. None for the paper's flat interfaces.
    """

    intensities: Array
    noise_std: Array
    correlation: Array | None
    blur_std: Array | None
    interface_halfwidth: Array | None
    interior_weights: Array
    interface_weights: Array
    interface_tilt: Array | None = None
    interface_bend: Array | None = None


class Unconstrained(NamedTuple):
    """A bijective image of `Params` in which every real value is allowed.

    Attributes
    ----------
    intensities : (N,)
        Lowest intensity, then the logs of the steps to the next ones.
    log_noise_std, log_blur_std, log_interface_halfwidth
        As in `Params`, their logs.
    correlation_logit : ()
        logit of (1 + ρ) / 2.
    weights : (W - 1,)
        Isometric log-ratio coordinates of all W weights (interiors, then interfaces).
    interface_tilt, interface_bend : (N(N-1)/2,) or None
        As in `Params`, stretched so that any value stays within `TILT_BOUNDS`, `BEND_BOUNDS`.
    """

    intensities: Array
    log_noise_std: Array
    correlation_logit: Array | None
    log_blur_std: Array | None
    log_interface_halfwidth: Array | None
    weights: Array
    interface_tilt: Array | None = None
    interface_bend: Array | None = None


def phase_pairs(phases: int) -> tuple[tuple[int, int], ...]:
    """The interfaces of N phases in the order used everywhere.

    Examples
    --------
    >>> phase_pairs(3)
    ((0, 1), (0, 2), (1, 2))
    """
    return tuple((i, j) for i in range(phases) for j in range(i + 1, phases))


@lru_cache(maxsize=32)
def _contrasts(size: int) -> np.ndarray:
    """Orthonormal basis (size, size - 1) of the vectors that sum to 0 (Helmert)."""
    basis = np.zeros((size, size - 1))
    for k in range(1, size):
        basis[:k, k - 1] = 1.0 / np.sqrt(k * (k + 1))
        basis[k, k - 1] = -k / np.sqrt(k * (k + 1))
    return basis


def to_unconstrained(params: Params) -> Unconstrained:
    """Map parameters to unconstrained space; weights below 1e-10 are lifted to it.

    Examples
    --------
    >>> from bimmjax.models import bimm2d, from_unconstrained, to_unconstrained
    >>> params = bimm2d.init([0.0, 1.0], noise_std=0.1)
    >>> back = from_unconstrained(to_unconstrained(params))
    >>> [round(float(x), 5) for x in back.intensities]
    [0.0, 1.0]
    """
    first, steps = params.intensities[:1], jnp.diff(params.intensities)
    weights = jnp.concatenate([params.interior_weights, params.interface_weights])
    basis = _contrasts(weights.shape[0])
    logs = jnp.log(jnp.maximum(weights, _SMALLEST_WEIGHT))
    rho = params.correlation
    return Unconstrained(
        intensities=jnp.concatenate([first, jnp.log(steps)]),
        log_noise_std=jnp.log(params.noise_std),
        correlation_logit=None if rho is None else logit(0.5 * (1.0 + rho)),
        log_blur_std=_log(params.blur_std),
        log_interface_halfwidth=_log(params.interface_halfwidth),
        weights=logs @ jnp.asarray(basis, logs.dtype),
        interface_tilt=_stretch(params.interface_tilt, TILT_BOUNDS),
        interface_bend=_stretch(params.interface_bend, BEND_BOUNDS),
    )


def from_unconstrained(free: Unconstrained) -> Params:
    """Inverse of `to_unconstrained`."""
    steps = jnp.exp(free.intensities[1:])
    intensities = free.intensities[0] + jnp.concatenate([jnp.zeros(1), jnp.cumsum(steps)])
    phases = free.intensities.shape[0]
    basis = _contrasts(free.weights.shape[0] + 1)
    logs = jnp.asarray(basis, free.weights.dtype) @ free.weights
    # A maximum's own slope cancels, and is no number where the compiler rounds twice otherwise.
    weights = jnp.exp(logs - lax.stop_gradient(jnp.max(logs)))
    weights = weights / jnp.sum(weights)
    rho = free.correlation_logit
    return Params(
        intensities=intensities,
        noise_std=jnp.exp(free.log_noise_std),
        correlation=None if rho is None else jnp.tanh(0.5 * rho),
        blur_std=_exp(free.log_blur_std),
        interface_halfwidth=_exp(free.log_interface_halfwidth),
        interior_weights=weights[:phases],
        interface_weights=weights[phases:],
        interface_tilt=_bound(free.interface_tilt, TILT_BOUNDS),
        interface_bend=_bound(free.interface_bend, BEND_BOUNDS),
    )


def _bound(x: Array | None, bounds: tuple[float, float]) -> Array | None:
    """Smoothly into the bounds, with slope 1 at 0."""
    if x is None:
        return None
    reach = jnp.where(x < 0, -bounds[0], bounds[1])
    return reach * jnp.tanh(x / reach)


def _stretch(x: Array | None, bounds: tuple[float, float]) -> Array | None:
    """Inverse of `_bound`; values at or beyond a bound are taken just inside it."""
    if x is None:
        return None
    reach = jnp.where(x < 0, -bounds[0], bounds[1])
    return reach * jnp.arctanh(jnp.clip(x / reach, -0.999, 0.999))


def _log(x: Array | None) -> Array | None:
    return None if x is None else jnp.log(x)


def _exp(x: Array | None) -> Array | None:
    return None if x is None else jnp.exp(x)
