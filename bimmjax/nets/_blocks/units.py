"""Convolution blocks: what the encoders and decoders of the networks are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import jax.numpy as jnp
from flax import nnx
from jax import Array

from bimmjax.nets._blocks.convolution import Conv, SeparableConv, each_axis
from bimmjax.nets._blocks.norms import Nothing, make_norm, random_stream
from bimmjax.nets._blocks.reach import Layer


class Block(Protocol):
    """A layer or several: called on images, and able to say what an output reads."""

    def __call__(self, x: Array, /) -> Array: ...

    @property
    def reach(self) -> list[Layer]: ...


@dataclass(frozen=True)
class Maker:
    """What the layers of one network have in common.

    dims : space axes.
    norm : one of `NORMS`; `momentum` of its running averages, `epsilon` added to variances.
    dropout : share of activations dropped in training.
    separable : convolutions as depthwise and pointwise ones.
    bias : biases in convolutions that a normalisation follows (it cancels them; some authors'
        parameter counts include them).
    """

    dims: int
    rngs: nnx.Rngs
    norm: str = "batch"
    momentum: float = 0.9
    epsilon: float = 1e-5
    dropout: float = 0.0
    separable: bool = False
    bias: bool = True

    def conv(
        self,
        inputs: int,
        outputs: int,
        kernel: int | Sequence[int] = 3,
        *,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
    ) -> Conv | SeparableConv:
        """A convolution in the network's style."""
        size = each_axis(kernel, self.dims)
        layer = SeparableConv if self.separable and max(size) > 1 else Conv
        return layer(
            inputs,
            outputs,
            size,
            stride=stride,
            dilation=dilation,
            bias=self.bias or self.norm == "none",
            rngs=self.rngs,
        )

    def depthwise(self, features: int, *, stride: int = 1, dilation: int = 1) -> Conv:
        """A convolution of width 3 of each feature by itself."""
        return Conv(
            features,
            features,
            (3,) * self.dims,
            stride=stride,
            dilation=dilation,
            groups=features,
            bias=self.bias,
            rngs=self.rngs,
        )

    def normed(self, features: int) -> nnx.Module:
        """A normalisation in the network's style."""
        return make_norm(
            self.norm, features, momentum=self.momentum, epsilon=self.epsilon, rngs=self.rngs
        )

    def dropped(self) -> nnx.Module:
        """Dropout in the network's style."""
        if not self.dropout:
            return Nothing()
        return nnx.Dropout(self.dropout, rngs=random_stream(self.rngs, "dropout"))


class ConvNorm(nnx.Module):
    """Convolution, normalisation and, unless told otherwise, ReLU."""

    def __init__(
        self,
        make: Maker,
        inputs: int,
        outputs: int,
        kernel: int | Sequence[int] = 3,
        *,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        relu: bool = True,
    ) -> None:
        self.conv: Conv | SeparableConv = make.conv(
            inputs, outputs, kernel, stride=stride, dilation=dilation
        )
        self.norm: nnx.Module = make.normed(outputs)
        self.relu = relu

    def __call__(self, x: Array) -> Array:
        x = self.norm(self.conv(x))
        return nnx.relu(x) if self.relu else x

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return self.conv.reach


class Chain(nnx.Module):
    """Blocks one after the other."""

    def __init__(self, *blocks: Block) -> None:
        self.blocks: nnx.List[Block] = nnx.List(blocks)

    def __call__(self, x: Array) -> Array:
        for block in self.blocks:
            x = block(x)
        return x

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return [layer for block in self.blocks for layer in block.reach]


class Stages(nnx.Module):
    """Blocks one after the other; called on images they return the features after each.

    `widths` are their numbers of features.
    """

    def __init__(self, stages: Sequence[Block], widths: Sequence[int]) -> None:
        self.stages: nnx.List[Block] = nnx.List(stages)
        self.widths: tuple[int, ...] = tuple(widths)

    def __call__(self, x: Array) -> tuple[Array, ...]:
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return tuple(found)

    def keep(self, stages: int) -> None:
        """Drop what comes after the first `stages` stages."""
        self.stages = nnx.List(list(self.stages)[:stages])
        self.widths = self.widths[:stages]

    @property
    def reach(self) -> list[Layer]:
        """What a feature of the last stage reads."""
        return [layer for stage in self.stages for layer in stage.reach]


class DoubleConv(nnx.Module):
    """Twice convolution, normalisation and ReLU, then dropout: the block of a U-Net."""

    def __init__(self, make: Maker, inputs: int, middle: int, outputs: int) -> None:
        self.first = ConvNorm(make, inputs, middle)
        self.second = ConvNorm(make, middle, outputs)
        self.dropout = make.dropped()

    def __call__(self, x: Array) -> Array:
        return self.dropout(self.second(self.first(x)))

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return [*self.first.reach, *self.second.reach]


class ResidualBlock(nnx.Module):
    """Two convolutions beside one, added: the ConvBlock of the Modular U-Net (its Figure 3).

    conv3-norm-ReLU-dropout-conv3-norm plus conv-norm of the input, then ReLU and dropout; without
    `skip` nothing is added. `skip` is the width of the kernel beside.
    """

    def __init__(
        self, make: Maker, inputs: int, middle: int, outputs: int, skip: int | None = 3
    ) -> None:
        self.first = ConvNorm(make, inputs, middle)
        self.between = make.dropped()
        self.second = ConvNorm(make, middle, outputs, relu=False)
        self.skip = nnx.data(
            None if skip is None else ConvNorm(make, inputs, outputs, skip, relu=False)
        )
        self.dropout = make.dropped()

    def __call__(self, x: Array) -> Array:
        y = self.second(self.between(self.first(x)))
        if self.skip is not None:
            y = y + self.skip(x)
        return self.dropout(nnx.relu(y))

    @property
    def reach(self) -> list[Layer]:
        """What an output reads."""
        return [*self.first.reach, *self.second.reach]


class Encoder(nnx.Module):
    """Blocks and ways down, finest first; `deepest` is the block at the end."""

    def __init__(self, blocks: Sequence[Block], downs: Sequence[Block], deepest: Block) -> None:
        self.blocks: nnx.List[Block] = nnx.List(blocks)
        self.downs: nnx.List[Block] = nnx.List(downs)
        self.deepest = deepest

    def __call__(self, x: Array) -> tuple[Array, ...]:
        found = []
        for block, down in zip(self.blocks, self.downs, strict=True):
            x = block(x)
            found.append(x)
            x = down(x)
        return (*found, self.deepest(x))

    @property
    def reach(self) -> list[Layer]:
        """What an output of the deepest block reads."""
        layers = []
        for block, down in zip(self.blocks, self.downs, strict=True):
            layers += [*block.reach, *down.reach]
        return [*layers, *self.deepest.reach]


class Decoder(nnx.Module):
    """Ways up and blocks, coarsest first; each joins the encoder's features of its grid."""

    def __init__(self, ups: Sequence[Block], blocks: Sequence[Block]) -> None:
        self.ups: nnx.List[Block] = nnx.List(ups)
        self.blocks: nnx.List[Block] = nnx.List(blocks)

    def __call__(self, features: Sequence[Array]) -> Array:
        *finer, x = features
        for up, block in zip(self.ups, self.blocks, strict=True):
            x = up(x)
            if finer:
                x = jnp.concatenate([finer.pop(), x], -1)
            x = block(x)
        return x

    @property
    def reach(self) -> list[Layer]:
        """What an output reads of the coarsest features."""
        layers = []
        for up, block in zip(self.ups, self.blocks, strict=True):
            layers += [*up.reach, *block.reach]
        return layers
