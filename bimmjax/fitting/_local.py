"""Fits of many small histograms around one global fit: maximum a posteriori, a batch at a time.

A block of a few ten thousand voxels cannot tell every parameter, and may lack a phase. So each
parameter is held near the global fit's value by a normal prior, in unconstrained space, as wide
as the parameter may reasonably vary within a sample; the weights of phases and interfaces are
all but free.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from bimmjax._core.quadrature import gauss_legendre
from bimmjax.fitting._flat import flatten
from bimmjax.fitting._quantities import flat_quantities
from bimmjax.fitting._scale import Scale, coarse, on_bins
from bimmjax.fitting._scoring import Binned, Prior, Setting, assess, maximise
from bimmjax.models import Params, Unconstrained, from_unconstrained, to_unconstrained
from bimmjax.models._nodes import bins_of_components, nodes
from bimmjax.volumes import Grid

# Stds of the priors. Intensities as shares of the contrast; the others in logs, logits of
# (1 + ρ) / 2, log-ratios of weights, and tilt and bend themselves.
WIDTHS: dict[str, float] = {
    "intensities": 0.02,
    "log_noise_std": 0.2,
    "correlation_logit": 0.2,
    "log_blur_std": 0.2,
    "log_interface_halfwidth": 0.01,
    "weights": 4.0,
    "interface_tilt": 0.1,
    "interface_bend": 0.03,
}
FREE: dict[str, tuple[str, ...]] = {
    "weights": ("weights",),
    "weights,blur,noise": ("weights", "log_blur_std", "log_noise_std", "correlation_logit"),
    "all": tuple(WIDTHS),
}
# What cannot lie many stds of its prior off in a block of the same kind.
_LIKE_WHOLE = ("intensities", "log_noise_std", "correlation_logit", "log_blur_std")
_MAX_STEPS = 40
# Log-likelihood that a further step would gain: a fifth of a standard error.
_GAIN = 0.02
# What may be left where rounding allows no further step: half a standard error.
_STALLED = 0.1
_PATIENCE = 5
_REWEIGHTINGS = 30
_RAREST = 1e-5
_NOTHING = 1e-12
# Noise stds that a bin may span: one std widens the standard errors of intensities by 4 %.
_WIDEST_BIN = 1.2


class Plan(NamedTuple):
    """What the fits of all blocks share, a pytree.

    start : (p,) flat unconstrained parameters of the global fit, which the priors centre on.
    widths : (p,) stds of the priors. data : the bins, with the frequencies of no block.
    """

    start: Array
    widths: Array
    data: Binned


class BlockFits(NamedTuple):
    """Fits of n blocks, in the units of the fit.

    theta : (n, p) unconstrained. pull : (n,) how many stds of its prior the farthest of
    intensities, noise, correlation and blur lies off. values, errors : (n, q) reported quantities
    and their standard errors by the curvature of the posterior, for independent voxels. told :
    (n,) share of the prior's variance that the data took from the log of the blur (1: they tell
    it, 0: they do not). misplaced : (n,) share of voxels in the wrong bin, beyond what chance
    explains. steps : (n,). converged : (n,) bool.
    """

    theta: Array
    pull: Array
    values: Array
    errors: Array
    told: Array
    misplaced: Array
    steps: Array
    converged: Array


class Local(NamedTuple):
    """BIMM-2D around one global fit.

    plan : Plan. setting : Setting, static. scale : between grey values and the units of the fit.
    join : int, bins of the volume's grid along each axis that make one bin here.
    """

    plan: Plan
    setting: Setting
    scale: Scale
    join: int


def local_model(
    params: Params, grid: Grid, *, gradient: str, free: str, known_blur: bool = False
) -> Local:
    """What fits of blocks need, from a global fit (grey values), on bins as coarse as it allows.

    grid : bins of the volume's joint histogram. free : a key of `FREE`, what may differ from
    block to block. known_blur : the blur may not, whatever `free` says.
    """
    scale = Scale(float(grid.u_edges[0]), float(grid.u_edges[-1] - grid.u_edges[0]))
    inside = jax.tree.map(lambda x: jnp.asarray(x, float), scale.into(params))
    theta = to_unconstrained(inside)
    noise = float(jnp.min(inside.noise_std))
    bins = grid.u_edges.size - 1
    join = next((join for join in (4, 2) if join <= _WIDEST_BIN * noise * bins), 1)
    data = coarse(on_bins(grid, scale, np.zeros((bins, grid.v_edges.size - 1))), join)
    widths = _each(theta, lambda name, value: np.full(np.shape(value), WIDTHS[name]))
    # The first is an intensity, the others are logs of the steps to the next.
    contrast = float(inside.intensities[-1] - inside.intensities[0])
    widths.intensities[0] *= contrast
    widths.intensities[1:] *= contrast / np.diff(np.asarray(inside.intensities, float))
    names = set(FREE[free]) - ({"log_blur_std"} if known_blur else set())
    moving = _each(theta, lambda name, value: np.full(np.shape(value), name in names))
    still = tuple(np.flatnonzero(flatten(moving)).tolist())
    setting = Setting(
        "bimm2d",
        gradient,
        _nodes(inside, float(data.rounding), gradient),
        None if len(names) == len(WIDTHS) else still,
        patience=_PATIENCE,
    )
    plan = Plan(jnp.asarray(flatten(theta)), jnp.asarray(flatten(widths), float), data)
    return Local(plan, setting, scale, join)


def fit_blocks(
    counts: Array,
    starts: Array,
    plan: Plan,
    spacing: Array,
    like: Params,
    setting: Setting,
    lanes: int,
) -> BlockFits:
    """Fit n blocks; pure, to be compiled with `setting` and `lanes` static.

    counts (n, n_u, n_v); a block of no voxels means nothing. starts (n, p).
    spacing () : edge of a voxel.
    like : parameters of the shapes wanted. lanes : blocks fitted side by side; 1 suits a CPU,
    whose caches hold one fit, thousands suit a GPU.
    """

    def one(pair: tuple[Array, Array]) -> BlockFits:
        return _fit_block(*pair, plan, spacing, like, setting)

    if lanes == 1:
        return jax.lax.map(one, (counts, starts))
    return jax.lax.map(one, (counts, starts), batch_size=lanes)


def _fit_block(
    counts: Array, start: Array, plan: Plan, spacing: Array, like: Params, setting: Setting
) -> BlockFits:
    _, unravel = ravel_pytree(to_unconstrained(like))
    voxels = jnp.maximum(counts.sum().astype(plan.start.dtype), 1.0)
    data = plan.data._replace(frequencies=counts / voxels)
    prior = Prior(plan.start, 1.0 / (plan.widths**2 * voxels))
    steps = jnp.where(voxels > 1.0, _MAX_STEPS, 1)
    begin = _reweighted(from_unconstrained(unravel(start)), data, setting)
    found = maximise(to_unconstrained(begin), data, prior, _GAIN / voxels, steps, setting)
    flat, _ = ravel_pytree(found.theta)
    free = np.arange(flat.size) if setting.free is None else np.array(setting.free)

    def report(x: Array) -> Array:
        return flat_quantities(from_unconstrained(unravel(flat.at[free].set(x))), spacing)

    slopes = jax.jacfwd(report)(flat[free])
    scale = jnp.sqrt(jnp.diag(found.information))
    unit = found.information / scale / scale[:, None]
    covariance = jnp.linalg.inv(unit + 1e-6 * jnp.eye(free.size))
    covariance = covariance / scale / scale[:, None] / voxels
    variances = jnp.einsum("qi,ij,qj->q", slopes, covariance, slopes)
    blur = _place(like, "log_blur_std")
    told = jnp.ones(())
    if blur in free:
        at = int(np.flatnonzero(free == blur)[0])
        told = 1.0 - covariance[at, at] / plan.widths[blur] ** 2
    _, probability = assess(found.theta, data, prior, setting)
    distance = 0.5 * jnp.abs(data.frequencies - probability).sum()
    chance = 0.5 * jnp.sqrt(2.0 * probability / (jnp.pi * voxels)).sum()
    like_whole = flatten(
        _each(
            to_unconstrained(like),
            lambda name, value: np.full(np.shape(value), name in _LIKE_WHOLE),
        )
    )
    pull = jnp.max(jnp.where(like_whole, jnp.abs(flat - plan.start) / plan.widths, 0.0))
    return BlockFits(
        flat,
        pull,
        report(flat[free]),
        jnp.sqrt(jnp.maximum(variances, 0.0)),
        told,
        jnp.maximum(distance - chance, 0.0),
        found.steps,
        found.converged | (found.decrement * voxels < _STALLED),
    )


def _reweighted(params: Params, data: Binned, setting: Setting) -> Params:
    """Weights moved to the block's by expectation maximisation, all else as it is.

    A block may hold a hundred times less of a phase than the volume: from there second-order
    steps go astray, but the mixture is linear in its weights.
    """
    assert params.correlation is not None
    phases = params.intensities.shape[0]
    weights = jnp.concatenate([params.interior_weights, params.interface_weights])
    alone = params._replace(
        interior_weights=jnp.ones_like(params.interior_weights),
        interface_weights=jnp.ones_like(params.interface_weights),
    )
    at = nodes(alone, gauss_legendre(setting.nodes), "blurred", setting.gradient)
    components = data.lattice * bins_of_components(
        at, phases, params.correlation, data.u_edges, data.v_edges, data.rounding
    )
    components = components.reshape(weights.size, -1)
    exactly = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

    def better(_: int, weights: Array) -> Array:
        ratio = data.frequencies.ravel() / (exactly(weights, components) + _NOTHING)
        weights = weights * exactly(components, ratio)
        weights = jnp.maximum(weights, _RAREST)
        return weights / jnp.sum(weights)

    found = jax.lax.fori_loop(0, _REWEIGHTINGS, better, weights)
    return params._replace(interior_weights=found[:phases], interface_weights=found[phases:])


def _each(theta: Unconstrained, make: Callable[[str, Any], np.ndarray]) -> Unconstrained:
    """A new array for each parameter there is, from its name and value."""
    return Unconstrained(
        *(None if value is None else make(name, value) for name, value in theta._asdict().items())  # type: ignore[arg-type]
    )


def _place(like: Params, wanted: str) -> int:
    """Where a parameter stands in the flat vector; -1 if there is none."""
    theta = jax.eval_shape(to_unconstrained, like)
    at = 0
    for name, value in theta._asdict().items():
        if name == wanted and value is not None:
            return at
        at += 0 if value is None else int(np.prod(value.shape))
    return -1


def _nodes(params: Params, rounding: float, gradient: str) -> int:
    """Gauss-Legendre points: as many as put the nodes 1.6 noise stds apart where they are widest.

    A sum of normal laws so far apart ripples by 1e-3, less once it is summed over bins.
    """
    contrast = float(params.intensities[-1] - params.intensities[0])
    noise = float(jnp.min(params.noise_std))
    width = float(params.blur_std) ** 2 + (0.2 if gradient == "central_difference" else 0.0)  # type: ignore[arg-type]
    variance = noise**2 * (1.0 - float(params.correlation)) + rounding**2 / 12.0  # type: ignore[arg-type]
    steepness = contrast / np.sqrt(2.0 * np.pi * width * variance)
    reach = max(float(params.interface_halfwidth), 1.0) / 2.15  # type: ignore[arg-type]
    wanted = (4.0 + 1.5 * max(contrast / noise, 2.0 * steepness)) * reach
    return int(min(max(8 * np.ceil(wanted / 8.0), 16), 128))
