"""How voxels are spread across an interface, and how steep it looks there.

The paper takes interfaces for flat: as many voxels at every distance, one blur. Real ones curve.
By Steiner's formula the surface at distance x from one of mean curvature H and Gaussian
curvature K has 1 + 2Hx + Kx² times its area, so the logs of the numbers of voxels have a tilt
2Hσ_b and a bend Kσ_b² - (2Hσ_b)²/2. To second order in the blur a curved interface also looks
as if blurred by σ_b²(1 + ½Sσ_b²), S the sum of the squared principal curvatures, and the blur
has shrunk its area by ½(2H)²σ_b². Of surfaces whose curvature varies only means are seen; with
them for the curvatures both effects are taken at the least that they can be (Jensen), so the
correction is a lower bound to that order, and vanishes for flat interfaces.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from bimmjax._core.quadrature import Quadrature
from bimmjax.models._params import Params


def spread(params: Params, rule: Quadrature, t: Array) -> Array:
    """Share (P, K) of each pair's interface voxels at t (K,), each row summing to 1."""
    pairs = params.interface_weights.shape[0]
    weights = jnp.broadcast_to(rule.weights, (pairs, t.size))
    if params.interface_tilt is None or params.interface_bend is None:
        return weights
    weights = weights * relative_density(params, t)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def relative_density(params: Params, t: Array) -> Array:
    """Voxels at t (K,) over voxels at the interface itself, (P, K)."""
    assert params.interface_tilt is not None
    assert params.interface_bend is not None
    return jnp.exp(params.interface_tilt[:, None] * t + params.interface_bend[:, None] * t * t)


def apparent_blur_variance(params: Params) -> Array:
    """σ_b² as it looks at each pair's interface, (P,); the paper's σ_b² if they are flat."""
    assert params.blur_std is not None
    pairs = params.interface_weights.shape[0]
    flat = jnp.broadcast_to(params.blur_std**2, (pairs,))
    if params.interface_bend is None:
        return flat
    # ½Sσ² with S = (2H)² - 2K at least, which is -2 bend / σ².
    return flat * (1.0 - params.interface_bend)


def area_gain(params: Params) -> Array:
    """True area over the area of the blurred volume's mid-level surface, (P,)."""
    assert params.interface_tilt is not None
    return 1.0 + 0.5 * params.interface_tilt**2
