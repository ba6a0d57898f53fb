"""The encoder of ResNet-152 (He et al. 2016, arXiv:1512.03385, Table 1)."""

from __future__ import annotations

from collections.abc import Sequence

from flax import nnx
from jax import Array

from bimmjax.nets._backbones.backbone import Backbone
from bimmjax.nets._blocks.pooling import OverlappingMaxPool
from bimmjax.nets._blocks.reach import Layer
from bimmjax.nets._blocks.units import Chain, ConvNorm, Maker

LAYERS = (3, 8, 36, 3)


class Bottleneck(nnx.Module):
    """1 x 1 down to fewer features, 3 x 3, 1 x 1 up to four times as many, plus the input.

    The stride is in the 3 x 3 convolution, as in the weights that are in circulation (the paper
    has it in the first 1 x 1).
    """

    def __init__(self, make: Maker, inputs: int, middle: int, stride: int, dilation: int) -> None:
        outputs = 4 * middle
        self.first = ConvNorm(make, inputs, middle, 1)
        self.second = ConvNorm(make, middle, middle, 3, stride=stride, dilation=dilation)
        self.third = ConvNorm(make, middle, outputs, 1, relu=False)
        same = inputs == outputs and stride == 1
        self.skip = nnx.data(
            None if same else ConvNorm(make, inputs, outputs, 1, stride=stride, relu=False)
        )

    def __call__(self, x: Array) -> Array:
        y = self.third(self.second(self.first(x)))
        return nnx.relu(y + (x if self.skip is None else self.skip(x)))

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return self.second.reach


def resnet(
    channels: int,
    *,
    width: int = 64,
    layers: Sequence[int] = LAYERS,
    output_stride: int = 32,
    rngs: nnx.Rngs,
) -> Backbone:
    """ResNet-152 without its classifier: 58,143,808 parameters for three channels.

    width : features of the stem.
    layers : bottlenecks in each of the four stages; (3, 8, 36, 3) is ResNet-152, (3, 4, 23, 3)
        ResNet-101, (3, 4, 6, 3) ResNet-50.
    output_stride : 8, 16 or 32. What would shrink the features further is dilated instead, from
        the second bottleneck of its stage on (Yu et al. 2017, arXiv:1705.09914).
    """
    make = Maker(2, rngs, bias=False)
    stages: list[Chain] = [Chain(ConvNorm(make, channels, width, 7, stride=2))]
    inputs, stride, dilation = width, 4, 1
    for index, count in enumerate(layers):
        blocks: list[OverlappingMaxPool | Bottleneck] = []
        step, first = (1 if index == 0 else 2), dilation
        if index == 0:
            blocks.append(OverlappingMaxPool())
        elif stride * step > output_stride:
            dilation, step = dilation * step, 1
        else:
            stride *= step
        middle = width * 2**index
        for block in range(count):
            blocks.append(
                Bottleneck(
                    make, inputs, middle, step if block == 0 else 1, dilation if block else first
                )
            )
            inputs = 4 * middle
        stages.append(Chain(*blocks))
    return Backbone(stages, [width, *(4 * width * 2**i for i in range(len(layers)))])
