"""In what blocks and tiles a volume is worked through: what decides about memory and speed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import jax

from bimmjax._core.checks import InputError, whole_number
from bimmjax.nets._network import Network
from bimmjax.nets._predict.room import voxels_at_once
from bimmjax.nets._predict.tiling import (
    Tiling,
    check_tile,
    ends_of,
    exact_sizes,
    passes,
    whole,
)
from bimmjax.nets._predict.views import View, tiles_of
from bimmjax.volumes._convert import CHUNK, SHARD
from bimmjax.volumes._unfinished import Box
from bimmjax.volumes._volume import Shape

# Bytes of a block as read, and of the probabilities that are summed up in one.
_READ, _SUMMED = 2**27, 2**28
# Edges of blocks in 3D, in chunks: whichever has room for the thickest cores.
_CUBES = range(2, 9)
# Exact tiles that make a network look at each voxel more often than this are given up.
_TOO_OFTEN = 64.0
# Sides of blended tiles where nobody knows what the network was trained on.
_USUAL = {2: 256, 3: 64}


class Plan(NamedTuple):
    """How a volume is worked through.

    views : one, or three for a consensus. batches : tiles at once, of each view.
    block : what is read, found and written at once, in whole shards.
    together : by summing probabilities, because several tiles or views have a say.
    passes : how often the network looks at a voxel.
    """

    views: tuple[View, ...]
    batches: tuple[int, ...]
    shard: Shape
    block: Shape
    together: bool
    passes: float
    devices: int

    def boxes(self, shape: Shape) -> list[Box]:
        """The blocks of a volume in order."""
        return list(_boxes(shape, self.block))

    def summed(self, box: Box) -> list[Box]:
        """Parts of a block in which probabilities are summed at once: slices, if that is all."""
        across = [view.across for view in self.views]
        if across != [0]:
            return [box]
        z, y, x = box
        return [(slice(at, at + 1), y, x) for at in range(z.start, z.stop)]


def plan_of(
    net: Network,
    shape: Shape,
    itemsize: int,
    patch: Sequence[int] = (),
    *,
    consensus: bool = False,
    tile: Sequence[int] | None = None,
    devices: int | None = None,
) -> Plan:
    """How to apply a network to a volume.

    Parameters
    ----------
    net, shape : network and volume.
    itemsize : bytes of a voxel, all channels together.
    patch : what the network was trained on, if known: blended tiles are of its size.
    consensus, tile, devices : as for `predict`.

    Raises
    ------
    InputError
        A consensus of a 3D network, a volume smaller than the network's multiple, a tile or a
        number of devices that cannot be.

    Warns
    -----
    UserWarning
        A local network whose halo is too thick for exact tiles.
    """
    if consensus and net.dims == 3:
        raise InputError(
            "consensus: got a network of three dimensions, which looks along all of them already; "
            "wants one of two"
        )
    count = _devices(devices)
    across = (0, 1, 2) if consensus else (0,) if net.dims == 2 else (None,)
    for one in across:
        _check_size(net, shape, [axis for axis in range(3) if axis != one])
    most = voxels_at_once(net, math.prod(shape))
    best: tuple[float, Shape, list[View]] | None = None
    for block in _blocks(net, shape, itemsize, consensus):
        views = [
            View(one, net.context, _tiling(net, shape, block, one, tile, most)) for one in across
        ]
        often = sum(_passes(view, shape, block) for view in views)
        if best is None or often < best[0]:
            best = often, block, views
    assert best is not None
    often, block, views = best
    if tile is None and net.local and often > _TOO_OFTEN * len(views):
        warnings.warn(
            f"tile: outputs of this network depend on {tuple(net.halo)} voxels on either side, "
            "which leaves too little of a tile; tiles are blended, unless a larger tile is given",
            stacklevel=3,
        )
        views = [view._replace(tiling=_blended(net, shape, view.across, patch)) for view in views]
    elif tile is None and not net.local:
        views = [view._replace(tiling=_blended(net, shape, view.across, patch)) for view in views]
    together = consensus or not views[0].tiling.exact
    batches = []
    plan = Plan(tuple(views), (), _shard(block), block, together, 0.0, count)
    for view in views:
        first = plan.boxes(shape)[0]
        there = len(tiles_of(view, shape, plan.summed(first)[0] if together else first))
        at_once = min(max(most * count // math.prod(view.tiling.sizes), 1), there)
        batches.append(whole(at_once, count))
    return plan._replace(
        batches=tuple(batches), passes=sum(_passes(view, shape, block) for view in views)
    )


def _boxes(shape: Shape, block: Shape) -> Iterator[Box]:
    starts = (range(0, n, size) for n, size in zip(shape, block, strict=True))
    for corner in product(*starts):
        z, y, x = (
            slice(a, min(a + size, n)) for a, size, n in zip(corner, block, shape, strict=True)
        )
        yield z, y, x


def _blocks(net: Network, shape: Shape, itemsize: int, consensus: bool) -> list[Shape]:
    """Shapes that blocks may have, the usual one first."""
    summed = _SUMMED // (4 * net.classes)
    if not consensus and net.dims == 2:
        # As many shards along x, then y, as memory allows: slices are then read once each.
        z, y, x = SHARD
        room = max(_READ // (z * y * x * itemsize), 1)
        wide = min(room, -(-shape[2] // x))
        tall = min(room // wide, -(-shape[1] // y))
        return [(z, y * max(tall, 1), x * wide)]
    most = min(_READ // itemsize, summed if consensus or not net.local else _READ)
    cubes = [n * CHUNK[0] for n in _CUBES]
    fitting = [n for n in cubes if n**3 <= most] or [CHUNK[0]]
    if consensus or not net.local:
        fitting = fitting[-1:]
    return [(n, n, n) for n in fitting]


def _shard(block: Shape) -> Shape:
    """The shape of one file: flat where blocks are, else the block."""
    if block[0] == SHARD[0] and all(n % m == 0 for n, m in zip(block, SHARD, strict=True)):
        return SHARD
    return block


def _tiling(
    net: Network,
    shape: Shape,
    block: Shape,
    across: int | None,
    tile: Sequence[int] | None,
    most: int,
) -> Tiling:
    lengths, parts = _of(shape, across), _of(block, across)
    if tile is not None:
        sizes = check_tile(tile, lengths, net.multiple, net.halo if net.local else None)
        return Tiling(sizes, net.halo, net.multiple, net.local)
    sizes = exact_sizes(lengths, net.multiple, net.halo, parts, most)
    return Tiling(sizes, net.halo, net.multiple, exact=True)


def _blended(net: Network, shape: Shape, across: int | None, patch: Sequence[int]) -> Tiling:
    wanted = ends_of(
        patch if len(patch) == net.dims else (_USUAL[net.dims],) * net.dims, net.multiple
    )
    ends = ends_of(_of(shape, across), net.multiple)
    sizes = tuple(min(n, end) for n, end in zip(wanted, ends, strict=True))
    return Tiling(sizes, net.halo, net.multiple, exact=False)


def _passes(view: View, shape: Shape, block: Shape) -> float:
    return passes(view.tiling, _of(shape, view.across), _of(block, view.across))


def _of(shape: Shape, across: int | None) -> list[int]:
    """Along the network's axes."""
    return [n for axis, n in enumerate(shape) if axis != across]


def _check_size(net: Network, shape: Shape, axes: Sequence[int]) -> None:
    for axis, multiple in zip(axes, net.multiple, strict=True):
        if shape[axis] < multiple:
            raise InputError(
                f"image: got {shape[axis]} voxels along {'zyx'[axis]}, wants at least {multiple} "
                "for this network"
            )


def _devices(devices: int | None) -> int:
    there = jax.local_devices()
    if devices is not None:
        return whole_number("devices", devices, 1, len(there))
    return len(there) if there[0].platform != "cpu" else 1
