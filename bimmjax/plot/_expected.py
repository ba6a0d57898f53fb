"""What a fitted model expects of the histogram, component by component."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax import models
from bimmjax.fitting import Fit
from bimmjax.fitting._result import check_fit
from bimmjax.models import Params, Quadrature, _nodes, gauss_legendre

_ARC_POINTS = 101
_ARC_REACH = 3.5


class Expected(NamedTuple):
    """Shares of voxels under the model, on the bins of the fit's histogram.

    joint : (n_u, n_v), or None for a model of the intensities alone.
    interiors : (N, n_u). interfaces : (N(N-1)/2, n_u); their sum over components is the total.
    """

    joint: np.ndarray | None
    interiors: np.ndarray
    interfaces: np.ndarray


class Arcs(NamedTuple):
    """Expected intensity and gradient across each interface, (N(N-1)/2, points), grey values."""

    intensity: np.ndarray
    gradient: np.ndarray


def expected(fit: Fit) -> Expected:
    """Evaluate the fitted model on the bins of its histogram."""
    check_fit(fit)
    grid = fit.histogram.grid
    origin, unit = float(grid.u_edges[0]), float(grid.u_edges[-1] - grid.u_edges[0])
    shares = _shares(
        _scaled(fit.params, origin, unit),
        jnp.asarray((grid.u_edges - origin) / unit, float),
        jnp.asarray(grid.v_edges / unit, float),
        jnp.asarray(grid.step / unit, float),
        jnp.asarray(grid.lattice, float),
        model=fit.model,
        gradient=fit.gradient,
        nodes=fit.node_count,
    )
    joint = None if shares[0] is None else np.asarray(shares[0], float)
    rows = np.asarray(shares[1], float)
    return Expected(joint, rows[: fit.phases], rows[fit.phases :])


def shown_intensities(fit: Fit) -> tuple[float, float]:
    """Range of intensities that hold voxels: bins may reach further, where none is."""
    edges = fit.histogram.grid.u_edges
    held = np.flatnonzero(fit.histogram.counts.sum(1))
    margin = 0.01 * (edges[held[-1] + 1] - edges[held[0]])
    return (
        float(max(edges[0], edges[held[0]] - margin)),
        float(min(edges[-1], edges[held[-1] + 1] + margin)),
    )


def arcs(fit: Fit) -> Arcs:
    """The gradient law of the fit over the intensity, G(I), for each interface of BIMM-2D."""
    places = np.linspace(0.0, 1.0, _ARC_POINTS)
    at = _across(
        _scaled(fit.params._replace(interface_halfwidth=np.asarray(_ARC_REACH)), 0.0, 1.0),
        jnp.asarray(places, float),
        gradient=fit.gradient,
    )
    pairs = fit.params.interface_weights.size
    return Arcs(*(np.asarray(x)[fit.phases :].reshape(pairs, _ARC_POINTS) for x in at))


def _scaled(params: Params, origin: float, unit: float) -> Params:
    """To units in which the bins span the unit interval: float32 then has digits enough."""
    scaled = params._replace(
        intensities=(np.asarray(params.intensities) - origin) / unit,
        noise_std=np.asarray(params.noise_std) / unit,
    )
    return Params(*(None if x is None else jnp.asarray(x, float) for x in scaled))  # type: ignore[arg-type]


@partial(jax.jit, static_argnames=("model", "gradient", "nodes"))
def _shares(
    params: Params,
    u_edges: Array,
    v_edges: Array,
    rounding: Array,
    lattice: Array,
    *,
    model: str,
    gradient: str,
    nodes: int,
) -> tuple[Array | None, Array]:
    """All components together on (n_u, n_v), and each over the intensity, (C, n_u)."""
    family = getattr(models, model)
    phases = params.intensities.shape[0]

    def component(weights: Array) -> Array:
        own = params._replace(interior_weights=weights[:phases], interface_weights=weights[phases:])
        rule = gauss_legendre(nodes)
        if not family.USES_GRADIENT:
            return family.bin_probability(own, u_edges, rule=rule)
        raw = family.bin_probability(
            own, u_edges, v_edges, rule=rule, gradient=gradient, rounding=rounding
        )
        return lattice * raw

    weights = jnp.concatenate([params.interior_weights, params.interface_weights])
    each = jax.vmap(component)(jnp.diag(weights))
    each = each / jnp.sum(each)
    if not family.USES_GRADIENT:
        return None, each
    return each.sum(0), each.sum(-1)


@partial(jax.jit, static_argnames=("gradient",))
def _across(params: Params, places: Array, *, gradient: _nodes.Gradient) -> tuple[Array, Array]:
    rule = Quadrature(places, jnp.ones_like(places))
    at = _nodes.nodes(params, rule, "blurred", gradient)
    return at.intensity, at.gradient
