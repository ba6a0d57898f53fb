"""Volumes whose slices are worked out whole, one by one, as boxes of them are read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from threading import Lock

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.volumes import Volume

_KEPT = 2**27  # bytes


def slicewise(volume: Volume, work: Callable[[np.ndarray], np.ndarray], name: str) -> Volume:
    """`work` on every slice (y, x) float32 of its own, whatever box is read; float32.

    Slices read last are kept, in 128 MiB of memory at most, so that boxes of a slice do not make it
    again. Where boxes are deeper than these hold slices, each box makes all of its slices anew:
    write such a volume with `volumes.write_resumably(whole_slices=True)` before it is read in
    tiles.
    """
    lock = Lock()
    kept: OrderedDict[int, np.ndarray] = OrderedDict()
    most = max(_KEPT // (4 * volume.shape[1] * volume.shape[2]), 1)

    def made(i: int) -> np.ndarray:
        with lock:
            if i in kept:
                kept.move_to_end(i)
                return kept[i]
        plane = volume.read(slice(i, i + 1), slice(None), slice(None))[0].astype(np.float32)
        if not np.isfinite(plane).all():
            raise InputError(
                f"volume: got slice {i} with values that are not finite, wants numbers"
            )
        found = work(plane).astype(np.float32, copy=False)
        with lock:
            kept[i] = found
            while len(kept) > most:
                kept.popitem(last=False)
        return found

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        found = np.empty([s.stop - s.start for s in (z, y, x)], np.float32)
        for k, i in enumerate(range(z.start, z.stop)):
            found[k] = made(i)[y, x]
        return found

    return replace(
        volume,
        dtype=np.dtype(np.float32),
        reader=read,
        chunks=(1, *volume.shape[1:]),
        name=f"{volume.name} {name}",
    )
