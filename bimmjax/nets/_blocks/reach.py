"""How far an output looks: what tiles of a big volume need to know of a network.

Every layer says which inputs an output reads along each axis; following one output back through
the layers on the longest way through a network gives its halo and the multiple that its input's
size has to be of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Step(NamedTuple):
    """One layer along one axis.

    Output i reads the inputs from `(i // factor) * stride - low` to `(i // factor) * stride +
    high`: `stride` is above 1 where the layer shrinks the axis, `factor` where it stretches it.
    """

    low: int = 0
    high: int = 0
    stride: int = 1
    factor: int = 1


# A layer's steps, one an axis.
Layer = tuple[Step, ...]


def window(kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Layer:
    """The steps of a convolution or pooling that is padded on both sides alike."""
    steps = []
    for k, s, d in zip(kernel, stride, dilation, strict=True):
        low, high = padding(k, d)
        steps.append(Step(low, high, s))
    return tuple(steps)


def padding(kernel: int, dilation: int = 1) -> tuple[int, int]:
    """Zeros before and after an axis which keep its length at stride 1.

    Windows of stride 2 sit as in torch (one zero on either side of a window of three), so that
    weights trained there fit.
    """
    span = dilation * (kernel - 1)
    return span // 2, span - span // 2


def multiple_of(layers: Sequence[Layer]) -> tuple[int, ...]:
    """The coarsest grid on the way, in voxels of the input, per axis."""
    scale = [1] * len(layers[0])
    coarsest = list(scale)
    for layer in layers:
        for axis, step in enumerate(layer):
            scale[axis] = scale[axis] * step.stride // step.factor
            coarsest[axis] = max(coarsest[axis], scale[axis])
    return tuple(coarsest)


def halo_of(layers: Sequence[Layer]) -> tuple[int, ...]:
    """The farthest input that any output reads, in voxels, per axis.

    Examples
    --------
    Two convolutions of width 3 around a pooling and its inverse:

    >>> from bimmjax.nets._blocks.reach import Step, halo_of
    >>> conv, pool, up = (Step(1, 1),), (Step(0, 1, 2),), (Step(factor=2),)
    >>> halo_of([conv, pool, conv, up])
    (4,)
    """
    halo = []
    for axis, period in enumerate(multiple_of(layers)):
        farthest = 0
        for at in range(period):
            low = high = at
            for layer in reversed(layers):
                step = layer[axis]
                low = (low // step.factor) * step.stride - step.low
                high = (high // step.factor) * step.stride + step.high
            farthest = max(farthest, at - low, high - at)
        halo.append(farthest)
    return tuple(halo)
