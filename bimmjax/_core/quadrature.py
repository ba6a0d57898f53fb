"""Points and weights for the mean over an interface region, E over epsilon in (0, 1)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

_SIZES = (48, 64, 96, 128, 192, 256)


class Quadrature(NamedTuple):
    """A rule for a mean over the unit interval: `sum(weights * f(points))`.

    Attributes
    ----------
    points : array
        (K,) in (0, 1).
    weights : array
        (K,), summing to 1.
    """

    points: Array
    weights: Array


@lru_cache(maxsize=32)
def _legendre(size: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(size)
    return 0.5 * (nodes + 1.0), 0.5 * weights


def gauss_legendre(size: int = 64) -> Quadrature:
    """Gauss-Legendre rule with `size` points: deterministic, and exact for smooth integrands.

    Examples
    --------
    >>> from bimmjax.models import gauss_legendre
    >>> rule = gauss_legendre(16)
    >>> round(float((rule.weights * rule.points**3).sum()), 6)
    0.25
    """
    points, weights = _legendre(size)
    return Quadrature(jnp.asarray(points), jnp.asarray(weights))


def monte_carlo(key: Array, size: int = 1000) -> Quadrature:
    """`size` equally weighted uniform draws: the estimate of the BIMM paper (Eq. A.17).

    The log of the resulting mean is biased low by about half its relative variance; prefer
    `gauss_legendre` unless you reproduce the paper. For draws of its own at each voxel, `vmap`
    over keys.
    """
    points = jax.random.uniform(key, (size,))
    return Quadrature(points, jnp.full_like(points, 1.0 / size))


def points_needed(contrast_to_noise: float, gradient_to_spread: float, halfwidth: float) -> int:
    """How many Gauss-Legendre points keep the log density right to about 1e-5.

    contrast_to_noise : largest intensity difference over the noise std.
    gradient_to_spread : largest gradient over s = noise_std sqrt(1 - correlation).
    halfwidth : half-width of the interface region, in units of the blur.

    The integrand narrows as the noise shrinks against the interface profile; the returned size
    is rounded up to one of a few (48 at least), so that compiled code is reused.
    """
    sharpness = max(contrast_to_noise, 2.0 * gradient_to_spread)
    wanted = (8.0 + 2.5 * sharpness) * max(halfwidth, 1.0) / 2.15
    return next((size for size in _SIZES if size >= wanted), _SIZES[-1])
