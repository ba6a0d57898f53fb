"""The networks that translate a slice: ResNet generators and U-Nets, as a change of their input."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import Array

from bimmjax._core.checks import whole_number
from bimmjax.nets._adapt.layers import InstanceNorm, ReflectConv
from bimmjax.nets._blocks.reach import Layer
from bimmjax.nets._blocks.upsampling import Repeat
from bimmjax.nets._network import Network
from bimmjax.nets._networks.unet import UNet


class _Unit(nnx.Module):
    """Convolution, instance norm, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, rngs: nnx.Rngs
    ) -> None:
        self.conv = ReflectConv(inputs, outputs, kernel, stride=stride, rngs=rngs)
        self.norm = InstanceNorm(outputs)

    def __call__(self, x: Array) -> Array:
        return nnx.relu(self.norm(self.conv(x)))

    @property
    def reach(self) -> list[Layer]:
        return self.conv.reach


class _Residual(nnx.Module):
    """Two convolutions whose result is added to what they were given, without a ReLU after."""

    def __init__(self, features: int, *, rngs: nnx.Rngs) -> None:
        self.first = _Unit(features, features, 3, rngs=rngs)
        self.second = ReflectConv(features, features, 3, rngs=rngs)
        self.norm = InstanceNorm(features)

    def __call__(self, x: Array) -> Array:
        return x + self.norm(self.second(self.first(x)))

    @property
    def reach(self) -> list[Layer]:
        return [*self.first.reach, *self.second.reach]


class ResnetGenerator(Network):
    """The generator of CycleGAN: c7s1-w, d2w, d4w, R4w x blocks, u2w, uw, c7s1.

    The way up repeats pixels and convolves: transposed convolutions leave a checkerboard (Odena et
    al. 2016). The result is not squeezed by a hyperbolic tangent, as grey values of a microscope
    have no sharp ends, and is the change of the first channel where `Translator` adds it.

    Parameters
    ----------
    channels : of the input; the output has `classes`.
    width : features w at full size, 64 in the paper.
    blocks : residual blocks, 6 or 9 in the paper.

    Source: Zhu et al. 2017, arXiv:1703.10593, §7.2; Johnson et al. 2016.
    """

    def __init__(
        self, *, channels: int, classes: int = 1, width: int = 64, blocks: int = 6, rngs: nnx.Rngs
    ) -> None:
        whole_number("width", width, 1, 1024)
        whole_number("blocks", blocks, 0, 64)
        self.down = nnx.List(
            [
                _Unit(channels, width, 7, rngs=rngs),
                _Unit(width, 2 * width, 3, 2, rngs=rngs),
                _Unit(2 * width, 4 * width, 3, 2, rngs=rngs),
            ]
        )
        self.blocks = nnx.List([_Residual(4 * width, rngs=rngs) for _ in range(blocks)])
        self.up = nnx.List([])
        for features in (4 * width, 2 * width):
            self.up += [Repeat((2, 2)), _Unit(features, features // 2, 3, rngs=rngs)]
        self.classifier = ReflectConv(width, classes, 7, rngs=rngs)
        layers = [*self.down, *self.blocks, *self.up, self.classifier]
        reach = [step for layer in layers for step in layer.reach]
        self._describe(reach, channels=channels, classes=classes)

    def _forward(self, images: Array) -> Array:
        x = images
        for layer in (*self.down, *self.blocks, *self.up, self.classifier):
            x = layer(x)
        return x


class Translator(Network):
    """A network whose result is added to the first channel of its input.

    It begins as the identity: its last layer is zero. So shapes stay where they are, unless
    something speaks for moving them, and few steps are enough.
    """

    def __init__(self, body: ResnetGenerator | UNet) -> None:
        self.body = body
        last = body.classifier
        last = last.conv if isinstance(last, ReflectConv) else last
        last.kernel[...] = jnp.zeros_like(last.kernel[...])
        self.channels, self.classes, self.context = body.channels, 1, body.context
        self.dims, self.local = body.dims, True
        self.multiple, self.halo = body.multiple, body.halo

    def _forward(self, images: Array) -> Array:
        return images[..., :1] + self.body(images)
