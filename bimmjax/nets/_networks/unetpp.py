"""UNet++: nested U-Nets of depth one to four that share their encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import jax.numpy as jnp
from flax import nnx
from jax import Array

from bimmjax._core.checks import InputError, choice, whole_number
from bimmjax.nets._backbones.choose import BACKBONES, make_backbone
from bimmjax.nets._blocks.convolution import Conv
from bimmjax.nets._blocks.pooling import MaxPool
from bimmjax.nets._blocks.precision import in_float32
from bimmjax.nets._blocks.reach import Layer
from bimmjax.nets._blocks.units import Chain, DoubleConv, Maker, Stages
from bimmjax.nets._blocks.upsampling import LinearLogits, Repeat, UpConv
from bimmjax.nets._network import Network, check_common, check_style


class UNetPlusPlus(Network):
    """UNet++ (Zhou et al. 2020, arXiv:1912.05074, Figure 1; section II and Eq. 1).

    ==================  ====================  ======================
    setting             original              TXM
    ==================  ====================  ======================
    `width`             32                    64 (of the backbone)
    `backbone`          None                  "resnet152", pretrained
    `levels`            4                     4
    heads               mean of four losses   four, averaged
                                              (`average=True`)
    `dropout`           see paper             0.5
    loss                cross-entropy + Dice  cross-entropy + Dice
    learning rate       see paper             1e-4
    batch               not told              1, 10 epochs
    ==================  ====================  ======================

    Node (i, 0) is level i of the encoder, with `width` 2^i features; node (i, j) joins all nodes
    (i, 0) to (i, j - 1) and node (i + 1, j - 1) at twice its size, and convolves twice. Node
    (0, j) carries head j, the output of a U-Net of depth j. 9,049,128 parameters for one channel
    and two classes.

    `levels` (L1 to L4 in the paper) is how deep it goes: the nodes with i + j above it are neither
    kept nor computed. `pruned` cuts a trained network. `average` makes the mean of the heads'
    logits the final ones (the paper's accurate mode; else the last head's, its fast mode).

    With a backbone the levels have its features at strides 2 to 32, nodes of the decoder have
    `width` 2^i / 2 features and repeat voxels on the way up, and the logits are interpolated to
    the full size. Backbones keep their batch normalisations, whatever `norm`.

    Raises
    ------
    InputError
        For settings or images that cannot be.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from bimmjax.nets import UNetPlusPlus
    >>> net = UNetPlusPlus(channels=1, classes=2, width=2, rngs=nnx.Rngs(0))
    >>> len(net.heads(jnp.zeros((1, 16, 32, 1)))), net.multiple
    (4, (16, 16))
    >>> net.pruned(2).multiple
    (4, 4)
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        context: int = 1,
        levels: int = 4,
        average: bool = False,
        width: int | None = None,
        norm: str = "batch",
        dropout: float = 0.0,
        backbone: str | None = None,
        layers: Sequence[int] | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        check_common(channels, classes, context)
        check_style(norm, dropout)
        whole_number("levels", levels, 1, 4)
        wide = whole_number(
            "width", (32 if backbone is None else 64) if width is None else width, 1, 1024
        )
        make = Maker(2, rngs, norm, dropout=dropout)
        inputs = channels * context
        if backbone is None:
            if layers is not None:
                raise InputError(f"layers: got {layers!r}, wants a backbone beside them")
            found = [wide * 2**level for level in range(levels + 1)]
            own = found
            stages = [Chain(DoubleConv(make, inputs, wide, wide))]
            for level in range(levels):
                block = DoubleConv(make, found[level], found[level + 1], found[level + 1])
                stages.append(Chain(MaxPool((2, 2)), block))
            self.encoder: Stages = Stages(stages, found)
            finish = []
        else:
            choice("backbone", backbone, BACKBONES)
            self.encoder = make_backbone(backbone, inputs, width=wide, layers=layers, rngs=rngs)
            self.encoder.keep(levels + 1)
            found = self.encoder.widths
            own = [max(1, wide * 2**level // 2) for level in range(levels + 1)]
            finish = [LinearLogits((2, 2))]
        self.ups: nnx.Dict[UpConv | Repeat] = nnx.Dict()
        self.nodes: nnx.Dict[DoubleConv] = nnx.Dict()
        for j in range(1, levels + 1):
            for i in range(levels + 1 - j):
                below = found[i + 1] if j == 1 else own[i + 1]
                if backbone is None:
                    up = UpConv(below, own[i], (2, 2), (2, 2), rngs=rngs)
                    below = own[i]
                else:
                    up = Repeat((2, 2))
                joined = found[i] + (j - 1) * own[i] + below
                self.ups[f"{i}_{j}"] = up
                self.nodes[f"{i}_{j}"] = DoubleConv(make, joined, own[i], own[i])
        self.classifiers: nnx.List[Chain] = nnx.List(
            Chain(Conv(own[0], classes, (1, 1), rngs=rngs), *finish) for _ in range(levels)
        )
        self.levels: int = levels
        self.average: bool = average
        self._describe(
            self._deepest(),
            channels=channels,
            classes=classes,
            context=context,
            local=norm != "group",
        )

    def _deepest(self) -> list[Layer]:
        layers = list(self.encoder.reach)
        for j in range(1, self.levels + 1):
            key = f"{self.levels - j}_{j}"
            layers += [*self.ups[key].reach, *self.nodes[key].reach]
        return [*layers, *self.classifiers[-1].reach]

    def pruned(self, levels: int) -> Self:
        """A copy that goes only `levels` deep, 1 to its own.

        Its logits are those of head `levels` of the whole network; with `average`, the mean of
        heads 1 to `levels`.
        """
        whole_number("levels", levels, 1, self.levels)
        net = nnx.clone(self)
        for key in list(net.nodes):
            i, j = (int(part) for part in key.split("_"))
            if i + j > levels:
                del net.nodes[key]
                del net.ups[key]
        net.encoder.keep(levels + 1)
        net.classifiers = nnx.List(list(net.classifiers)[:levels])
        net.levels = levels
        net._describe(
            net._deepest(),
            channels=self.channels,
            classes=self.classes,
            context=self.context,
            local=self.local,
        )
        return net

    def _top(self, images: Array) -> list[Array]:
        """Nodes (0, 1) to (0, levels), column by column."""
        columns = [list(self.encoder(images))]
        for j in range(1, self.levels + 1):
            column = []
            for i in range(self.levels + 1 - j):
                key = f"{i}_{j}"
                row = [column_[i] for column_ in columns]
                row.append(self.ups[key](columns[-1][i + 1]))
                column.append(self.nodes[key](jnp.concatenate(row, -1)))
            columns.append(column)
        return [column[0] for column in columns[1:]]

    def _all_heads(self, images: Array) -> tuple[Array, ...]:
        tops = self._top(images)
        heads = [head(top) for head, top in zip(self.classifiers, tops, strict=True)]
        return tuple(reversed(heads))

    def _forward(self, images: Array) -> Array:
        if self.average:
            heads = [in_float32(head) for head in self._all_heads(images)]
            return jnp.mean(jnp.stack(heads), 0)
        return self.classifiers[-1](self._top(images)[-1])
