"""A specimen: one volume or several of the same body, and labels of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.nets._data.normalise import Normalisation, normalisation
from bimmjax.volumes import Volume, open_volume
from bimmjax.volumes._units import convert_length

KEPT = 2**30
"""Bytes of volumes that are read once and kept, all specimens together."""

_UNKNOWN = ("voxel", "unit")


@dataclass(frozen=True)
class Specimen:
    """Volumes of one shape: grey values, the labels of their voxels, how much these count."""

    images: tuple[Volume, ...]
    normalisations: tuple[Normalisation, ...]
    labels: Volume
    weight: Volume | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of each of its volumes, (z, y, x)."""
        return self.labels.shape


def open_specimens(images: Any, labels: Any, weight: Any = None) -> list[Specimen]:
    """What a network is to be trained on, opened and checked, not yet normalised.

    Parameters
    ----------
    images : one volume (anything `open_volume` takes), or a sequence of them: the channels. With
        a sequence of labels: as many such entries.
    labels, weight : one volume, or a sequence of them, one per specimen; weight may be None, of
        some specimens or of all. Where only some have one, 1 is that of the others.

    Raises
    ------
    InputError
        Numbers of volumes, shapes or voxel sizes that differ, labels that are no whole numbers.
    """
    if not isinstance(labels, list | tuple):
        images, labels, weight = [images], [labels], [weight]
    weights = [None] * len(labels) if weight is None else weight
    if not isinstance(images, list | tuple) or len(images) != len(labels):
        got = len(images) if isinstance(images, list | tuple) else 1
        raise InputError(
            f"images: got {got} for {len(labels)} volumes of labels, wants as many, each one "
            "volume or a sequence of channels"
        )
    if not labels or len(weights) != len(labels):
        raise InputError(
            f"weight: got {len(weights)} for {len(labels)} volumes of labels, wants one for each "
            "of at least one"
        )
    found = [_specimen(*three) for three in zip(images, labels, weights, strict=True)]
    if any(one.weight is not None for one in found):
        found = [replace(one, weight=one.weight or _ones(one.labels)) for one in found]
    channels = {len(one.images) for one in found}
    if len(channels) > 1:
        raise InputError(f"images: got {sorted(channels)} channels, wants as many of each specimen")
    return found


def normalised(specimen: Specimen, how: str, keep: int = KEPT) -> Specimen:
    """The same with its volumes' own normalisations; kept in memory if it is up to `keep` bytes."""
    volumes = [*specimen.images, specimen.labels, *filter(None, [specimen.weight])]
    if sum(volume.nbytes for volume in volumes) <= keep:
        specimen = replace(
            specimen,
            images=tuple(map(_kept, specimen.images)),
            labels=_kept(specimen.labels),
            weight=None if specimen.weight is None else _kept(specimen.weight),
        )
    found = tuple(normalisation(volume, how) for volume in specimen.images)
    return replace(specimen, normalisations=found)


def stacked(specimen: Specimen, z: int, y: slice, x: slice, context: int) -> np.ndarray:
    """Normalised slices around slice z as channels, (y, x, context * images) float32.

    Slice by slice from the lowest z, each with all its images; beyond the volume's ends its
    outermost slice stands again.
    """
    half, depth = context // 2, specimen.shape[0]
    read = range(max(z - half, 0), min(z + half + 1, depth))
    held = np.clip(np.arange(z - half, z + half + 1), 0, depth - 1) - read.start
    channels = np.stack(boxes(specimen, slice(read.start, read.stop), y, x), -1)
    slices = np.moveaxis(channels[held], 0, 2)
    return slices.reshape(*slices.shape[:2], -1)


def boxes(specimen: Specimen, z: slice, y: slice, x: slice) -> list[np.ndarray]:
    """A box of each image, normalised, (z, y, x) float32."""
    return [
        normalise(volume.read(z, y, x))
        for volume, normalise in zip(specimen.images, specimen.normalisations, strict=True)
    ]


def _specimen(images: Any, labels: Any, weight: Any) -> Specimen:
    channels = images if isinstance(images, Sequence) and not isinstance(images, str) else [images]
    opened = tuple(open_volume(channel) for channel in channels)
    right = open_named("labels", labels)
    if right.dtype.kind not in "iu":
        raise InputError(f"labels: got dtype {right.dtype}, wants whole numbers, one per class")
    if not opened:
        raise InputError("images: got none, wants at least one")
    check_same("labels", right, opened[0])
    for image in opened[1:]:
        check_same("images", image, opened[0])
    counts = None if weight is None else open_named("weight", weight)
    if counts is not None:
        check_same("weight", counts, right)
    return Specimen(opened, (Normalisation(0.0, 1.0),) * len(opened), right, counts)


def open_named(name: str, source: Any) -> Volume:
    """The volume; what is wrong with it is told under the argument's own name."""
    try:
        return open_volume(source)
    except InputError as error:
        text = str(error)
        if not text.startswith("source: "):
            raise
        raise InputError(f"{name}: {text.removeprefix('source: ')}") from error


def _ones(like: Volume) -> Volume:
    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        return np.ones([s.stop - s.start for s in (z, y, x)], np.uint8)

    return replace(like, reader=read, dtype=np.dtype(np.uint8), name="ones")


def check_same(name: str, one: Volume, other: Volume) -> None:
    """Refuse volumes of another shape or, where both tell it, of other voxels."""
    if one.shape != other.shape:
        raise InputError(
            f"{name}: got shape {one.shape}, wants that of {other.name}, {other.shape}"
        )
    if one.unit in _UNKNOWN or other.unit in _UNKNOWN:
        return
    spacing = [convert_length(s, one.unit, other.unit) for s in one.spacing]
    if not np.allclose(spacing, other.spacing, rtol=1e-3):
        told = " ".join(f"{s:g}" for s in one.spacing), " ".join(f"{s:g}" for s in other.spacing)
        raise InputError(
            f"{name}: got voxels of {told[0]} {one.unit}, wants those of {other.name}, {told[1]} "
            f"{other.unit}"
        )


def _kept(volume: Volume) -> Volume:
    whole = volume.read(slice(None), slice(None), slice(None))
    return replace(volume, reader=lambda z, y, x: whole[z, y, x])
