"""Ways back to a finer grid: sub-pixel convolution, repetition, linear interpolation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn import dtypes
from jax import Array

from bimmjax.nets._blocks.convolution import he_normal
from bimmjax.nets._blocks.fast_convolution import convolve
from bimmjax.nets._blocks.precision import in_float32
from bimmjax.nets._blocks.reach import Layer, Step


def taps(kernel: int, stride: int, pad: int) -> tuple[int, int]:
    """How many coarse neighbours below and above a transposed convolution reads, at most."""
    low = (kernel - 1 - pad) // stride
    high = (pad + stride - 1) // stride
    return low, high


def subpixel_kernel(kernel: Array, stride: Sequence[int], pad: Sequence[int]) -> Array:
    """The kernel on the coarse grid whose shuffled output a transposed convolution equals.

    kernel : (*kernel, inputs, outputs) of the transposed convolution that adds
        `x[j] kernel[t]` to output `stride j + t - pad`, as torch's does (flax's `ConvTranspose`
        takes it flipped along every space axis).
    Returns (*taps, inputs, prod(stride) outputs), for a convolution at stride 1 padded by
    `taps(kernel, stride, pad)`, whose output `depth_to_space` spreads.

    An output's phase, its index modulo the stride, fixes which entries of the kernel it meets:
    each phase is a small convolution of its own (Shi et al. 2016, arXiv:1609.07009). Its gradient
    is that of a plain convolution, tens of times faster on a CPU than that of an input
    interleaved with zeros.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bimmjax.nets._blocks.upsampling import subpixel_kernel
    >>> subpixel_kernel(jnp.ones((3, 3, 5, 7)), (2, 2), (1, 1)).shape
    (2, 2, 5, 28)
    """
    dims = len(stride)
    for axis, (s, p) in enumerate(zip(stride, pad, strict=True)):
        low, high = taps(kernel.shape[2 * axis], s, p)
        count = low + high + 1
        # Entry t serves phase (t - pad) modulo stride, from the neighbour floor((t - pad) / stride)
        # below; zeros fill the phases that run out of entries.
        before = s * high - p
        after = s * count - before - kernel.shape[2 * axis]
        pads = [(0, 0)] * kernel.ndim
        pads[2 * axis] = (before, after)
        kernel = jnp.pad(kernel, pads)
        shape = kernel.shape
        kernel = kernel.reshape(*shape[: 2 * axis], count, s, *shape[2 * axis + 1 :])
        kernel = jnp.flip(kernel, 2 * axis)
    # (taps, phases, taps, phases, ..., inputs, outputs)
    order = [2 * axis for axis in range(dims)] + [2 * dims]
    order += [2 * axis + 1 for axis in range(dims)] + [2 * dims + 1]
    kernel = kernel.transpose(order)
    return kernel.reshape(*kernel.shape[: dims + 1], -1)


def depth_to_space(x: Array, factor: Sequence[int]) -> Array:
    """Spread features over a grid that is `factor` times finer along each axis.

    (batch, *space, prod(factor) features) to (batch, *space * factor, features); the phases of
    the first axis are the slowest.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bimmjax.nets._blocks.upsampling import depth_to_space
    >>> depth_to_space(jnp.arange(4.0).reshape(1, 1, 1, 4), (2, 2))[0, :, :, 0].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    dims = len(factor)
    batch, *space, _ = x.shape
    x = x.reshape(batch, *space, *factor, -1)
    order = [0]
    for axis in range(dims):
        order += [1 + axis, 1 + dims + axis]
    x = x.transpose([*order, 1 + 2 * dims])
    return x.reshape(batch, *(n * f for n, f in zip(space, factor, strict=True)), -1)


class UpConv(nnx.Module):
    """A transposed convolution, computed as a convolution on the coarse grid and a shuffle.

    Its parameters are those of the transposed convolution: `kernel` (*kernel, inputs, outputs)
    and `bias` (outputs,). The output is `stride` times as long along each axis.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        *,
        bias: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        # An output meets one entry of the kernel in prod(stride): as much more spread has each.
        spread = math.sqrt(math.prod(stride))
        drawn = he_normal(rngs.params(), (*kernel, inputs, outputs))
        self.kernel = nnx.Param(spread * drawn)
        self.bias = nnx.Param(jnp.zeros((outputs,), jnp.float32)) if bias else nnx.data(None)
        self.stride = tuple(stride)
        self.pad = tuple((k - s + 1) // 2 for k, s in zip(kernel, stride, strict=True))
        self.dtype: jax.typing.DTypeLike | None = None
        self.conv_general_dilated = convolve

    def __call__(self, x: Array) -> Array:
        bias = None if self.bias is None else self.bias[...]
        x, kernel, bias = dtypes.promote_dtype((x, self.kernel[...], bias), dtype=self.dtype)
        reach = [
            taps(k, s, p) for k, s, p in zip(kernel.shape[:-2], self.stride, self.pad, strict=True)
        ]
        space = "DHW"[-len(self.stride) :]
        y = self.conv_general_dilated(
            x,
            subpixel_kernel(kernel, self.stride, self.pad),
            (1,) * len(self.stride),
            reach,
            dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        )
        y = depth_to_space(y, self.stride)
        return y if bias is None else y + bias

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        steps = []
        for k, s, p in zip(self.kernel.shape[:-2], self.stride, self.pad, strict=True):
            steps.append(Step(*taps(k, s, p), factor=s))
        return [tuple(steps)]


class Repeat(nnx.Module):
    """Every voxel becomes a block of its own value: the nearest neighbour."""

    def __init__(self, factor: Sequence[int]) -> None:
        self.factor = tuple(factor)

    def __call__(self, x: Array) -> Array:
        for axis, factor in enumerate(self.factor):
            if factor > 1:
                x = jnp.repeat(x, factor, axis + 1)
        return x

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return [tuple(Step(factor=factor) for factor in self.factor)]


class Linear(nnx.Module):
    """Linear interpolation between the centres of coarse voxels."""

    def __init__(self, factor: Sequence[int]) -> None:
        self.factor: tuple[int, ...] = tuple(factor)

    def __call__(self, x: Array) -> Array:
        space = [n * f for n, f in zip(x.shape[1:-1], self.factor, strict=True)]
        return resize(x, space)

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return [tuple(Step(int(f > 1), int(f > 1), factor=f) for f in self.factor)]


class LinearLogits(Linear):
    """The same of logits, in float32 though the network may compute in half of it."""

    def __call__(self, x: Array) -> Array:
        return super().__call__(in_float32(x))


def resize(x: Array, space: Sequence[int]) -> Array:
    """(batch, *space, features) on a grid of another size, interpolated linearly."""
    return jax.image.resize(x, (x.shape[0], *space, x.shape[-1]), "linear", antialias=False)
