"""In what blocks and tiles a volume is worked through: what decides about memory and speed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import jax
import numpy as np

from bimmjax._core.checks import InputError, whole_number
from bimmjax.nets._network import Network
from bimmjax.nets._predict.blocks import View
from bimmjax.nets._predict.tiling import Tiling, check_tile, usual_tile, whole
from bimmjax.volumes._convert import CHUNK, SHARD
from bimmjax.volumes._unfinished import Box
from bimmjax.volumes._volume import Shape

# Voxels of a batch: a network keeps dozens of numbers for each of them.
_MOST = {2: 2**20, 3: 2**22}
# Where a halo leaves no room within that: up to here for exact tiles, and blended ones beyond.
_MOST_EXACT = {2: 2**24, 3: 2**24}
_ACCELERATOR = 4
# Bytes of a block as read, and of the probabilities that are summed up in one.
_READ, _SUMMED = 2**27, 2**28


class Plan(NamedTuple):
    """How a volume is worked through.

    views : one, or three for a consensus. batches : tiles at once, of each view.
    block : what is read, found and written at once, in whole shards.
    together : by summing probabilities.
    """

    views: tuple[View, ...]
    batches: tuple[int, ...]
    shard: Shape
    block: Shape
    together: bool
    devices: int

    def boxes(self, shape: Shape) -> Iterator[Box]:
        """The blocks of a volume in order."""
        starts = (range(0, n, size) for n, size in zip(shape, self.block, strict=True))
        for corner in product(*starts):
            z, y, x = (
                slice(a, min(a + size, n))
                for a, size, n in zip(corner, self.block, shape, strict=True)
            )
            yield z, y, x


def plan_of(
    net: Network,
    shape: Shape,
    itemsize: int,
    patch: Sequence[int],
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
    patch : that the network was trained on, if known: what tiles are like where they have a say
        in what lies within them.
    consensus, tile, devices : as for `predict`.
    """
    if consensus and net.dims == 3:
        raise InputError(
            "consensus: got a network that convolves in three dimensions already; wants a 2D one"
        )
    count = _devices(devices)
    across = (0, 1, 2) if consensus else (0,) if net.dims == 2 else (None,)
    block_of_views = _SUMMED // (4 * net.classes)
    views = []
    for one in across:
        axes = [axis for axis in range(3) if axis != one]
        lengths = [shape[axis] for axis in axes]
        for axis, length, multiple in zip(axes, lengths, net.multiple, strict=True):
            if length < multiple:
                raise InputError(
                    f"image: got {length} voxels along {'zyx'[axis]}, wants at least "
                    f"{multiple} for this network"
                )
        views.append(View(one, net.context, _tiling(net, lengths, patch, tile, count)))
    together = consensus or not all(view.tiling.exact for view in views)
    shard, block = _blocks(shape, itemsize, block_of_views, together, consensus)
    most = _most(net.dims, count)
    batches = []
    for view in views:
        at_once = max(most // math.prod(view.tiling.sizes), 1)
        at_once = min(at_once, _tiles_in(view, shape, block))
        batches.append(whole(at_once, count))
    return Plan(tuple(views), tuple(batches), shard, block, together, count)


def _tiling(
    net: Network,
    lengths: Sequence[int],
    patch: Sequence[int],
    tile: Sequence[int] | None,
    devices: int,
) -> Tiling:
    multiple, halo = tuple(net.multiple), tuple(net.halo)
    ends = [whole(n, m) for n, m in zip(lengths, multiple, strict=True)]
    if tile is not None:
        sizes = check_tile(tile, lengths, multiple, halo if net.local else None)
        return Tiling(sizes, halo, multiple, net.local)
    if net.local:
        sizes = usual_tile(lengths, multiple, halo, SHARD[-net.dims :], _most(net.dims, devices))
        if math.prod(sizes) <= _MOST_EXACT[net.dims]:
            return Tiling(sizes, halo, multiple, exact=True)
        warnings.warn(
            f"tile: outputs of this network depend on {halo} voxels on either side, too many for "
            "exact tiles; tiles are blended instead (a larger tile may be given)",
            stacklevel=4,
        )
    side = whole(int(_MOST[net.dims] ** (1.0 / net.dims)), max(multiple))
    wanted = patch if len(patch) == net.dims else (side,) * net.dims
    sizes = tuple(min(whole(n, m), end) for n, m, end in zip(wanted, multiple, ends, strict=True))
    return Tiling(sizes, halo, multiple, exact=False)


def _blocks(
    shape: Shape, itemsize: int, summed: int, together: bool, cubic: bool
) -> tuple[Shape, Shape]:
    """Shards, and the blocks of them that are worked on at once."""
    if together:
        # Halved along the longest until the sum of probabilities fits.
        shard = [256, 256, 256] if cubic else list(SHARD)
        while math.prod(shard) > summed and shard != list(CHUNK):
            axis = int(np.argmax(shard))
            shard[axis] = max(shard[axis] // 2, CHUNK[axis])
        z, y, x = shard
        return (z, y, x), (z, y, x)
    z, y, x = SHARD
    room = max(_READ // (z * y * x * itemsize), 1)
    wide = min(room, -(-shape[2] // x))
    tall = min(room // wide, -(-shape[1] // y))
    return SHARD, (z, y * max(tall, 1), x * wide)


def _tiles_in(view: View, shape: Shape, block: Shape) -> int:
    from bimmjax.nets._predict.blocks import tiles_of

    z, y, x = (slice(0, min(n, b)) for n, b in zip(shape, block, strict=True))
    return len(tiles_of(view, shape, (z, y, x)))


def _most(dims: int, devices: int) -> int:
    accelerated = jax.local_devices()[0].platform != "cpu"
    return _MOST[dims] * (_ACCELERATOR * devices if accelerated else 1)


def _devices(devices: int | None) -> int:
    there = jax.local_devices()
    if devices is not None:
        return whole_number("devices", devices, 1, len(there))
    return len(there) if there[0].platform != "cpu" else 1
