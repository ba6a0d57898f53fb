"""What a fitted model says of each intensity and gradient, as a table to look voxels up in."""

from __future__ import annotations

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

_NODES = 96
_ROWS, _COLUMNS = 2048, 256
# What a voxel may be off: noise stds beyond the outermost phases and the steepest edge.
_SPARE = 8.0


class Rule(NamedTuple):
    """Probabilities by bin; bins are even, and the outermost take all beyond.

    posterior : (N, n_u, n_v) float32, summing to 1 over the phases. labels : (n_u, n_v) uint8.
    low, step : of the bins of intensity, grey values. steepest : end of those of gradient;
    one bin only for a model of intensities alone.
    """

    posterior: Array
    labels: Array
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
    u_edges = jnp.asarray((low + step * np.arange(_ROWS + 1) - low) / (high - low), float)
    scaled = at._replace(
        intensity=(at.intensity - low) / (high - low),
        gradient=at.gradient / (high - low),
        noise_std=at.noise_std / (high - low),
    )
    if uses_gradient:
        v_edges = jnp.asarray(steepest / (high - low) * np.arange(_COLUMNS + 1) / _COLUMNS, float)
        assert params.correlation is not None
        parts = bins_of_components(
            scaled, means.size, jnp.asarray(params.correlation), u_edges, v_edges, 0.0
        )
    else:
        parts = _by_intensity(scaled, means.size, u_edges)[:, :, None]
    middle = low + step * (np.arange(_ROWS) + 0.5)
    posterior, labels = _decided(
        parts, jnp.asarray(means), jnp.asarray(middle), _of(params, weighted)
    )
    return Rule(posterior, labels, float(low), float(step), float(steepest))


def _nodes(params: Params, model: str, gradient: Gradient) -> Nodes:
    """Those of each component by itself, as if it were all there is."""
    alone = params._replace(
        interior_weights=np.ones(np.size(params.intensities)),
        interface_weights=np.ones(np.size(params.interface_weights)),
    )
    alone = jax.tree.map(lambda x: jnp.asarray(x, float), alone)
    if model == "gmm":
        return nodes(alone, Quadrature(jnp.zeros(0), jnp.zeros(0)), "linear")
    rule = gauss_legendre(_NODES)
    if model == "pvmm":
        return nodes(alone, rule, "linear")
    return nodes(alone, rule, "blurred", gradient if model == "bimm2d" else None)


def _by_intensity(at: Nodes, phases: int, u_edges: Array) -> Array:
    """Of models of intensities alone, (components, n_u)."""
    rows = normal_bins(u_edges, at.intensity, at.noise_std) * at.weight
    if rows.shape[1] == phases:
        return rows.T
    between = rows[:, phases:].reshape(len(rows), len(phase_pairs(phases)), -1).sum(-1)
    return jnp.concatenate([rows[:, :phases], between], 1).T


def _of(params: Params, weighted: bool) -> Array:
    weights = np.concatenate([params.interior_weights, params.interface_weights])
    return jnp.asarray(weights if weighted else np.ones_like(weights), float)


@jax.jit
def _decided(parts: Array, means: Array, middle: Array, weights: Array) -> tuple[Array, Array]:
    phases = means.shape[0]
    parts = parts * weights[: len(parts), None, None]
    held = jnp.zeros((phases, *parts.shape[1:]))
    owner = [jnp.full(middle.shape, k) for k in range(phases)]
    held = held.at[:phases].add(parts[:phases])
    for number, (i, j) in enumerate(phase_pairs(phases)):
        if len(parts) == phases:
            break
        bright = middle > 0.5 * (means[i] + means[j])
        own = parts[phases + number]
        held = held.at[i].add(jnp.where(bright[:, None], 0.0, own))
        held = held.at[j].add(jnp.where(bright[:, None], own, 0.0))
        owner.append(jnp.where(bright, j, i))
    likeliest = jnp.argmax(parts, 0)
    labels = jnp.stack(owner)[likeliest, jnp.arange(middle.size)[:, None]]
    # Where nothing is likely at all, the nearest intensity.
    nearest = jnp.argmin(jnp.abs(middle[:, None] - means), 1)[:, None]
    total = held.sum(0)
    known = total > 1e-30
    labels = jnp.where(known, labels, nearest)
    alone = (jnp.arange(phases)[:, None, None] == nearest).astype(held.dtype)
    posterior = jnp.where(known, held / jnp.where(known, total, 1.0), alone)
    return posterior.astype(jnp.float32), labels.astype(jnp.uint8)
