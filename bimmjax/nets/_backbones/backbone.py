"""What every backbone offers: features on five grids."""

from __future__ import annotations

from collections.abc import Sequence

from flax import nnx
from jax import Array

from bimmjax.nets._blocks.reach import Layer
from bimmjax.nets._blocks.units import Block


class Backbone(nnx.Module):
    """Five stages; called on images it returns the features after each.

    Their strides are 2, 4, 8, 16 and 32, or not above the output stride asked for. `widths` are
    their numbers of features.
    """

    def __init__(self, stages: Sequence[Block], widths: Sequence[int]) -> None:
        self.stages = nnx.List(stages)
        self.widths = tuple(widths)

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
