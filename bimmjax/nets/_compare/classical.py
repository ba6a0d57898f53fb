"""Rivals that need no training: thresholds, clusters, a fitted model, and two that only count.

Their labels are ordered by intensity. They are matched to the classes by the classes' mean grey
values in the annotated slices of the training block: the darkest label is the class of the lowest
mean, and so on. There are as many labels as classes in those slices. Only the first channel is
looked at. Whatever needs no truth (thresholds, clusters, fits) is found on the whole volume, as
grey values are normalised for networks; whatever counts the truth counts it in those slices alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bimmjax._core.checks import InputError, choice
from bimmjax.nets._compare.common import Common
from bimmjax.nets._data.normalise import normalisation
from bimmjax.nets._data.specimen import Specimen
from bimmjax.nets.losses import IGNORED
from bimmjax.segmentation import NO_LABEL
from bimmjax.volumes import Volume

CLASSICAL = ("zeror", "bin-zeror", "otsu", "kmeans", "bimm")
"""Rivals of networks that `compare` knows by name."""
_LEVELS = 256


class Seen(NamedTuple):
    """What the annotated slices hold, all specimens together."""

    counts: np.ndarray
    """(levels, classes) voxels by grey level and class."""
    means: np.ndarray
    """(classes,) mean grey values; NaN where there is no voxel."""

    @property
    def order(self) -> np.ndarray:
        """The classes that are there, by mean grey value."""
        there = np.flatnonzero(self.counts.sum(0))
        return there[np.argsort(self.means[there], kind="stable")]


def check_classical(methods: Sequence[str]) -> list[str]:
    """The methods, each once.

    Raises
    ------
    InputError
        One that is not known.
    """
    given = [methods] if isinstance(methods, str) else list(methods)
    for method in given:
        choice("classical", method, CLASSICAL)
    return list(dict.fromkeys(given))


def classical_labels(method: str, common: Common, classes: int, seed: int) -> list[Volume]:
    """Labels of each specimen by a method, uint8, as volumes worked out when read.

    ZeroOC ("zeror") and Bin-ZeroOC ("bin-zeror") are those of the Modular U-Net paper, appendix D,
    as classifiers that have learned from the annotated slices: the most frequent class there, of
    all voxels or of those of one grey level. Grey values are levels by themselves if they are
    integers of up to 16 bits, else 256 even ones between the percentiles 0.5 and 99.5.

    Raises
    ------
    InputError
        What thresholds or clusters cannot be made from; one class only.
    """
    volumes = [_levels(one) for one in common.specimens] if method == "bin-zeror" else []
    if method == "zeror":
        most = int(np.argmax(common.training))
        return [_all_alike(one, most) for one in common.specimens]
    seen = _seen(common, classes, volumes)
    if method == "bin-zeror":
        # A level that no annotated voxel has is what most voxels are.
        chosen = np.where(seen.counts.any(1), np.argmax(seen.counts, 1), np.argmax(common.training))
        return [_looked_up(one, chosen) for one in volumes]
    order = seen.order
    if len(order) < 2:
        raise InputError(
            f"classical: got {method} for a training block with {len(order)} class, wants two"
        )
    table = np.full(256, NO_LABEL, np.uint8)
    table[: len(order)] = order
    find = _METHODS[method]
    return [_looked_up(find(one.images[0], len(order), seed), table) for one in common.specimens]


def _otsu(volume: Volume, classes: int, seed: int) -> Volume:
    from bimmjax.segmentation import otsu

    return otsu(volume, classes)


def _kmeans(volume: Volume, classes: int, seed: int) -> Volume:
    from bimmjax.segmentation import kmeans

    return kmeans(volume, classes, seed=seed)


def _bimm(volume: Volume, classes: int, seed: int) -> Volume:
    from bimmjax.fitting import fit
    from bimmjax.segmentation import segment

    # Areas are not asked for: neither their intervals nor what corrects them.
    found = fit(volume, classes, intervals=False, correct=False, ignore_nan=True, seed=seed)
    return segment(volume, found)


_METHODS: dict[str, Callable[[Volume, int, int], Volume]] = {
    "otsu": _otsu,
    "kmeans": _kmeans,
    "bimm": _bimm,
}


def _seen(common: Common, classes: int, levels: Sequence[Volume]) -> Seen:
    """From the annotated slices; counts by level where there are volumes of levels."""
    size = _LEVELS if not levels else 2 ** (8 * levels[0].dtype.itemsize)
    counts = np.zeros((size, classes), np.int64)
    total, voxels = np.zeros(classes), np.zeros(classes, np.int64)
    for number, (specimen, held) in enumerate(zip(common.specimens, common.slices, strict=True)):
        for z in held.tolist():
            box = slice(z, z + 1), slice(None), slice(None)
            truth = specimen.labels.read(*box)
            grey = specimen.images[0].read(*box).astype(float)
            known = (truth != IGNORED) & np.isfinite(grey)
            label = truth[known].astype(np.int64)
            voxels += np.bincount(label, minlength=classes)
            total += np.bincount(label, grey[known], classes)
            level = np.zeros_like(label) if not levels else levels[number].read(*box)[known]
            pairs = level.astype(np.int64) * classes + label
            counts += np.bincount(pairs, minlength=counts.size).reshape(counts.shape)
    means = np.where(voxels, total / np.maximum(voxels, 1), np.nan)
    return Seen(counts, means)


def _levels(specimen: Specimen) -> Volume:
    """Grey levels of the first channel, unsigned."""
    volume = specimen.images[0]
    if volume.dtype.kind == "u" and volume.dtype.itemsize <= 2:
        return volume
    if volume.dtype.kind == "i" and volume.dtype.itemsize <= 2:
        size = volume.dtype.itemsize
        low, kind = int(np.iinfo(str(volume.dtype)).min), np.dtype(f"u{size}")

        def shifted(z: slice, y: slice, x: slice) -> np.ndarray:
            return (volume.reader(z, y, x).astype(np.int64) - low).astype(kind)

        return replace(volume, reader=shifted, dtype=kind)
    scale = normalisation(volume, "range")

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        values = np.floor(_LEVELS * scale(volume.reader(z, y, x)))
        return np.clip(values, 0, _LEVELS - 1).astype(np.uint8)

    return replace(volume, reader=read, dtype=np.dtype(np.uint8))


def _looked_up(volume: Volume, table: np.ndarray) -> Volume:
    labels = table.astype(np.uint8)

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        return labels[volume.reader(z, y, x).astype(np.int64)]

    return replace(volume, reader=read, dtype=np.dtype(np.uint8))


def _all_alike(specimen: Specimen, label: int) -> Volume:
    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        shape = (z.stop - z.start, y.stop - y.start, x.stop - x.start)
        return np.full(shape, label, np.uint8)

    return replace(specimen.labels, reader=read, dtype=np.dtype(np.uint8))
