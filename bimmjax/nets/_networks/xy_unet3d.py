"""The 3D U-Net that keeps every slice: it pools in x and y only."""

from __future__ import annotations

from itertools import pairwise

from flax import nnx
from jax import Array

from bimmjax._core.checks import whole_number
from bimmjax.nets._blocks.convolution import Conv
from bimmjax.nets._blocks.pooling import MaxPool
from bimmjax.nets._blocks.units import Decoder, DoubleConv, Encoder, Maker
from bimmjax.nets._blocks.upsampling import Repeat
from bimmjax.nets._network import Network, check_common, check_style


class XYUNet3D(Network):
    """The 3D U-Net of the Spheres paper (DiBenedetto, section II A and Table I).

    ======================  ====================  ======================
    setting                 the paper's body      its appendix
    ======================  ====================  ======================
    `pool_z`                False                 True
    `depth`                 4                     3
    `width` to bridge       32-256, 512           32-128, 256
    pooling                 2 × 2, in y and x     2 × 2 × 2
    input                   10 × 256 × 256        10 × 256 × 256
    learning rate, batch    1e-4, 4               1e-4, 4
    epochs                  100                   100
    parameters              23,538,210            5,838,882
    ======================  ====================  ======================

    Parameters are for one channel and two classes (the paper has one output and a sigmoid). Each
    level has two convolutions of width 3 with batch normalisation and ReLU, the way up repeats
    voxels. The appendix's 10 slices shrink to 5, 2 and 1 and its table does not say how 2 become 5
    again: here z has to be a multiple of 8 where it is pooled. `depth` None is the column's.

    Raises
    ------
    InputError
        For settings or images that cannot be.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from bimmjax.nets import XYUNet3D
    >>> net = XYUNet3D(channels=1, classes=2, width=2, depth=2, rngs=nnx.Rngs(0))
    >>> net(jnp.zeros((1, 5, 8, 8, 1))).shape, net.multiple
    ((1, 5, 8, 8, 2), (1, 4, 4))
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        width: int = 32,
        depth: int | None = None,
        pool_z: bool = False,
        norm: str = "batch",
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        check_common(channels, classes)
        check_style(norm, dropout)
        whole_number("width", width, 1, 1024)
        deep = whole_number("depth", (3 if pool_z else 4) if depth is None else depth, 1, 6)
        make = Maker(3, rngs, norm, dropout=dropout)
        factor = (2 if pool_z else 1, 2, 2)
        widths = [width * 2**level for level in range(deep + 1)]
        blocks = [DoubleConv(make, a, b, b) for a, b in pairwise([channels, *widths])]
        joined = [DoubleConv(make, a + b, a, a) for a, b in reversed(list(pairwise(widths)))]
        self.encoder: Encoder = Encoder(blocks[:-1], [MaxPool(factor) for _ in joined], blocks[-1])
        self.decoder: Decoder = Decoder([Repeat(factor) for _ in joined], joined)
        self.classifier: Conv = Conv(width, classes, (1, 1, 1), rngs=rngs)
        self._describe(
            [*self.encoder.reach, *self.decoder.reach],
            channels=channels,
            classes=classes,
            local=norm != "group",
        )

    def _forward(self, images: Array) -> Array:
        return self.classifier(self.decoder(self.encoder(images)))
