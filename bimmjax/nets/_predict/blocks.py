"""One block of the result from the tiles that cover it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import product
from typing import NamedTuple

import jax
import numpy as np
from jax import Array

from bimmjax.nets._data.ahead import made_ahead
from bimmjax.nets._predict.apply import Applied, entropy_bytes
from bimmjax.nets._predict.images import Images, hull, read_box
from bimmjax.nets._predict.tiling import Piece, Tiling
from bimmjax.volumes._unfinished import Box

NO_LABEL = np.uint8(255)


class View(NamedTuple):
    """How a network sees a volume.

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


class Raw(NamedTuple):
    """All that the tiles of a block look at, as read."""

    origin: tuple[int, ...]
    channels: tuple[np.ndarray, ...]


class Tile(NamedTuple):
    """A tile: its corner, what it answers for in the volume, and its say along each axis."""

    start: tuple[int, ...]
    core: Box
    weights: tuple[np.ndarray, ...]


def tiles_of(view: View, shape: Sequence[int], box: Box) -> list[Tile]:
    """All tiles that have a say in a block; slices in order, tiles of a slice in order."""
    along: list[list[Piece]] = []
    for axis, (length, part) in enumerate(zip(shape, box, strict=True)):
        if axis == view.across:
            one = np.ones(1, np.float32)
            along.append([Piece(i, slice(i, i + 1), one) for i in range(part.start, part.stop)])
        else:
            along.append(view.tiling.pieces(view.axes.index(axis), length, part))
    found = []
    for pieces in product(*along) if view.across in (None, 0) else _slices_first(along, view):
        z, y, x = (piece.core for piece in pieces)
        found.append(
            Tile(tuple(p.start for p in pieces), (z, y, x), tuple(p.weights for p in pieces))
        )
    return found


def needed(view: View, tiles: Sequence[Tile]) -> list[slice]:
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


def read_for(images: Images, views: Sequence[View], box: Box) -> Raw:
    """One reading of all that a block takes."""
    boxes = [needed(view, tiles_of(view, images.shape, box)) for view in views]
    around = [hull([one[axis] for one in boxes]) for axis in range(3)]
    return Raw(tuple(part.start for part in around), read_box(images, around))


def batch_of(images: Images, raw: Raw, view: View, tiles: Sequence[Tile], size: int) -> np.ndarray:
    """Normalised tiles, (size, *tile, channels * context) float32; the last ones repeated."""
    made = [_stacked(images, raw, view, tile) for tile in tiles]
    return np.stack(made + made[-1:] * (size - len(made)))


def found_directly(
    images: Images, raw: Raw, view: View, net: Applied, box: Box, uncertainty: bool
) -> np.ndarray:
    """Labels of a block and, if wanted, their uncertainty, (1 or 2, z, y, x) uint8."""
    out = np.empty((1 + uncertainty, *(p.stop - p.start for p in box)), np.uint8)

    def put(tile: Tile, values: np.ndarray) -> None:
        out[:, *_within(tile.core, box)] = values

    _each_tile(images, raw, view, net, box, lambda x: net.labels(x, uncertainty), put, axis=1)
    return out


def found_together(
    images: Images,
    raw: Raw,
    views: Sequence[View],
    nets: Sequence[Applied],
    box: Box,
    classes: int,
    uncertainty: bool,
) -> np.ndarray:
    """The same where several tiles, or several views, have a say: by their mean probabilities."""
    shape = tuple(p.stop - p.start for p in box)
    total = np.zeros((*shape, classes), np.float32)
    share = np.float32(1.0 / len(views))

    def put(tile: Tile, values: np.ndarray) -> None:
        z, y, x = tile.weights
        say = share * z[:, None, None, None] * y[:, None, None] * x[:, None]
        total[_within(tile.core, box)] += say * values

    for view, net in zip(views, nets, strict=True):
        _each_tile(images, raw, view, net, box, net.probabilities, put, axis=0)
    out = np.empty((1 + uncertainty, *shape), np.uint8)
    for z, part in enumerate(total):
        out[0, z] = part.argmax(-1)
        if uncertainty:
            out[1, z] = np.asarray(_entropy(part))
    return out


_entropy = jax.jit(entropy_bytes)


def without_number(images: Images, raw: Raw, box: Box) -> np.ndarray | None:
    """Where any channel of a block is no number; None if none can be."""
    at = tuple(slice(p.start - o, p.stop - o) for p, o in zip(box, raw.origin, strict=True))
    gaps = [~np.isfinite(one[at]) for one in raw.channels if one.dtype.kind == "f"]
    return np.logical_or.reduce(gaps) if gaps else None


def _each_tile(
    images: Images,
    raw: Raw,
    view: View,
    net: Applied,
    box: Box,
    find: Callable[[np.ndarray], Array],
    put: Callable[[Tile, np.ndarray], None],
    *,
    axis: int,
) -> None:
    """Hand what the network finds in the cores of tiles to `put`, axes in the volume's order."""
    tiles = tiles_of(view, images.shape, box)
    groups = [tiles[at : at + net.batch] for at in range(0, len(tiles), net.batch)]
    made = made_ahead(
        lambda n: batch_of(images, raw, view, groups[n], net.batch), range(len(groups))
    )
    with closing(made):
        for group, values in zip(groups, _in_flight(find, made), strict=True):
            for number, tile in enumerate(group):
                values_of_tile = values[(slice(None),) * axis + (number,)]
                inner = [
                    slice(tile.core[a].start - tile.start[a], tile.core[a].stop - tile.start[a])
                    for a in view.axes
                ]
                core = values_of_tile[(slice(None),) * axis + tuple(inner)]
                if view.across is not None:
                    core = np.expand_dims(core, axis + view.across)
                put(tile, core)


def _in_flight(
    find: Callable[[np.ndarray], Array], batches: Generator[np.ndarray, None, None]
) -> Generator[np.ndarray, None, None]:
    """Results in order, each fetched when the next one is on its way."""
    before: Array | None = None
    for batch in batches:
        now = find(batch)
        if before is not None:
            yield np.asarray(before)
        before = now
    if before is not None:
        yield np.asarray(before)


def _stacked(images: Images, raw: Raw, view: View, tile: Tile) -> np.ndarray:
    """One tile as the network takes it."""
    at = [start - origin for start, origin in zip(tile.start, raw.origin, strict=True)]
    box = [slice(0, 0)] * 3
    for axis, size in zip(view.axes, view.tiling.sizes, strict=True):
        box[axis] = slice(at[axis], at[axis] + size)
    if view.across is not None:
        half = view.context // 2
        box[view.across] = slice(at[view.across] - half, at[view.across] + half + 1)
    channels = [
        normalise(one[tuple(box)])
        for one, normalise in zip(raw.channels, images.normalisations, strict=True)
    ]
    stack = np.stack(channels, -1)
    if view.across is None:
        return stack
    # Slice by slice from the lowest, each with all its channels, as patches are in training.
    stack = np.moveaxis(stack, view.across, 2)
    return stack.reshape(*stack.shape[:2], -1)


def _slices_first(along: list[list[Piece]], view: View) -> list[tuple[Piece, ...]]:
    assert view.across is not None
    order = [view.across, *view.axes]
    back = np.argsort(order).tolist()
    return [tuple(some[i] for i in back) for some in product(*(along[a] for a in order))]


def _within(part: Box, box: Box) -> Box:
    z, y, x = (slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True))
    return z, y, x
