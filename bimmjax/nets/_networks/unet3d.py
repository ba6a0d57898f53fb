"""The 3D U-Net and its residual variant."""

from __future__ import annotations

from flax import nnx
from jax import Array

from bimmjax._core.checks import whole_number
from bimmjax.nets._blocks.convolution import Conv
from bimmjax.nets._blocks.pooling import MaxPool
from bimmjax.nets._blocks.units import Decoder, Encoder, Maker
from bimmjax.nets._blocks.upsampling import UpConv
from bimmjax.nets._network import Network, check_common, check_style
from bimmjax.nets._networks.unet import make_block


class UNet3D(Network):
    """The 3D U-Net (Çiçek et al. 2016, arXiv:1606.06650), padded so that sizes are kept.

    ==================  ==================  ==================
    setting             original            FIB Article I
    ==================  ==================  ==================
    `width`, `depth`    32, 3               not told, tuned
    `norm`              "batch"             not told
    batch, crop         1, 132 × 132 × 116  1, 64 × 64 × 64
    loss                cross-entropy       squared Dice
    ==================  ==================  ==================

    Level i of the encoder convolves to `width` 2^i and then to twice as many features, so that
    they grow before each pooling; a transposed convolution of width 2 keeps them on the way up.
    19,074,627 parameters for three channels and three classes: the paper's 19,069,955 and the
    scales and shifts of the batch normalisations.

    Raises
    ------
    InputError
        For settings or images that cannot be.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from bimmjax.nets import UNet3D
    >>> net = UNet3D(channels=1, classes=2, width=2, depth=2, rngs=nnx.Rngs(0))
    >>> net(jnp.zeros((1, 4, 8, 8, 1))).shape
    (1, 4, 8, 8, 2)
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        width: int = 32,
        depth: int = 3,
        norm: str = "batch",
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        self._assemble(channels, classes, width, depth, norm, dropout, False, rngs)

    def _assemble(
        self,
        channels: int,
        classes: int,
        width: int,
        depth: int,
        norm: str,
        dropout: float,
        residual: bool,
        rngs: nnx.Rngs,
    ) -> None:
        check_common(channels, classes)
        check_style(norm, dropout)
        whole_number("width", width, 1, 1024)
        whole_number("depth", depth, 1, 6)
        make = Maker(3, rngs, norm, dropout=dropout)
        two = (2, 2, 2)
        widths = [width * 2 ** (level + 1) for level in range(depth + 1)]
        blocks, features = [], channels
        for own in widths:
            blocks.append(make_block(make, features, own // 2, own, residual))
            features = own
        ups, joined = [], []
        for own in reversed(widths[:-1]):
            ups.append(UpConv(features, features, two, two, bias=False, rngs=rngs))
            joined.append(make_block(make, features + own, own, own, residual))
            features = own
        self.encoder: Encoder = Encoder(blocks[:-1], [MaxPool(two) for _ in ups], blocks[-1])
        self.decoder: Decoder = Decoder(ups, joined)
        self.classifier: Conv = Conv(features, classes, (1, 1, 1), rngs=rngs)
        self._describe(
            [*self.encoder.reach, *self.decoder.reach],
            channels=channels,
            classes=classes,
            local=norm != "group",
        )

    def _forward(self, images: Array) -> Array:
        return self.classifier(self.decoder(self.encoder(images)))


class ResUNet3D(UNet3D):
    """The 3D U-Net with residual connections (FIB Article I, section 2.3.2).

    ==================  ==================
    setting             FIB Article I
    ==================  ==================
    `width`, `depth`    not told, tuned
    batch, crop         1, 64 × 64 × 64
    loss                squared Dice
    learning rate       1e-4, a tenth after 10 epochs without gain
    ==================  ==================

    As `UNet3D`, with a 1 × 1 × 1 convolution, normalised, beside the two convolutions of each
    level, added before the last ReLU.

    Raises
    ------
    InputError
        For settings or images that cannot be.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from bimmjax.nets import ResUNet3D
    >>> net = ResUNet3D(channels=1, classes=2, width=2, depth=1, rngs=nnx.Rngs(0))
    >>> net(jnp.zeros((1, 4, 8, 8, 1))).shape
    (1, 4, 8, 8, 2)
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        width: int = 32,
        depth: int = 3,
        norm: str = "batch",
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        self._assemble(channels, classes, width, depth, norm, dropout, True, rngs)
