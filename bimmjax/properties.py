"""From model parameters to physical properties, with units (BIMM paper, Eqs. 16-18).

Pure functions of `Params`: they compose with jit, vmap and grad. A length unit enters through
`spacing`, the edge of a voxel.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr

from bimmjax.models import Params, gauss_legendre, phase_pairs
from bimmjax.models._interface import (
    apparent_blur_variance,
    area_gain,
    relative_density,
    spread,
)

RISE_PER_BLUR = 2.5631031310892007
"""2 √2 erf⁻¹(0.8): the width of an edge from 10 % to 90 %, over the blur's standard deviation."""
_NODES = 32


class Properties(NamedTuple):
    """What a fitted model says about the sample; None where the model cannot know.

    Attributes
    ----------
    volume_fractions : (N,)
        Share of the volume of each phase.
    interface_areas : (N(N-1)/2,) or None
        Area per volume of each interface, in 1 / length; pairs as in `phase_pairs`.
    resolution_10_90 : () or None
        Width over which an edge rises from 10 % to 90 %, in lengths.
    """

    volume_fractions: Array
    interface_areas: Array | None
    resolution_10_90: Array | None


def volume_fractions(params: Params) -> Array:
    """Volume fractions (N,): interiors, and each phase's part of the interface regions (Eq. 17).

    Flat interfaces are shared half and half; curved ones so that the mean intensity comes out.

    Examples
    --------
    >>> from bimmjax.models import bimm2d
    >>> from bimmjax.properties import volume_fractions
    >>> params = bimm2d.init([0, 1], 0.1, interior_weights=[1, 2], interface_weights=[1])
    >>> [round(float(x), 3) for x in volume_fractions(params)]
    [0.375, 0.625]
    """
    params = _arrays(params)
    fractions = params.interior_weights
    if params.interface_weights.shape[0] == 0:
        return fractions
    low, high = np.array(phase_pairs(fractions.shape[0])).T
    brighter = 0.5 * params.interface_weights
    if params.interface_tilt is not None and params.interface_halfwidth is not None:
        rule = gauss_legendre(_NODES)
        t = params.interface_halfwidth * (2.0 * rule.points - 1.0)
        brighter = params.interface_weights * (spread(params, rule, t) @ ndtr(t))
    darker = params.interface_weights - brighter
    return fractions.at[low].add(darker).at[high].add(brighter)


def interface_areas(params: Params, spacing: Array | float = 1.0) -> Array | None:
    """Interface area per volume (N(N-1)/2,), in 1 / length; None if there is no blur (Eq. 16).

    Curved interfaces: voxels per blur at the interface itself, and the area that the blur took.

    Examples
    --------
    >>> from bimmjax.models import bimm2d
    >>> from bimmjax.properties import interface_areas
    >>> params = bimm2d.init([0, 1], 0.1, blur_std=1.0, interface_halfwidth=2.0)
    >>> [round(float(x), 4) for x in interface_areas(params)]
    [0.0833]
    """
    if params.blur_std is None or params.interface_halfwidth is None:
        return None
    blur = jnp.sqrt(apparent_blur_variance(params)) * spacing
    areas = params.interface_weights / (2.0 * params.interface_halfwidth * blur)
    if params.interface_tilt is None:
        return areas
    rule = gauss_legendre(_NODES)
    t = params.interface_halfwidth * (2.0 * rule.points - 1.0)
    return areas * area_gain(params) / (relative_density(params, t) @ rule.weights)


def resolution_10_90(params: Params, spacing: Array | float = 1.0) -> Array | None:
    """Rise of an edge from 10 % to 90 %, in lengths; None if the model has no blur (Eq. 18)."""
    return None if params.blur_std is None else RISE_PER_BLUR * params.blur_std * spacing


def properties(params: Params, spacing: Array | float = 1.0) -> Properties:
    """All properties; `spacing` is the edge of a voxel (cubic voxels where areas are asked)."""
    return Properties(
        volume_fractions(params),
        interface_areas(params, spacing),
        resolution_10_90(params, spacing),
    )


def _arrays(params: Params) -> Params:
    """NumPy parameters, as fits return them, as JAX arrays."""
    return jax.tree.map(jnp.asarray, params)
