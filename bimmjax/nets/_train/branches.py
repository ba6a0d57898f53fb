"""Branches of a late fusion that were trained before it, each on its own channel."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from flax import nnx

from bimmjax._core.checks import InputError
from bimmjax.nets._build import NETWORKS
from bimmjax.nets._train.checkpoint import checkpoints, hash_of, named_shapes
from bimmjax.nets._train.folder import RECIPE, SUMMARY
from bimmjax.nets._train.load import built, load
from bimmjax.nets._train.recipe import Recipe, recipe_of

# What a fusion makes its branches of, and what it has to know of them. Dropout is no part of it:
# it is off in branches that are kept.
_KINDS = ("unet", "unet3d", "resunet3d")
_SETTINGS = ("dims", "context", "width", "depth", "norm", "residual")


class Branch(NamedTuple):
    """The network of a run that a branch is taken from."""

    folder: str
    net: nnx.Module


def with_branches(recipe: Recipe, out: Path, overwrite: bool) -> tuple[Recipe, list[Branch]]:
    """The recipe with what the runs of its branches tell, and their networks.

    A run that goes on in `out` has them in its checkpoints: only its recipe is looked at, and the
    folders may be gone, or hold other networks by now.
    """
    if not recipe.branches:
        return recipe, []
    if len(recipe.branches) != recipe.channels:
        raise InputError(
            f"branches: got {len(recipe.branches)}, wants one for each of {recipe.channels} "
            "channels"
        )
    folders = tuple(str(Path(folder).absolute()) for folder in recipe.branches)
    before = None if overwrite else _earlier(out, folders)
    if before is not None:
        found, hashes = [], before.branches_hash
        settings = {name: before.settings[name] for name in _SETTINGS}
    else:
        runs = {folder: _recipe(folder) for folder in folders}
        settings = _common(recipe, runs)
        _check_order(recipe, folders, runs)
        found = [Branch(folder, load(folder)[0]) for folder in folders]
        hashes = tuple(hash_of(one.net) for one in found)
    for folder, own, known in zip(folders, hashes, recipe.branches_hash or hashes, strict=True):
        if own != known:
            raise InputError(
                f"branches: got {folder} with SHA-256 {own}, wants the recipe's {known}"
            )
    settings |= recipe.settings
    return replace(recipe, branches=folders, branches_hash=hashes, settings=settings), found


def take_branches(net: nnx.Module, branches: Sequence[Branch]) -> None:
    """Give the branches of a fusion the parameters and running averages of these networks."""
    learned = nnx.Not(nnx.RngState)
    for own, one in zip(getattr(net, "branches", ()), branches, strict=False):
        state = nnx.state(one.net, learned)
        there, wanted = named_shapes(state), named_shapes(nnx.state(own, learned))
        for name in sorted(there | wanted):
            if there.get(name) != wanted.get(name):
                raise InputError(
                    f"branches: got {one.folder} with {name} {there.get(name, 'lacking')}, wants "
                    f"{wanted.get(name, 'none')}: a plain U-Net of this size"
                )
        nnx.update(own, state)


def fuse(folders: Sequence[str | os.PathLike[str]]) -> tuple[nnx.Module, Recipe]:
    """Runs of `train`, each on its own channel, as one network: the mean of their probabilities.

    `train` with `branches` makes the better one, whose last layer has learned what each of them
    is good for. This needs no labels.

    Source: FIB thesis, Article III, §2.2.3.

    Parameters
    ----------
    folders : sequence of path
        Finished runs of plain U-Nets of one size, in the order of channels.

    Returns
    -------
    net : LateFusion
        In eval mode, to be given to `predict` with the recipe.
    recipe : Recipe

    Raises
    ------
    InputError
        Fewer than two, no finished runs, or runs of networks that differ.
    """
    names = tuple(os.fspath(folder) for folder in folders)
    if len(names) < 2:
        raise InputError(f"folders: got {len(names)}, wants two or more to fuse")
    runs = {name: _recipe(name) for name in names}
    first = runs[names[0]]
    told = replace(first, network="fusion-late", channels=len(names), settings={}, images=())
    settings = _common(told, runs) | {"combine": "voting"}
    recipe = replace(told, settings=settings)
    net = built(recipe)
    take_branches(net, [Branch(name, load(name)[0]) for name in names])
    net.eval()
    return net, recipe


def _earlier(out: Path, folders: tuple[str, ...]) -> Recipe | None:
    """The recipe of the run that goes on there, if it has these branches."""
    if not checkpoints(out) or not (out / RECIPE).is_file():
        return None
    before = recipe_of(out / RECIPE)
    return before if before.branches == folders else None


def _is_run(folder: str) -> bool:
    return (Path(folder) / RECIPE).is_file() and (Path(folder) / SUMMARY).is_file()


def _recipe(folder: str) -> Recipe:
    if not _is_run(folder):
        raise InputError(f"branches: got {folder}, wants the folder of a finished run of train")
    recipe = recipe_of(Path(folder) / RECIPE)
    if recipe.network not in _KINDS:
        raise InputError(
            f"branches: got {folder}, a run of {recipe.network}; wants one of {', '.join(_KINDS)}"
        )
    return recipe


def _common(recipe: Recipe, runs: Mapping[str, Recipe]) -> dict[str, Any]:
    """The settings of all branches; the first has its way where the recipe has none."""
    wanted = {"channels": 1, "classes": recipe.classes, "normalise": recipe.normalise}
    wanted |= {name: recipe.settings[name] for name in _SETTINGS if name in recipe.settings}
    for folder, of in runs.items():
        told = {"channels": of.channels, "classes": of.classes, "normalise": of.normalise}
        for name, value in {**told, **_settings(of)}.items():
            if wanted.setdefault(name, value) != value:
                raise InputError(
                    f"branches: got {folder} with {name} {value!r}, wants {wanted[name]!r}"
                )
    return {name: wanted[name] for name in _SETTINGS}


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Those of a fusion whose branches are the network of this recipe."""
    own = inspect.signature(NETWORKS[recipe.network].__init__).parameters
    told = {name: one.default for name, one in own.items()} | recipe.settings
    if recipe.network == "unet":
        told |= {"dims": 2}
    else:
        told |= {"dims": 3, "context": 1, "residual": recipe.network == "resunet3d"}
    return {name: told[name] for name in _SETTINGS}


def _check_order(recipe: Recipe, folders: Sequence[str], runs: Mapping[str, Recipe]) -> None:
    """Refuse a branch that has learned from the volumes of another channel."""
    channels = list(zip(*recipe.images, strict=True))
    for at, folder in enumerate(folders):
        learned = tuple(one[0] for one in runs[folder].images)
        if learned in channels and channels[at] != learned:
            raise InputError(
                f"branches: got {folder} for channel {at + 1}, wants the one for channel "
                f"{channels.index(learned) + 1} at its place: in the order of channels"
            )
