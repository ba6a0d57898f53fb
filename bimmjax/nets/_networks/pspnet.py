"""PSPNet: a dilated ResNet-152 and means over regions of four sizes."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jax import Array

from bimmjax._core.checks import InputError, choice, whole_number
from bimmjax.nets._backbones.backbone import Backbone
from bimmjax.nets._backbones.choose import BACKBONES, make_backbone
from bimmjax.nets._blocks.convolution import Conv
from bimmjax.nets._blocks.pooling import mean_over_bins
from bimmjax.nets._blocks.reach import Layer
from bimmjax.nets._blocks.units import ConvNorm, Maker
from bimmjax.nets._blocks.upsampling import LinearLogits, resize
from bimmjax.nets._network import Network, check_common, check_style


class PyramidPooling(nnx.Module):
    """Means over 1, 2, 3, ... bins an axis, each convolved, interpolated back and joined."""

    def __init__(self, make: Maker, inputs: int, bins: Sequence[int]) -> None:
        outputs = max(1, inputs // len(bins))
        self.bins: tuple[int, ...] = tuple(bins)
        self.branches: nnx.List[ConvNorm] = nnx.List(
            ConvNorm(make, inputs, outputs, 1) for _ in bins
        )
        self.outputs: int = inputs + outputs * len(bins)

    def __call__(self, x: Array) -> Array:
        found = [x]
        for bins, branch in zip(self.bins, self.branches, strict=True):
            found.append(resize(branch(mean_over_bins(x, bins)), x.shape[1:-1]))
        return jnp.concatenate(found, -1)


class Classifier(nnx.Module):
    """conv3-norm-ReLU-dropout-conv1, interpolated to the size of the image."""

    def __init__(self, make: Maker, inputs: int, middle: int, classes: int, factor: int) -> None:
        self.conv: ConvNorm = ConvNorm(make, inputs, middle, 3)
        self.dropout: nnx.Module = make.dropped()
        self.last: Conv = Conv(middle, classes, (1,) * make.dims, rngs=make.rngs)
        self.resize: LinearLogits = LinearLogits((factor,) * make.dims)

    def __call__(self, x: Array) -> Array:
        return self.resize(self.last(self.dropout(self.conv(x))))

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return [*self.conv.reach, *self.resize.reach]


class PSPNet(Network):
    """The pyramid scene parsing network (Zhao et al. 2017, arXiv:1612.01105, Figure 3).

    ===================  =====================  ==================
    setting              original               TXM
    ===================  =====================  ==================
    `backbone`           ResNet-50 to -269      "resnet152", pretrained
    `output_stride`      8                      not told
    `bins`               1, 2, 3, 6             four scales
    auxiliary loss       0.4                    not told
    `dropout`            0.1                    0.5
    loss                 cross-entropy          cross-entropy + Dice
    learning rate        see paper              1e-4
    batch                16                     1, 10 epochs
    ===================  =====================  ==================

    The pyramid's branches have a quarter of the backbone's last features each; the classifier
    convolves to 8 `width` (512) features. The auxiliary head, second of `heads`, sits on the
    stage before the last. 83,572,676 parameters with it, for one channel and two classes. The stem
    is the 7 × 7 convolution of ResNet-152, so that its weights fit (the authors' own has three
    3 × 3).

    Means over bins span the whole image, so outputs depend on the tile: `local` is False, and
    `halo` is that of the rest. `norm` and `dropout` are of what stands on the backbone, which keeps
    its batch normalisations.

    Raises
    ------
    InputError
        For settings or images that cannot be.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from bimmjax.nets import PSPNet
    >>> net = PSPNet(channels=1, classes=2, width=2, layers=(1, 1, 1, 1), rngs=nnx.Rngs(0))
    >>> main, auxiliary = net.heads(jnp.zeros((2, 32, 48, 1)))
    >>> main.shape, auxiliary.shape
    ((2, 32, 48, 2), (2, 32, 48, 2))
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        context: int = 1,
        backbone: str = "resnet152",
        width: int = 64,
        layers: Sequence[int] | None = None,
        output_stride: int = 8,
        bins: Sequence[int] = (1, 2, 3, 6),
        norm: str = "batch",
        dropout: float = 0.1,
        rngs: nnx.Rngs,
    ) -> None:
        check_common(channels, classes, context)
        check_style(norm, dropout)
        choice("backbone", backbone, BACKBONES)
        if not bins:
            raise InputError("bins: got none, wants one number or more")
        for count in bins:
            whole_number("bins", count, 1, 1000)
        self.backbone: Backbone = make_backbone(
            backbone,
            channels * context,
            width=width,
            layers=layers,
            output_stride=output_stride,
            rngs=rngs,
        )
        make = Maker(2, rngs, norm, dropout=dropout, bias=False)
        before, last = self.backbone.widths[-2:]
        # The stage before the last is on the last one's grid if that was dilated.
        earlier = output_stride if output_stride < 32 else 16
        self.pyramid: PyramidPooling = PyramidPooling(make, last, bins)
        self.classifier: Classifier = Classifier(
            make, self.pyramid.outputs, 8 * width, classes, output_stride
        )
        self.auxiliary: Classifier = Classifier(make, before, 4 * width, classes, earlier)
        self._describe(
            [*self.backbone.reach, *self.classifier.reach],
            channels=channels,
            classes=classes,
            context=context,
            local=False,
        )

    # What the losses of the two heads count.
    head_weights: tuple[float, float] = (1.0, 0.4)

    def _all_heads(self, images: Array) -> tuple[Array, ...]:
        *_, before, last = self.backbone(images)
        return self.classifier(self.pyramid(last)), self.auxiliary(before)

    def _forward(self, images: Array) -> Array:
        return self.classifier(self.pyramid(self.backbone(images)[-1]))
