"""What is to be applied: a network, and what is known of its training."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from flax import nnx

from bimmjax._core.checks import InputError, whole_number
from bimmjax.nets._networks.unetpp import UNetPlusPlus
from bimmjax.nets._train.folder import unfinished
from bimmjax.nets._train.load import load
from bimmjax.nets._train.recipe import Recipe

# What tiles need to know, see `Network`.
_TOLD = ("dims", "context", "multiple", "halo", "local")


class Given(NamedTuple):
    """A network in eval mode."""

    net: Any
    channels: int
    classes: int
    patch: tuple[int, ...]
    """That it was trained on; empty if nobody knows."""
    normalise: str
    name: tuple[Any, ...]
    """What tells it from other networks, beside its parameters."""
    prune: int | None
    """The levels it was cut to; None if it is whole."""


def given(network: Any, which: str = "best", prune: int | None = None) -> Given:
    """From the folder of a run, a network, or a network and its recipe; cut to `prune` levels.

    Raises
    ------
    InputError
        None of them, or no run, or a checkpoint that does not fit, or nothing to be cut.

    Warns
    -----
    UserWarning
        A run that has not finished.
    """
    net: Any = network
    recipe: Any = None
    if isinstance(network, str | os.PathLike):
        net, recipe = load(network, which)
        left = unfinished(Path(network), recipe)
        if left is not None:
            warnings.warn(
                f"net: got {os.fspath(network)}, whose training has not finished ({left})",
                stacklevel=3,
            )
    elif isinstance(network, tuple) and len(network) == 2:
        net, recipe = network
    if not all(hasattr(net, name) for name in _TOLD) or not isinstance(recipe, Recipe | None):
        raise InputError(
            f"net: got {type(net).__name__}, wants the folder of a run, a network, or a network "
            "and its recipe"
        )
    if prune is not None:
        whole, net = net, _pruned(net, prune)
        prune = None if net.levels == whole.levels else net.levels
    # Another one, so that a network in training stays so.
    found = nnx.merge(*nnx.split(net))
    found.eval()
    name = (type(net).__name__, net.halo)
    if recipe is None:
        return Given(found, net.channels, net.classes, (), "std", name, prune)
    name = (*name, recipe.network, recipe.settings)
    return Given(
        found, recipe.channels, recipe.classes, recipe.patch, recipe.normalise, name, prune
    )


def _pruned(net: Any, levels: int) -> UNetPlusPlus:
    if not isinstance(net, UNetPlusPlus):
        raise InputError(f"prune: got {levels!r} for a {type(net).__name__}, wants a UNet++ for it")
    return net.pruned(whole_number("prune", levels, 1, net.levels))
