"""Gaussian mixture of the intensities: phase interiors only, no interfaces (BIMM paper, §3.4)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from numpy.typing import ArrayLike

from bimmjax._core.quadrature import Quadrature
from bimmjax.models import _nodes
from bimmjax.models._init import initial
from bimmjax.models._params import Params

HAS_INTERFACES = False
USES_GRADIENT = False


def init(
    intensities: ArrayLike, noise_std: ArrayLike, *, interior_weights: ArrayLike | None = None
) -> Params:
    """Parameters from given values; weights are equal unless given.

    intensities (N,) ascending and noise_std () or (N,), in grey values.

    Examples
    --------
    >>> from bimmjax.models import gmm
    >>> gmm.init([0.0, 1.0], noise_std=0.1).interior_weights.tolist()
    [0.5, 0.5]
    """
    return initial(intensities, noise_std, interior_weights, interfaces=False)


def log_prob(params: Params, u: ArrayLike, *, rule: Quadrature | None = None) -> Array:
    """Log density of intensities `u` of any shape, per grey value (BIMM paper, Eq. 14).

    `rule` is accepted, and unused, so that all models are called alike.

    Examples
    --------
    >>> from bimmjax.models import gmm
    >>> params = gmm.init([0.0, 1.0], noise_std=0.1)
    >>> round(float(gmm.log_prob(params, 0.0)), 4)
    0.6905
    """
    return _nodes.log_prob_intensity(_at(params), jnp.asarray(u))


def bin_probability(params: Params, u_edges: ArrayLike, *, rule: Quadrature | None = None) -> Array:
    """Probability (n,) of each bin of `u_edges` (n+1,); the outermost reach to infinity."""
    return _nodes.bins_intensity(_at(params), jnp.asarray(u_edges))


def sample(key: Array, params: Params, shape: tuple[int, ...] = ()) -> Array:
    """Independent intensities of the given shape."""
    place_key, noise_key = jax.random.split(key)
    at = _nodes.sample_positions(place_key, params, shape, "linear", None)
    return at.intensity + at.noise_std * jax.random.normal(noise_key, shape)


def _at(params: Params) -> _nodes.Nodes:
    empty = jnp.zeros(0)
    return _nodes.nodes(params, Quadrature(empty, empty), "linear")
