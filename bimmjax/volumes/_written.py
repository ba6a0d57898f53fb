"""Lazy volumes written block by block, by as many runs as it takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from bimmjax.volumes._convert import CHUNK, SHARD
from bimmjax.volumes._unfinished import Box, Unfinished, fitted, voxels_of
from bimmjax.volumes._volume import Shape, Volume

_MOST = 2**29  # voxels that are worked out together
_FLAT: Shape = (1, 256, 256)


def write_resumably(
    volume: Volume,
    out: str | os.PathLike[str],
    identity: Mapping[str, Any],
    *,
    whole_slices: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Write a lazy volume as OME-Zarr 0.5; a run that was killed is gone on with.

    `convert` begins anew instead, and takes anything that `open_volume` takes.

    Parameters
    ----------
    volume : Volume
        Read once, in whole shards.
    out : path
        The folder to make, `NAME.zarr`. It appears when it is complete.
    identity : mapping
        JSON-able: what decides the voxels. Blocks of an earlier run with the same one are kept.
    whole_slices : bool
        For volumes each slice of which is worked out whole, whatever is read of it: as much of
        the slices as memory allows is read at a time, and slices are stored one by one, so that
        others may read them one by one. Else a shard at a time, in cubes.
    overwrite : bool
        Replace `out`, and drop what was begun with another identity.
    progress : callable, optional
        `progress(voxels done, voxels in all)`.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        `out` exists or cannot be written, was begun with another identity, or the volume cannot
        be read.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from bimmjax.volumes import open_volume, write_resumably
    >>> folder = tempfile.TemporaryDirectory()
    >>> ones = open_volume(np.ones((8, 8, 8), np.uint8))
    >>> open_volume(write_resumably(ones, folder.name + "/a.zarr", {"made of": "ones"})).shape
    (8, 8, 8)
    >>> folder.cleanup()
    """
    tell = progress or (lambda done, total: None)
    chunk = _FLAT if whole_slices else CHUNK
    store = Unfinished(
        out, volume, {"": volume.dtype}, identity, shard=SHARD, chunk=chunk, overwrite=overwrite
    )
    done = 0
    for box in _boxes(volume, chunk, _MOST if whole_slices else 0):
        if not store.done(box):
            store.write(box, {"": volume.read(*box)})
        done += voxels_of(box)
        tell(done, volume.voxels)
    return store.finish({})


def _boxes(volume: Volume, chunk: Shape, most: int) -> list[Box]:
    """Shards, or rows and rectangles of them of up to `most` voxels."""
    z, y, x = fitted(SHARD, volume.shape, chunk)
    shards_x = min(max(most // (z * y * x), 1), -(-volume.shape[2] // x))
    shards_y = min(max(most // (z * y * x * shards_x), 1), -(-volume.shape[1] // y))
    shard = (z, y * shards_y, x * shards_x)
    sides = [
        [slice(at, min(at + step, size)) for at in range(0, size, step)]
        for size, step in zip(volume.shape, shard, strict=True)
    ]
    return [(z, y, x) for z, y, x in product(*sides)]
