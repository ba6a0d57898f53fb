"""What a volume is, and a quick look at its grey values, without reading all of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from bimmjax.volumes._volume import Shape, Volume

_WHOLE = 2**22  # voxels up to which everything is read
_SAMPLE = 2**23  # voxels read of anything larger
_BLOCKS = 12


def info(volume: Volume) -> dict[str, Any]:
    """Facts about a volume and a cheap sample of its grey values, ready for JSON.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    dict
        `name`, `format`, `shape`, `dtype`, `spacing`, `unit`, `chunks`, `voxels`, `bytes`; and of
        `sampled_voxels` voxels, in blocks spread over the volume: `min`, `max`, `mean` of the
        finite ones (None if there are none), `nan_share` and `inf_share` of all.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.volumes import info, open_volume
    >>> facts = info(open_volume(np.arange(27, dtype=np.uint8).reshape(3, 3, 3)))
    >>> facts["shape"], facts["min"], facts["max"], facts["mean"]
    ([3, 3, 3], 0, 26, 13.0)
    """
    count, nans, infs, total = 0, 0, 0, 0.0
    low: Any = None
    high: Any = None
    for block in _sample(volume):
        count += block.size
        if block.dtype.kind == "f":
            finite = np.isfinite(block)
            nans += int(np.isnan(block).sum())
            infs += int(block.size - finite.sum()) - int(np.isnan(block).sum())
            block = block[finite]
        if block.size:
            total += float(block.sum(dtype=np.float64))
            low = block.min() if low is None else min(low, block.min())
            high = block.max() if high is None else max(high, block.max())
    finite_count = count - nans - infs
    return {
        "name": volume.name,
        "format": volume.format,
        "shape": list(volume.shape),
        "dtype": str(volume.dtype),
        "spacing": list(volume.spacing),
        "unit": volume.unit,
        "chunks": list(volume.chunks),
        "voxels": volume.voxels,
        "bytes": volume.nbytes,
        "sampled_voxels": count,
        "min": None if low is None else low.item(),
        "max": None if high is None else high.item(),
        "mean": total / finite_count if finite_count else None,
        "nan_share": nans / count,
        "inf_share": infs / count,
    }


def _sample(volume: Volume) -> Any:
    """All of a small volume; of a large one some chunks, spread evenly and always the same."""
    if volume.voxels <= _WHOLE:
        yield volume.read(slice(None), slice(None), slice(None))
        return
    size = _sample_shape(volume)
    # Irrational steps visit each axis evenly without the axes moving in step with each other.
    steps = (1 / _BLOCKS, 0.7548776662466927, 0.5698402909980532)
    for k in range(_BLOCKS):
        box: list[slice] = []
        for step, length, chunk, full in zip(steps, size, volume.chunks, volume.shape, strict=True):
            place = (step * (k + 0.5)) % 1.0
            start = int(place * full)
            # Within one chunk or from a chunk's start, so that no more than needed are decoded.
            first = start // chunk * chunk
            start = first if length >= chunk else min(start, first + chunk - length)
            start = min(start, full - length)
            box.append(slice(start, start + length))
        yield volume.read(box[0], box[1], box[2])


def _sample_shape(volume: Volume) -> Shape:
    target = _SAMPLE // _BLOCKS
    z, y, x = (min(c, n) for c, n in zip(volume.chunks, volume.shape, strict=True))
    if z * y * x > target:  # part of a chunk is as dear to read but cheaper to hold
        z = min(z, max(target // (y * x), 1))
        y = min(y, max(target // (z * x), 1))
        x = min(x, max(target // (z * y), 1))
    else:
        z = min(z * max(target // (z * y * x), 1), volume.shape[0])
    return (z, y, x)
