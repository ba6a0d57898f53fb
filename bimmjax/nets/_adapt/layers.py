"""Convolutions that mirror at the borders, and normalisation by each image's own statistics."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from bimmjax.nets._blocks.convolution import he_normal
from bimmjax.nets._blocks.fast_convolution import convolve
from bimmjax.nets._blocks.reach import Layer, window

_EPSILON = 1e-5


class ReflectConv(nnx.Module):
    """A 2D convolution of an odd width around which the image goes on as its mirror image."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, rngs: nnx.Rngs
    ) -> None:
        self.half, self.stride = kernel // 2, stride
        self.conv = nnx.Conv(
            inputs,
            outputs,
            (kernel, kernel),
            strides=(stride, stride),
            padding=[(0, 0), (0, 0)],
            kernel_init=he_normal,
            conv_general_dilated=convolve,
            rngs=rngs,
        )

    def __call__(self, x: Array) -> Array:
        around = (self.half, self.half)
        return self.conv(jnp.pad(x, ((0, 0), around, around, (0, 0)), mode="reflect"))

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return [window(self.conv.kernel_shape[:2], (self.stride,) * 2, (1, 1))]


class InstanceNorm(nnx.Module):
    """Normalisation of each feature, with a scale and a shift (Ulyanov et al. 2016).

    In training by the mean and variance of each image (batch, y, x, features). In eval mode by
    those that `measured` has found, so that an output depends on its surroundings alone: tiles of
    a large slice, each with statistics of its own, would not fit together.
    """

    def __init__(self, features: int) -> None:
        self.scale = nnx.Param(jnp.ones(features, jnp.float32))
        self.shift = nnx.Param(jnp.zeros(features, jnp.float32))
        self.mean = nnx.BatchStat(jnp.zeros(features, jnp.float32))
        self.variance = nnx.BatchStat(jnp.ones(features, jnp.float32))
        # The name by which `train` and `eval` of flax know it.
        self.use_running_average = False
        self.measuring = False

    def __call__(self, x: Array) -> Array:
        if self.measuring:
            self.mean[...], self.variance[...] = x.mean((0, 1, 2)), x.var((0, 1, 2))
        if self.measuring or self.use_running_average:
            mean, variance = self.mean[...], self.variance[...]
        else:
            mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
        return (x - mean) * (self.scale[...] * jax.lax.rsqrt(variance + _EPSILON)) + self.shift[...]


def measured(net: nnx.Module, images: Array) -> nnx.Module:
    """The network in eval mode, its instance norms with the statistics of all `images` together.

    Layer by layer, each with what the ones before it give once they have theirs.
    """
    net.eval()
    norms = [one for _, one in nnx.iter_modules(net) if isinstance(one, InstanceNorm)]
    if not norms:
        return net
    for one in norms:
        one.measuring = True
    graph, state = nnx.split(net)

    @jax.jit
    def look(state: nnx.State, images: Array) -> nnx.State:
        own = nnx.merge(graph, state, copy=True)
        own(images)
        return nnx.split(own)[1]

    nnx.update(net, look(state, images))
    for one in norms:
        one.measuring = False
    return net
