"""Labelled volumes: whole numbers, read in slabs, one phase at a time."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.volumes import Volume, open_volume, stream

AXES = ("z", "y", "x")
# Voxels of a block of layers, and of a slab; a thin slab of a huge volume may exceed it.
_LAYERS = 2**23
_SLAB = 2**24
# What a mask has where it is true, in most programs.
_TRUE = 255


def open_labels(labels: Any, name: str = "labels", **options: Any) -> Volume:
    """Anything `open_volume` takes, of whole numbers.

    Raises
    ------
    InputError
        Labels of another dtype than integers or bool.
    """
    volume = open_volume(labels, **options)
    if volume.dtype.kind not in "iu":
        raise InputError(f"{name}: got dtype {volume.dtype}, wants whole numbers, one per phase")
    return volume


def open_phases(
    labels: Any,
    name: str = "labels",
    *,
    ignore: int | None = None,
    classes: int | None = None,
    **options: Any,
) -> Volume:
    """As `open_labels`; a mask of 0 and 255 as two phases.

    Not so where a label is to be ignored, nor where 255 is one of so many classes.
    """
    volume = open_labels(labels, name, **options)
    among = classes is not None and classes > _TRUE
    if ignore is not None or among or not _is_mask(volume):
        return volume

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        return (volume.reader(z, y, x) != 0).view(np.uint8)

    return replace(volume, reader=read, dtype=np.dtype(np.uint8))


def _is_mask(volume: Volume) -> bool:
    """Whether it holds 0 and 255 and nothing else; mostly a layer tells that it does not."""
    if np.iinfo(str(volume.dtype)).max < _TRUE:
        return False
    middle = volume.shape[0] // 2
    if not _held(volume.read(slice(middle, middle + 1), slice(None), slice(None)))[2]:
        return False
    false = true = False
    for block in stream(volume, layers(volume), halo=0):
        zeros, full, alone = _held(block.data)
        if not alone:
            return False
        false, true = false or zeros, true or full
    return false and true


def _held(data: np.ndarray) -> tuple[bool, bool, bool]:
    """Whether there is a 0, a 255, and nothing else."""
    zeros, full = int(np.sum(data == 0)), int(np.sum(data == _TRUE))
    return zeros > 0, full > 0, zeros + full == data.size


def open_mask(mask: Any, volume: Volume, ignore: int | None = None) -> Volume | None:
    """A volume of 0 and 1 in the shape of labels: what is not 0 (nor NaN), nor to be ignored."""
    opened = None if mask is None else open_volume(mask)
    if opened is not None and opened.shape != volume.shape:
        raise InputError(f"mask: got shape {opened.shape}, wants that of the labels {volume.shape}")
    if opened is None and ignore is None:
        return None

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        counts = np.array(True)
        if ignore is not None:
            counts = volume.read(z, y, x) != ignore
        if opened is not None:
            values = opened.read(z, y, x)
            counts = counts & (values != 0) & np.isfinite(values)
        return counts.view(np.uint8)

    return replace(
        volume if opened is None else opened, reader=read, dtype=np.dtype(np.uint8), name="mask"
    )


def axis_number(axis: str) -> int:
    """0, 1, 2 for z, y, x."""
    if axis not in AXES:
        raise InputError(f"axis: got {axis!r}, wants one of {', '.join(AXES)}")
    return AXES.index(axis)


def layers(volume: Volume) -> list[int]:
    """Shape of blocks that are whole along y and x."""
    z, y, x = volume.shape
    return [max(min(_LAYERS // (y * x), z), 1), y, x]


def slabs(
    volume: Volume, mask: Volume | None
) -> Generator[tuple[slice, np.ndarray, np.ndarray | None], None, None]:
    """Whole layers, in whole chunks: where along z, labels, what the mask says (None without)."""
    _, y, x = volume.shape
    # Chunks that go deep through z are read in part, or a slab of them were the whole volume.
    chunk = max(min(volume.chunks[0], _SLAB // (y * x)), 1)
    shape = [max(_SLAB // (chunk * y * x), 1) * chunk, y, x]
    masks = None if mask is None else stream(mask, shape, halo=0, threads=1, ahead=0)
    for block in stream(volume, shape, halo=0, threads=1, ahead=0):
        place = slice(block.start[0], block.start[0] + block.core[0])
        yield place, block.data, None if masks is None else next(masks).data != 0


def rows(volume: Volume, part: slice) -> Volume:
    """A part of a volume along y."""

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        return volume.reader(z, slice(part.start + y.start, part.start + y.stop), x)

    shape = volume.shape[0], part.stop - part.start, volume.shape[2]
    return replace(volume, shape=shape, reader=read)
