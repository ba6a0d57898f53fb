"""Partial volume mixture of the intensities: interface voxels mix two phases in any proportion.

Every proportion is equally likely, as if the blur were a box (Gage et al.; BIMM paper, §3.4).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from numpy.typing import ArrayLike

from bimmjax._core.quadrature import Quadrature, gauss_legendre
from bimmjax.models import _nodes
from bimmjax.models._init import initial
from bimmjax.models._params import Params

HAS_INTERFACES = True
USES_GRADIENT = False


def init(
    intensities: ArrayLike,
    noise_std: ArrayLike,
    *,
    interior_weights: ArrayLike | None = None,
    interface_weights: ArrayLike | None = None,
) -> Params:
    """Parameters from given values; weights not given are equal.

    intensities (N,) ascending and noise_std () or (N,), in grey values.

    Examples
    --------
    >>> from bimmjax.models import pvmm
    >>> pvmm.init([0.0, 1.0], noise_std=0.1).interface_weights.shape
    (1,)
    """
    return initial(intensities, noise_std, interior_weights, interface_weights)


def log_prob(params: Params, u: ArrayLike, *, rule: Quadrature | None = None) -> Array:
    """Log density of intensities `u` of any shape, per grey value.

    `rule` integrates over the proportion (default: 64 Gauss-Legendre points).

    Examples
    --------
    >>> from bimmjax.models import pvmm
    >>> params = pvmm.init([0.0, 1.0], noise_std=0.1, interior_weights=[0, 0])
    >>> round(float(pvmm.log_prob(params, 0.0)), 4)
    -0.6931
    """
    return _nodes.log_prob_intensity(_at(params, rule), jnp.asarray(u))


def bin_probability(params: Params, u_edges: ArrayLike, *, rule: Quadrature | None = None) -> Array:
    """Probability (n,) of each bin of `u_edges` (n+1,); the outermost reach to infinity."""
    return _nodes.bins_intensity(_at(params, rule), jnp.asarray(u_edges))


def sample(key: Array, params: Params, shape: tuple[int, ...] = ()) -> Array:
    """Independent intensities of the given shape."""
    place_key, noise_key = jax.random.split(key)
    at = _nodes.sample_positions(place_key, params, shape, "linear", None)
    return at.intensity + at.noise_std * jax.random.normal(noise_key, shape)


def _at(params: Params, rule: Quadrature | None) -> _nodes.Nodes:
    return _nodes.nodes(params, gauss_legendre() if rule is None else rule, "linear")
