"""Convolutions with a kernel, a stride and a dilation for each axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.core import Tracer

from bimmjax.nets._blocks.fast_convolution import convolve
from bimmjax.nets._blocks.reach import Layer, padding, window


def he_normal(key: Array, shape: Sequence[int], *_: object, **__: object) -> Array:
    """A random kernel (*kernel, inputs, outputs), float32, of variance 2 / (taps inputs).

    Keeps the spread of activations from layer to layer where a ReLU cuts half of them (He et al.
    2015, Eq. 10). Drawn on the host from `key`: a big network has a hundred shapes of kernels, and
    compiling a generator for each takes longer than all the rest.
    """
    fan_in = math.prod(shape[:-1])
    size = tuple(shape)

    def draw(words: np.ndarray) -> np.ndarray:
        seed = int.from_bytes(np.asarray(words).tobytes(), "little")
        values = np.random.default_rng(seed).standard_normal(size, np.float32)
        return values * np.float32(math.sqrt(2.0 / fan_in))

    words = jax.random.key_data(key)
    if isinstance(words, Tracer):
        return jax.pure_callback(draw, jax.ShapeDtypeStruct(size, jnp.float32), words)
    return jnp.asarray(draw(np.asarray(words)))


def each_axis(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """One number for all axes, or one for each, as a tuple."""
    return (value,) * dims if isinstance(value, int) else tuple(value)


class Conv(nnx.Conv):
    """A convolution over the last axes but one, with zeros around the image.

    Images are (batch, *space, features); the kernel is (*kernel, features / groups, features).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        dims = len(kernel)
        dilations = each_axis(dilation, dims)
        super().__init__(
            inputs,
            outputs,
            tuple(kernel),
            strides=each_axis(stride, dims),
            padding=[padding(k, d) for k, d in zip(kernel, dilations, strict=True)],
            kernel_dilation=dilations,
            feature_group_count=groups,
            use_bias=bias,
            kernel_init=he_normal,
            conv_general_dilated=convolve,
            rngs=rngs,
        )

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        dims = len(self.kernel_shape) - 2
        return [
            window(
                self.kernel_shape[:dims],
                each_axis(self.strides, dims),  # pyright: ignore[reportArgumentType]
                each_axis(self.kernel_dilation, dims),  # pyright: ignore[reportArgumentType]
            )
        ]


class SeparableConv(nnx.Module):
    """A convolution of each feature by itself, then a mixing of the features at each voxel."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        bias: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        self.depthwise: Conv = Conv(
            inputs,
            inputs,
            kernel,
            stride=stride,
            dilation=dilation,
            groups=inputs,
            bias=False,
            rngs=rngs,
        )
        self.pointwise: Conv = Conv(inputs, outputs, (1,) * len(kernel), bias=bias, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.pointwise(self.depthwise(x))

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return [*self.depthwise.reach, *self.pointwise.reach]


class PReLU(nnx.Module):
    """max(x, 0) + slope min(x, 0), with a slope for each feature (He et al. 2015, Eq. 1)."""

    def __init__(self, features: int) -> None:
        self.slope: nnx.Param[Array] = nnx.Param(jnp.full((features,), 0.25, jnp.float32))

    def __call__(self, x: Array) -> Array:
        return jnp.where(x > 0, x, self.slope[...].astype(x.dtype) * x)


def count_parameters(net: nnx.Module) -> int:
    """How many numbers of a network are trained.

    Examples
    --------
    >>> from flax import nnx
    >>> from bimmjax.nets._blocks.convolution import Conv, count_parameters
    >>> count_parameters(Conv(1, 2, (3, 3), rngs=nnx.Rngs(0)))
    20
    """
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(net, nnx.Param)))
