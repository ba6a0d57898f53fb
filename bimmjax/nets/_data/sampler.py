"""Patches drawn at random, each from the seed and its number alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.nets._data.augment import Symmetry, stretched, symmetries
from bimmjax.nets._data.census import Census
from bimmjax.nets._data.specimen import Specimen, boxes, stacked
from bimmjax.nets.losses import IGNORED

Box = tuple[int, int, int]
# Apart from the streams of the census.
_SAMPLES = 1


class Batch(NamedTuple):
    """What a step of training takes."""

    images: np.ndarray
    """(batch, *space, images * context) float32."""
    labels: np.ndarray
    """(batch, *space) uint8, 255 where nothing counts."""
    weight: np.ndarray
    """(batch, *space) float32, or (batch, 0) if all voxels count alike."""


class Place(NamedTuple):
    """Where in the data a patch was read."""

    specimen: int
    start: Box
    shape: Box


@dataclass(frozen=True)
class Drawing:
    """How patches are drawn and varied.

    patch : shape along the network's space axes, (y, x) or (z, y, x).
    context : slices that are stacked as channels, in 2D.
    every : only each so many-th slice of a block has labels.
    slices : only so many of those have, all blocks together, evenly spread; 0: all.
    foreground : share of patches around a voxel of one of the classes but the most frequent, each
        of them as often as the others.
    symmetries : "all", "plane" or "none".
    stretch : patches show up to this share more or less, along each axis on its own.
    brightness : grey values rise or fall by up to this, each channel on its own.
    noise : standard deviation of white noise, from 0 up to this.
    """

    patch: tuple[int, ...]
    context: int = 1
    every: int = 1
    slices: int = 0
    foreground: float = 0.0
    symmetries: str = "all"
    stretch: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0
    seed: int = 0

    @property
    def dims(self) -> int:
        """2 or 3."""
        return len(self.patch)

    @property
    def box(self) -> Box:
        """The patch in three dimensions."""
        z, y, x = (1, *self.patch)[-3:]
        return z, y, x


class Sampler:
    """Draws batches from the blocks of some specimens, one block of slices of each.

    Raises
    ------
    InputError
        A patch that is larger than a block, blocks without any label that counts, or with fewer
        labelled slices than asked for.
    """

    def __init__(
        self,
        specimens: Sequence[Specimen],
        counts: Sequence[Census],
        blocks: Sequence[range],
        drawing: Drawing,
    ) -> None:
        self._specimens = specimens
        self._counts = counts
        self._blocks = blocks
        self._how = drawing
        for specimen, block in zip(specimens, blocks, strict=True):
            check_patch(drawing, specimen, block)
        self._slices = [
            annotated(count, block, drawing.every)
            for count, block in zip(counts, blocks, strict=True)
        ]
        if drawing.slices:
            self._slices = spread(self._slices, drawing.slices)
        by_class = sum(
            count.counts[held].sum(0) for count, held in zip(counts, self._slices, strict=True)
        )
        self.counts = np.asarray(by_class, np.int64)
        """(classes,) voxels that are learned from."""
        if self.counts.sum() == 0:
            raise InputError(
                "labels: got none within the training block whose weight is above 0, wants some"
            )
        present = np.flatnonzero(self.counts)
        self._rare = present[present != np.argmax(self.counts)]
        self._symmetries = symmetries(drawing.symmetries, drawing.dims)

    def batch(self, step: int, size: int) -> Batch:
        """The samples `step * size` and on."""
        made = [self.sample(step * size + i) for i in range(size)]
        images, labels, weights = zip(*made, strict=True)
        return Batch(np.stack(images), np.stack(labels), np.stack(weights))

    def places(self, step: int, size: int) -> list[Place]:
        """Where those of `batch` were read."""
        return [self._place(self._stream(step * size + i))[0] for i in range(size)]

    def sample(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One patch, its labels, and the weight of its voxels, by its number."""
        rng = self._stream(number)
        place, turn, extent = self._place(rng)
        specimen = self._specimens[place.specimen]
        image, labels, weight = read(specimen, place, self._how)
        unlabelled = ~np.isin(
            np.arange(place.start[0], place.start[0] + place.shape[0]),
            self._slices[place.specimen],
        )
        labels[unlabelled] = IGNORED
        shape = turn.source(self._how.box)
        image = turn(stretched(image, extent, shape, nearest=False))
        labels = turn(stretched(labels, extent, shape, nearest=True))
        if weight.size:
            weight = turn(stretched(weight, extent, shape, nearest=True))
        image = self._varied(image, rng)
        if self._how.dims == 2:
            image, labels = image[0], labels[0]
            weight = weight[0] if weight.size else weight
        return np.ascontiguousarray(image), np.ascontiguousarray(labels), weight

    def _stream(self, number: int) -> np.random.Generator:
        seeds = np.random.SeedSequence(self._how.seed, spawn_key=(_SAMPLES, number))
        return np.random.default_rng(seeds)

    def _place(self, rng: np.random.Generator) -> tuple[Place, Symmetry, tuple[float, ...]]:
        """Where to read, how to turn that, and how much of it to show."""
        chosen, z, point = self._aim(rng)
        block = self._blocks[chosen]
        sizes = (len(block), *self._specimens[chosen].shape[1:])
        fitting = [
            one
            for one in self._symmetries
            if all(a <= b for a, b in zip(one.source(self._how.box), sizes, strict=True))
        ]
        turn = fitting[rng.integers(len(fitting))]
        wanted = turn.source(self._how.box)
        log = math.log1p(self._how.stretch)
        factors = np.exp(rng.uniform(-log, log, 3)) if log else np.ones(3)
        if self._how.dims == 2:
            factors[0] = 1.0
        extent = tuple(
            min(float(w * f), float(n)) for w, f, n in zip(wanted, factors, sizes, strict=True)
        )
        shape = [math.ceil(e) for e in extent]
        low = [block.start, 0, 0]
        start = []
        for axis, voxel in enumerate((z, *point)):
            last = low[axis] + sizes[axis] - shape[axis]
            first = low[axis]
            if voxel >= 0:  # within the patch
                first, last = max(first, voxel - shape[axis] + 1), min(last, voxel)
            start.append(int(rng.integers(first, last + 1)))
        return (
            Place(chosen, (start[0], start[1], start[2]), (shape[0], shape[1], shape[2])),
            turn,
            extent,
        )

    def _aim(self, rng: np.random.Generator) -> tuple[int, int, tuple[int, int]]:
        """Specimen and slice, and the voxel that must be seen, if any (-1 if not)."""
        if self._rare.size and rng.random() < self._how.foreground:
            label = self._rare[rng.integers(self._rare.size)]
            voxels = [c.counts[s, label] for c, s in zip(self._counts, self._slices, strict=True)]
            chosen = _drawn(rng, [int(v.sum()) for v in voxels])
            z = int(self._slices[chosen][_drawn(rng, voxels[chosen])])
            places = self._counts[chosen].places[z, label]
            y, x = places[rng.integers(len(places))]
            return chosen, z, (int(y), int(x))
        slices = [s.size * math.prod(one.shape[1:]) for s, one in self._zip()]
        chosen = _drawn(rng, slices)
        held = self._slices[chosen]
        return chosen, int(held[rng.integers(held.size)]), (-1, -1)

    def _zip(self) -> zip[tuple[np.ndarray, Specimen]]:
        return zip(self._slices, self._specimens, strict=True)

    def _varied(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Brightness by channel, as one for all slices of it, and noise."""
        how = self._how
        if how.brightness:
            channels = image.shape[-1] // how.context
            shift = rng.uniform(-how.brightness, how.brightness, channels)
            image = image + np.tile(shift, how.context).astype(np.float32)
        if how.noise:
            scale = np.float32(rng.uniform(0.0, how.noise))
            image = image + scale * rng.standard_normal(image.shape, np.float32)
        return image


def annotated(count: Census, block: range, every: int) -> np.ndarray:
    """The slices of a block that have labels, of which each `every`th is used.

    Every block begins with half a distance, so that few slices lie in its middle.
    """
    held = count.labelled(block)
    return held[min((every - 1) // 2, max(held.size - 1, 0)) :: every]


def spread(slices: Sequence[np.ndarray], wanted: int) -> list[np.ndarray]:
    """So many of some specimens' slices, evenly spread over all of them one after another.

    Examples
    --------
    >>> [one.tolist() for one in spread([np.arange(4), np.arange(4)], 2)]
    [[2], [2]]
    """
    total = sum(held.size for held in slices)
    if wanted > total:
        raise InputError(
            f"slices: got {wanted}, more than the {total} labelled ones of the training block; "
            "wants no more than that"
        )
    chosen = np.zeros(total, bool)
    chosen[((np.arange(wanted) + 0.5) * total / wanted).astype(int)] = True
    ends = np.cumsum([held.size for held in slices])[:-1]
    parts = np.split(chosen, ends)
    return [held[part] for held, part in zip(slices, parts, strict=True)]


def check_patch(how: Drawing, specimen: Specimen, block: range) -> None:
    """Refuse a patch that does not fit into a block."""
    room = (len(block), *specimen.shape[1:])
    if any(a > b for a, b in zip(how.box, room, strict=True)):
        raise InputError(
            f"patch: got {how.patch}, larger than a block of {specimen.labels.name}, "
            f"{room[-how.dims :]}; wants a smaller patch"
            + ("" if how.dims == 2 else ", or another split")
        )


def read(
    specimen: Specimen, place: Place, how: Drawing
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A box: images (z, y, x, channels) float32, labels uint8, weight float32 or empty."""
    z, y, x = (slice(a, a + n) for a, n in zip(place.start, place.shape, strict=True))
    if how.dims == 2:
        image = stacked(specimen, z.start, y, x, how.context)[None]
    else:
        image = np.stack(boxes(specimen, z, y, x), -1)
    labels = specimen.labels.read(z, y, x).astype(np.uint8)
    weight = np.zeros(0, np.float32)
    if specimen.weight is not None:
        weight = specimen.weight.read(z, y, x).astype(np.float32)
    return image, labels, weight


def _drawn(rng: np.random.Generator, counts: Sequence[int] | np.ndarray) -> int:
    """An index, as often as its count says."""
    ends = np.cumsum(np.asarray(counts, np.int64))
    return int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))
