"""Who is compared: recipes under names of their own, and their variations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from bimmjax._core.checks import InputError, whole_number
from bimmjax.nets._train.recipe import Recipe, recipe_of

# What makes scores comparable; all of it is the same for all.
_COMMON = ("classes", "split", "margin", "every", "slices", "seed")
_DATA = ("images", "labels", "weight")
# Before the name of a network's setting that recipes have, too.
_OWN = "settings."
# What an ablation may not touch: rivals would be scored on other voxels, or as another network.
_FIXED = ("network", "settings", "classes", "channels", "split", "margin", "minutes", *_DATA)

RIVAL, CURVE, ABLATION = "rival", "learning curve", "ablation"


class Entry(NamedTuple):
    """One run of training."""

    name: str
    """Also of its folder."""
    recipe: Recipe
    role: str = RIVAL
    """"rival", "learning curve" or "ablation"."""
    of: str = ""
    """The entry that it is a variation of."""
    change: str = ""
    """The setting that differs from it, in words."""
    slices: int = 0
    """Annotated ones that it learns from; known once the data are."""


def entries(
    recipes: Any,
    *,
    given: bool,
    minutes: float | None = None,
    slices: Sequence[int] = (),
    each: bool = False,
    ablate: Sequence[str] | Mapping[str, Any] = (),
) -> list[Entry]:
    """All runs, each under a name of its own: rivals first.

    Parameters
    ----------
    recipes : one recipe or several; a mapping gives them names.
    given : whether there are volumes beside those in the recipes, which go before them.
    minutes : the budget of each; None: that of its recipe.
    slices : how many annotated slices the points of a learning curve have.
    each : learning curves of all recipes instead of the first.
    ablate : "NAME=VALUE" or names and values, each a change of the first recipe.

    Raises
    ------
    InputError
        No recipe, recipes that differ in what has to be the same, changes that cannot be.
    """
    found = _recipes(recipes)
    if minutes is not None:
        found = {name: replace(one, minutes=float(minutes)) for name, one in found.items()}
    first_name, first = next(iter(found.items()))
    for name, one in found.items():
        _check_common(first_name, first, name, one, _COMMON if given else (*_COMMON, *_DATA))
    rivals = [Entry(name, recipe_of(one)) for name, one in found.items()]
    made = list(rivals)
    for entry in rivals if each else rivals[:1]:
        made += _curve(entry, slices)
    made += _ablation(rivals[0], ablate)
    return _apart(made)


def folder_name(text: str) -> str:
    """A name that every file system takes.

    >>> folder_name("patch=[64, 64]"), folder_name("unet++")
    ('patch=_64_64_', 'unet++')
    """
    return re.sub(r"[^\w.+=-]+", "_", text).strip(".") or "net"


def named(pairs: Sequence[tuple[Any, Any]]) -> dict[str, Recipe]:
    """Recipes by name, each from where it comes from (a path or nothing) and what it is.

    The same name twice is told apart by a number.

    >>> unet = {"network": "unet", "classes": 2}
    >>> list(named([("a/recipe.toml", unet), (None, unet), ("unet.toml", unet)]))
    ['a', 'unet', 'unet-2']
    """
    if not pairs:
        raise InputError("recipes: got none, wants at least one")
    found: dict[str, Recipe] = {}
    for source, one in pairs:
        recipe = recipe_of(one)
        found[_free(_name_of(source, recipe), found)] = recipe
    return found


def _recipes(given: Any) -> dict[str, Recipe]:
    if isinstance(given, Mapping) and "network" not in given:
        # Names are paths without a folder.
        return named([(f"{folder_name(str(name))}.toml", one) for name, one in given.items()])
    several = given if isinstance(given, list | tuple) else [given]
    return named([(one, one) for one in several])


def _name_of(given: Any, recipe: Recipe) -> str:
    """Of a file its own name, of a run's recipe.toml its folder's, else the network's."""
    if isinstance(given, str | Path):
        path = Path(given)
        own = path.parent.name if path.stem == "recipe" else path.stem
        if own:
            return folder_name(own)
    return folder_name(recipe.network)


def _free(name: str, taken: Any) -> str:
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found


def _apart(made: list[Entry]) -> list[Entry]:
    names: set[str] = set()
    found = []
    for entry in made:
        entry = entry._replace(name=_free(entry.name, names))
        names.add(entry.name)
        found.append(entry)
    return found


def _check_common(
    first_name: str, first: Recipe, name: str, recipe: Recipe, settings: Sequence[str]
) -> None:
    for setting in settings:
        one, other = getattr(first, setting), getattr(recipe, setting)
        if one != other:
            raise InputError(
                f"{setting}: got {_told(other)} in {name} and {_told(one)} in {first_name}, wants "
                "the same for all that are compared"
            )


def _curve(entry: Entry, slices: Sequence[int]) -> list[Entry]:
    numbers = [whole_number("slices", n, 1, 2**31 - 1) for n in slices]
    if len(set(numbers)) < len(numbers):
        raise InputError(f"slices: got {' '.join(map(str, numbers))}, wants each number once")
    return [
        Entry(
            f"{entry.name}-slices={n}", replace(entry.recipe, slices=n), CURVE, entry.name,
            f"slices = {n}",
        )
        for n in sorted(numbers)
    ]  # fmt: skip


def _ablation(entry: Entry, ablate: Sequence[str] | Mapping[str, Any]) -> list[Entry]:
    if isinstance(ablate, Mapping):
        changes = list(ablate.items())
    else:
        changes = [_change(one) for one in ([ablate] if isinstance(ablate, str) else ablate)]
    found = []
    for name, value in changes:
        recipe = _changed(entry.recipe, name, value)
        told = f"{name}={_told(value)}"
        found.append(
            Entry(
                f"{entry.name}-{folder_name(told)}", recipe, ABLATION, entry.name,
                f"{name} = {_told(value)}",
            )
        )  # fmt: skip
    return found


def _change(given: Any) -> tuple[str, Any]:
    """Name and value of NAME=VALUE, or of a pair."""
    import tomllib

    if isinstance(given, tuple) and len(given) == 2:
        return given
    name, equals, value = str(given).partition("=")
    if not equals or not name.strip().removeprefix(_OWN).isidentifier():
        raise InputError(f"ablate: got {given!r}, wants NAME=VALUE")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()


def _changed(recipe: Recipe, name: str, value: Any) -> Recipe:
    """The recipe with one setting changed: its own, or else its network's.

    `settings.NAME` is always the network's, for names that both have ("noise").
    """
    if name in _FIXED:
        raise InputError(f"ablate: got {name}, which has to be the same for all; wants another")
    if name in {one.name for one in fields(Recipe)} and not name.startswith(_OWN):
        own = tuple(value) if isinstance(value, list) else value
        changed = recipe_of(replace(recipe, **{name: own}))
    else:
        settings = recipe.settings | {name.removeprefix(_OWN): value}
        changed = recipe_of(replace(recipe, settings=settings))
    if changed == recipe:
        raise InputError(f"ablate: got {name}={_told(value)}, as it is already; wants a change")
    return changed


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_told, value)) + "]"
    return str(value)
