"""The encoder of the modified Xception-71 (Chen et al. 2018, arXiv:1802.02611, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

from flax import nnx
from jax import Array

from bimmjax.nets._backbones.backbone import Backbone
from bimmjax.nets._blocks.reach import Layer
from bimmjax.nets._blocks.units import Chain, ConvNorm, Maker

LAYERS = (16,)
# Features of the entry flow's blocks and their strides: five where Xception-65 has three.
_ENTRY = ((128, 2), (256, 1), (256, 2), (728, 1), (728, 2))
_EXIT = ((728, 1024, 1024), (1536, 1536, 2048))


class Separable(nnx.Module):
    """Depthwise 3 x 3 and pointwise convolution, each normalised; ReLU after both, or after none.

    Without them the block that holds it puts one in front.
    """

    def __init__(
        self,
        make: Maker,
        inputs: int,
        outputs: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        relu: bool = True,
    ) -> None:
        self.depthwise = Depthwise(make, inputs, stride=stride, dilation=dilation, relu=relu)
        self.pointwise = ConvNorm(make, inputs, outputs, 1, relu=relu)

    def __call__(self, x: Array) -> Array:
        return self.pointwise(self.depthwise(x))

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return self.depthwise.reach


class Depthwise(nnx.Module):
    """A 3 x 3 convolution of each feature by itself, normalised."""

    def __init__(
        self, make: Maker, features: int, *, stride: int, dilation: int, relu: bool
    ) -> None:
        self.conv = make.depthwise(features, stride=stride, dilation=dilation)
        self.norm = make.normed(features)
        self.relu = relu

    def __call__(self, x: Array) -> Array:
        x = self.norm(self.conv(x))
        return nnx.relu(x) if self.relu else x

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return self.conv.reach


class XceptionBlock(nnx.Module):
    """Three separable convolutions, the last one with the stride, plus the input.

    `skip` adds the input (through a 1 x 1 convolution where its shape differs); `leading` puts the
    ReLUs in front of the convolutions instead of within them.
    """

    def __init__(
        self,
        make: Maker,
        inputs: int,
        outputs: Sequence[int],
        *,
        stride: int,
        dilation: int,
        skip: bool,
        leading: bool,
    ) -> None:
        features = [inputs, *outputs]
        self.convs = nnx.List(
            Separable(
                make,
                features[i],
                features[i + 1],
                stride=stride if i == 2 else 1,
                dilation=dilation,
                relu=not leading,
            )
            for i in range(3)
        )
        differs = skip and (inputs != outputs[-1] or stride != 1)
        self.shortcut = nnx.data(
            ConvNorm(make, inputs, outputs[-1], 1, stride=stride, relu=False) if differs else None
        )
        self.skip, self.leading = skip, leading

    def __call__(self, x: Array) -> Array:
        y = x
        for conv in self.convs:
            y = conv(nnx.relu(y) if self.leading else y)
        if self.skip:
            y = y + (x if self.shortcut is None else self.shortcut(x))
        return y

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return [layer for conv in self.convs for layer in conv.reach]


def xception(
    channels: int,
    *,
    width: int = 64,
    layers: Sequence[int] = LAYERS,
    output_stride: int = 32,
    rngs: nnx.Rngs,
) -> Backbone:
    """Xception-71 without its classifier: 40,289,736 parameters for three channels.

    width : features after the second convolution, 64; the others scale with it.
    layers : how many blocks its middle flow has, one number, (16,).
    output_stride : 8, 16 or 32; blocks after the one that would shrink the features further are
        dilated instead.

    The five stages end before each block with a stride.
    """
    # The authors' epsilon.
    make = Maker(2, rngs, epsilon=1e-3, bias=False)

    def scaled(features: int) -> int:
        return max(1, features * width // 64)

    plan: list[tuple[tuple[int, ...], int, bool, bool]] = []
    for features, stride in _ENTRY:
        plan.append(((features,) * 3, stride, True, True))
    plan += [((728,) * 3, 1, True, True)] * layers[0]
    plan += [(_EXIT[0], 2, True, True), (_EXIT[1], 1, False, False)]
    stem = [
        ConvNorm(make, channels, scaled(32), 3, stride=2),
        ConvNorm(make, scaled(32), scaled(64), 3),
    ]
    stages, widths = [], []
    blocks: list = list(stem)
    inputs, total, dilation = scaled(64), 2, 1
    for outputs, stride, skip, leading in plan:
        if stride == 2:
            stages.append(Chain(*blocks))
            widths.append(inputs)
            blocks = []
        own, step = dilation, stride
        if total * stride > output_stride:
            dilation, step = dilation * stride, 1
        else:
            total *= stride
        own_outputs = [scaled(features) for features in outputs]
        blocks.append(
            XceptionBlock(
                make, inputs, own_outputs, stride=step, dilation=own, skip=skip, leading=leading
            )
        )
        inputs = own_outputs[-1]
    stages.append(Chain(*blocks))
    widths.append(inputs)
    return Backbone(stages, widths)
