"""Who is compared: recipes under names of their own, and their variations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from bimmjax._core.checks import InputError, whole_number
from bimmjax.nets._compare.changes import Changes, changed, combinations, in_words, single
from bimmjax.nets._train.recipe import Recipe, recipe_of

# What makes scores comparable; all of it is the same for all.
_COMMON = ("classes", "split", "margin", "every", "slices", "seed")
_DATA = ("images", "labels", "weight")

RIVAL, CURVE, ABLATION, SWEEP = "rival", "learning curve", "ablation", "sweep"


class Entry(NamedTuple):
    """One run of training."""

    name: str
    """Also of its folder."""
    recipe: Recipe
    role: str = RIVAL
    """"rival", "learning curve", "ablation" or "sweep"."""
    of: str = ""
    """The entry that it is a variation of."""
    change: str = ""
    """The setting that differs from it, in words."""
    slices: int = 0
    """Annotated ones that it learns from; known once the data are."""
    swept: Changes | None = None
    """Settings of this point of a sweep, which a rival may be, too."""


def entries(
    recipes: Any,
    *,
    given: bool,
    minutes: float | None = None,
    slices: Sequence[int] = (),
    each: bool = False,
    ablate: Sequence[str] | Mapping[str, Any] = (),
    sweep: Sequence[str] | Mapping[str, Any] = (),
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
    sweep : "NAME=A,B,..." or names and lists of values, all combinations of which are runs.

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
    rivals[0], points = _sweep(rivals[0], sweep)
    made = list(rivals)
    for entry in rivals if each else rivals[:1]:
        made += _curve(entry, slices)
    made += _ablation(rivals[0], ablate)
    made += points
    return _apart(made)


def folder_name(text: str) -> str:
    """A name that every file system takes.

    Examples
    --------
    >>> folder_name("patch=[64, 64]"), folder_name("unet++")
    ('patch=_64_64_', 'unet++')
    """
    return re.sub(r"[^\w.+=-]+", "_", text).strip(".") or "net"


def named(pairs: Sequence[tuple[Any, Any]]) -> dict[str, Recipe]:
    """Recipes by name, each from where it comes from (a path or nothing) and what it is.

    The same name twice is told apart by a number.

    Examples
    --------
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
                f"{setting}: got {in_words(other)} in {name} and {in_words(one)} in {first_name}, "
                "wants the same for all that are compared"
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
    found = []
    for name, value in single(ablate):
        recipe = changed(entry.recipe, {name: value}, "ablate")
        told = f"{name}={in_words(value)}"
        if recipe == entry.recipe:
            raise InputError(f"ablate: got {told}, as it is already; wants a change")
        found.append(
            Entry(
                f"{entry.name}-{folder_name(told)}", recipe, ABLATION, entry.name,
                f"{name} = {in_words(value)}",
            )
        )  # fmt: skip
    return found


def _sweep(entry: Entry, sweep: Sequence[str] | Mapping[str, Any]) -> tuple[Entry, list[Entry]]:
    """The runs of a sweep; the point that is the rival itself is not trained again."""
    grid = combinations(sweep)
    shares = entry.recipe.split
    if grid and shares[1] == 0.0:
        raise InputError(
            f"split: got {' '.join(f'{s:g}' for s in shares)}, wants a share for a validation "
            "block to judge a sweep by"
        )
    found: list[Entry] = []
    for point in grid:
        recipe = changed(entry.recipe, point, "sweep")
        told = [(name, in_words(value)) for name, value in point.items()]
        change = ", ".join(f"{name} = {value}" for name, value in told)
        if recipe in [one.recipe for one in found]:
            raise InputError(f"sweep: got {change} twice, wants each combination once")
        name = "-".join([entry.name, *(folder_name(f"{name}={value}") for name, value in told)])
        found.append(Entry(name, recipe, SWEEP, entry.name, change, swept=point))
    itself = next((one for one in found if one.recipe == entry.recipe), None)
    if itself is None:
        return entry, found
    return entry._replace(swept=itself.swept), [one for one in found if one is not itself]
