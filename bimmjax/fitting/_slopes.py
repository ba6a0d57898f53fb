"""What BIMM-2D expects in each bin, and how that changes with each parameter.

The expectation is one matrix product, rows times columns (`models._nodes`), and a parameter
moves it only through five numbers at each node: weight, intensity, noise, gradient and spread.
So the costly functions are differentiated once by those, for all parameters together; what is
left for each parameter is arithmetic. Plain forward differentiation of the product finds the
same, several times slower.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bimmjax._core.quadrature import gauss_legendre
from bimmjax._core.special import bins_between, gradient_tails, normal_left, normal_tails
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
    change = jnp.moveaxis(jax.jacfwd(at_nodes)(x), 2, 0)  # (f, 5, R)
    one = jnp.ones_like(weight)
    rows, by_mean = jax.jvp(lambda m: normal_tails(u_edges, m, noise), (mean,), (one,))
    by_noise = jax.jvp(lambda s: normal_tails(u_edges, mean, s), (noise,), (one,))[1]
    columns, by_slope = jax.jvp(lambda g: gradient_tails(v_edges, g, spread), (slope,), (one,))
    by_spread = jax.jvp(lambda s: gradient_tails(v_edges, slope, s), (spread,), (one,))[1]

    def moved(change: Array) -> Array:
        d_weight, d_mean, d_noise, d_slope, d_spread = change
        row = bins_between(rows, normal_left(u_edges, mean))
        column = bins_between(columns, normal_left(v_edges, slope))
        left = row * d_weight + _steps(by_mean * (weight * d_mean) + by_noise * (weight * d_noise))
        right = _steps(by_slope * d_slope + by_spread * d_spread)
        return _product(left, column) + _product(row * weight, right)

    # A loop over the parameters, because its operands are kept: side by side, the compiler
    # would work the tails out anew for every parameter. Its first round is the mass itself.
    mass = jnp.zeros_like(change[:1]).at[0, 0].set(weight)
    found = jax.lax.map(moved, jnp.concatenate([mass, change]))
    return found[0], found[1:]


def _steps(at_edges: Array) -> Array:
    """Differences (n, R) of what is known at the inner edges (n-1, R) and 0 at the ends."""
    return jnp.diff(jnp.pad(at_edges, ((1, 1), (0, 0))), axis=0)


def _product(rows: Array, columns: Array) -> Array:
    return jnp.matmul(rows, columns.T, precision=jax.lax.Precision.HIGHEST)
