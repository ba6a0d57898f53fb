"""What all rivals share: specimens, blocks, annotated slices, and the voxels they are scored on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from bimmjax._core.checks import InputError
from bimmjax.nets._compare.entry import CURVE, SWEEP, Entry
from bimmjax.nets._data.census import Census, census
from bimmjax.nets._data.sampler import annotated, spread
from bimmjax.nets._data.specimen import KEPT, Specimen, normalised
from bimmjax.nets._data.split import Split, split
from bimmjax.nets._train.branches import take_branches, with_branches
from bimmjax.nets._train.data import check_any, check_several, opened, sampled, with_patch
from bimmjax.nets._train.devices import mesh_for
from bimmjax.nets._train.folder import check_folder
from bimmjax.nets._train.load import built, with_pretrained
from bimmjax.nets._train.recipe import Recipe
from bimmjax.volumes import Volume


class Common(NamedTuple):
    """The data set."""

    specimens: list[Specimen]
    """Not normalised; small ones are in memory."""
    splits: list[Split]
    slices: list[np.ndarray]
    """Of each training block those whose annotations are learned from."""
    training: np.ndarray
    """(classes,) voxels in them."""
    identity: list[Any]
    """By what scores on these data are known again."""
    data: str
    """Of images and labels alone: whoever goes on must have the same."""

    @property
    def test_slices(self) -> int:
        """Of all test blocks together."""
        return sum(len(one.test) for one in self.splits)


def prepared(
    entries: Sequence[Entry],
    images: Any,
    labels: Any,
    weight: Any,
    out: Path,
    *,
    devices: int | None,
    overwrite: bool,
) -> tuple[list[Entry], Common]:
    """The data, and all entries with what training would choose for them.

    Whatever can be refused is refused here, before anything is trained.

    Raises
    ------
    InputError
        As `train` does, and for a data set without anything to test on.
    """  # fmt: skip
    first = entries[0].recipe
    if first.split[2] == 0.0:
        raise InputError(
            f"split: got {' '.join(f'{s:g}' for s in first.split)}, wants a share for a test block "
            "to compare on"
        )
    told, specimens = opened(first, images, labels, weight)
    ready = [normalised(one, "none", KEPT // len(specimens)) for one in specimens]
    splits = [split(one.shape[0], first.split, first.margin) for one in ready]
    counts = [census(one.labels, first.classes, first.seed, one.weight) for one in ready]
    check_any(counts)
    labelled = [one.labelled(blocks.test) for one, blocks in zip(counts, splits, strict=True)]
    if not any(held.size for held in labelled):
        raise InputError("labels: got none within the test block, wants some to compare with")
    swept = any(entry.role == SWEEP for entry in entries)
    seen = [one.labelled(blocks.validation) for one, blocks in zip(counts, splits, strict=True)]
    if swept and not any(held.size for held in seen):
        raise InputError("labels: got none within the validation block, wants some for a sweep")
    slices = _annotated(counts, splits, first)
    every = sum(held.size for held in slices)
    completed = []
    built_before: dict[str, Any] = {}
    for entry in entries:
        if entry.role == CURVE and entry.recipe.slices == (first.slices or every):
            continue  # the last point of the curve is the rival itself
        own = _learned_from(_annotated(counts, splits, entry.recipe), entry.recipe)
        recipe = replace(
            entry.recipe, images=told.images, labels=told.labels, weight=told.weight,
            channels=told.channels,
        )  # fmt: skip
        folder = out / entry.name
        with _naming(entry):
            check_several(_voxels(counts, own))
            recipe = _completed(recipe, specimens, folder, devices, overwrite, built_before)
        completed.append(entry._replace(recipe=recipe, slices=sum(held.size for held in own)))
        check_folder(folder, recipe, overwrite)
    _check_patches([entry for entry in completed if entry.swept])
    slices = _learned_from(slices, first)
    training = _voxels(counts, slices)
    if not np.any(training):
        raise InputError("labels: got none within the training block, wants some")
    identity = [_fingerprint(one, blocks) for one, blocks in zip(ready, splits, strict=True)]
    identity += [[one.counts.sum(0).tolist() for one in counts], [s.tolist() for s in slices]]
    data = hashlib.sha256(repr([_known_by(*one.images, one.labels) for one in ready]).encode())
    return completed, Common(ready, splits, slices, training, identity, data.hexdigest())


def _voxels(counts: Sequence[Census], slices: Sequence[np.ndarray]) -> np.ndarray:
    """(classes,) in some slices."""
    found = sum(one.counts[held].sum(0) for one, held in zip(counts, slices, strict=True))
    return np.asarray(found, np.int64)


def _annotated(
    counts: Sequence[Census], splits: Sequence[Split], recipe: Recipe
) -> list[np.ndarray]:
    return [
        annotated(one, blocks.train, recipe.every)
        for one, blocks in zip(counts, splits, strict=True)
    ]


def _learned_from(slices: list[np.ndarray], recipe: Recipe) -> list[np.ndarray]:
    return spread(slices, recipe.slices) if recipe.slices else slices


def cropped(volume: Volume, block: range) -> Volume:
    """Some slices of a volume, as a volume of their own."""
    low = block.start

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        return volume.reader(slice(z.start + low, z.stop + low), y, x)

    return replace(volume, shape=(len(block), *volume.shape[1:]), reader=read)


def _fingerprint(specimen: Specimen, blocks: Split) -> list[Any]:
    """Of what a specimen's volumes hold here and there, wherever they lie."""
    found: list[Any] = [[block.start, block.stop] for block in blocks]
    weight = filter(None, [specimen.weight])
    return found + _known_by(*specimen.images, specimen.labels, *weight)


def _known_by(*volumes: Volume) -> list[Any]:
    return [[*one.shape, str(one.dtype), sampled(one)] for one in volumes]


@contextmanager
def _naming(entry: Entry) -> Iterator[None]:
    """Errors tell whose they are."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{error} ({entry.name})") from None


def _completed(
    recipe: Recipe,
    specimens: Sequence[Specimen],
    folder: Path,
    devices: int | None,
    overwrite: bool,
    built_before: dict[str, Any],
) -> Recipe:
    """The recipe with all that training in the folder would fill in, in the same order."""
    recipe, branches = with_branches(recipe, folder, overwrite)
    # Shapes only: nothing is drawn at random. Most runs of a sweep have the same network.
    known = repr((recipe.network, recipe.settings, recipe.frozen_norms, recipe.branches))
    if known not in built_before:
        built_before[known] = nnx.eval_shape(lambda: built(recipe))
    net = built_before[known]
    if branches:
        take_branches(built(recipe), branches)
    recipe = with_patch(recipe, net, specimens)
    recipe = with_pretrained(net, recipe, folder, overwrite)
    mesh_for(recipe.batch, recipe.patch, net.multiple[0], devices)
    return recipe


def _check_patches(points: Sequence[Entry]) -> None:
    """Refuse patches that differ where nobody chose them: so do the tiles that judge a sweep."""
    for one in points[1:]:
        here, there = one.recipe.patch, points[0].recipe.patch
        if here != there:
            raise InputError(
                f"patch: got {here} for {one.name} and {there} for {points[0].name}, wants one "
                "that suits all of a sweep, in the recipe"
            )
