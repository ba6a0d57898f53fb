"""Densities and bin probabilities of the two noise laws, stable in float32.

Intensities are normal. Gradient magnitudes, with three independent normal components, follow
a scaled non-central chi law with three degrees of freedom (BIMM paper, Eq. 6 and A.3), for which
the Bessel function of order one half is elementary.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import erfc

_LOG_2PI = 1.8378770664093453
_LOG_4_OVER_SQRT_PI = 0.8139294181951062
_SQRT_2_OVER_PI = 0.7978845608028654
_SQRT_2 = 1.4142135623730951
_SQRT_HALF = 0.7071067811865476


def log_sinhc_decayed(x: Array) -> Array:
    """`log(exp(-x) sinh(x) / x)` for x >= 0, finite with finite derivatives at 0."""
    small = x < 1e-2
    safe = jnp.where(small, 1.0, x)
    series = -x + x * x / 6.0 - x**4 / 180.0
    return jnp.where(small, series, jnp.log(-jnp.expm1(-2.0 * safe) / (2.0 * safe)))


def log_normal(u: Array, mean: Array, std: Array) -> Array:
    """Log density of a normal law (BIMM paper, Eq. 5)."""
    z = (u - mean) / std
    return -0.5 * (z * z + _LOG_2PI) - jnp.log(std)


def log_gradient_kernel(v: Array, gradient: Array, spread: Array) -> Array:
    """Log density of a gradient magnitude, less its factor `v**2` (BIMM paper, Eq. 6).

    The factor is common to every component of a mixture, so it is left out of the log-sum:
    what remains is finite, and has finite derivatives, at v = 0.

    `spread` is s = noise_std sqrt(1 - correlation), √2 times the std of one component.
    """
    z = (v - gradient) / spread
    x = 2.0 * (v / spread) * (gradient / spread)
    return _LOG_4_OVER_SQRT_PI - 3.0 * jnp.log(spread) - z * z + log_sinhc_decayed(x)


def normal_bins(edges: Array, mean: Array, std: Array) -> Array:
    """Probability of each bin under normal laws; the outermost bins reach to infinity.

    edges (n+1,) ascending; mean, std (R,). Returns (n, R).
    """
    return bins_between(normal_tails(edges, mean, std), normal_left(edges, mean))


def normal_left(edges: Array, mean: Array) -> Array:
    """Which inner edges (n-1, R) are left of the mean."""
    return edges[1:-1, None] < mean[None, :]


def normal_tails(edges: Array, mean: Array, std: Array) -> Array:
    """Distribution function F at the inner edges (n-1, R); F - 1 right of the mean."""
    z = (edges[1:-1, None] - mean[None, :]) / std[None, :]
    tail = _upper_tail(jnp.abs(z))
    return jnp.where(normal_left(edges, mean), tail, -tail)


def gradient_bins(edges: Array, gradient: Array, spread: Array) -> Array:
    """Probability of each bin of gradient magnitude; the outermost reach to 0 and infinity.

    edges (n+1,) ascending, >= 0; gradient, spread (R,). Returns (n, R).
    """
    return bins_between(gradient_tails(edges, gradient, spread), normal_left(edges, gradient))


def gradient_tails(edges: Array, gradient: Array, spread: Array) -> Array:
    """Distribution function F at the inner edges (n-1, R); F - 1 right of the gradient.

    With a = √2 v / s and λ = √2 G / s the distribution function of the non-central chi law is
    Φ(a-λ) - Φ(-a-λ) - [φ(a-λ) - φ(a+λ)] / λ.
    """
    a = _SQRT_2 * edges[1:-1, None] / spread[None, :]
    shift = _SQRT_2 * (gradient / spread)[None, :]
    # Of the sign that `normal_left` sees, which a - shift need not have after rounding.
    apart = _SQRT_2 * (edges[1:-1, None] - gradient[None, :]) / spread[None, :]
    near, far = _upper_tail(jnp.abs(apart)), _upper_tail(a + shift)
    # [φ(a-λ) - φ(a+λ)] / λ, written so that λ = 0 is no special case.
    bracket = _SQRT_2_OVER_PI * a * jnp.exp(-0.5 * apart**2 + log_sinhc_decayed(a * shift))
    return jnp.where(normal_left(edges, gradient), near, -near) - (far + bracket)


def _upper_tail(x: Array) -> Array:
    """P(Z > x) of a standard normal, accurate for x >= 0."""
    return 0.5 * erfc(x * _SQRT_HALF)


def bins_between(tails: Array, left: Array) -> Array:
    """Bin probabilities (n, R) from the tails at the inner edges (n-1, R).

    tails : F where `left`, F - 1 elsewhere, so that differences are taken of small numbers
    and little cancels. The one bin where the sign changes has 1 more.
    """
    ends = ((1, 1), (0, 0))
    left = jnp.pad(left.astype(tails.dtype), ((1, 0), (0, 0)), constant_values=1.0)
    step = left - jnp.pad(left[1:], ((0, 1), (0, 0)))
    return jnp.maximum(jnp.diff(jnp.pad(tails, ends), axis=0) + step, 0.0)
