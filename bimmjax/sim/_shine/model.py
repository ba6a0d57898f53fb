"""Images of backscattered electrons without following any: what shines through from below.

What the beam sees at one slice is what it would see at the next one, weakened on the way in and on
the way out, and what the slice itself scatters back. So one scan from the bottom up gives the image
of every slice. Ways out are oblique, to four sides: beside a wall those to one side are barred and
the others free. They also lead further off the longer they are: after some height they pass from
near to far. The beam widens on its way in.
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

from bimmjax.sim._electrons.bulk import bulk_backscatter, electron_range
from bimmjax.sim._electrons.materials import MATERIALS, Material
from bimmjax.sim._lateral import Width, blurred, mirrored, width_of

STAGES = 8
"""Planes of a state: ways out to four sides, young and old."""
# How much further off and wider old ways out are, at all voltages and in all materials.
_WIDER = 5.0
# An optical depth from which nothing comes, with e to its power a number still.
_OPAQUE = 60.0


class ShineThrough(NamedTuple):
    """The model at one voltage; all positive. Those without a unit named are plain numbers.

    Attributes
    ----------
    depth : float
        Length after which the beam's share that goes on straight falls to 1/e, over the range.
    emission : float
        What is scattered back over the coefficient of a bulk that scatters half back.
    contrast : float
        Its power of the bulk's coefficient.
    exit : float
        Length over which ways out are absorbed, over the range.
    width : float
        nm, standard deviation, of what a way out meets.
    offset : float
        nm, how far off to its side it does.
    clump : float
        Power of the local share of solid that ways out meet: below 1, finely divided solid is
        in the way of more of them than the same amount in lumps.
    cone : float
        nm of height over which ways out pass to the wider stage.
    spread : float
        nm, variance (nm²) that the beam gains per nm of its way.
    """

    depth: float
    emission: float
    contrast: float
    exit: float
    width: float
    offset: float
    clump: float
    cone: float
    spread: float


class Layer(NamedTuple):
    """What each of M materials does within one slice, (M,) each; made by `layer`."""

    strength: Array
    """of what is scattered back."""
    inward: Array
    """optical depth for the beam."""
    outward: Array
    """optical depth for ways out."""
    most: Array
    """() that of the yardstick of `clump`."""
    cones: Array
    """(2,) nm², variances."""
    offsets: Array
    """(2,) nm."""
    ageing: Array
    """() share that passes to the wider stage."""
    clump: Array
    """() power."""
    spread: Array
    """() nm², variance."""
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
    """(3, M + 1): one over the range, 1/nm, the bulk's coefficient, what tilt multiplies it by.

    The last column is gold's, the yardstick of `clump`: one that belonged to the volume would make
    images depend on materials that are nowhere in them.
    """
    rows = []
    for material in (*materials, MATERIALS["gold"]):
        upright = bulk_backscatter(material, energy)
        tilted = tilted_backscatter(upright, tilt)
        gain = tilted / upright if upright > 0.0 else 1.0
        rows.append((1.0 / electron_range(material, energy), upright, gain))
    return np.array(rows, np.float32).T


def layer(model: ShineThrough, table: Array, thickness: Array, tilt: Array) -> Layer:
    """Of a slice `thickness` nm thick, under a beam tilted by `tilt` radians."""
    inverse, bulk, gain = table
    # Beyond some depth nothing comes back, and e to its power were no number.
    steepest = inverse[:-1].max() / jnp.minimum(model.depth * jnp.cos(tilt), model.exit)
    thickness = jnp.minimum(thickness, _OPAQUE / steepest)
    inward, outward = inverse / model.depth, inverse / model.exit
    # A tilted beam stays nearer to the surface, which is part of its gain already.
    nearer = (inward + outward * jnp.cos(tilt)) / jnp.maximum(inward + outward, 1e-12)
    strength = model.emission * (2.0 * jnp.maximum(bulk, 1e-9)) ** model.contrast * gain * nearer
    return Layer(
        jnp.where(bulk > 0, 0.5 * strength, 0.0)[:-1],
        thickness / jnp.cos(tilt) * inward[:-1],
        thickness * outward[:-1],
        thickness * outward[-1],
        (model.width * jnp.array([1.0, _WIDER], jnp.float32)) ** 2,
        model.offset * jnp.array([1.0, _WIDER], jnp.float32),
        1.0 - jnp.exp(-thickness / model.cone),
        jnp.asarray(model.clump),
        thickness / jnp.cos(tilt) * model.spread,
        thickness * jnp.tan(tilt),
    )


class Plan(NamedTuple):
    """What of the numbers shapes the loops, static; pairs are y, x."""

    near: tuple[Width, Width]
    far: tuple[Width, Width]
    beam: tuple[Width, Width]
    rims: tuple[tuple[int, int], tuple[int, int]]
    """voxels that ways out lead to the side, near and far, at most."""
    tilted: bool


def plan(layer: Layer, spacing: Sequence[float]) -> Plan:
    """For a layer with known numbers; `spacing` (y, x), nm."""

    def both(variance: float) -> tuple[Width, Width]:
        y, x = (width_of(math.sqrt(max(variance, 0.0)) / s) for s in spacing)
        return y, x

    def rims(offset: float) -> tuple[int, int]:
        # Powers of two, so that numbers a little different compile nothing anew.
        y, x = (2 ** math.ceil(math.log2(offset / s + 2.0)) for s in spacing)
        return y, x

    near, far = (float(v) for v in layer.cones)
    return Plan(
        both(near),
        both(far - near),
        both(float(layer.spread)),
        (rims(float(layer.offsets[0])), rims(float(layer.offsets[1]))),
        float(layer.shift) != 0.0,
    )


@functools.partial(jax.jit, static_argnames="plan")
def shine_through(
    labels: Array, below: Array, layer: Layer, spacing: Array, plan: Plan
) -> tuple[Array, Array]:
    """Images of the slices of a slab and the state above it.

    labels (z, y, x) whole numbers; below (8, y, x): the state at the slice under the last one;
    spacing (2,): y and x, nm. Returns (z, y, x) float32 and (8, y, x).
    """
    # The compiler would work all this out anew for every slice.
    near, far = lax.optimization_barrier(_met(labels, layer, spacing, plan))

    def up(state: list[Array], slice_: tuple) -> tuple[list[Array], Array]:
        label, near, far = slice_
        if plan.tilted:
            state = [_shifted(plane, layer.shift / spacing[0]) for plane in state]
        state = [blurred(plane, layer.spread / spacing**2, *plan.beam) for plane in state]
        enters = layer.inward[label]
        passed = jnp.exp(-enters)
        strength = 0.25 * layer.strength[label]
        nearby = _four_ways(near, layer.offsets[0] / spacing, plan.rims[0], label.shape)
        further = _four_ways(far, layer.offsets[1] / spacing, plan.rims[1], label.shape)
        young, old = [], []
        for way in range(4):
            free = passed * jnp.exp(-nearby[way])
            # From all depths within the slice, each weakened on its way in and out.
            share = enters / jnp.maximum(enters + nearby[way], 1e-12)
            kept = free * state[way]
            wide = passed * jnp.exp(-further[way]) * state[4 + way]
            young.append(strength * share * (1.0 - free) + (1.0 - layer.ageing) * kept)
            old.append(wide + layer.ageing * kept)
        return young + old, sum(young[1:] + old, young[0])

    state, images = lax.scan(up, list(below), (labels, near, far), reverse=True)
    return images, jnp.stack(state)


def _met(
    labels: Array, layer: Layer, spacing: Array, plan: Plan
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """How much ways out meet of what stops them, near and far, each with rims for its sides."""
    left = blurred(jnp.exp(-layer.outward)[labels], layer.cones[0] / spacing**2, *plan.near)
    # A share of zero has no power with a slope.
    share = jnp.maximum(-jnp.log(left), 1e-6) / layer.most
    near = jnp.minimum(layer.most * share**layer.clump, _OPAQUE)
    wider = (layer.cones[1] - layer.cones[0]) / spacing**2
    far = -jnp.log(blurred(jnp.exp(-near), wider, *plan.far))

    return _rimmed(near, plan.rims[0]), _rimmed(far, plan.rims[1])


def _rimmed(planes: Array, rims: tuple[int, int]) -> tuple[Array, Array]:
    """With a rim along y, and with one along x; both at once would be large for fine voxels."""
    y, x = rims
    return (
        jnp.pad(planes, ((0, 0), (y, y), (0, 0)), mode="symmetric"),
        jnp.pad(planes, ((0, 0), (0, 0), (x, x)), mode="symmetric"),
    )


def _four_ways(
    planes: tuple[Array, Array], off: Array, rims: tuple[int, int], shape: tuple[int, ...]
) -> list[Array]:
    """Four (y, x): a plane, rimmed along y and along x, as seen some way off to either side."""
    low = jnp.floor(off).astype(jnp.int32)
    part = off - low

    def at(axis: int, voxels: Array) -> Array:
        start = [jnp.int32(0)] * 2
        start[axis] = rims[axis] + voxels
        return lax.dynamic_slice(planes[axis], start, shape)

    return [
        (1.0 - part[axis]) * at(axis, near) + part[axis] * at(axis, next_)
        for axis in (0, 1)
        for near, next_ in ((low[axis], low[axis] + 1), (-low[axis], -low[axis] - 1))
    ]


def _shifted(planes: Array, voxels: Array) -> Array:
    """Planes (..., y, x) seen `voxels` further along y, between voxels linearly."""
    size = planes.shape[-2]
    at = jnp.arange(size) + voxels
    low = jnp.floor(at).astype(jnp.int32)
    part = (at - low)[:, None]

    here, next_ = mirrored(low, size), mirrored(low + 1, size)
    return (1.0 - part) * planes[..., here, :] + part * planes[..., next_, :]
