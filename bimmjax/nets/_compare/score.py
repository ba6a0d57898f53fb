"""Rivals on the test blocks: all of their slices, and how long one takes."""

from __future__ import annotations

import hashlib
import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from bimmjax.descriptors import Scores, confusion_matrix, scores
from bimmjax.nets._compare.classical import classical_labels
from bimmjax.nets._compare.common import Common, cropped
from bimmjax.nets._compare.timing import Memory, seconds_of
from bimmjax.nets._data.normalise import normalisation
from bimmjax.nets._data.specimen import Specimen
from bimmjax.nets._predict.apply import Applied
from bimmjax.nets._predict.given import given
from bimmjax.nets._predict.plan import plan_of
from bimmjax.nets._predict.predict import predict
from bimmjax.nets._train.checkpoint import new_file
from bimmjax.nets._train.folder import LOG
from bimmjax.nets._train.load import load
from bimmjax.nets._train.recipe import Recipe
from bimmjax.nets.losses import IGNORED
from bimmjax.volumes import Volume, convert, open_volume, stream
from bimmjax.volumes._volume import Reader

SCORE = "test.json"
# How often labelling is timed, and seconds after which it is not again.
_REPEATS, _LONG = 5, 10.0
_SLAB = 2**24


class Scored(NamedTuple):
    """On the test blocks of all specimens."""

    scores: Scores
    labels: list[Volume]
    """Of the test blocks."""
    seconds_per_image: float
    minutes: float | None = None
    """That it took to find how to label."""


def scored(labels: Sequence[Volume], common: Common, classes: int) -> Scores:
    """The scores of labels of the test blocks, over all voxels that have a label and count."""
    matrix = np.zeros((classes, classes), np.int64)
    for told, specimen, blocks in zip(labels, common.specimens, common.splits, strict=True):
        truth = cropped(specimen.labels, blocks.test)
        counts = cropped(counting(specimen), blocks.test)
        if _any(counts):
            matrix += confusion_matrix(truth, told, classes, mask=counts, ignore=IGNORED)
    return scores(matrix)


def by_slabs(volume: Volume) -> Volume:
    """The same; however much is read at once, few slices of it are worked out at a time."""
    thick = max(_SLAB // (volume.shape[1] * volume.shape[2]), 1)

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        shape = tuple(part.stop - part.start for part in (z, y, x))
        found = np.empty(shape, volume.dtype)
        for low in range(z.start, z.stop, thick):
            high = min(low + thick, z.stop)
            found[low - z.start : high - z.start] = volume.reader(slice(low, high), y, x)
        return found

    return replace(volume, reader=read)


class Kept(NamedTuple):
    """Where the scores of a rival, and its labels of the test blocks, are kept."""

    folder: Path
    known: str
    """By what they are known again: another one is scored anew."""

    def places(self, count: int) -> list[Path]:
        """Of labels, one for each specimen."""
        return [self.folder / f"test-{n}.zarr" for n in range(count)]

    def read(self, count: int) -> dict[str, Any] | None:
        """What was told, if it is of the same rival and whole."""
        try:
            told = json.loads((self.folder / SCORE).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        whole = told.get("of") == self.known and all(p.is_dir() for p in self.places(count))
        return told if whole else None

    def write(self, found: Scores, **times: float) -> None:
        """The last thing to be written: without it nothing counts."""
        told = {"of": self.known, **times, "confusion": found.confusion.tolist()}
        with new_file(self.folder / SCORE) as partial:
            partial.write_text(json.dumps(told) + "\n", encoding="utf-8")


def classical_scored(method: str, folder: Path, common: Common, classes: int, seed: int) -> Scored:
    """The scores of a rival without training; worked out again only for other data."""
    kept = Kept(folder, _known_by(common, method, classes, seed))
    places = kept.places(len(common.specimens))
    before = kept.read(len(places))
    if before is not None:
        labels = [open_volume(place) for place in places]
        return Scored(scores(np.array(before["confusion"])), labels, **_times(before))
    folder.mkdir(parents=True, exist_ok=True)
    memory = Memory()
    remembered = [
        replace(one, images=(memory.over(one.images[0]), *one.images[1:]))
        for one in common.specimens
    ]
    began = time.perf_counter()
    found = classical_labels(method, common._replace(specimens=remembered), classes, seed)
    minutes, seconds = (time.perf_counter() - began) / 60.0, []
    for one, blocks, place in zip(found, common.splits, places, strict=True):
        convert(by_slabs(cropped(one, blocks.test)), place, overwrite=place.exists())
        seconds += seconds_of(one, blocks.test, memory)
    labels = [open_volume(place) for place in places]
    told = scored(labels, common, classes)
    times = {"seconds_per_image": float(np.median(seconds)), "minutes": minutes}
    kept.write(told, **times)
    return Scored(told, labels, **times)


def _times(told: dict[str, Any]) -> dict[str, float]:
    return {name: told[name] for name in ("seconds_per_image", "minutes") if name in told}


def network_scored(
    folder: Path,
    common: Common,
    devices: int | None,
    progress: Callable[[int, int], object],
) -> Scored:
    """Predict the test blocks by the network in a folder of `train`; again only if it is another.

    Labels are kept beside it (test-0.zarr and on), scores and time in test.json.
    """
    net, recipe = load(folder)
    boxes = [
        _around(net, blocks.test, one.shape[0])
        for one, blocks in zip(common.specimens, common.splits, strict=True)
    ]
    kept = Kept(folder, _known_by(common, (folder / LOG).read_text("utf-8")))
    places = kept.places(len(boxes))
    before = kept.read(len(boxes))
    if before is None:
        images = [
            _ready(one, recipe, box) for one, box in zip(common.specimens, boxes, strict=True)
        ]
        total, earlier = sum(one[0].voxels for one in images), 0
        for several, place in zip(images, places, strict=True):

            def tell(done: int, _: int, earlier: int = earlier) -> None:
                progress(earlier + done, total)

            # Whatever is there, whole or begun, may be by other weights: nobody asked to keep it.
            predict(
                folder, several, place, normalise="none", devices=devices, overwrite=True,
                progress=tell,
            )  # fmt: skip
            earlier += several[0].voxels
    labels = [
        cropped(open_volume(place), range(one.test.start - box.start, one.test.stop - box.start))
        for place, one, box in zip(places, common.splits, boxes, strict=True)
    ]
    if before is not None:
        return Scored(scores(np.array(before["confusion"])), labels, **_times(before))
    found = scored(labels, common, recipe.classes)
    one, box = common.specimens[0], boxes[0]
    seconds = _seconds(net, recipe, (len(box), *one.shape[1:]))
    kept.write(found, seconds_per_image=seconds)
    return Scored(found, labels, seconds)


def _around(net: Any, block: range, depth: int) -> range:
    """A block with the slices that its labels depend on: tiles lie as in the whole volume."""
    if net.dims == 2:
        half = net.context // 2
        return range(max(block.start - half, 0), min(block.stop + half, depth))
    halo, multiple = net.halo[0], net.multiple[0]
    low = max(block.start - halo, 0) // multiple * multiple
    high = -(-(block.stop + halo) // multiple) * multiple
    return range(low, min(high, depth))


def _ready(specimen: Specimen, recipe: Recipe, box: range) -> list[Volume]:
    """Slices of all channels, normalised by their whole volumes; NaN stays."""
    return [cropped(_normalised(volume, recipe.normalise), box) for volume in specimen.images]


def _normalised(volume: Volume, how: str) -> Volume:
    normalise = normalisation(volume, how)

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        grey = volume.reader(z, y, x)
        values = normalise(grey)
        return np.where(np.isfinite(grey), values, np.float32(np.nan))

    return replace(volume, reader=read, dtype=np.dtype(np.float32))


def _seconds(net: Any, recipe: Recipe, shape: tuple[int, int, int]) -> float:
    """That the network takes for one slice of a volume, from normalised grey values to labels.

    Where tiles are blended, to probabilities: adding them up on the host is left out. On one
    device, with the tiles that `predict` takes: their halo, and how far they overlap, count.
    The median of some repetitions after the first one, which compiles; fewer where they take long.
    """
    with warnings.catch_warnings():
        # Told already, by the prediction that was scored.
        warnings.simplefilter("ignore")
        plan = plan_of(given((net, recipe)), shape, 4 * recipe.channels, devices=1)
    batch, sizes = plan.batches[0], plan.views[0].tiling.sizes
    net_on = Applied(net, batch, sizes, 1)
    find = net_on.probabilities if plan.together else partial(net_on.labels, uncertainty=False)
    # Values do not matter to the time, but NaN and zeros may.
    images = np.random.default_rng(0).standard_normal(
        (batch, *sizes, recipe.channels * net.context), np.float32
    )
    seconds: list[float] = []
    while len(seconds) < 2 or (len(seconds) <= _REPEATS and sum(seconds[1:]) < _LONG):
        began = time.perf_counter()
        jax.block_until_ready(find(images))
        seconds.append(time.perf_counter() - began)
    voxels = batch * math.prod(sizes)
    return float(np.median(seconds[1:])) * plan.passes * math.prod(shape[-2:]) / voxels


def counting(specimen: Specimen) -> Volume:
    """1 where a voxel has a label, a number in each channel, and a weight; else 0."""
    readers: list[Reader] = [one.reader for one in specimen.images if one.dtype.kind == "f"]
    weight = specimen.weight

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        counts = specimen.labels.reader(z, y, x) != IGNORED
        for reader in readers:
            counts &= np.isfinite(reader(z, y, x))
        if weight is not None:
            counts &= weight.reader(z, y, x).astype(float) > 0.0
        return counts.astype(np.uint8)

    return replace(specimen.labels, reader=read, dtype=np.dtype(np.uint8), name="counting")


def _any(volume: Volume) -> bool:
    _, y, x = volume.shape
    return any(b.data.any() for b in stream(volume, (max(_SLAB // (y * x), 1), y, x), halo=0))


def _known_by(common: Common, *told: Any) -> str:
    """By what scores are known again: how they came about, and what they were counted on."""
    what = [common.identity, *map(str, told)]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()
