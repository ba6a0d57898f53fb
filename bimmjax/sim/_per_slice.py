"""Random numbers that belong to slices by their number, so that blocks of a stack fit together."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax.core import Tracer

from bimmjax._core.checks import InputError, whole_number
from bimmjax.sim import _checks

LONGEST = 16.0
"""Slices over which `coherent` numbers may hang together."""
_REACH = 48
_WIDEST = 8


def stack_of_slices(name: str, image: object, start: object) -> jax.Array:
    """`image` as a float32 stack (z, y, x) whose first slice has the number `start`."""
    stack = _checks.volume(name, image)
    if not isinstance(start, Tracer):
        whole_number("start", start, 0, 2**31 - 1 - stack.shape[0])
    return stack


def slice_keys(key: jax.Array, start: jax.Array, count: int) -> jax.Array:
    """One key for each of the slices start ... start + count - 1."""
    numbers = jnp.asarray(start, jnp.uint32) + jnp.arange(count, dtype=jnp.uint32)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


@functools.partial(jax.jit, static_argnames=("count", "width"))
def coherent(
    key: jax.Array, start: jax.Array, length: jax.Array, count: int, width: int
) -> jax.Array:
    """Normal numbers (count, width) that change slowly from slice to slice.

    White noise, a row of it for each slice, filtered along the slices by a Gaussian of std
    `length` / √2: slices n apart correlate by exp(-n² / (2 length²)). Variance 1; `length` 0
    leaves the slices independent.
    """
    # Counted in whole numbers that wrap: slices before the first exist, far from all others.
    first = jnp.asarray(start, jnp.uint32) - jnp.uint32(_REACH)
    keys = slice_keys(key, first, count + 2 * _REACH)
    rows = jax.vmap(lambda own: jax.random.normal(own, (width,), jnp.float32))(keys)
    steps = jnp.arange(-_REACH, _REACH + 1, dtype=jnp.float32)
    std = jnp.maximum(length, 1e-3) / jnp.sqrt(jnp.float32(2.0))
    weights = jnp.exp(-0.5 * (steps / std) ** 2)
    weights = weights / jnp.sqrt((weights**2).sum())

    # Slice by slice: the order of sums must not depend on how many there are.
    def one(slice_: jax.Array) -> jax.Array:
        around = jax.lax.dynamic_slice_in_dim(rows, slice_, 2 * _REACH + 1)
        return jnp.matmul(weights, around, precision=jax.lax.Precision.HIGHEST)

    return jax.lax.map(one, jnp.arange(count))


def coherence(name: str, length: object) -> None:
    """Refuse lengths that `coherent` cannot reach."""
    _checks.number(name, length)
    if not isinstance(length, Tracer) and float(length) > LONGEST:  # type: ignore[arg-type]
        raise InputError(f"{name}: got {float(length):g}, wants at most {LONGEST:g} slices")  # type: ignore[arg-type]


def reach_of(name: str, std: object) -> int:
    """Pixels after which a Gaussian of `std` pixels may end; the most for a traced one."""
    _checks.number(name, std)
    if isinstance(std, Tracer):
        return 4 * _WIDEST
    if float(std) > _WIDEST:  # type: ignore[arg-type]
        raise InputError(f"{name}: got {float(std):g}, wants at most {_WIDEST} pixels")  # type: ignore[arg-type]
    return max(math.ceil(4.0 * float(std)), 1)  # type: ignore[arg-type]


def smooth_plane(plane: jax.Array, std: jax.Array, reach: int) -> jax.Array:
    """A slice (y, x) filtered by a Gaussian of `std` pixels, mirrored at its edges.

    reach : pixels after which the Gaussian ends, on either side.
    """
    steps = jnp.arange(-reach, reach + 1, dtype=jnp.float32)
    weights = jnp.exp(-0.5 * (steps / jnp.maximum(std, 1e-3)) ** 2)
    weights = (weights / weights.sum()).astype(jnp.float32)
    for axis in (0, 1):
        size = plane.shape[axis]
        pads = [(reach, reach) if k == axis else (0, 0) for k in range(2)]
        wide = jnp.pad(plane, pads, mode="symmetric")
        taps = (
            weights[i] * jax.lax.slice_in_dim(wide, i, i + size, axis=axis)
            for i in range(2 * reach + 1)
        )
        # Or XLA computes the first axis anew for every tap of the second.
        plane = jax.lax.optimization_barrier(functools.reduce(jnp.add, taps))
    return plane
