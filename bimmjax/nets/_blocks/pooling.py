"""Pooling to coarser grids."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax

from bimmjax.nets._blocks.reach import Layer, Step, padding, window


class MaxPool(nnx.Module):
    """The largest of each block of `factor` voxels; sizes have to be multiples of it."""

    def __init__(self, factor: Sequence[int]) -> None:
        self.factor = tuple(factor)

    def __call__(self, x: Array) -> Array:
        # Choices one by one. The gradient of a window reduction is a slow scatter, and that of
        # `max` divides by how many equal the largest: none do, and it is no number, where the
        # compiler works a voxel out anew and rounds otherwise.
        for axis, factor in enumerate(self.factor, 1):
            blocks = x.reshape(
                *x.shape[:axis], x.shape[axis] // factor, factor, *x.shape[axis + 1 :]
            )
            x, *others = jnp.moveaxis(blocks, axis + 1, 0)
            for other in others:
                x = jnp.where((x >= other) | jnp.isnan(x), x, other)
        return x

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return [tuple(Step(0, f - 1, f) for f in self.factor)]


class OverlappingMaxPool(nnx.Module):
    """The largest of windows of three at every second voxel, as at the entry of a ResNet."""

    def __init__(self, dims: int = 2) -> None:
        self.dims = dims

    def __call__(self, x: Array) -> Array:
        around = [(0, 0), *[padding(3)] * self.dims, (0, 0)]
        size, stride = (1, *(3,) * self.dims, 1), (1, *(2,) * self.dims, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, size, stride, around)

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        ones = (1,) * self.dims
        return [window((3,) * self.dims, (2,) * self.dims, ones)]


def averaging(size: int, bins: int) -> np.ndarray:
    """(bins, size) float32 weights of the mean over each of `bins` nearly equal stretches.

    Stretch i runs from floor(i size / bins) to ceil((i + 1) size / bins), so neighbours share a
    voxel where bins do not divide the size; with more bins than voxels some are read twice.
    """
    weights = np.zeros((bins, size), np.float32)
    for i in range(bins):
        start, stop = i * size // bins, -(-(i + 1) * size // bins)
        weights[i, start:stop] = 1.0 / (stop - start)
    return weights


def mean_over_bins(x: Array, bins: int) -> Array:
    """(batch, *space, features) averaged to (batch, bins, ..., features)."""
    for axis in range(1, x.ndim - 1):
        weights = jnp.asarray(averaging(x.shape[axis], bins), x.dtype)
        x = jnp.moveaxis(jnp.tensordot(weights, x, (1, axis)), 0, axis)
    return x
