"""Blurred interface mixture of intensity and gradient magnitude (BIMM paper, Eqs. 3-12).

The gradient is that of central differences over ±1 voxel on a cubic lattice. Its expected value
across an interface is, with `gradient="plain"`, the derivative of the blurred step (the paper's
Eq. 2); with `gradient="central_difference"`, the default, it is what the finite difference
reads, which removes the paper's bias of the blur. Parameters with a tilt and a bend describe
curved interfaces (`models._interface`); without them interfaces are flat, as in the paper.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from numpy.typing import ArrayLike

from bimmjax._core.quadrature import Quadrature, gauss_legendre
from bimmjax.models import _nodes
from bimmjax.models._init import initial
from bimmjax.models._nodes import Gradient
from bimmjax.models._params import Params

HAS_INTERFACES = True
USES_GRADIENT = True


def init(
    intensities: ArrayLike,
    noise_std: ArrayLike,
    *,
    correlation: ArrayLike = 0.0,
    blur_std: ArrayLike = 1.5,
    interface_halfwidth: ArrayLike = 2.0,
    interior_weights: ArrayLike | None = None,
    interface_weights: ArrayLike | None = None,
    interface_tilt: ArrayLike | None = None,
    interface_bend: ArrayLike | None = None,
) -> Params:
    """Parameters from given values; weights not given are equal, interfaces flat.

    intensities (N,) ascending and noise_std () or (N,), in grey values; blur_std in voxels;
    interface_halfwidth in units of blur_std. For curved interfaces give both interface_tilt and
    interface_bend, one number or one per pair.

    Examples
    --------
    >>> from bimmjax.models import bimm2d
    >>> params = bimm2d.init([0.0, 0.5, 1.0], noise_std=0.1, blur_std=2.0)
    >>> params.interface_weights.shape
    (3,)
    """
    return initial(
        intensities,
        noise_std,
        interior_weights,
        interface_weights,
        interface_halfwidth=interface_halfwidth,
        correlation=correlation,
        blur_std=blur_std,
        interface_tilt=interface_tilt,
        interface_bend=interface_bend,
    )


def log_prob(
    params: Params,
    u: ArrayLike,
    v: ArrayLike,
    *,
    rule: Quadrature | None = None,
    gradient: Gradient = "central_difference",
) -> Array:
    """Log density of intensities `u` and gradient magnitudes `v` >= 0 (BIMM paper, Eqs. 3, 11, 12).

    `u` and `v` are of one shape, in grey values and grey values per voxel; the result has that
    shape, in logs of 1 / grey value². It is -inf at v = 0, where its derivatives with respect
    to the parameters are still finite. Composes with jit, vmap and grad.

    `rule` integrates over the interface region (default: 64 Gauss-Legendre points, right to
    about 1e-5 up to intensity steps of 10 noise stds and 1e-4 up to 20; `monte_carlo` for the
    paper's estimate).

    Examples
    --------
    >>> import jax
    >>> from bimmjax.models import bimm2d
    >>> params = bimm2d.init([0.0, 1.0], noise_std=0.1)
    >>> slope = jax.grad(lambda p: bimm2d.log_prob(p, 0.5, 0.2))(params)
    >>> bool(slope.noise_std != 0)
    True
    """
    at = _at(params, rule, gradient)
    assert params.correlation is not None
    return _nodes.log_prob_joint(at, params.correlation, jnp.asarray(u), jnp.asarray(v))


def bin_probability(
    params: Params,
    u_edges: ArrayLike,
    v_edges: ArrayLike,
    *,
    rule: Quadrature | None = None,
    gradient: Gradient = "central_difference",
    rounding: float | Array = 0.0,
) -> Array:
    """Probability (n_u, n_v) of each bin of `u_edges` (n_u+1,) and `v_edges` (n_v+1,).

    Exact for any bin width. The outermost bins reach to infinity, and to 0 for `v`. `rounding`
    is the grey-level step of integer data, whose rounding widens the gradient (0: continuous).
    """
    at = _at(params, rule, gradient)
    assert params.correlation is not None
    edges = jnp.asarray(u_edges), jnp.asarray(v_edges)
    return _nodes.bins_joint(at, params.correlation, *edges, rounding)


def sample(
    key: Array,
    params: Params,
    shape: tuple[int, ...] = (),
    *,
    gradient: Gradient = "central_difference",
) -> tuple[Array, Array]:
    """Independent pairs of intensity and gradient magnitude, each of the given shape."""
    place_key, noise_key, slope_key = jax.random.split(key, 3)
    at = _nodes.sample_positions(place_key, params, shape, "blurred", gradient)
    u = at.intensity + at.noise_std * jax.random.normal(noise_key, shape)
    assert params.correlation is not None
    # Each component of the gradient is half the difference of two voxels of correlation rho.
    component_std = at.noise_std * jnp.sqrt(0.5 * (1.0 - params.correlation))
    components = component_std[..., None] * jax.random.normal(slope_key, (*shape, 3))
    return u, jnp.linalg.norm(components.at[..., 0].add(at.gradient), axis=-1)


def _at(params: Params, rule: Quadrature | None, gradient: Gradient) -> _nodes.Nodes:
    return _nodes.nodes(params, gauss_legendre() if rule is None else rule, "blurred", gradient)
