"""The network that tells real patches from made ones."""

from __future__ import annotations

from itertools import pairwise

from flax import nnx
from jax import Array

from bimmjax.nets._adapt.layers import InstanceNorm
from bimmjax.nets._blocks.convolution import Conv

_SLOPE = 0.2
_MOST = 8  # times the width


class PatchCritic(nnx.Module):
    """The discriminator of pix2pix and CycleGAN: C64-C128-C256-C512 and a score a patch.

    Each score sees 70 x 70 pixels with three strided layers, 34 with two, 16 with one.

    Parameters
    ----------
    channels : of what it is shown, (batch, y, x, channels).
    width : features of the first layer, 64 in the papers.
    layers : that halve the image.

    Returns (batch, y', x', 1) scores: 1 is real.

    Source: Isola et al. 2017, arXiv:1611.07004, §6.1.2; Zhu et al. 2017, arXiv:1703.10593, §7.2.
    """

    def __init__(self, channels: int, *, width: int = 64, layers: int = 3, rngs: nnx.Rngs) -> None:
        widths = [channels, *(width * min(2**level, _MOST) for level in range(layers + 1))]
        strides = [2] * layers + [1]
        self.convs = nnx.List(
            Conv(a, b, (4, 4), stride=s, rngs=rngs)
            for (a, b), s in zip(pairwise(widths), strides, strict=True)
        )
        self.norms = nnx.List(InstanceNorm(w) for w in widths[2:])
        self.last = Conv(widths[-1], 1, (4, 4), rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.leaky_relu(self.convs[0](x), _SLOPE)
        for conv, norm in zip(list(self.convs)[1:], self.norms, strict=True):
            x = nnx.leaky_relu(norm(conv(x)), _SLOPE)
        return self.last(x)
