"""In what blocks and tiles a volume is worked through: what decides about memory and speed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import jax

from bimmjax._core.checks import InputError, whole_number
from bimmjax.nets._predict.given import Given
from bimmjax.nets._predict.room import tiles_at_once, voxels_at_once
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
from bimmjax.volumes._unfinished import Box, fitted
from bimmjax.volumes._volume import Shape

# Bytes of a block as read, and of the probabilities that are summed up in one.
_READ, _SUMMED = 2**27, 2**28
# Edges of blocks in 3D, in chunks: whichever has room for the thickest cores. Not more, for what
# is lost by an interruption is a block.
_CUBES = range(2, 6)
# Exact tiles by which a network looks at each voxel more often than this, or which are that many
# times larger than what there is room for, are given up.
_TOO_OFTEN, _TOO_LARGE = 64.0, 4
# And a tile that was asked for by which it does so is warned of.
_OFTEN = 8.0
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

    @property
    def blended(self) -> list[int] | None:
        """Sizes of blended tiles, on which labels depend; exact ones change last digits at most."""
        tiling = self.views[0].tiling
        return None if tiling.exact else list(tiling.sizes)

    def summed(self, box: Box) -> list[Box]:
        """Parts of a block in which probabilities are summed at once: slices, if that is all."""
        across = [view.across for view in self.views]
        if across != [0]:
            return [box]
        z, y, x = box
        return [(slice(at, at + 1), y, x) for at in range(z.start, z.stop)]


def plan_of(
    found: Given,
    shape: Shape,
    itemsize: int,
    *,
    consensus: bool = False,
    tile: Sequence[int] | None = None,
    devices: int | None = None,
    before: Mapping[str, Any] | None = None,
) -> Plan:
    """How to apply a network to a volume.

    Parameters
    ----------
    found, shape : network and volume.
    itemsize : bytes of a voxel, all channels together.
    consensus, tile, devices : as for `predict`.
    before : what the same prediction was begun with (`blended`, and the `shard` if it is not
        complete), which then does not depend on the memory that is there by now.

    Raises
    ------
    InputError
        A consensus of a 3D network, a volume smaller than the network's multiple, a tile or a
        number of devices that cannot be.

    Warns
    -----
    UserWarning
        A local network whose halo is too thick for exact tiles; a tile that is little more than
        its halo.
    """
    net = found.net
    if consensus and net.dims == 3:
        raise InputError(
            "consensus: got a network of three dimensions, which looks along all of them already; "
            "wants one of two"
        )
    count = _devices(devices)
    across = (0, 1, 2) if consensus else (0,) if net.dims == 2 else (None,)
    for one in across:
        _check_size(net, shape, [axis for axis in range(3) if axis != one])
    most = voxels_at_once(net, found.channels, math.prod(shape))
    often, block, views = min(
        (
            _exact(found, shape, block, across, tile, most)
            for block in _like(before, shape, _blocks(found, shape, itemsize, consensus))
        ),
        key=lambda one: one[0],
    )
    too_much = often > _TOO_OFTEN or math.prod(views[0].tiling.sizes) > _TOO_LARGE * most
    if before is not None:
        too_much = before.get("blended") is not None
    if tile is None and (too_much or not net.local):
        views = [view._replace(tiling=_blended(found, shape, view.across)) for view in views]
    if tile is None and too_much and net.local:
        warnings.warn(
            f"tile: outputs of this network depend on {tuple(net.halo)} voxels on either side, "
            "which leaves too little of a tile; tiles are blended, unless a larger tile is given",
            stacklevel=3,
        )
    if tile is not None and net.local and often > _OFTEN:
        warnings.warn(
            f"tile: got {tuple(tile)}, halo of {tuple(net.halo)} on either side included, so that "
            f"each voxel is looked at {often:.0f} times; a larger one takes less time",
            stacklevel=3,
        )
    together = consensus or not views[0].tiling.exact
    often = sum(_passes(view, shape, block) for view in views)
    plan = Plan(tuple(views), (), _shard(block), block, together, often, count)
    return plan._replace(batches=tuple(_batch(plan, view, shape, most) for view in views))


def _exact(
    found: Given,
    shape: Shape,
    block: Shape,
    across: Sequence[int | None],
    tile: Sequence[int] | None,
    most: int,
) -> tuple[float, Shape, list[View]]:
    """Exact tiles for blocks of a shape, or those asked for, and how often each of them looks."""
    net, views = found.net, []
    for one in across:
        lengths, parts = _of(shape, one), _of(block, one)
        if tile is None:
            sizes = exact_sizes(lengths, net.multiple, net.halo, parts, most)
        else:
            sizes = check_tile(tile, lengths, net.multiple, net.halo if net.local else None)
        exact = tile is None or net.local
        views.append(View(one, net.context, Tiling(sizes, net.halo, net.multiple, exact)))
    return max(_passes(view, shape, block) for view in views), block, views


def _batch(plan: Plan, view: View, shape: Shape, most: int) -> int:
    """Tiles at once: what there is room for, what there are, and evenly among devices."""
    first = plan.boxes(shape)[0]
    there = len(tiles_of(view, shape, plan.summed(first)[0] if plan.together else first))
    at_once = plan.devices * tiles_at_once(math.prod(view.tiling.sizes), most)
    return whole(min(at_once, there), plan.devices)


def _boxes(shape: Shape, block: Shape) -> Iterator[Box]:
    starts = (range(0, n, size) for n, size in zip(shape, block, strict=True))
    for corner in product(*starts):
        z, y, x = (
            slice(a, min(a + size, n)) for a, size, n in zip(corner, block, shape, strict=True)
        )
        yield z, y, x


def _blocks(found: Given, shape: Shape, itemsize: int, consensus: bool) -> list[Shape]:
    """Shapes that blocks may have, the usual one first."""
    net, summed = found.net, _SUMMED // (4 * found.classes)
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


def _like(before: Mapping[str, Any] | None, shape: Shape, blocks: list[Shape]) -> list[Shape]:
    """Those in whose shards something was begun, or else all of them."""
    shard = None if before is None else before.get("shard")
    return [one for one in blocks if list(fitted(_shard(one), shape)) == shard] or blocks


def _shard(block: Shape) -> Shape:
    """The shape of one file: flat where blocks are, else the block."""
    if block[0] == SHARD[0] and all(n % m == 0 for n, m in zip(block, SHARD, strict=True)):
        return SHARD
    return block


def _blended(found: Given, shape: Shape, across: int | None) -> Tiling:
    """Tiles like the patches that the network was trained on."""
    net, patch = found.net, found.patch
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


def _check_size(net: Any, shape: Shape, axes: Sequence[int]) -> None:
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
