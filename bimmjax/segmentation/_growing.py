"""Labels grown from seeds: seeded region growing, and seeds by thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError, real_number
from bimmjax.descriptors._labels import open_labels
from bimmjax.volumes import Volume, open_volume
from bimmjax.volumes._volume import loaded_once

_MOST_KEPT = 2**28  # bytes
_MOST_BANDS = 255
# Marks of voxels that have no label: they may get one, wait for one, or never get one.
_FREE, _WAITING, _NEVER = 0, -1, -2


def seeded_region_growing(image: Any, seeds: Any) -> np.ndarray:
    """Regions grown from seeds, the voxel that is most like its region first.

    A voxel waits from when a region first touches it, by how far its grey value then lies from
    the region's mean. When its turn comes it joins the region around it whose mean is nearest by
    then, which moves that mean. Equals go by how long they have waited (at the start: in C
    order), or by the lower label; so the same input always gives the same labels.

    Source: Adams and Bischof, Seeded region growing, IEEE TPAMI 16 (1994) 641; without the voxels
    that mark boundaries.

    Parameters
    ----------
    image : array
        (y, x) or (z, y, x), grey values.
    seeds : array
        Of the same shape: 0 unlabelled, 1, 2, ... regions; a region may have several parts.

    Returns
    -------
    array
        Labels, in the shape and dtype of the seeds. Neighbours are those across an edge (2D) or
        a face (3D). Voxels that are not finite are 0 even with a seed, and so are those that no
        region reaches.

    Raises
    ------
    InputError
        Other shapes, no voxels, seeds that are no whole numbers or below 0.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.array([[10, 11, 12, 30, 31], [10, 12, 13, 29, 30]])
    >>> seeds = np.array([[1, 0, 0, 0, 2], [0, 0, 0, 0, 0]])
    >>> seeded_region_growing(image, seeds).tolist()
    [[1, 1, 1, 2, 2], [1, 1, 1, 2, 2]]
    """
    values, marks = np.asarray(image), np.asarray(seeds)
    if values.ndim not in (2, 3) or values.size == 0 or values.dtype.kind not in "iufb":
        raise InputError(
            f"image: got {values.dtype} of shape {values.shape}, wants grey values (y, x) or "
            "(z, y, x)"
        )
    if marks.shape != values.shape:
        raise InputError(f"seeds: got shape {marks.shape}, wants that of the image {values.shape}")
    if marks.dtype.kind not in "iub":
        raise InputError(f"seeds: got dtype {marks.dtype}, wants whole numbers, 0 for no seed")
    if marks.dtype.kind == "b":
        marks = marks.astype(np.uint8)
    if marks.min() < 0:
        raise InputError(f"seeds: got {marks.min()}, wants 0 for no seed, then 1, 2, ...")
    names, regions = np.unique(np.append(marks, marks.dtype.type(0)), return_inverse=True)
    regions = regions[:-1].reshape(values.shape)
    return names[_grown(values.astype(np.float64), regions, len(names))]


def _grown(values: np.ndarray, regions: np.ndarray, count: int) -> np.ndarray:
    """Regions 0 (none) ... count - 1, all grown as far as they get."""
    known = np.isfinite(values)
    regions = np.where(known, regions, _FREE)
    sums = np.bincount(regions[known], values[known], count).tolist()
    sizes = np.bincount(regions[known], minlength=count).tolist()
    means = [s / max(n, 1) for s, n in zip(sums, sizes, strict=True)]
    # A rim that never gets a label saves asking whether a neighbour lies outside.
    around = np.pad(np.where(known, regions, _NEVER), 1, constant_values=_NEVER)
    grey: list[float] = np.pad(np.where(known, values, 0.0), 1).ravel().tolist()
    strides = [s // around.itemsize for s in around.strides]
    steps = [*(-s for s in strides), *reversed(strides)]
    labels: list[int] = around.ravel().tolist()
    queue: list[tuple[float, int, int]] = []
    for place in _beside(around):
        touching = {labels[place + step] for step in steps if labels[place + step] > _FREE}
        value = grey[place]
        queue.append((min(abs(value - means[k]) for k in touching), len(queue), place))
    for _, _, place in queue:
        labels[place] = _WAITING
    entry = len(queue)
    heapify(queue)
    push, pop = heappush, heappop
    while queue:
        _, _, place = pop(queue)
        value = grey[place]
        fresh = []
        region = _FREE
        for step in steps:
            there = place + step
            label = labels[there]
            if label > _FREE:
                if region == _FREE:
                    region = label
                elif label != region:
                    new, old = abs(value - means[label]), abs(value - means[region])
                    if new < old or (new == old and label < region):
                        region = label
            elif label == _FREE:
                fresh.append(there)
        labels[place] = region
        sums[region] = total = sums[region] + value
        sizes[region] = size = sizes[region] + 1
        means[region] = mean = total / size
        for there in fresh:
            labels[there] = _WAITING
            push(queue, (abs(grey[there] - mean), entry, there))
            entry += 1
    found = np.array(labels).reshape(around.shape)
    return np.maximum(found[tuple(slice(1, -1) for _ in found.shape)], 0)


def _beside(around: np.ndarray) -> list[int]:
    """Places of free voxels with a region next to them, in C order."""
    grown = np.zeros(around.shape, bool)
    held = around > _FREE
    for axis in range(around.ndim):
        # The rim holds no region, so nothing comes in at the other end.
        grown |= np.roll(held, 1, axis) | np.roll(held, -1, axis)
    return np.flatnonzero(grown & (around == _FREE)).tolist()


def grow_seeds(volume: Any, seeds: Any, *, by_slice: bool = True, **options: Any) -> Volume:
    """Labels grown from seeds (`seeded_region_growing`), as a volume worked out when read.

    Source: Modular U-Net paper, data annotation, step 1.

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x), grey values.
    seeds : path, array or Volume
        Of the same shape: 0 unlabelled, 1, 2, ... regions.
    by_slice : bool
        Each slice (y, x) by itself, as the paper has it: from its own seeds, so a slice without
        any stays 0. Else in 3D: the whole volume, once, at the first box, which takes about 150
        bytes of memory for each voxel.
    **options
        `spacing`, `unit`, `dataset`, `dtype`: as in `open_volume`, of the volume.

    Returns
    -------
    Volume
        In the seeds' dtype. A box takes the whole of each of its slices, so read whole slices;
        those read last are kept.

    Raises
    ------
    InputError
        Another shape, seeds that are no whole numbers; when read: seeds below 0.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.segmentation import grow_seeds, seeds_from_thresholds
    >>> image = np.array([[[10, 11, 19, 30, 31]]])
    >>> seeds = seeds_from_thresholds(image, [(0, 10), (30, 99)])
    >>> grow_seeds(image, seeds).read(*(slice(None),) * 3).tolist()
    [[[1, 1, 1, 2, 2]]]
    """
    opened, marks = open_volume(volume, **options), open_labels(seeds, "seeds")
    if marks.shape != opened.shape:
        raise InputError(f"seeds: got shape {marks.shape}, wants that of the volume {opened.shape}")
    _, height, width = opened.shape
    rows = (slice(0, height), slice(0, width))

    @lru_cache(maxsize=max(_MOST_KEPT // (height * width * marks.dtype.itemsize), 1))
    def grown(at: int) -> np.ndarray:
        here = slice(at, at + 1)
        return seeded_region_growing(opened.read(here, *rows)[0], marks.read(here, *rows)[0])

    lock = Lock()

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        found = np.empty((z.stop - z.start, y.stop - y.start, x.stop - x.start), marks.dtype)
        for k in range(z.start, z.stop):
            with lock:  # or two threads would grow the same slice, and neither the quicker
                found[k - z.start] = grown(k)[y, x]
        return found

    def whole() -> np.ndarray:
        everything = (slice(None),) * 3
        return seeded_region_growing(opened.read(*everything), marks.read(*everything))

    return replace(
        opened,
        reader=read if by_slice else loaded_once(whole),
        dtype=marks.dtype,
        chunks=(1, height, width),
        name=f"{opened.name} grown",
    )


def seeds_from_thresholds(
    volume: Any, bands: Sequence[tuple[float, float]], **options: Any
) -> Volume:
    """Seeds where the grey value leaves no doubt, as a volume that is worked out when read.

    Source: Modular U-Net paper, data annotation, step 1.

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x), grey values.
    bands : sequence of (low, high)
        Grey values of region 1, 2, ..., both ends included; they may be infinite.
    **options
        `spacing`, `unit`, `dataset`, `dtype`: as in `open_volume`.

    Returns
    -------
    Volume
        uint8: the number of the voxel's band from 1 on, 0 outside of all and where it is NaN.

    Raises
    ------
    InputError
        No bands, more than 255, ones without values (low > high) or that overlap.

    Examples
    --------
    >>> import numpy as np
    >>> seeds = seeds_from_thresholds(np.array([[[1, 5, 6, 9]]]), [(6, 9), (0, 4)])
    >>> seeds.read(*(slice(None),) * 3).tolist()
    [[[2, 0, 1, 1]]]
    """
    opened = open_volume(volume, **options)
    limits = _limits(bands, opened.dtype)

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        data = opened.read(z, y, x)
        found = np.zeros(data.shape, np.uint8)
        for k, (low, high) in enumerate(limits, 1):
            found[(data >= low) & (data <= high)] = k
        return found

    return replace(opened, reader=read, dtype=np.dtype(np.uint8), name=f"{opened.name} seeds")


def _limits(bands: Any, dtype: np.dtype[np.generic]) -> list[tuple[Any, Any]]:
    try:
        pairs = [(low, high) for low, high in bands]
    except (TypeError, ValueError):
        raise InputError(f"bands: got {bands!r}, wants a list of (low, high)") from None
    if not 1 <= len(pairs) <= _MOST_BANDS:
        raise InputError(f"bands: got {len(pairs)}, wants 1 to {_MOST_BANDS}")
    # As the voxels are stored: 0.1 means the float32 that was written for it.
    kind: Any = dtype.type if dtype.kind == "f" else np.float64
    with np.errstate(over="ignore"):
        numbers = [[real_number("bands", e, -np.inf, np.inf) for e in pair] for pair in pairs]
        limits: list[tuple[Any, Any]] = [(kind(low), kind(high)) for low, high in numbers]
    for low, high in limits:
        if low > high:
            raise InputError(f"bands: got {low:.6g} to {high:.6g}, wants low <= high")
    ordered = sorted(limits)
    for (_, high), (low, _) in pairwise(ordered):
        if low <= high:
            raise InputError(f"bands: got overlap from {low:.6g} to {high:.6g}, wants none")
    return limits
