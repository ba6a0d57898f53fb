"""V-Net: residual stages of wide convolutions in three dimensions."""

from __future__ import annotations

from flax import nnx
from jax import Array

from bimmjax._core.checks import whole_number
from bimmjax.nets._blocks.convolution import Conv, PReLU
from bimmjax.nets._blocks.reach import Layer
from bimmjax.nets._blocks.units import Decoder, Encoder, Maker
from bimmjax.nets._blocks.upsampling import UpConv
from bimmjax.nets._network import Network, check_common, check_style

# Convolutions of each stage on the way down; on the way up the same ones in reverse.
_COUNTS = (1, 2, 3, 3, 3)


class Stage(nnx.Module):
    """One to three convolutions of width 5, plus what came in; PReLU after each and the sum."""

    def __init__(self, make: Maker, inputs: int, outputs: int, count: int) -> None:
        features = [inputs, *[outputs] * count]
        self.convs = nnx.List(make.conv(a, outputs, 5) for a in features[:-1])
        self.norms = nnx.List(make.normed(outputs) for _ in range(count))
        self.slopes = nnx.List(PReLU(outputs) for _ in range(count))
        # A grey image is added to every feature; other numbers of channels are mixed first.
        fits = inputs in (1, outputs)
        self.project = nnx.data(None if fits else make.conv(inputs, outputs, 1))
        self.dropout = make.dropped()

    def __call__(self, x: Array) -> Array:
        y = x
        last = len(self.convs) - 1
        for at, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y))
            if at == last:
                y = y + (x if self.project is None else self.project(x))
            y = self.slopes[at](y)
        return self.dropout(y)

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return [layer for conv in self.convs for layer in conv.reach]


class Change(nnx.Module):
    """A convolution of width 2 and stride 2, down or up, normalised, with PReLU."""

    def __init__(self, make: Maker, inputs: int, outputs: int, *, up: bool) -> None:
        two = (2,) * make.dims
        if up:
            self.conv = UpConv(inputs, outputs, two, two, rngs=make.rngs)
        else:
            self.conv = make.conv(inputs, outputs, 2, stride=2)
        self.norm = make.normed(outputs)
        self.slope = PReLU(outputs)

    def __call__(self, x: Array) -> Array:
        return self.slope(self.norm(self.conv(x)))

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return self.conv.reach


class VNet(Network):
    """V-Net (Milletari et al. 2016, arXiv:1606.04797, Figure 2 and Table 1).

    ==================  ==================  ==================
    setting             original            FIB Article I
    ==================  ==================  ==================
    `width`, `depth`    16, 4               not told, tuned
    `norm`              "none"              not told
    batch, crop         2, 128 × 128 × 64   1, 64 × 64 × 64
    loss                squared Dice        squared Dice
    learning rate       1e-4, a tenth       1e-4, a tenth after 10
                        every 25,000        epochs without gain
                        iterations
    ==================  ==================  ==================

    Stages of 1, 2, 3, 3 and 3 convolutions of width 5 with 16 to 256 features, each plus its
    input; between them convolutions of width 2 and stride 2. On the way up half of a stage's
    features come from below and half from the way down. 65,182,226 parameters for one channel and
    two classes.

    Raises
    ------
    InputError
        For settings or images that cannot be.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from bimmjax.nets import VNet
    >>> net = VNet(channels=1, classes=2, width=2, depth=1, rngs=nnx.Rngs(0))
    >>> net(jnp.zeros((1, 4, 8, 8, 1))).shape
    (1, 4, 8, 8, 2)
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        width: int = 16,
        depth: int = 4,
        norm: str = "batch",
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        check_common(channels, classes)
        check_style(norm, dropout)
        whole_number("width", width, 1, 1024)
        whole_number("depth", depth, 1, 4)
        make = Maker(3, rngs, norm, dropout=dropout)
        widths = [width * 2**level for level in range(depth + 1)]
        blocks = [Stage(make, channels, width, _COUNTS[0])]
        blocks += [
            Stage(make, own, own, count)
            for own, count in zip(widths[1:], _COUNTS[1 : depth + 1], strict=True)
        ]
        downs = [Change(make, own, 2 * own, up=False) for own in widths[:-1]]
        ups, joined, features = [], [], widths[-1]
        for own, count in reversed(list(zip(widths[:-1], _COUNTS[:depth], strict=True))):
            ups.append(Change(make, features, own, up=True))
            joined.append(Stage(make, 2 * own, 2 * own, count))
            features = 2 * own
        self.encoder: Encoder = Encoder(blocks[:-1], downs, blocks[-1])
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
