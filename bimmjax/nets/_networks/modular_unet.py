"""The Modular U-Net in two, two and a half and three dimensions."""

from __future__ import annotations

from itertools import pairwise

from flax import nnx
from jax import Array

from bimmjax._core.checks import real_number, whole_number
from bimmjax.nets._blocks.convolution import Conv
from bimmjax.nets._blocks.norms import GaussianNoise, Nothing
from bimmjax.nets._blocks.pooling import MaxPool
from bimmjax.nets._blocks.reach import Layer
from bimmjax.nets._blocks.units import ConvNorm, Decoder, Encoder, Maker, ResidualBlock
from bimmjax.nets._blocks.upsampling import Repeat, UpConv
from bimmjax.nets._network import Network, check_common, check_dims, check_style


class UpConvNorm(nnx.Module):
    """A transposed convolution of width 3 to twice the size, normalised."""

    def __init__(self, make: Maker, features: int) -> None:
        three, two = (3,) * make.dims, (2,) * make.dims
        self.conv = UpConv(features, features, three, two, rngs=make.rngs)
        self.norm = make.normed(features)

    def __call__(self, x: Array) -> Array:
        return self.norm(self.conv(x))

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return self.conv.reach


class ModularUNet(Network):
    """The Modular U-Net (Bertoldo et al. 2021, Figures 2 and 3, Tables B.2 and B.3).

    ===================  ===========  ==================  ==============
    setting              2D           2.5D                3D
    ===================  ===========  ==================  ==============
    `dims`, `context`    2, 1         2, 5                3, 1
    `depth` (U-depth)    3            3                   3
    kernel               3 × 3        3 × 3               3 × 3 × 3
    `width` (f0)         16           16                  16
    `dropout`            10 %         10 %                10 %
    `noise` (std)        0.03         0.03                0.03
    norm, `momentum`     batch, 0.5   batch, 0.5          batch, 0.5
    batch of 10 crops    160 × 160    160 × 160 × 5       32 × 32 × 32
    parameters           3,302,883    3,304,611           9,893,187
    ===================  ===========  ==================  ==============

    Parameters are for one channel and three classes. Level i of the encoder convolves to
    `width` 2^i and then to `width` 2^(i + 1) features, level i of the decoder twice to `width`
    2^(i + 1). On the way down and up the convolutions have stride 2, keep the features and are
    normalised.

    The ablations of the paper's Figure 5b: `dropout=0`, `noise=0`, `residual=False`,
    `norm="none"` or `"layer"`, `separable=True`, `rigid=True` (largest of 2 × 2 down, repetition
    up), `depth=2` or 4. The paper's noise is of grey values between 0 and 1; with those normalised
    by their standard deviation (the default of recipes) 0.03 is weaker.

    Parameters
    ----------
    channels, classes
        Of a slice, and told apart.
    rngs
        Where parameters, dropout and noise come from.

    Raises
    ------
    InputError
        For settings or images that cannot be.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from bimmjax.nets import ModularUNet
    >>> net = ModularUNet(channels=1, classes=3, width=2, rngs=nnx.Rngs(0))
    >>> net(jnp.zeros((1, 16, 24, 1))).shape
    (1, 16, 24, 3)
    >>> net.multiple, net.halo
    ((8, 8), (65, 65))
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        dims: int = 2,
        context: int = 1,
        width: int = 16,
        depth: int = 3,
        dropout: float = 0.1,
        noise: float = 0.03,
        norm: str = "batch",
        momentum: float = 0.5,
        residual: bool = True,
        separable: bool = False,
        rigid: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_common(channels, classes, context)
        check_dims(dims)
        check_style(norm, dropout)
        whole_number("width", width, 1, 1024)
        whole_number("depth", depth, 1, 6)
        real_number("noise", noise, 0.0, 10.0)
        real_number("momentum", momentum, 0.0, 1.0)
        # The stock epsilon of the authors' library.
        make = Maker(dims, rngs, norm, momentum, 1e-3, dropout=dropout, separable=separable)
        plain = Maker(dims, rngs, norm, momentum, 1e-3)
        widths = [width * 2 ** (level + 1) for level in range(depth + 1)]
        skip = 3 if residual else None
        self.noise: GaussianNoise | Nothing = (
            GaussianNoise(noise, rngs=rngs) if noise else Nothing()
        )
        blocks, features = [], channels * context
        for own in widths:
            blocks.append(ResidualBlock(make, features, own // 2, own, skip))
            features = own
        if rigid:
            downs = [MaxPool((2,) * dims) for _ in widths[:-1]]
            ups = [Repeat((2,) * dims) for _ in widths[:-1]]
        else:
            downs = [ConvNorm(plain, own, own, stride=2, relu=False) for own in widths[:-1]]
            ups = [UpConvNorm(plain, own) for own in reversed(widths[1:])]
        joined = [
            ResidualBlock(make, fine + coarse, fine, fine, skip)
            for fine, coarse in reversed(list(pairwise(widths)))
        ]
        self.encoder: Encoder = Encoder(blocks[:-1], downs, blocks[-1])
        self.decoder: Decoder = Decoder(ups, joined)
        self.classifier: Conv = Conv(widths[0], classes, (1,) * dims, rngs=rngs)
        self._describe(
            [*self.encoder.reach, *self.decoder.reach],
            channels=channels,
            classes=classes,
            context=context,
            local=norm != "group",
        )

    def _forward(self, images: Array) -> Array:
        return self.classifier(self.decoder(self.encoder(self.noise(images))))
