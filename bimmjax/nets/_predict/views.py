"""How a network sees a volume: its tiles in three dimensions, and what they look at."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from bimmjax.nets._predict.tiling import Piece, Tiling
from bimmjax.volumes._unfinished import Box


class View(NamedTuple):
    """One way to apply a network.

    across : the axis whose slices it is applied to one by one; None in 3D.
    context : slices that are stacked as channels.
    """

    across: int | None
    context: int
    tiling: Tiling

    @property
    def axes(self) -> tuple[int, ...]:
        """The volume's axes that are the network's."""
        return tuple(axis for axis in range(3) if axis != self.across)


class Tile(NamedTuple):
    """A tile: its corner, what it answers for in the volume, and its say along each axis."""

    start: tuple[int, ...]
    core: Box
    weights: tuple[np.ndarray, ...]


def tiles_of(view: View, shape: Sequence[int], box: Box) -> list[Tile]:
    """All tiles that have a say in a block: slice by slice, row by row."""
    along: list[list[Piece]] = []
    for axis, (length, part) in enumerate(zip(shape, box, strict=True)):
        if axis == view.across:
            one = np.ones(1, np.float32)
            along.append([Piece(i, slice(i, i + 1), one) for i in range(part.start, part.stop)])
        else:
            along.append(view.tiling.pieces(view.axes.index(axis), length, part))
    order = view.axes if view.across is None else (view.across, *view.axes)
    back = np.argsort(order).tolist()
    found = []
    for turned in product(*(along[axis] for axis in order)):
        pieces = [turned[i] for i in back]
        z, y, x = (piece.core for piece in pieces)
        found.append(
            Tile(tuple(p.start for p in pieces), (z, y, x), tuple(p.weights for p in pieces))
        )
    return found


def looked_at(view: View, tiles: Sequence[Tile]) -> list[slice]:
    """The box that some tiles look at; it may reach beyond the volume."""
    found = []
    for axis in range(3):
        starts = [tile.start[axis] for tile in tiles]
        if axis == view.across:
            half = view.context // 2
            found.append(slice(min(starts) - half, max(starts) + half + 1))
        else:
            size = view.tiling.sizes[view.axes.index(axis)]
            found.append(slice(min(starts), max(starts) + size))
    return found
