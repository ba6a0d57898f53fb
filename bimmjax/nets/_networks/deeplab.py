"""DeepLab v3+: dilated convolutions at several rates, and a small decoder."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jax import Array

from bimmjax._core.checks import InputError, choice, whole_number
from bimmjax.nets._backbones.backbone import Backbone
from bimmjax.nets._backbones.choose import BACKBONES, make_backbone
from bimmjax.nets._backbones.xception import Separable
from bimmjax.nets._blocks.convolution import Conv
from bimmjax.nets._blocks.reach import Layer
from bimmjax.nets._blocks.units import Chain, ConvNorm, Maker
from bimmjax.nets._blocks.upsampling import Linear, LinearLogits
from bimmjax.nets._network import Network, check_common, check_style


class AtrousPyramid(nnx.Module):
    """Convolutions at several rates and the mean of the image, joined and mixed.

    Chen et al. 2017 (arXiv:1706.05587), Figure 5.
    """

    def __init__(
        self,
        make: Maker,
        inputs: int,
        outputs: int,
        rates: Sequence[int],
        *,
        separable: bool,
        image_pooling: bool,
    ) -> None:
        self.point: ConvNorm = ConvNorm(make, inputs, outputs, 1)
        self.atrous: nnx.List[Separable | ConvNorm] = nnx.List(
            three(make, inputs, outputs, separable=separable, dilation=rate) for rate in rates
        )
        self.image: ConvNorm | None = nnx.data(
            ConvNorm(make, inputs, outputs, 1) if image_pooling else None
        )
        count = 1 + len(rates) + int(image_pooling)
        self.mix: ConvNorm = ConvNorm(make, count * outputs, outputs, 1)
        self.dropout: nnx.Module = make.dropped()

    def __call__(self, x: Array) -> Array:
        found = [self.point(x), *(conv(x) for conv in self.atrous)]
        if self.image is not None:
            mean = self.image(x.mean((1, 2), keepdims=True))
            found.append(jnp.broadcast_to(mean, found[0].shape))
        return self.dropout(self.mix(jnp.concatenate(found, -1)))

    @property
    def reach(self) -> list[Layer]:
        """What an output reads, but for the image's mean."""
        return max((conv.reach for conv in self.atrous), key=lambda layers: layers[0][0].low)


def three(
    make: Maker, inputs: int, outputs: int, *, separable: bool, dilation: int = 1
) -> Separable | ConvNorm:
    """A 3 x 3 convolution, normalised, with ReLU; depthwise and pointwise if separable."""
    if separable:
        return Separable(make, inputs, outputs, dilation=dilation)
    return ConvNorm(make, inputs, outputs, 3, dilation=dilation)


class DeepLabV3Plus(Network):
    """DeepLab v3+ (Chen et al. 2018, arXiv:1802.02611, Figure 2 and section 4).

    ===================  =====================  ==================
    setting              original               TXM
    ===================  =====================  ==================
    `backbone`           Xception-65            "xception71", pretrained
    `output_stride`      16                     not told
    `rates`              6, 12, 18              3, 6, 9
    `low_level`          48                     not told
    decoder              two 3 × 3 to 256       not told
    `dropout`            see paper              0.5
    loss                 cross-entropy          cross-entropy + Dice
    learning rate        see paper              1e-4
    batch                16                     1, 10 epochs
    ===================  =====================  ==================

    The backbone's features at stride 4, mixed to `low_level` ones, join the pyramid's at four
    times the size (at output stride 16); two convolutions and the classifier follow, and the
    logits are interpolated by 4. 43,472,378 parameters for one channel and two classes. With
    `separable` the 3 × 3 convolutions of pyramid and decoder are depthwise and pointwise, as in
    the paper's Xception models. The low-level features are those before the block with the second
    stride; the authors' code takes them within it, after its second convolution. Small rates,
    as TXM's, suit features that are small beside the image.

    The image's mean makes outputs depend on the tile (`local` False); `image_pooling=False` leaves
    it out. `norm` and `dropout` are of what stands on the backbone, which keeps
    its batch normalisations.

    Raises
    ------
    InputError
        For settings or images that cannot be.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from bimmjax.nets import DeepLabV3Plus
    >>> net = DeepLabV3Plus(channels=1, classes=2, width=2, layers=(1,), rngs=nnx.Rngs(0))
    >>> net(jnp.zeros((2, 32, 48, 1))).shape
    (2, 32, 48, 2)
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        context: int = 1,
        backbone: str = "xception71",
        width: int = 64,
        layers: Sequence[int] | None = None,
        output_stride: int = 16,
        rates: Sequence[int] = (6, 12, 18),
        low_level: int = 48,
        separable: bool = True,
        image_pooling: bool = True,
        norm: str = "batch",
        dropout: float = 0.1,
        rngs: nnx.Rngs,
    ) -> None:
        check_common(channels, classes, context)
        check_style(norm, dropout)
        choice("backbone", backbone, BACKBONES)
        whole_number("low_level", low_level, 1, 1024)
        if not rates:
            raise InputError("rates: got none, wants one number or more")
        for rate in rates:
            whole_number("rates", rate, 1, 1000)
        self.backbone: Backbone = make_backbone(
            backbone,
            channels * context,
            width=width,
            layers=layers,
            output_stride=output_stride,
            rngs=rngs,
        )
        features = 4 * width
        make = Maker(2, rngs, norm, dropout=dropout, bias=False)
        widths = self.backbone.widths
        self.pyramid: AtrousPyramid = AtrousPyramid(
            make,
            widths[-1],
            features,
            rates,
            separable=separable,
            image_pooling=image_pooling,
        )
        self.low: ConvNorm = ConvNorm(make, widths[1], low_level, 1)
        self.up: Linear = Linear((output_stride // 4,) * 2)
        self.decoder: Chain = Chain(
            three(make, features + low_level, features, separable=separable),
            three(make, features, features, separable=separable),
            Conv(features, classes, (1, 1), rngs=rngs),
            LinearLogits((4, 4)),
        )
        self._describe(
            [*self.backbone.reach, *self.pyramid.reach, *self.up.reach, *self.decoder.reach],
            channels=channels,
            classes=classes,
            context=context,
            local=not image_pooling and norm != "group",
        )

    def _forward(self, images: Array) -> Array:
        found = self.backbone(images)
        joined = [self.low(found[1]), self.up(self.pyramid(found[-1]))]
        return self.decoder(jnp.concatenate(joined, -1))
