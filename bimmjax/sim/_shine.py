"""Images of backscattered electrons without following any: light that shines through.

What the beam sees at one slice is what it would see at the next one, weakened on the way in and on
the way out, and what the slice itself scatters back. So one scan from the bottom up gives the image
of every slice. Ways out are oblique: they cross the slices in a cone that widens with height above
where the electron turned, and what part of the cone is free of solid decides what comes out. The
signal therefore is kept by its age in three stages, each with a wider cone than the one before.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bimmjax.sim._electrons import bulk_backscatter, electron_range
from bimmjax.sim._lateral import Width, blurred
from bimmjax.sim._materials import Material

# Of all voltages and materials: each stage's cone is so much wider and longer than the last one's,
# and ways out of the last are so much more oblique.
STAGES = 8
_WIDER = 3.0


class ShineThrough(NamedTuple):
    """The model at one voltage; all positive, without a unit but for `width` and `offset`."""

    depth: float
    """Length after which the beam's share that goes on straight falls to 1/e, over the range."""
    emission: float
    """What is scattered back over the coefficient of a bulk that scatters half back."""
    contrast: float
    """Its power of the bulk's coefficient."""
    exit: float
    """Length over which ways out are absorbed, over the range."""
    width: float
    """nm, standard deviation, of what a way out meets."""
    offset: float
    """nm, how far off to its side it does."""
    clump: float
    """Power of the local share of solid that ways out meet: below 1, finely divided solid is in the
    way of more of them than the same amount in lumps."""
    cone: float
    """nm of height over which ways out pass to the wider stage."""
    spread: float
    """Variance that the beam gains per length, over the depth at which it fades."""


class Layer(NamedTuple):
    """What each of M materials does within one slice, (M,) each; made by `layer`."""

    strength: Array
    """of what is scattered back."""
    passed: Array
    """share of the beam that goes on."""
    left: Array
    """share that ways out keep."""
    spreads: Array
    """of the largest spread."""
    variance: Array
    """() nm², of the largest spread."""
    cones: Array
    """(2,) nm², variances."""
    offsets: Array
    """(2,) nm."""
    ageing: Array
    """() share that passes to the wider stage."""
    clump: Array
    """() power."""
    shift: Array
    """() nm along y that a tilted beam moves on."""


def tilted_backscatter(coefficient: float, tilt: float) -> float:
    """The bulk's coefficient at a tilt (degrees): 0.89 (η/0.89)^cos.

    Source: Drescher, Reimer and Seidel (1970).
    """
    if coefficient <= 0.0:
        return 0.0
    return 0.89 * (coefficient / 0.89) ** math.cos(math.radians(tilt))


def material_table(materials: Sequence[Material], energy: float, tilt: float) -> np.ndarray:
    """(2, M): one over the range, 1/nm, and the bulk's coefficient."""
    rows = [
        (1.0 / electron_range(m, energy), tilted_backscatter(bulk_backscatter(m, energy), tilt))
        for m in materials
    ]
    return np.array(rows, np.float32).T


def layer(model: ShineThrough, table: Array, thickness: Array, tilt: Array) -> Layer:
    """Of a slice `thickness` nm thick, under a beam tilted by `tilt` radians."""
    way = thickness / jnp.cos(tilt)
    inverse, bulk = table[0], table[1]
    passed = jnp.exp(-way / model.depth * inverse)
    strength = jnp.where(
        bulk > 0, model.emission * (2.0 * jnp.maximum(bulk, 1e-9)) ** model.contrast, 0.0
    )
    lengths = jnp.where(inverse > 0, model.depth / jnp.where(inverse > 0, inverse, 1.0), 0.0)
    return Layer(
        0.5 * strength,
        passed,
        jnp.exp(-thickness / model.exit * inverse),
        lengths / jnp.maximum(lengths.max(), 1e-9),
        model.spread * lengths.max() * way,
        (model.width * np.array([1.0, _WIDER])) ** 2,
        model.offset * np.array([1.0, _WIDER]),
        1.0 - jnp.exp(-thickness / model.cone),
        jnp.asarray(model.clump),
        thickness * jnp.tan(tilt),
    )


class Widths(NamedTuple):
    """Static: of the blurs, (y, x) each."""

    spread: tuple[Width, Width]
    cones: tuple[tuple[Width, Width], tuple[Width, Width]]


def widths(layer: Layer, spacing: Sequence[float]) -> Widths:
    """For a layer with known numbers; `spacing` (y, x), nm."""

    def both(variance: float) -> tuple[Width, Width]:
        y, x = (Width(math.sqrt(max(variance, 0.0)) / s) for s in spacing)
        return y, x

    return Widths(both(float(layer.variance)), (both(float(layer.cones[0])), both(float(layer.cones[1]-layer.cones[0]))))


@functools.partial(jax.jit, static_argnames="widths")
def shine_through(
    labels: Array, below: Array, layer: Layer, spacing: Array, widths: Widths
) -> tuple[Array, Array]:
    """Images of the slices of a slab and the state above it.

    labels (z, y, x) whole numbers; below (4, y, x): the state at the slice under the last one;
    spacing (2,): y and x, nm. Returns (z, y, x) float32 and (4, y, x).
    """
    left = layer.left[labels]
    left = blurred(left, layer.cones[0] / spacing**2, *widths.cones[0])
    most = -jnp.log(layer.left.min())
    met = jnp.maximum(-jnp.log(left), 1e-6) / most
    left = jnp.exp(-most * met**layer.clump)
    far = blurred(left, (layer.cones[1] - layer.cones[0]) / spacing**2, *widths.cones[1])
    # The compiler would work the blurs out anew for every slice.
    left, far = lax.optimization_barrier((left, far))
    off = layer.offsets[:, None] / spacing

    def up(state: Array, slice_: tuple) -> tuple[Array, Array]:
        label, near, far = slice_
        state = _shifted(state, layer.shift / spacing[0])
        wide = blurred(state, layer.variance / spacing**2, *widths.spread)
        state = state + layer.spreads[label] * (wide - state)
        passed = layer.passed[label]
        near, far = _four_ways(near, off[0]), _four_ways(far, off[1])
        young = passed * state[:4] * near
        old = passed * state[4:] * far
        aged = layer.ageing * young
        new = _emitted(0.25 * layer.strength[label], passed, near)
        state = jnp.concatenate([new + young - aged, old + aged])
        return state, state.sum(0)

    state, images = lax.scan(up, below, (labels, left, far), reverse=True)
    return images, state


def _four_ways(plane: Array, off: Array) -> Array:
    """(4, y, x): a plane seen from each voxel some way off to either side along y and x."""
    across = plane.swapaxes(0, 1)
    return jnp.stack(
        [
            _shifted(plane, off[0]),
            _shifted(plane, -off[0]),
            _shifted(across, off[1]).swapaxes(0, 1),
            _shifted(across, -off[1]).swapaxes(0, 1),
        ]
    )


def _emitted(strength: Array, passed: Array, free: Array) -> Array:
    """From all depths within a slice, each weakened on its way in and out."""
    inward, outward = -jnp.log(passed), -jnp.log(free)
    share = inward / jnp.maximum(inward + outward, 1e-12)
    return strength * share * (1.0 - passed * free)


def _shifted(planes: Array, voxels: Array) -> Array:
    """Planes (..., y, x) seen `voxels` further along y, between voxels linearly."""
    size = planes.shape[-2]
    at = jnp.arange(size) + voxels
    low = jnp.floor(at).astype(jnp.int32)
    part = (at - low)[:, None]

    def mirrored(index: Array) -> Array:
        within = jnp.remainder(index, 2 * size)
        return jnp.minimum(within, 2 * size - 1 - within)

    return (1.0 - part) * planes[..., mirrored(low), :] + part * planes[..., mirrored(low + 1), :]
