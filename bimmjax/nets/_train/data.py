"""What a run learns from, looks at, and is tested on, opened by its recipe."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.nets._data.census import Census, census
from bimmjax.nets._data.sampler import Drawing, Sampler
from bimmjax.nets._data.specimen import KEPT, Specimen, normalised, open_specimens
from bimmjax.nets._data.split import Split, split
from bimmjax.nets._data.tiles import Tiles
from bimmjax.nets._train.recipe import Recipe
from bimmjax.nets.losses import IGNORED
from bimmjax.volumes import Volume, sample_blocks

# Blocks, and their edges, by whose voxels an image is known again.
_SAMPLED = 8, 16
# Patches that nobody has chosen, along an axis at most.
_USUAL = {2: 160, 3: 32}


class Data(NamedTuple):
    """Where training and validation take their batches from."""

    sampler: Sampler
    validation: Tiles
    test: Tiles
    splits: list[Split]
    identity: dict[str, Any]
    """What tells these data from others."""


def opened(recipe: Recipe, images: Any, labels: Any, weight: Any) -> tuple[Recipe, list[Specimen]]:
    """The volumes, and the recipe with their paths and the number of channels in it."""
    if images is None and labels is None:
        if not recipe.images or not recipe.labels:
            raise InputError("images: got none, and a recipe without paths; wants volumes")
        images, labels = recipe.images, recipe.labels
        weight = [one or None for one in recipe.weight] or None
    elif images is None or labels is None:
        raise InputError("labels: got images alone or labels alone, wants both")
    several = isinstance(labels, list | tuple)
    weights = [] if weight is None else weight if several else [weight]
    paths = replace(
        recipe,
        images=_paths(images if several else [images], nested=True),
        labels=_paths(labels if several else [labels]),
        # A file knows no None.
        weight=_paths(["" if one is None else one for one in weights]),
        pretrained=_absolute(recipe.pretrained),
    )
    found = open_specimens(images, labels, weight)
    channels = len(found[0].images)
    if recipe.channels not in (0, channels):
        raise InputError(f"images: got {channels} channels, wants {recipe.channels} (the recipe)")
    return replace(paths, channels=channels), found


def with_patch(recipe: Recipe, net: Any, specimens: Sequence[Specimen]) -> Recipe:
    """The recipe with a patch that suits the network; one that is there already is checked."""
    multiple = tuple(net.multiple)
    if recipe.patch:
        if len(recipe.patch) != net.dims or any(
            p % m for p, m in zip(recipe.patch, multiple, strict=True)
        ):
            raise InputError(
                f"patch: got {recipe.patch}, wants {net.dims} sizes, multiples of {multiple}"
            )
        return recipe
    depths = [len(_split(one, recipe).train) for one in specimens]
    room = [min(depths), *np.min([one.shape[1:] for one in specimens], 0).tolist()][-net.dims :]
    patch = tuple(
        min(int(n), _USUAL[net.dims]) // m * m for n, m in zip(room, multiple, strict=True)
    )
    if 0 in patch:
        raise InputError(
            f"patch: got blocks of {tuple(room)} voxels, wants at least {multiple} for "
            f"{recipe.network}"
        )
    return replace(recipe, patch=patch)


def data_of(recipe: Recipe, specimens: Sequence[Specimen], context: int) -> Data:
    """Count labels, normalise, and divide into blocks.

    Raises
    ------
    InputError
        Labels or blocks that nothing can be learned from.

    Warns
    -----
    UserWarning
        A class that is not learned from, a margin that patches see across.
    """
    ready = [normalised(one, recipe.normalise, KEPT // len(specimens)) for one in specimens]
    counts = [census(one.labels, recipe.classes, recipe.seed, one.weight) for one in ready]
    check_any(counts)
    splits = [_split(one, recipe) for one in ready]
    _warn_of_margin(recipe, context)
    drawing = Drawing(
        patch=recipe.patch,
        context=context,
        every=recipe.every,
        slices=recipe.slices,
        foreground=recipe.foreground,
        symmetries=recipe.symmetries,
        stretch=recipe.stretch,
        brightness=recipe.brightness,
        noise=recipe.noise,
        seed=recipe.seed,
    )

    def tiles(blocks: list[range]) -> Tiles:
        return Tiles(ready, counts, blocks, drawing, recipe.tiles)

    validation = tiles([one.validation for one in splits])
    if recipe.split[1] and not len(validation):
        raise InputError(
            "labels: got none within the validation block, wants some, or a smaller margin, or no "
            "such block (split of 1 0 0)"
        )
    sampler = Sampler(ready, counts, [one.train for one in splits], drawing)
    check_several(sampler.counts)
    _warn_of_lacking(sampler.counts)
    return Data(
        sampler,
        validation,
        tiles([one.test for one in splits]),
        splits,
        _identity(ready, counts, splits),
    )


def _split(specimen: Specimen, recipe: Recipe) -> Split:
    return split(specimen.shape[0], recipe.split, recipe.margin)


def check_any(counts: Sequence[Census]) -> None:
    """Refuse labels of which none counts, wherever it lies."""
    if not any(one.counts.any() for one in counts):
        raise InputError(
            f"labels: got {IGNORED}, which is no label, in all voxels that count; wants classes in "
            "some"
        )


def check_several(learned: np.ndarray) -> None:
    """Refuse slices to learn from, by their voxels of each class, that hold one class alone."""
    present = np.flatnonzero(learned)
    if len(present) == 1:
        raise InputError(
            f"labels: got class {present[0]} alone in the slices of the training block that are "
            f"learned from, wants at least two ({IGNORED} is no class: no label)"
        )


def _warn_of_lacking(learned: np.ndarray) -> None:
    lacking = np.flatnonzero(learned == 0)
    if len(lacking):
        warnings.warn(
            f"labels: got no voxel of class {', '.join(map(str, lacking))} in the slices of the "
            "training block that are learned from; the network will not know it (a stray label "
            "makes classes, unless classes, --classes, tells how many there are)",
            stacklevel=4,
        )


def _warn_of_margin(recipe: Recipe, context: int) -> None:
    seen = context // 2
    if recipe.margin < seen and max(recipe.split) < 1.0:
        warnings.warn(
            f"margin: got {recipe.margin} with a context of {context}, so that patches show slices "
            f"of the neighbouring block; {seen} or more keep blocks apart",
            stacklevel=4,
        )


def _identity(
    specimens: Sequence[Specimen], counts: Sequence[Census], splits: Sequence[Split]
) -> dict[str, Any]:
    # Weights of the test blocks alone may change: nothing is learned from them.
    weights = [
        b"".join(one.weights[z] for z in (*blocks.train, *blocks.validation))
        for one, blocks in zip(counts, splits, strict=True)
    ]
    return {
        "shapes": [list(one.shape) for one in specimens],
        "normalisations": [[list(n) for n in one.normalisations] for one in specimens],
        "images": [list(map(sampled, one.images)) for one in specimens],
        "labels": [one.digest for one in counts],
        "weight": [hashlib.sha256(one).hexdigest() for one in weights],
    }


def sampled(volume: Volume) -> str:
    """SHA-256 of what a volume holds here and there."""
    parts = b"".join(part.tobytes() for part in sample_blocks(volume, *_SAMPLED))
    return hashlib.sha256(parts).hexdigest()


def _paths(given: Any, nested: bool = False) -> Any:
    """Paths as words, and nothing at all where there is anything else."""
    entries = list(given) if isinstance(given, list | tuple) else []
    if nested:
        each = [e if isinstance(e, list | tuple) else (e,) for e in entries]
        found = tuple(_paths(one) for one in each)
        return found if all(found) else ()
    if not all(isinstance(e, str | os.PathLike) for e in entries):
        return ()
    return tuple(map(_absolute, entries))


def _absolute(path: str | os.PathLike[str]) -> str:
    """The same from wherever the recipe is used; URLs, and none at all, as they are."""
    text = os.fspath(path)
    return text if "://" in text or not text else str(Path(text).absolute())
