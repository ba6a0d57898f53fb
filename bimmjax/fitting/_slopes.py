"""What BIMM-2D expects in each bin, and how that changes with each parameter.

The expectation is one matrix product, rows times columns (`models._nodes`), and a parameter
moves it only through five numbers at each node: weight, intensity, noise, gradient and spread.
So the costly functions are differentiated once by those, for all parameters together; what is
left for each parameter is arithmetic. Plain forward differentiation of the product finds the
same, two to three times slower.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bimmjax._core.quadrature import gauss_legendre
from bimmjax._core.special import gradient_bins, normal_bins
from bimmjax.models import Unconstrained, from_unconstrained
from bimmjax.models._nodes import Gradient, gradient_spread, nodes


def joint_slopes(
    x: Array,
    rebuild: Any,
    u_edges: Array,
    v_edges: Array,
    rounding: Array,
    *,
    gradient: Gradient,
    size: int,
) -> tuple[Array, Array]:
    """Mass (n_u, n_v) of each bin, and its derivative (f, n_u, n_v) by the parameters x (f,).

    rebuild : from x to `Unconstrained`. size : Gauss-Legendre points.
    """

    def at_nodes(x: Array) -> Array:
        theta: Unconstrained = rebuild(x)
        params = from_unconstrained(theta)
        at = nodes(params, gauss_legendre(size), "blurred", gradient)
        assert params.correlation is not None
        spread = gradient_spread(at, params.correlation, rounding)
        return jnp.stack([at.weight, at.intensity, at.noise_std, at.gradient, spread])

    weight, mean, noise, slope, spread = at_nodes(x)
    change = jax.jacfwd(at_nodes)(x)  # (5, R, f)
    one = jnp.ones_like(weight)
    rows, by_mean = jax.jvp(lambda m: normal_bins(u_edges, m, noise), (mean,), (one,))
    by_noise = jax.jvp(lambda s: normal_bins(u_edges, mean, s), (noise,), (one,))[1]
    columns, by_slope = jax.jvp(lambda g: gradient_bins(v_edges, g, spread), (slope,), (one,))
    by_spread = jax.jvp(lambda s: gradient_bins(v_edges, slope, s), (spread,), (one,))[1]
    # Or the compiler works these out anew for every parameter, inside the sums that follow.
    rows, by_mean, by_noise, columns, by_slope, by_spread, change = jax.lax.optimization_barrier(
        (rows, by_mean, by_noise, columns, by_slope, by_spread, change)
    )
    d_weight, d_mean, d_noise, d_slope, d_spread = jnp.moveaxis(change, 2, 1)[:, :, None, :]
    weighted = rows * weight
    left = rows * d_weight + by_mean * weight * d_mean + by_noise * weight * d_noise
    right = by_slope * d_slope + by_spread * d_spread
    left, right, weighted = jax.lax.optimization_barrier((left, right, weighted))
    mass = _product(weighted, columns)
    moved = jnp.einsum("fur,vr->fuv", left, columns, precision=jax.lax.Precision.HIGHEST)
    moved += jnp.einsum("ur,fvr->fuv", weighted, right, precision=jax.lax.Precision.HIGHEST)
    return jax.lax.optimization_barrier((mass, moved))


def _product(rows: Array, columns: Array) -> Array:
    return jnp.matmul(rows, columns.T, precision=jax.lax.Precision.HIGHEST)
