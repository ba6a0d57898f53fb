"""A trained network back from its folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from flax import nnx

from bimmjax._core.checks import InputError, choice
from bimmjax.nets._backbones.pretrained import backbones_of, load_pretrained
from bimmjax.nets._blocks.norms import freeze_norms
from bimmjax.nets._build import build
from bimmjax.nets._network import Network
from bimmjax.nets._networks.fusion import LateFusion
from bimmjax.nets._train.checkpoint import checkpoints, place, read, restored
from bimmjax.nets._train.folder import RECIPE
from bimmjax.nets._train.recipe import Recipe, recipe_of
from bimmjax.nets._train.step import State, divided


def load(folder: str | os.PathLike[str], which: str = "best") -> tuple[nnx.Module, Recipe]:
    """The network that `train` has left in a folder, ready to be applied, and its recipe.

    Parameters
    ----------
    folder : path
        The `out` of `train`.
    which : str
        "best": after the epoch with the lowest validation loss; "last": the latest.

    Returns
    -------
    net : flax.nnx.Module
        In eval mode.
    recipe : Recipe

    Raises
    ------
    InputError
        No run, no checkpoint yet, or one of another network.
    """
    choice("which", which, ("best", "last"))
    out = Path(folder)
    if not (out / RECIPE).is_file():
        raise InputError(f"folder: got {out}, which is no run of training; wants one")
    recipe = recipe_of(out / RECIPE)
    epochs = checkpoints(out)
    if not epochs:
        raise InputError(f"folder: got {out}, where nothing has been learned yet; wants a run")
    epoch = epochs[-1]
    if which == "best":
        epoch = read(out, epoch)[1]["course"]["best_epoch"]
    net = built(recipe)
    put_back(net, out, epoch)
    return net, recipe


def built(recipe: Recipe) -> Network:
    """The network of a recipe, with random parameters."""
    net = build(
        recipe.network,
        channels=recipe.channels,
        classes=recipe.classes,
        seed=recipe.seed,
        **recipe.settings,
    )
    if recipe.frozen_norms:
        for part in backbones_of(net) or [net]:
            freeze_norms(part)
    if recipe.branches and isinstance(net, LateFusion):
        net.fix_branches()
    return net


def with_pretrained(net: Network, recipe: Recipe, out: Path, overwrite: bool) -> Recipe:
    """Load the weights that a recipe begins with; the recipe with their hash.

    A run that goes on in `out` has them in its checkpoints: only its recipe is looked at then,
    and the file may be gone.
    """
    if not recipe.pretrained:
        return recipe
    file, known = Path(recipe.pretrained), recipe.pretrained_hash
    if not overwrite and checkpoints(out) and (out / RECIPE).is_file() and not file.is_file():
        digest = recipe_of(out / RECIPE).pretrained_hash
    else:
        digest = load_pretrained(net, file)
    if known and known != digest:
        raise InputError(
            f"pretrained: got {file} with SHA-256 {digest}, wants the recipe's {known}"
        )
    return replace(recipe, pretrained_hash=digest)


def put_back(net: nnx.Module, out: Path, epoch: int) -> None:
    """Give a network the parameters of a checkpoint, and set it to eval mode."""
    arrays, _ = read(out, epoch)
    kept = {name: a for name, a in arrays.items() if not name.startswith("optimiser")}
    _, params, rest = divided(net)
    found = restored(State(params, rest, None), kept, place(out, epoch))
    nnx.update(net, found.params, found.rest)
    net.eval()
