"""Volumes that are stored in cubes, for those who read slice by slice."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock

import numpy as np

from bimmjax.volumes import Volume


def in_slabs(volume: Volume) -> Volume:
    """The same, decoded in slabs as deep as its chunks, the last of which is kept.

    Else each slice would decode all the chunks that it crosses.
    """
    deep = volume.chunks[0]
    if deep <= 1:
        return volume
    lock = Lock()
    kept: tuple[int, np.ndarray] | None = None

    def slab(number: int) -> np.ndarray:
        nonlocal kept
        with lock:
            if kept is None or kept[0] != number:
                part = slice(number * deep, (number + 1) * deep)
                kept = number, volume.read(part, slice(None), slice(None))
            return kept[1]

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        if z.stop - z.start != 1:
            return volume.read(z, y, x)
        return slab(z.start // deep)[z.start % deep : z.start % deep + 1, y, x].copy()

    return replace(volume, reader=read)
