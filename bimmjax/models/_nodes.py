"""Every model as one sum over nodes: points of known expected intensity and gradient.

A phase interior is one node. An interface region is a mean over positions across it (BIMM paper,
Eqs. 12 and A.17), so a quadrature rule turns it into K nodes. What is left is the same for all
models, and separates: at each node the density is a function of u times a function of v.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr

from bimmjax._core.quadrature import Quadrature
from bimmjax._core.special import gradient_bins, log_gradient_kernel, log_normal, normal_bins
from bimmjax.models._interface import apparent_blur_variance, relative_density, spread
from bimmjax.models._params import Params, phase_pairs

Profile = Literal["linear", "blurred"]
Gradient = Literal["central_difference", "plain"]

# A central difference averages the derivative over ±1 voxel along each axis. For interfaces
# of every orientation that widens the gradient profile: Σ n_k⁴ / 3 = 1/5 in the mean.
_CENTRAL_DIFFERENCE_VARIANCE = 0.2
_SMALLEST_WEIGHT = 1e-30


class Nodes(NamedTuple):
    """R points of the mixture, each field (R,): weight, expected intensity and gradient, noise."""

    weight: Array
    intensity: Array
    gradient: Array
    noise_std: Array


def nodes(
    params: Params, rule: Quadrature, profile: Profile, gradient: Gradient | None = None
) -> Nodes:
    """Interior nodes first, then K nodes for each pair of phases, across its interface."""
    phases = params.intensities.shape[0]
    noise = jnp.broadcast_to(params.noise_std, (phases,))
    interior = Nodes(
        params.interior_weights, params.intensities, jnp.zeros_like(params.intensities), noise
    )
    if params.interface_weights.shape[0] == 0:
        return interior
    low, high = np.array(phase_pairs(phases)).T
    share = jnp.broadcast_to(rule.weights, (len(low), rule.weights.size))
    steepness = jnp.zeros_like(share)
    if profile == "linear":
        mixed = rule.points
    else:
        assert params.interface_halfwidth is not None
        t = params.interface_halfwidth * (2.0 * rule.points - 1.0)
        mixed = ndtr(t)
        share = spread(params, rule, t)
        if gradient is not None:
            steepness = _steepness(params, t, gradient)
    step = (params.intensities[high] - params.intensities[low])[:, None]
    variance = noise[low, None] ** 2 * (1.0 - mixed) + noise[high, None] ** 2 * mixed
    return Nodes(
        weight=_join(interior.weight, params.interface_weights[:, None] * share),
        intensity=_join(interior.intensity, params.intensities[low, None] + step * mixed),
        gradient=_join(interior.gradient, step * steepness),
        noise_std=_join(noise, jnp.sqrt(variance)),
    )


def _steepness(params: Params, t: Array, gradient: Gradient) -> Array:
    """Gradient (P, K) at t blurs from a unit step: Eq. 2, or with the finite difference in it."""
    blur_variance = apparent_blur_variance(params)[:, None]
    width = blur_variance
    if gradient == "central_difference":
        width = width + _CENTRAL_DIFFERENCE_VARIANCE
    return jnp.exp(-0.5 * t * t * (blur_variance / width)) / jnp.sqrt(2.0 * jnp.pi * width)


def _join(interior: Array, interface: Array) -> Array:
    return jnp.concatenate([interior, interface.ravel()])


def log_prob_intensity(at: Nodes, u: Array) -> Array:
    """Log density of intensities u (...), from nodes."""
    logs = log_normal(u[..., None], at.intensity, at.noise_std)
    return _log_sum(at, logs)


def log_prob_joint(at: Nodes, correlation: Array, u: Array, v: Array) -> Array:
    """Log density of intensity-gradient pairs (...), from nodes; -inf at v = 0."""
    logs = log_normal(u[..., None], at.intensity, at.noise_std)
    spread = at.noise_std * jnp.sqrt(1.0 - correlation)
    logs = logs + log_gradient_kernel(v[..., None], at.gradient, spread)
    return 2.0 * jnp.log(v) + _log_sum(at, logs)


def _log_sum(at: Nodes, logs: Array) -> Array:
    weights = jnp.log(jnp.maximum(at.weight, _SMALLEST_WEIGHT))
    return jax.scipy.special.logsumexp(logs + weights, axis=-1)


def bins_intensity(at: Nodes, u_edges: Array) -> Array:
    """Probability of each intensity bin, (n_u,)."""
    return normal_bins(u_edges, at.intensity, at.noise_std) @ at.weight


def bins_joint(
    at: Nodes, correlation: Array, u_edges: Array, v_edges: Array, rounding: float | Array
) -> Array:
    """Probability of each intensity-gradient bin, (n_u, n_v): one matrix product.

    `rounding` is the grey-level step of integer data (0 for continuous data): rounding adds
    step²/24 to the variance of each central difference.
    """
    columns = gradient_bins(v_edges, at.gradient, gradient_spread(at, correlation, rounding))
    rows = normal_bins(u_edges, at.intensity, at.noise_std) * at.weight
    return jnp.matmul(rows, columns.T, precision=jax.lax.Precision.HIGHEST)


def bins_of_components(
    at: Nodes,
    phases: int,
    correlation: Array,
    u_edges: Array,
    v_edges: Array,
    rounding: float | Array,
    pieces: int = 1,
) -> Array:
    """`bins_joint` of each phase and each pair alone, (phases + pieces * pairs, n_u, n_v).

    `pieces` cuts the nodes of each interface into as many components, from one phase to the other.
    """
    columns = gradient_bins(v_edges, at.gradient, gradient_spread(at, correlation, rounding))
    rows = normal_bins(u_edges, at.intensity, at.noise_std) * at.weight
    pairs = pieces * len(phase_pairs(phases))

    def product(rows: Array, columns: Array, components: int) -> Array:
        rows = rows.reshape(len(rows), components, -1)
        columns = columns.reshape(len(columns), components, -1)
        return jnp.einsum("uck,vck->cuv", rows, columns, precision=jax.lax.Precision.HIGHEST)

    interiors = product(rows[:, :phases], columns[:, :phases], phases)
    if pairs == 0:
        return interiors
    return jnp.concatenate([interiors, product(rows[:, phases:], columns[:, phases:], pairs)])


def gradient_spread(at: Nodes, correlation: Array, rounding: float | Array) -> Array:
    """S at each node (R,): √2 times the std of one component of the gradient, rounding included."""
    return jnp.sqrt(at.noise_std**2 * (1.0 - correlation) + rounding**2 / 12.0)


def sample_positions(
    key: Array, params: Params, shape: tuple[int, ...], profile: Profile, gradient: Gradient | None
) -> Nodes:
    """Draw each voxel's place in the mixture: fields of the given shape (weight is 1)."""
    component_key, place_key = jax.random.split(key)
    phases, pairs = params.intensities.shape[0], params.interface_weights.shape[0]
    weights = jnp.concatenate([params.interior_weights, params.interface_weights])
    component = jax.random.categorical(component_key, jnp.log(weights), shape=shape)
    place = jax.random.uniform(place_key, (int(np.prod(shape)),))
    # One draw serves as a rule of one point per voxel; interiors and all pairs are laid out,
    # then each voxel keeps the component it drew.
    flat = component.ravel()
    if params.interface_tilt is not None:
        place = _uneven_places(params, place, jnp.clip(flat - phases, 0, pairs - 1))
    rule = Quadrature(place, jnp.ones_like(place))
    laid = nodes(params, rule, profile, gradient)
    index = jnp.where(
        flat < phases, flat, phases + (flat - phases) * place.size + jnp.arange(place.size)
    )
    if pairs == 0:
        index = flat
    return Nodes(
        *(field[index].reshape(shape) for field in laid._replace(weight=laid.intensity * 0 + 1))
    )


def _uneven_places(params: Params, uniform: Array, pair: Array) -> Array:
    """Uniform draws (n,) moved to where the voxels of each draw's pair (n,) are."""
    assert params.interface_halfwidth is not None
    grid = jnp.linspace(0.0, 1.0, 513)
    density = relative_density(params, params.interface_halfwidth * (2.0 * grid - 1.0))
    steps = 0.5 * (density[:, 1:] + density[:, :-1])
    below = jnp.concatenate([jnp.zeros_like(steps[:, :1]), jnp.cumsum(steps, axis=1)], axis=1)
    below = below / below[:, -1:]
    moved = jax.vmap(lambda cdf: jnp.interp(uniform, cdf, grid))(below)
    return moved[pair, jnp.arange(uniform.size)]
