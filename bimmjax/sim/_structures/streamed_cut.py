"""The level that leaves a wanted number of voxels above it, in volumes that fit in no memory.

A coarser lattice of the same field tells roughly where the level lies; one pass over the volume
then counts what is below and keeps the few values near by, of which one is the level.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bimmjax.volumes import Volume, stream

Sampled = Callable[[int], Volume]
"""Gives the field at every `stride`th voxel along each axis, as a volume of float32."""

# Values that are sorted at once.
_FEW = 2**22
_STEP = 4
# Standard errors of a share that is found on a lattice as if its voxels were independent.
_MARGIN = 4.0


class Cut(NamedTuple):
    """Voxels at or above `level` are taken, but for those at the flat indices `spared`."""

    level: np.float32
    spared: np.ndarray


def cut(sampled: Sampled, count: int, progress: Callable[[int, int], Any] | None = None) -> Cut:
    """The cut that takes exactly the `count` highest voxels; of equal ones the first are spared."""
    volume = sampled(1)
    share, width = 1.0 - count / volume.voxels, 1.0
    while True:
        low, high = -np.inf, np.inf
        if volume.voxels > _FEW:
            low, high = _bracket(sampled, _STEP, share, width)
        below, values, places = _between(volume, low, high, progress)
        rank = volume.voxels - count - below
        if 0 <= rank < values.size:
            break
        width *= _STEP
    level = np.partition(values, rank)[rank]
    spared = rank - int(np.count_nonzero(values < level))
    return Cut(level, np.sort(places[values == level])[:spared])


def _bracket(sampled: Sampled, stride: int, share: float, width: float) -> tuple[float, float]:
    """Two values between which, as the lattice of a stride tells, `share` of the field is below."""
    volume = sampled(stride)
    low, high = -np.inf, np.inf
    if volume.voxels > _FEW:
        low, high = _bracket(sampled, stride * _STEP, share, width)
    below, values, _ = _between(volume, low, high)
    values.sort()
    margin = _MARGIN * width * max(math.sqrt(share * (1.0 - share) / volume.voxels), 1e-6)
    first = math.floor((share - margin) * volume.voxels) - 1 - below
    last = math.ceil((share + margin) * volume.voxels) + 1 - below
    return (
        float(values[first]) if 0 <= first < values.size else low,
        float(values[last]) if 0 <= last < values.size else high,
    )


def _between(
    volume: Volume, low: float, high: float, progress: Callable[[int, int], Any] | None = None
) -> tuple[int, np.ndarray, np.ndarray]:
    """How many values are below `low`; those from `low` to `high`, and their flat indices."""
    below, done, values, places = 0, 0, [], []
    _, wide_y, wide_x = volume.shape
    for block in stream(volume, volume.chunks, halo=0):
        data: Any = block.data
        near = data >= low
        below += data.size - int(np.count_nonzero(near))
        near &= data <= high
        values.append(data[near])
        z, y, x = (at + s for at, s in zip(np.nonzero(near), block.start, strict=True))
        places.append((z * wide_y + y) * wide_x + x)
        done += data.size
        if progress is not None:
            progress(done, volume.voxels)
    return below, np.concatenate(values), np.concatenate(places)
