"""Recipes with settings changed: one at a time, or all combinations of several."""

from __future__ import annotations

import inspect
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import product
from typing import Any

from bimmjax._core.checks import InputError
from bimmjax.nets._build import NETWORKS
from bimmjax.nets._train.recipe import Recipe, plain, recipe_of

# Before the name of a network's setting that recipes have, too.
_OWN = "settings."
# What no change may touch: rivals would be scored on other voxels, or as another network.
_FIXED = (
    "network", "settings", "classes", "channels", "split", "margin", "minutes", "images", "labels",
    "weight",
)  # fmt: skip
# Nor a sweep: its runs would be judged on other tiles.
_JUDGED = ("tiles", "patch", "dims")
# What constructors take that is no setting, and names that recipes refuse themselves.
_OF_ALL = ("channels", "classes", "rngs")
_OF_BOTH = ("name", "seed")
_MOST = 100

Changes = dict[str, Any]


def single(given: Sequence[str] | Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Names and values of an ablation, from a mapping, pairs, or "NAME=VALUE"."""
    if isinstance(given, Mapping):
        pairs = list(given.items())
    else:
        pairs = [_parted("ablate", one) for one in ([given] if isinstance(given, str) else given)]
    return [(name, plain(value)) for name, value in pairs]


def combinations(given: Sequence[str] | Mapping[str, Any]) -> list[Changes]:
    """All combinations of a sweep's values, from lists by name, or "NAME=A,B,...".

    Raises
    ------
    InputError
        A setting without a list of values or given twice, more than 100 combinations.

    Examples
    --------
    >>> combinations(["batch=2,4", "loss=dice"])
    [{'batch': 2, 'loss': 'dice'}, {'batch': 4, 'loss': 'dice'}]
    """
    if isinstance(given, Mapping):
        named = list(given.items())
    else:
        words = [given] if isinstance(given, str) else given
        named = [_parted("sweep", one, several=True) for one in words]
    values: dict[str, Any] = {}
    for name, one in named:
        one = plain(one)
        if not isinstance(one, list | tuple | range) or not one:
            raise InputError(f"sweep: got {name} = {one!r}, wants a list of values")
        if name in values:
            raise InputError(f"sweep: got {name} twice, wants all its values in one list")
        values[name] = list(map(plain, one))
    count = math.prod(map(len, values.values()))
    if count > _MOST:
        raise InputError(f"sweep: got {count} combinations, wants {_MOST} at most")
    return [dict(zip(values, one, strict=True)) for one in product(*values.values())] * bool(values)


def changed(recipe: Recipe, changes: Mapping[str, Any], argument: str) -> Recipe:
    """The recipe with settings changed: its own, or else its network's.

    `settings.NAME` is always the network's, for names that both have ("noise"). What a network
    does by default is no change.
    """
    own: Changes = {}
    settings = dict(recipe.settings)
    ours, usual = [one.name for one in fields(Recipe)], _usual(recipe.network)
    for name, value in changes.items():
        plainly = name.removeprefix(_OWN)
        if plainly in _FIXED or (argument == "sweep" and plainly in _JUDGED):
            raise InputError(
                f"{argument}: got {name}, which has to be the same for all; wants another"
            )
        if name in ours:
            own[name] = value
            continue
        if usual and plainly not in (*usual, *_OF_BOTH):
            raise InputError(
                f"{argument}: got {name}, no setting of {recipe.network}, which has "
                f"{', '.join(usual)}, nor of its recipe, which has "
                f"{', '.join(one for one in ours if one not in _FIXED)}"
            )
        if plainly in recipe.settings or plainly not in usual or plain(usual[plainly]) != value:
            settings[plainly] = value
    return recipe_of(replace(recipe, settings=settings, **own))


def _usual(network: str) -> dict[str, Any]:
    """The settings of a network and their defaults; none of one that is not known."""
    if network not in NETWORKS:
        return {}
    told = inspect.signature(NETWORKS[network].__init__).parameters
    return {name: one.default for name, one in told.items() if name not in ("self", *_OF_ALL)}


def in_words(value: Any) -> str:
    """A value as a recipe's file has it, but words without quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(in_words, value)) + "]"
    return str(value)


def _parted(argument: str, given: Any, several: bool = False) -> tuple[str, Any]:
    """Name and value of NAME=VALUE, or of a pair."""
    if isinstance(given, tuple) and len(given) == 2:
        return given
    name, equals, value = str(given).partition("=")
    if not equals or not name.strip().removeprefix(_OWN).isidentifier():
        raise InputError(
            f"{argument}: got {given!r}, wants NAME={'VALUE,VALUE,...' if several else 'VALUE'}"
        )
    if not several:
        return name.strip(), _value(value)
    together = _value(f"[{value}]")
    # Words have no quotes, and then no brackets either.
    apart = [_value(one) for one in value.split(",") if one.strip()]
    return name.strip(), together if isinstance(together, list) else apart


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()
