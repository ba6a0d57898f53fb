"""Histograms of grey values, and labels by thresholds; of volumes of any size."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.segmentation._rule import NO_LABEL
from bimmjax.volumes import Volume, sample_blocks, stream, suggest_block

_BINS = 4096
_TAIL = 1e-5


class GreyValues(NamedTuple):
    """How often each grey value occurs: `centres` and `counts`, both (bins,)."""

    centres: np.ndarray
    counts: np.ndarray


def grey_values(
    volume: Volume, bins: int = _BINS, limits: tuple[float, float] | None = None
) -> GreyValues:
    """Histogram of all finite voxels, streamed; only bins from the first to the last that is held.

    Bins are even between the `limits`, or the ends of a sample, and the outermost take what lies
    beyond: a few hot voxels cost no resolution. Integers have no more bins than grey values.
    """
    low, high = _range(volume) if limits is None else limits
    if volume.dtype.kind in "iu":
        step = max(np.ceil((high - low + 1) / bins), 1.0)
        low, size = low - 0.5, int(np.ceil((high - low + 1) / step))
    else:
        step, size = (high - low) / bins, bins
    counts = np.zeros(size, np.int64)
    for block in stream(volume, suggest_block(volume, halo=0), halo=0):
        values = block.data.ravel()
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        at = np.clip((values.astype(float) - low) / step, 0, size - 1).astype(np.int64)
        counts += np.bincount(at, minlength=size)
    held = np.flatnonzero(counts)
    if held.size < 2:
        raise InputError("volume: got a constant or no number, wants at least two grey values")
    kept = slice(held[0], held[-1] + 1)
    return GreyValues((low + step * (np.arange(size) + 0.5))[kept], counts[kept])


def coarser(found: GreyValues, bins: int) -> GreyValues:
    """Neighbouring bins put together until there are at most `bins`."""
    group = -(-found.counts.size // bins)
    spare = -found.counts.size % group
    counts = np.pad(found.counts, (0, spare)).reshape(-1, group).sum(1)
    step = (found.centres[-1] - found.centres[0]) / max(found.centres.size - 1, 1)
    return GreyValues(found.centres[::group] + 0.5 * (group - 1) * step, counts)


def by_thresholds(volume: Volume, thresholds: np.ndarray, name: str) -> Volume:
    """Labels 0 ... N - 1, as a volume worked out when read: how many thresholds lie below."""
    cuts = np.sort(np.asarray(thresholds, float))

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        values = volume.read(z, y, x)
        labels = np.searchsorted(cuts, values, side="left").astype(np.uint8)
        return (
            labels if values.dtype.kind != "f" else np.where(np.isfinite(values), labels, NO_LABEL)
        )

    return replace(volume, reader=read, dtype=np.dtype(np.uint8), name=f"{volume.name} {name}")


def _range(volume: Volume) -> tuple[float, float]:
    if volume.dtype.kind in "iu" and volume.dtype.itemsize == 1:
        limits = np.iinfo(str(volume.dtype))
        return float(limits.min), float(limits.max)
    sample = np.concatenate([block.ravel() for block in sample_blocks(volume, 32)]).astype(float)
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        raise InputError("volume: got no finite voxel in a sample, wants finite grey values")
    low, high = np.quantile(sample, [_TAIL, 1.0 - _TAIL])
    margin = 0.1 * (high - low)
    if volume.dtype.kind in "iu":
        return float(np.floor(low - margin)), float(np.ceil(high + margin))
    if margin == 0.0:
        raise InputError(f"volume: got the constant {low:g} in a sample, wants at least two values")
    return float(low - margin), float(high + margin)
