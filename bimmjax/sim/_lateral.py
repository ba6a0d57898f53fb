"""Blurs of planes by Gaussians of any width, at a cost that hardly grows with it.

Wide ones run on coarser grids: means over cells, a narrow blur of those, and linear interpolation
back. Planes go on beyond their sides as their mirror images.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

_WIDE = 1.5  # cells, at least, of the blur of a coarser grid


class Width(NamedTuple):
    """How a Gaussian of about a given width is worked out: static, so that jit sees the loops."""

    cell: int
    """voxels of a cell of the coarser grid."""
    taps: int
    """cells to either side that have a part in it."""


def width_of(std: float) -> Width:
    """For a standard deviation in voxels."""
    cell = 2 ** max(math.floor(math.log2(std / _WIDE)), 0) if std > 0 else 1
    # Even numbers, so that widths a little different compile nothing anew.
    return Width(cell, 1 if std < 0.7 else 2 * math.ceil(1.5 * std / cell))


def mirrored(index: Array, size: int) -> Array:
    """A whole number anywhere, as a place within an axis and its mirror images."""
    within = jnp.remainder(index, 2 * size)
    return jnp.minimum(within, 2 * size - 1 - within)


def blurred(planes: Array, variance: Array, y: Width, x: Width) -> Array:
    """Planes (..., y, x) blurred by a Gaussian.

    variance (2,): voxels², along y and x; the widths are those that it is about.
    """
    for axis, width, spread in ((-2, y, variance[0]), (-1, x, variance[1])):
        planes = _along(planes, spread, width, axis)
    return planes


def _along(planes: Array, variance: Array, width: Width, axis: int) -> Array:
    if width.cell == 1:
        return _convolved(planes, variance, width.taps, axis)
    size, cell = planes.shape[axis], width.cell
    coarse = _means(planes, cell, axis)
    # The mean over a cell and the interpolation blur by themselves.
    own = (cell**2 - 1) / 12.0 + cell**2 / 6.0
    coarse = _convolved(coarse, (variance - own) / cell**2, width.taps, axis)
    return jnp.take(_finer(coarse, cell, axis), jnp.arange(size), axis=axis)


def _means(planes: Array, cell: int, axis: int) -> Array:
    short = -planes.shape[axis] % cell
    planes = _padded(planes, 0, short, axis)
    planes = jnp.moveaxis(planes, axis, -1)
    means = planes.reshape(*planes.shape[:-1], -1, cell).mean(-1)
    return jnp.moveaxis(means, -1, axis)


def _finer(planes: Array, cell: int, axis: int) -> Array:
    """Linear interpolation between the middles of cells."""
    planes = jnp.moveaxis(planes, axis, -1)
    around = _padded(planes, 1, 1, -1)
    at = (jnp.arange(cell, dtype=jnp.float32) + 0.5) / cell - 0.5
    fine = (
        planes[..., None] * (1.0 - jnp.abs(at))
        + around[..., :-2, None] * jnp.maximum(-at, 0.0)
        + around[..., 2:, None] * jnp.maximum(at, 0.0)
    )
    return jnp.moveaxis(fine.reshape(*planes.shape[:-1], -1), -1, axis)


def _convolved(planes: Array, variance: Array, taps: int, axis: int) -> Array:
    if taps == 1:  # three points of the right variance
        side = 0.5 * variance
        weights = [side, 1.0 - 2.0 * side, side]
    else:
        places = jnp.arange(-taps, taps + 1, dtype=jnp.float32)
        kernel = jnp.exp(-0.5 * places**2 / jnp.maximum(variance, 1e-6))
        weights = list(kernel / kernel.sum())
    wide = _padded(planes, taps, taps, axis)
    size = planes.shape[axis]
    total = jnp.zeros_like(planes)
    for k, weight in enumerate(weights):
        part = [slice(None)] * planes.ndim
        part[axis] = slice(k, k + size)
        total = total + weight * wide[tuple(part)]
    return total


def _padded(planes: Array, before: int, after: int, axis: int) -> Array:
    pads = [(0, 0)] * planes.ndim
    pads[axis] = (before, after)
    return jnp.pad(planes, pads, mode="symmetric")
