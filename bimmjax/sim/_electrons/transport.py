"""Electrons on their way through voxels, many at a time.

Every electron's random numbers follow from the key, its pixel and its number there alone, so what
comes out does not depend on how many are under way at once or on how many devices. A lane whose
electron has ended takes the next one of a queue.

Beyond its sides and its bottom the volume goes on as its mirror image; above the surface is
nothing.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from bimmjax.sim._electrons.scattering import ANGLES, LOWEST, Tables, coarse_bin, fine_bin
from bimmjax.sim._lateral import mirrored

_STEPS = 16  # between two looks at which lanes are free
_NUDGE = 1e-3  # voxels beyond a face, so that rounding never holds an electron there
ALIVE, OUT, ABSORBED, TRUNCATED = 0, 1, 2, 3


class Beam(NamedTuple):
    """Scalars and windows, traced."""

    energy: Array
    """() float32, keV."""
    tilt: Array
    """() float32, radians, about the x axis."""
    surface: Array
    """() int32, the slice whose upper face is the surface."""
    spacing: Array
    """(3,) float32, nm."""
    deepest: Array
    """() float32, voxels below the surface from which nothing is waited for."""
    cap: Array
    """() int32, steps after which an electron is given up."""
    windows: Array
    """(W, 4) float32: lowest and highest energy, keV, and cosine of the angle to the way back into
    the beam; the higher ones are outside."""


class Electrons(NamedTuple):
    """A lane each, (n,) each."""

    place: tuple[Array, Array, Array]
    """voxels, z y x; z from the surface."""
    direction: tuple[Array, Array, Array]
    energy: Array
    lost: Array
    """keV, on the way so far; counted by itself, a check of the books."""
    collide: Array
    """free paths left to the next collision."""
    state: tuple[Array, Array, Array, Array]
    """of the random numbers."""
    pixel: Array
    """int32."""
    steps: Array
    fate: Array


class Tally(NamedTuple):
    """What has been counted."""

    images: Array
    """(W, pixels) int32."""
    fates: Array
    """(4,) int32 by ALIVE (none), OUT, ABSORBED, TRUNCATED."""
    energy_out: Array
    """() float32, keV, of those that left."""
    energy_left: Array
    """of the others, when they were given up."""
    energy_lost: Array
    """by all, on the way."""
    steps: Array
    """() float32, of all electrons together."""


def _next(state: tuple[Array, Array, Array, Array]) -> tuple[Array, tuple]:
    """xoshiro128++ (Blackman and Vigna): 32 random bits and the state after."""
    a, b, c, d = state
    total = a + d
    bits = ((total << 7) | (total >> 25)) + a
    c, d = c ^ a, d ^ b
    after = (a ^ d, b ^ c, c ^ (b << 9), (d << 11) | (d >> 21))
    return bits, after


def _uniform(state: tuple[Array, Array, Array, Array]) -> tuple[Array, tuple]:
    """In (0, 1]: the upper 24 bits, no zero."""
    bits, state = _next(state)
    return _fraction(bits), state


def _fraction(bits: Array) -> Array:
    return ((bits >> 8).astype(jnp.int32) + 1).astype(jnp.float32) * jnp.float32(2.0**-24)


def _mixed(bits: Array) -> Array:
    """A bijection of 32 bits whose every bit hangs on all (Wellons' lowbias32)."""
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x21F0AAAD)
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x735A2D97)
    return bits ^ (bits >> 15)


def _seeded(words: Array, pixel: Array, turn: Array) -> tuple[Array, Array, Array, Array]:
    """The state of an electron's random numbers from the key's words (4,), its pixel and turn."""
    one = _mixed(pixel ^ words[0])
    two = _mixed(one + turn + words[1])
    three = _mixed(two ^ words[2])
    four = _mixed((three ^ one) + words[3])
    return one, two, three, four | jnp.uint32(1)


def _started(
    words: Array, number: Array, alive: Array, earlier: Array, beam: Beam, shape: tuple[int, int]
) -> Electrons:
    """Electrons as they enter, anywhere in their pixel; those not `alive` never move."""
    pixels = jnp.uint32(shape[0] * shape[1])
    pixel = number % pixels
    state = _seeded(words, pixel, number // pixels + earlier)
    y_in, state = _uniform(state)
    x_in, state = _uniform(state)
    path, state = _uniform(state)
    pixel = pixel.astype(jnp.int32)
    zeros = jnp.zeros(number.shape, jnp.float32)
    place = (
        zeros,
        (pixel // shape[1]).astype(jnp.float32) + y_in,
        (pixel % shape[1]).astype(jnp.float32) + x_in,
    )
    direction = (zeros + jnp.cos(beam.tilt), zeros + jnp.sin(beam.tilt), zeros)
    fate = jnp.where(alive, ALIVE, ABSORBED).astype(jnp.int32)
    return Electrons(
        place, direction, zeros + beam.energy, zeros, -jnp.log(path), state, pixel,
        jnp.zeros(number.shape, jnp.int32), fate,
    )  # fmt: skip


def _each(
    function: Callable[[Array, Array], Array], a: Sequence[Array], b: Sequence[Array]
) -> tuple[Array, Array, Array]:
    z, y, x = (function(p, q) for p, q in zip(a, b, strict=True))
    return z, y, x


def _moved(
    electrons: Electrons,
    voxels: Array,
    shape: tuple[int, int, int],
    tables: Tables,
    beam: Beam,
) -> Electrons:
    """One flight: to the next collision, or to where another material may begin."""
    place, direction = electrons.place, electrons.direction
    index = tuple(jnp.floor(p).astype(jnp.int32) for p in place)
    z, y, x = (
        mirrored(i, n) for i, n in zip((index[0] + beam.surface, *index[1:]), shape, strict=True)
    )
    packed = voxels[(z * shape[1] + y) * shape[2] + x].astype(jnp.int32)
    label, clear = packed & 0xFF, packed >> 8
    row = label * tables.reach.shape[0] + fine_bin(electrons.energy)
    free, stopping = tables.free[row], tables.stopping[row]
    # No more than a tenth of the energy in one flight, for which stopping is taken as constant.
    flight = 0.1 * electrons.energy / jnp.maximum(stopping, 1e-12)
    # Out of the cube of voxels around this one that are all of its material.
    rates = tuple(d / s for d, s in zip(direction, beam.spacing, strict=True))
    for p, i, rate in zip(place, index, rates, strict=True):
        face = jnp.where(rate > 0, i + 1 + clear, i - clear).astype(jnp.float32)
        way = (jnp.abs(face - p) + _NUDGE) / jnp.maximum(jnp.abs(rate), 1e-12)
        flight = jnp.minimum(flight, way)
    to_collision = electrons.collide / jnp.maximum(free, 1e-12)
    collides = to_collision <= flight
    flight = jnp.minimum(flight, to_collision)
    to_surface = jnp.where(rates[0] < 0, -place[0] / jnp.minimum(rates[0], -1e-12), jnp.inf)
    leaves = to_surface <= flight
    flight = jnp.minimum(flight, to_surface)
    place = _each(lambda p, r: p + flight * r, place, rates)
    loss = stopping * flight
    energy, lost = electrons.energy - loss, electrons.lost + loss

    bits, state = _next(electrons.state)
    turn, state = _uniform(state)
    path, state = _uniform(state)
    bent = _scattered(direction, bits, turn, label, energy, tables)
    collides = collides & ~leaves
    direction = _each(lambda b, d: jnp.where(collides, b, d), bent, direction)
    left = jnp.maximum(electrons.collide - free * flight, 0.0)
    collide = jnp.where(collides, -jnp.log(path), left)
    steps = electrons.steps + 1
    # Too deep to come back, or fallen through empty shafts of the volume and its images.
    deep = tables.reach[fine_bin(energy)] < place[0] * beam.spacing[0]
    deep = deep | (place[0] > beam.deepest)
    fate = jnp.where(steps >= beam.cap, TRUNCATED, ALIVE)
    fate = jnp.where(deep, ABSORBED, fate)
    fate = jnp.where(leaves, OUT, fate)
    fate = jnp.where(energy <= LOWEST, ABSORBED, fate).astype(jnp.int32)

    alive = electrons.fate == ALIVE
    new = Electrons(place, direction, energy, lost, collide, state, electrons.pixel, steps, fate)
    return jax.tree.map(lambda now, before: jnp.where(alive, now, before), new, electrons)


def _scattered(
    direction: tuple[Array, Array, Array],
    bits: Array,
    turn: Array,
    label: Array,
    energy: Array,
    tables: Tables,
) -> tuple[Array, Array, Array]:
    """Directions after a collision; 24 of the random `bits` draw the angle, 8 its energy's bin."""
    bins = tables.angles.shape[0] // (ANGLES + 1) // (tables.free.shape[0] // tables.reach.shape[0])
    row = label * bins + coarse_bin(energy, bits & 0xFF)
    screening = tables.screening[row]
    at = (1.0 - jnp.sqrt(_fraction(bits))) * ANGLES
    low = jnp.minimum(at.astype(jnp.int32), ANGLES - 1)
    part = at - low.astype(jnp.float32)
    first = row * (ANGLES + 1) + low
    value = tables.angles[first] * (1.0 - part) + tables.angles[first + 1] * part
    half = jnp.clip(screening * value / (1.0 + screening - value), 0.0, 1.0)
    cos = 1.0 - 2.0 * half
    sin = 2.0 * jnp.sqrt(half * (1.0 - half))
    sin_turn, cos_turn = jnp.sin(2.0 * math.pi * turn), jnp.cos(2.0 * math.pi * turn)
    # A frame around the direction without a branch (Duff et al., 2017), z first here.
    w, v, u = direction
    sign = jnp.where(w >= 0, 1.0, -1.0)
    a = -1.0 / (sign + w)
    b = u * v * a
    first_axis = (-sign * u, sign * b, 1.0 + sign * u * u * a)  # z, y, x
    second_axis = (-v, sign + v * v * a, b)
    p, q = sin * cos_turn, sin * sin_turn
    bent = tuple(
        cos * d + p * e + q * f for d, e, f in zip(direction, first_axis, second_axis, strict=True)
    )
    # Rounding lengthens directions by and by: one step of Newton's keeps them at 1.
    scale = 1.5 - 0.5 * (bent[0] ** 2 + bent[1] ** 2 + bent[2] ** 2)
    return bent[0] * scale, bent[1] * scale, bent[2] * scale


def _counted(tally: Tally, electrons: Electrons, had: Array, beam: Beam, pixels: int) -> Tally:
    """The tally with the electrons that have ended since; `had` are lanes that held one."""
    ended = had & (electrons.fate != ALIVE)
    out = ended & (electrons.fate == OUT)
    w, v, _ = electrons.direction
    cos = -(w * jnp.cos(beam.tilt) + v * jnp.sin(beam.tilt))
    images = tally.images
    for k in range(beam.windows.shape[0]):
        low, high, least, most = beam.windows[k]
        seen = out & (electrons.energy >= low) & (electrons.energy < high)
        seen = seen & (cos >= least) & (cos < most)
        images = images.at[k, jnp.where(seen, electrons.pixel, pixels)].add(1, mode="drop")
    fates = tally.fates + jnp.stack(
        [jnp.sum(ended & (electrons.fate == k), dtype=jnp.int32) for k in range(4)]
    )
    return Tally(
        images,
        fates,
        tally.energy_out + jnp.sum(jnp.where(out, electrons.energy, 0.0)),
        tally.energy_left + jnp.sum(jnp.where(ended & ~out, electrons.energy, 0.0)),
        tally.energy_lost + jnp.sum(jnp.where(ended, electrons.lost, 0.0)),
        tally.steps + jnp.sum(jnp.where(ended, electrons.steps, 0).astype(jnp.float32)),
    )


@functools.partial(jax.jit, static_argnames=("shape", "lanes"))
def transport(
    words: Array,
    voxels: Array,
    tables: Tables,
    beam: Beam,
    first: Array,
    stop: Array,
    earlier: Array,
    shape: tuple[int, int, int],
    lanes: int,
) -> Tally:
    """Electrons `first` to `stop` (uint32) of a beam that goes over the pixels in turn.

    `earlier` is how often it has gone over all of them before.

    voxels (z*y*x,) uint16: the label, and in the upper byte how many voxels further, in every
    direction, all are of the same material.
    """
    face = shape[1:]
    pixels = face[0] * face[1]

    def refilled(electrons: Electrons, next_: Array) -> tuple[Electrons, Array]:
        free = electrons.fate != ALIVE
        number = next_ + jnp.cumsum(free, dtype=jnp.uint32) - jnp.uint32(1)
        taken = free & (number < stop)
        new = _started(words, number, taken, earlier, beam, face)
        chosen = jax.tree.map(lambda a, b: jnp.where(free, a, b), new, electrons)
        return chosen, jnp.minimum(next_ + jnp.sum(free, dtype=jnp.uint32), stop)

    def round_(state: tuple) -> tuple:
        electrons, tally, next_ = state
        had = electrons.fate == ALIVE
        electrons = lax.fori_loop(
            0, _STEPS, lambda _, e: _moved(e, voxels, shape, tables, beam), electrons
        )
        tally = _counted(tally, electrons, had, beam, pixels)
        electrons, next_ = refilled(electrons, next_)
        return electrons, tally, next_

    zero = jnp.float32(0.0)
    images = jnp.zeros((beam.windows.shape[0], pixels), jnp.int32)
    tally = Tally(images, jnp.zeros(4, jnp.int32), zero, zero, zero, zero)
    none = jnp.zeros(lanes, bool)
    start = _started(words, jnp.zeros(lanes, jnp.uint32), none, earlier, beam, face)
    electrons, next_ = refilled(start, first)
    state = lax.while_loop(
        lambda state: jnp.any(state[0].fate == ALIVE), round_, (electrons, tally, next_)
    )
    return state[1]
