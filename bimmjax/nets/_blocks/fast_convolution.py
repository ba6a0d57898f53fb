"""Convolutions whose gradients are fast on a CPU too.

XLA's gradients of a convolution are as fast as the convolution on accelerators. On a CPU they take
several times as long: the kernel's is a convolution with a kernel as large as the image, the
input's of a strided one has an input interleaved with zeros, and three dimensions are not
vectorised at all. Here all of them are written as what a CPU does well: matrix products and plain
convolutions in the plane. `python -m benchmarks nets_speed` has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

Pads = tuple[tuple[int, int], ...]

# What a block of joined shifts may take: it should stay in the cache of a core.
_BLOCK_BYTES = 2**21
# Up to so many features, the taps along depth are joined on features instead of summed.
_FEW = 16
_LAYOUT = {4: ("NHWC", "HWIO", "NHWC"), 5: ("NDHWC", "DHWIO", "NDHWC")}


def convolve(
    x: Array,
    kernel: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    **how: Any,
) -> Array:
    """`lax.conv_general_dilated` with a gradient of its own where it is lowered for a CPU.

    x : (batch, *space, inputs), kernel : (*kernel, inputs, outputs), of one dtype; the result
    (batch, *space, outputs) is of that dtype too. The other arguments are those of the stock
    function.

    Values and gradients equal those of the stock function to rounding. Other platforms get the
    stock function. So do groups, dilations, and whatever else this one does not know. There is no
    forward-mode derivative. Arrays that several devices share along the batch or in space are
    better given to the stock function: blocks are cut along those axes one after the other, for
    which the compiler would bring the whole array to every device.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bimmjax.nets._blocks.fast_convolution import convolve
    >>> layout = ("NHWC", "HWIO", "NHWC")
    >>> x, kernel, pads = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 5)), [(1, 1), (1, 1)]
    >>> convolve(x, kernel, (2, 2), pads, dimension_numbers=layout).shape
    (1, 2, 2, 5)
    """
    known = (
        feature_group_count == 1
        and all(d == 1 for d in (*(lhs_dilation or ()), *(rhs_dilation or ())))
        and all(value is None for value in how.values())
    )
    if known and not isinstance(padding, str) and _fits(x, kernel, padding, dimension_numbers):
        pads = tuple((low, high) for low, high in padding)
        return _convolution(x, kernel, tuple(window_strides), pads)
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        **how,
    )


def _fits(x: Array, kernel: Array, pads: Sequence[tuple[int, int]], dimension_numbers: Any) -> bool:
    if x.ndim not in _LAYOUT or x.dtype != kernel.dtype or x.shape[0] == 0:
        return False
    numbers = lax.conv_dimension_numbers(x.shape, kernel.shape, dimension_numbers)
    return (
        jnp.issubdtype(x.dtype, jnp.floating)
        and numbers == lax.conv_dimension_numbers(x.shape, kernel.shape, _LAYOUT[x.ndim])
        and all(
            0 <= low < k and 0 <= high < k and low + n + high >= k
            for n, k, (low, high) in zip(x.shape[1:-1], kernel.shape[:-2], pads, strict=True)
        )
    )


def _stock(x: Array, kernel: Array, strides: Sequence[int], pads: Pads) -> Array:
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=_LAYOUT[x.ndim])


# Jitted, so that a layer that is called outside of jit is traced and compiled once.
@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
@partial(jax.jit, static_argnums=(2, 3))
def _convolution(x: Array, kernel: Array, strides: tuple[int, ...], pads: Pads) -> Array:
    return lax.platform_dependent(
        x,
        kernel,
        cpu=partial(_value, strides=strides, pads=pads),
        default=partial(_stock, strides=strides, pads=pads),
    )


def _forward(
    x: Array, kernel: Array, strides: tuple[int, ...], pads: Pads
) -> tuple[Array, tuple[Array, Array]]:
    return _convolution(x, kernel, strides, pads), (x, kernel)


@partial(jax.jit, static_argnums=(0, 1))
def _backward(
    strides: tuple[int, ...], pads: Pads, kept: tuple[Array, Array], slope: Array
) -> tuple[Array, Array]:
    def stock(x: Array, kernel: Array, slope: Array) -> tuple[Array, Array]:
        return jax.vjp(partial(_stock, strides=strides, pads=pads), x, kernel)[1](slope)

    return lax.platform_dependent(
        *kept, slope, cpu=partial(_slopes, strides=strides, pads=pads), default=stock
    )


_convolution.defvjp(_forward, _backward)


def _value(x: Array, kernel: Array, strides: tuple[int, ...], pads: Pads) -> Array:
    if any(stride > 1 for stride in strides):
        return _stock(x, kernel, strides, pads)
    return _dense(x, kernel, pads)


def _slopes(
    x: Array, kernel: Array, slope: Array, strides: tuple[int, ...], pads: Pads
) -> tuple[Array, Array]:
    """The gradients by input and by kernel."""
    of_kernel = _slope_of_kernel(x, slope, kernel, strides, pads)
    if all(stride == 1 for stride in strides):
        return _slope_of_input(slope, kernel, pads), of_kernel
    _, back = jax.vjp(lambda x: _blocks_of_image(x, kernel.shape[:-2], strides, pads), x)
    none = ((0, 0),) * len(pads)
    return *back(_slope_of_input(slope, _blocks_of_kernel(kernel, strides), none)), of_kernel


# A strided convolution is one without strides and padding of an image and a kernel in which blocks
# as large as the strides have become features of one voxel.
def _blocks_of_image(x: Array, taps: Sequence[int], strides: tuple[int, ...], pads: Pads) -> Array:
    around, blocks = [], []
    for n, k, s, (low, high) in zip(x.shape[1:-1], taps, strides, pads, strict=True):
        count = (low + n + high - k) // s + -(-k // s)
        # What is beyond the last window is cut off: a negative width.
        around.append((low, count * s - low - n, 0))
        blocks.append((count, s))
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *around, (0, 0, 0)])
    return _joined(x.reshape(x.shape[0], *_flat(blocks), x.shape[-1]), 1, len(strides))


def _blocks_of_kernel(kernel: Array, strides: tuple[int, ...]) -> Array:
    """Zeros fill it up to whole blocks."""
    *taps, _, outputs = kernel.shape
    blocks = [(-(-k // s), s) for k, s in zip(taps, strides, strict=True)]
    filled = [(0, count * s - k) for k, (count, s) in zip(taps, blocks, strict=True)]
    kernel = jnp.pad(kernel, [*filled, (0, 0), (0, 0)])
    kernel = _joined(kernel.reshape(*_flat(blocks), -1), 0, len(strides))
    return kernel.reshape(*kernel.shape[:-1], -1, outputs)


def _flat(blocks: list[tuple[int, int]]) -> list[int]:
    return [size for block in blocks for size in block]


def _joined(x: Array, first: int, dims: int) -> Array:
    """(..., blocks, within, blocks, within, ..., features): what is within joins the features."""
    outer = [first + 2 * axis for axis in range(dims)]
    within = [axis + 1 for axis in outer]
    x = x.transpose([*range(first), *outer, *within, x.ndim - 1])
    return x.reshape(*x.shape[: first + dims], -1)


def _dense(x: Array, kernel: Array, pads: Pads) -> Array:
    """A convolution at stride 1."""
    if math.prod(kernel.shape[:-2]) == 1:
        return jnp.tensordot(x, kernel.reshape(kernel.shape[-2:]), 1)
    return _stock(x, kernel, (1, 1), pads) if x.ndim == 4 else _by_planes(x, kernel, pads)


def _by_planes(x: Array, kernel: Array, pads: Pads) -> Array:
    """A convolution in space as several in the plane, depth counting as batch."""
    depth, features = kernel.shape[0], x.shape[-1]
    x = jnp.pad(x, ((0, 0), pads[0], (0, 0), (0, 0), (0, 0)))
    outputs = x.shape[1] - depth + 1
    shifted = [x[:, i : i + outputs] for i in range(depth)]
    if depth > 1 and features <= _FEW:
        shifted = [jnp.concatenate(shifted, -1)]
        kernel = jnp.moveaxis(kernel, 0, 2)
        kernel = kernel.reshape(1, *kernel.shape[:2], depth * features, -1)
    parts = [
        _dense(part.reshape(-1, *part.shape[2:]), plane, pads[1:])
        for part, plane in zip(shifted, kernel, strict=True)
    ]
    return sum(parts[1:], parts[0]).reshape(*shifted[0].shape[:2], *parts[0].shape[1:])


def _slope_of_input(slope: Array, kernel: Array, pads: Pads) -> Array:
    """A convolution of what comes back with the kernel mirrored, its features exchanged."""
    dims = len(pads)
    mirrored = jnp.flip(kernel, range(dims)).swapaxes(-1, -2)
    around = [
        (k - 1 - low, k - 1 - high) for k, (low, high) in zip(kernel.shape, pads, strict=False)
    ]
    return _dense(slope, mirrored, tuple(around))


def _slope_of_kernel(
    x: Array, slope: Array, kernel: Array, strides: tuple[int, ...], pads: Pads
) -> Array:
    """Matrix products of shifted images, joined on features, and the other side.

    The narrower side is shifted, the image if there are strides. Blocks of rows, or of images
    where a whole one is small, are taken one after the other, so that the joined shifts are never
    in memory at once.
    """
    dims, taps = len(pads), kernel.shape[:-2]
    accumulated = jnp.promote_types(x.dtype, jnp.float32)
    if math.prod(taps) == math.prod(strides) == 1:
        over = tuple(range(dims + 1))
        found = lax.dot_general(
            x, slope, ((over, over), ((), ())), preferred_element_type=accumulated
        )
        return found.reshape(kernel.shape).astype(kernel.dtype)
    of_image = x.shape[-1] <= slope.shape[-1] or any(stride > 1 for stride in strides)
    moved, still, around = x, slope, pads
    if not of_image:
        # The same sums seen from the input: what tap i of an output reads lies i - low after it.
        moved, still = slope, x
        around = [(k - 1 - low, k - 1 - high) for k, (low, high) in zip(taps, pads, strict=True)]
    moved = jnp.pad(moved, ((0, 0), *around, (0, 0)))
    batch, rows, *others = still.shape[:-1]
    wide = math.prod(taps) * moved.shape[-1]
    row_bytes = math.prod(others) * wide * moved.dtype.itemsize
    thick = _divisor(rows, _BLOCK_BYTES // row_bytes)
    images = _divisor(batch, _BLOCK_BYTES // (rows * row_bytes)) if thick == rows else 1
    along = rows // thick
    high = (thick - 1) * strides[0] + taps[0]

    def of_block(number: Array | int) -> Array:
        image, row, rest = number // along * images, number % along * thick, (0,) * dims
        a = lax.dynamic_slice(
            moved, (image, row * strides[0], *rest), (images, high, *moved.shape[2:])
        )
        b = lax.dynamic_slice(still, (image, row, *rest), (images, thick, *still.shape[2:]))
        joined = _shifted(a, b.shape[1:-1], taps, strides, mirrored=not of_image)
        return lax.dot_general(
            joined.reshape(-1, wide),
            b.reshape(-1, b.shape[-1]),
            (((0,), (0,)), ((), ())),
            preferred_element_type=accumulated,
        )

    blocks = (batch // images) * along
    if blocks == 1:
        total = of_block(0)
    else:
        none = jnp.zeros((wide, still.shape[-1]), accumulated)
        total, _ = lax.scan(lambda sums, n: (sums + of_block(n), None), none, jnp.arange(blocks))
    total = total.reshape(*taps, -1, still.shape[-1])
    return (total if of_image else total.swapaxes(-1, -2)).astype(kernel.dtype)


def _shifted(
    x: Array, space: Sequence[int], taps: Sequence[int], strides: Sequence[int], mirrored: bool
) -> Array:
    """What outputs of size `space` meet at every tap, joined on features, first axis slowest."""
    parts = []
    for tap in product(*(range(k) for k in taps)):
        start = [k - 1 - i for k, i in zip(taps, tap, strict=True)] if mirrored else tap
        stop = [i + (n - 1) * s + 1 for i, n, s in zip(start, space, strides, strict=True)]
        parts.append(
            lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *strides, 1))
        )
    return jnp.concatenate(parts, -1)


def _divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is at most `most`; 1 at least."""
    return max((d for d in range(1, number + 1) if number % d == 0 and d <= most), default=1)
