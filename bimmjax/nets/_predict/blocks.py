"""One block of the result from the tiles that have a say in it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from typing import NamedTuple

import jax
import numpy as np
from jax import Array

from bimmjax.nets._data.ahead import made_ahead
from bimmjax.nets._predict.apply import Applied, entropy_bytes
from bimmjax.nets._predict.images import Images, hull, read_box
from bimmjax.nets._predict.views import Tile, View, looked_at, tiles_of
from bimmjax.volumes._unfinished import Box, voxels_of

# Told of voxels that are done, or a share of the work on them.
Tick = Callable[[float], object]


class Raw(NamedTuple):
    """All that the tiles of a block look at, as read."""

    origin: tuple[int, ...]
    channels: tuple[np.ndarray, ...]


def read_for(images: Images, views: Sequence[View], box: Box) -> Raw:
    """One reading of all that a block takes."""
    boxes = [looked_at(view, tiles_of(view, images.shape, box)) for view in views]
    around = [hull([one[axis] for one in boxes]) for axis in range(3)]
    return Raw(tuple(part.start for part in around), read_box(images, around))


def found_directly(
    images: Images, raw: Raw, view: View, net: Applied, box: Box, uncertainty: bool, tick: Tick
) -> np.ndarray:
    """Labels of a block and, if wanted, their uncertainty, (1 or 2, z, y, x) uint8.

    Each voxel by the one tile that answers for it.
    """
    out = np.empty((1 + uncertainty, *shape_of(box)), np.uint8)

    def find(batch: np.ndarray) -> Array:
        return net.labels(batch, uncertainty)

    for tile, values in each_tile(images, raw, view, net, box, find, tick):
        out[:, *_within(tile.core, box)] = np.moveaxis(values, -1, 0)
    return out


def found_together(
    images: Images,
    raw: Raw,
    views: Sequence[View],
    nets: Sequence[Applied],
    box: Box,
    uncertainty: bool,
    tick: Tick,
) -> np.ndarray:
    """The same where several tiles, or several views, have a say: by their mean probabilities."""
    total: np.ndarray | None = None
    share = np.float32(1.0 / len(views))

    def tick_share(voxels: float) -> None:
        tick(voxels / len(views))

    for view, net in zip(views, nets, strict=True):
        for tile, values in each_tile(images, raw, view, net, box, net.probabilities, tick_share):
            if total is None:
                total = np.zeros((*shape_of(box), values.shape[-1]), np.float32)
            z, y, x = tile.weights
            say = share * z[:, None, None, None] * y[:, None, None] * x[:, None]
            total[_within(tile.core, box)] += say * values
    assert total is not None
    out = np.empty((1 + uncertainty, *shape_of(box)), np.uint8)
    for z, part in enumerate(total):
        out[0, z] = part.argmax(-1)
        if uncertainty:
            out[1, z] = np.asarray(_entropy(part))
    return out


def without_number(raw: Raw, box: Box) -> np.ndarray | None:
    """Where any channel of a block is no number; None if none can be."""
    z, y, x = (slice(p.start - o, p.stop - o) for p, o in zip(box, raw.origin, strict=True))
    gaps = [~np.isfinite(one[z, y, x]) for one in raw.channels if one.dtype.kind == "f"]
    return np.logical_or.reduce(gaps) if gaps else None


def shape_of(box: Box) -> tuple[int, int, int]:
    """Voxels along each axis."""
    z, y, x = (part.stop - part.start for part in box)
    return z, y, x


_entropy = jax.jit(entropy_bytes)


def each_tile(
    images: Images,
    raw: Raw,
    view: View,
    net: Applied,
    box: Box,
    find: Callable[[np.ndarray], Array],
    tick: Tick = lambda voxels: None,
) -> Generator[tuple[Tile, np.ndarray], None, None]:
    """Tiles with what the network finds in their cores: (z, y, x, ...) as in the volume."""
    tiles = tiles_of(view, images.shape, box)
    groups = [tiles[at : at + net.batch] for at in range(0, len(tiles), net.batch)]
    made = made_ahead(lambda n: _batch(images, raw, view, groups[n], net.batch), range(len(groups)))
    with closing(made):
        for group, values in zip(groups, _in_flight(find, made), strict=True):
            for tile, seen in zip(group, values, strict=False):
                inner = tuple(
                    slice(tile.core[a].start - tile.start[a], tile.core[a].stop - tile.start[a])
                    for a in view.axes
                )
                core = seen[inner]
                yield tile, core if view.across is None else np.expand_dims(core, view.across)
                tick(voxels_of(box) / len(tiles))


def _in_flight(
    find: Callable[[np.ndarray], Array], batches: Iterable[np.ndarray]
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


def _batch(images: Images, raw: Raw, view: View, tiles: Sequence[Tile], size: int) -> np.ndarray:
    """Normalised tiles, (size, *tile, channels * context) float32; the last one again and again."""
    made = [_stacked(images, raw, view, tile) for tile in tiles]
    return np.stack(made + made[-1:] * (size - len(made)))


def _stacked(images: Images, raw: Raw, view: View, tile: Tile) -> np.ndarray:
    """One tile as the network takes it."""
    at = [start - origin for start, origin in zip(tile.start, raw.origin, strict=True)]
    box = [slice(0, 0)] * 3
    for axis, size in zip(view.axes, view.tiling.sizes, strict=True):
        box[axis] = slice(at[axis], at[axis] + size)
    if view.across is not None:
        half = view.context // 2
        box[view.across] = slice(at[view.across] - half, at[view.across] + half + 1)
    part = tuple(box)
    stack = np.stack([images.normalised(i, one[part]) for i, one in enumerate(raw.channels)], -1)
    if view.across is None:
        return stack
    # Slice by slice from the lowest, each with all its channels, as patches are in training.
    stack = np.moveaxis(stack, view.across, 2)
    return stack.reshape(*stack.shape[:2], -1)


def _within(part: Box, box: Box) -> Box:
    z, y, x = (slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True))
    return z, y, x
