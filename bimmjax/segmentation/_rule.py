"""What a fitted model says of each intensity and gradient, as a table to look voxels up in."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax import models
from bimmjax._core.quadrature import Quadrature, gauss_legendre
from bimmjax._core.special import normal_bins
from bimmjax.models import Params, phase_pairs
from bimmjax.models._nodes import Gradient, Nodes, bins_of_components, nodes
from bimmjax.volumes import gradient_magnitude

NO_LABEL = np.uint8(255)
"""What a voxel without a number gets; of uint8, as labels are."""
# On each side of the middle of an interface.
_NODES = 48
_ROWS, _COLUMNS = 2048, 256
# What a voxel may be off: noise stds beyond the outermost phases and the steepest edge.
_SPARE = 8.0
# Nats. Else a voxel far off could not be outvoted by any number of neighbours.
_MOST_COST = 50.0


class Rule(NamedTuple):
    """Probabilities by bin; bins are even, and the outermost take all beyond.

    posterior : (N, n_u, n_v) float32, summing to 1 over the phases. labels : (n_u, n_v) uint8.
    costs : (N, n_u, n_v) float32, -log likelihood of each phase with its half of each interface,
    over the smallest. intensities : (components, n_u) of each interior and each half of an
    interface by itself. low, step : of the bins of intensity, grey values. steepest : end of
    those of gradient; one bin only for a model of intensities alone.
    """

    posterior: Array
    labels: Array
    costs: Array
    intensities: Array
    low: float
    step: float
    steepest: float


def rule_of(params: Params, model: str, gradient: Gradient, *, weighted: bool) -> Rule:
    """The table of a model (grey values, NumPy).

    A voxel belongs to whichever interior or interface makes its intensity and gradient likeliest,
    times its weight if `weighted`; those of an interface to the phase on their side of the
    middle of the two intensities.
    """
    means = np.asarray(params.intensities, float)
    noise = float(np.max(params.noise_std))
    low, high = means[0] - _SPARE * noise, means[-1] + _SPARE * noise
    step = (high - low) / _ROWS
    steep = 0.0
    uses_gradient = getattr(models, model).USES_GRADIENT
    if uses_gradient and means.size > 1:
        assert params.blur_std is not None
        steep = (means[-1] - means[0]) / (np.sqrt(2.0 * np.pi) * float(params.blur_std))
    steepest = steep + _SPARE * noise
    at = _nodes(params, model, gradient)
    u_edges = jnp.linspace(0.0, 1.0, _ROWS + 1)
    scaled = at._replace(
        intensity=(at.intensity - low) / (high - low),
        gradient=at.gradient / (high - low),
        noise_std=at.noise_std / (high - low),
    )
    if uses_gradient:
        v_edges = jnp.linspace(0.0, steepest / (high - low), _COLUMNS + 1)
        assert params.correlation is not None
        parts = bins_of_components(
            scaled, means.size, jnp.asarray(params.correlation), u_edges, v_edges, 0.0, pieces=2
        )
    else:
        parts = _by_intensity(scaled, means.size, u_edges)[:, :, None]
    middle = low + step * (np.arange(_ROWS) + 0.5)
    fitted = jnp.asarray(np.concatenate([params.interior_weights, params.interface_weights]), float)
    decided = _decided(parts, jnp.asarray(means), jnp.asarray(middle), fitted, weighted)
    return Rule(*decided, low=float(low), step=float(step), steepest=float(steepest))


def _nodes(params: Params, model: str, gradient: Gradient) -> Nodes:
    """Those of each component by itself, as if it were all there is."""
    alone = params._replace(
        interior_weights=np.ones(np.size(params.intensities)),
        interface_weights=np.ones(np.size(params.interface_weights)),
    )
    alone = jax.tree.map(lambda x: jnp.asarray(x, float), alone)
    if model == "gmm":
        return nodes(alone, Quadrature(jnp.zeros(0), jnp.zeros(0)), "linear")
    half = gauss_legendre(_NODES)
    rule = Quadrature(
        jnp.concatenate([half.points, 1.0 + half.points]) / 2.0,
        jnp.concatenate([half.weights, half.weights]) / 2.0,
    )
    if model == "pvmm":
        return nodes(alone, rule, "linear")
    return nodes(alone, rule, "blurred", gradient if model == "bimm2d" else None)


def _by_intensity(at: Nodes, phases: int, u_edges: Array) -> Array:
    """Of models of intensities alone: interiors, then two halves of each interface."""
    rows = normal_bins(u_edges, at.intensity, at.noise_std) * at.weight
    pieces = (rows.shape[1] - phases) // _NODES
    halves = rows[:, phases:].reshape(len(rows), pieces, _NODES).sum(-1)
    return jnp.concatenate([rows[:, :phases], halves], 1).T


@partial(jax.jit, static_argnames="weighted")
def _decided(
    parts: Array, means: Array, middle: Array, weights: Array, weighted: bool
) -> tuple[Array, Array, Array, Array]:
    """Posterior, labels, costs and intensities from interiors and halves of interfaces."""
    phases = means.shape[0]
    halves = parts[phases:].reshape(-1, 2, *parts.shape[1:])
    pairs = phase_pairs(phases)[: len(halves)]

    def by_phase(weights: Array) -> Array:
        """Each phase with the halves of its interfaces."""
        held = parts[:phases] * weights[:phases, None, None]
        own = halves * weights[phases : phases + len(pairs), None, None, None]
        for number, (i, j) in enumerate(pairs):
            held = held.at[i].add(own[number, 0]).at[j].add(own[number, 1])
        return held

    chosen = weights if weighted else jnp.ones_like(weights)
    # The paper's rule: the likeliest component first, and then the side of the middle.
    whole = jnp.concatenate([parts[:phases], halves.sum(1)])
    likeliest = jnp.argmax(whole * chosen[: len(whole), None, None], 0)
    owner = [jnp.full(middle.shape, k) for k in range(phases)]
    owner += [jnp.where(middle > 0.5 * (means[i] + means[j]), j, i) for i, j in pairs]
    labels = jnp.stack(owner)[likeliest, jnp.arange(middle.size)[:, None]]
    held = by_phase(chosen)
    # Where nothing is likely at all, the nearest intensity.
    nearest = jnp.argmin(jnp.abs(middle[:, None] - means), 1)[:, None]
    total = held.sum(0)
    known = total > 1e-30
    labels = jnp.where(known, labels, nearest)
    alone = (jnp.arange(phases)[:, None, None] == nearest).astype(held.dtype)
    posterior = jnp.where(known, held / jnp.where(known, total, 1.0), alone)
    costs = _costs(by_phase(weights), weights, alone, weighted)
    posterior, costs, intensities = (
        x.astype(jnp.float32) for x in (posterior, costs, parts.sum(-1))
    )
    return posterior, labels.astype(jnp.uint8), costs, intensities


def _costs(held: Array, weights: Array, alone: Array, weighted: bool) -> Array:
    """Of phases as they were fitted; `weighted` counts how much of each there is, too."""
    phases = len(held)
    share = weights[:phases]
    for number, (i, j) in enumerate(phase_pairs(phases)):
        if phases + number < weights.size:
            half = 0.5 * weights[phases + number]
            share = share.at[i].add(half).at[j].add(half)
    likelihood = held if weighted else held / jnp.maximum(share, 1e-12)[:, None, None]
    known = likelihood.sum(0) > 1e-30
    logs = -jnp.log(jnp.maximum(jnp.where(known, likelihood, alone), 1e-37))
    return jnp.minimum(logs - logs.min(0), _MOST_COST)


def bins_of(data: Array, rule: Rule) -> Array:
    """Flat place in the table of each voxel within the outermost layer of `data`."""
    rows, columns = rule.labels.shape
    values = data.astype(jnp.float32)
    u = (values[1:-1, 1:-1, 1:-1] - rule.low) / rule.step
    v = gradient_magnitude(values) * (columns / rule.steepest)
    # Beside a gap there is no gradient to go by; it is taken for flat.
    v = jnp.where(jnp.isfinite(v), v, 0.0)
    at = jnp.clip(jnp.nan_to_num(u), 0, rows - 1).astype(jnp.int32) * columns
    return at + jnp.clip(v, 0, columns - 1).astype(jnp.int32)
