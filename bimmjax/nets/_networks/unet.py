"""The U-Net on slices, on stacks of neighbouring slices, and in three dimensions."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import pairwise

from flax import nnx
from jax import Array

from bimmjax._core.checks import InputError, choice, whole_number
from bimmjax.nets._backbones.backbone import Backbone
from bimmjax.nets._backbones.choose import BACKBONES, make_backbone
from bimmjax.nets._blocks.convolution import Conv
from bimmjax.nets._blocks.pooling import MaxPool
from bimmjax.nets._blocks.units import (
    Block,
    Decoder,
    DoubleConv,
    Encoder,
    Maker,
    ResidualBlock,
)
from bimmjax.nets._blocks.upsampling import Repeat, UpConv
from bimmjax.nets._network import Network, check_common, check_style


def make_block(make: Maker, inputs: int, middle: int, outputs: int, residual: bool) -> Block:
    """The two convolutions of a level, with a 1 x 1 convolution beside them if residual."""
    if residual:
        return ResidualBlock(make, inputs, middle, outputs, 1)
    return DoubleConv(make, inputs, middle, outputs)


class UNet(Network):
    """The U-Net (Ronneberger et al. 2015, arXiv:1505.04597), padded so that sizes are kept.

    ==================  =================  ========================  =====================
    setting             TXM (2D)           FIB Articles I and III    original
    ==================  =================  ========================  =====================
    `context`           1                  3, 5, 7 or 9              1
    `width`, `depth`    64, 4              not told, 4 (III)         64, 4
    `norm`              not told           not told                  "none"
    `residual`          no                 yes (III)                 no
    `dropout`           0.5                not told                  see paper
    batch, crop         1, whole slice     64, 64 × 64               1, 572 × 572
    loss                cross-entropy +    Dice                      cross-entropy
                        Dice
    learning rate       1e-4               1e-5 (I), 1e-4 (III), a   see paper
                                           tenth after 10 epochs
                                           without gain
    epochs              10                 100, stop after 10 (I)    see paper
                                           or 25 (III) without gain
    ==================  =================  ========================  =====================

    TXM's run of two classes had the mean squared error for its loss, another one of three classes
    cross-entropy alone (its Table I).

    Level i has `width` 2^i features in both convolutions; pooling takes the largest of 2 × 2, and
    the way up is a transposed convolution of width 2 that halves the features. 31,042,434
    parameters for one channel and two classes with batch normalisation (`norm="none"`:
    31,030,658).

    With `backbone="resnet152"` or `"xception71"` the encoder is that network's (features at
    strides 2 to 32), and each of the five levels of the decoder repeats voxels, joins the
    encoder's features and convolves twice, to 4, 2, 1, 1/2 and 1/4 `width` features. `depth`,
    `residual` and `learned_up` would be without effect and are refused; `width` scales the
    backbone (64 is its own), `layers` its numbers of blocks. Backbones keep their batch
    normalisations, whatever `norm`.

    Parameters
    ----------
    channels, classes
        Of a slice, and told apart.
    context
        Neighbouring slices that are stacked as channels, odd.
    learned_up
        Transposed convolutions, or else repetition of voxels.
    rngs
        Where parameters and dropout come from.

    Raises
    ------
    InputError
        For settings or images that cannot be.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from bimmjax.nets import UNet
    >>> net = UNet(channels=1, classes=2, context=3, width=2, depth=2, rngs=nnx.Rngs(0))
    >>> net(jnp.zeros((1, 16, 24, 3))).shape
    (1, 16, 24, 2)
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        context: int = 1,
        width: int = 64,
        depth: int = 4,
        norm: str = "batch",
        dropout: float = 0.0,
        residual: bool = False,
        learned_up: bool = True,
        backbone: str | None = None,
        layers: Sequence[int] | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        check_common(channels, classes, context)
        check_style(norm, dropout)
        whole_number("width", width, 1, 1024)
        whole_number("depth", depth, 1, 6)
        make = Maker(2, rngs, norm, dropout=dropout)
        if backbone is None:
            if layers is not None:
                raise InputError(f"layers: got {layers!r}, wants a backbone beside them")
            widths = [width * 2**level for level in range(depth + 1)]
            self.encoder: Encoder | Backbone = plain_encoder(
                make, channels * context, widths, residual
            )
            self.decoder: Decoder = plain_decoder(make, widths, residual, learned_up)
            last = width
        else:
            choice("backbone", backbone, BACKBONES)
            _refuse_beside_backbone(depth=depth, residual=residual, learned_up=learned_up)
            self.encoder = make_backbone(
                backbone, channels * context, width=width, layers=layers, rngs=rngs
            )
            wide = [max(1, width * 4 // 2**level) for level in range(5)]
            self.decoder = _backbone_decoder(make, self.encoder.widths, wide)
            last = wide[-1]
        self.classifier: Conv = Conv(last, classes, (1, 1), rngs=rngs)
        self._describe(
            [*self.encoder.reach, *self.decoder.reach],
            channels=channels,
            classes=classes,
            context=context,
            local=norm != "group",
        )

    def _forward(self, images: Array) -> Array:
        return self.classifier(self.decoder(self.encoder(images)))


def _refuse_beside_backbone(**told: int) -> None:
    """Refuse what a network with a backbone has no use for, unless it is what nobody has to set."""
    usual = inspect.signature(UNet.__init__).parameters
    for name, value in told.items():
        if value != usual[name].default:
            raise InputError(
                f"{name}: got {value} beside a backbone, wants {usual[name].default}, "
                "as it has no effect there"
            )


def plain_encoder(make: Maker, channels: int, widths: Sequence[int], residual: bool) -> Encoder:
    """Two convolutions a level and the largest of two voxels along each axis between."""
    blocks = [
        make_block(make, inputs, own, own, residual)
        for inputs, own in pairwise([channels, *widths])
    ]
    downs = [MaxPool((2,) * make.dims) for _ in widths[:-1]]
    return Encoder(blocks[:-1], downs, blocks[-1])


def plain_decoder(make: Maker, widths: Sequence[int], residual: bool, learned: bool) -> Decoder:
    """The way back: half the features at twice the size, joined, then two convolutions."""
    two = (2,) * make.dims
    ups, blocks = [], []
    for fine, coarse in reversed(list(pairwise(widths))):
        if learned:
            ups.append(UpConv(coarse, fine, two, two, rngs=make.rngs))
        else:
            ups.append(Repeat(two))
        joined = 2 * fine if learned else fine + coarse
        blocks.append(make_block(make, joined, fine, fine, residual))
    return Decoder(ups, blocks)


def _backbone_decoder(make: Maker, found: Sequence[int], widths: Sequence[int]) -> Decoder:
    ups = [Repeat((2, 2)) for _ in widths]
    blocks, features = [], found[-1]
    for own, skip in zip(widths, [*reversed(found[:-1]), 0], strict=True):
        blocks.append(DoubleConv(make, features + skip, own, own))
        features = own
    return Decoder(ups, blocks)
