"""Everything that decides how a network is trained, and the file it is written to."""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bimmjax import __version__
from bimmjax._core.checks import InputError, choice, real_number, whole_number
from bimmjax.nets._data.augment import SYMMETRIES
from bimmjax.nets._data.normalise import WAYS
from bimmjax.nets.losses import loss_named

OPTIMISERS = ("adam", "adabelief")
SCHEDULES = ("constant", "linear", "plateau")
PRECISIONS = ("float32", "bfloat16")
_MOST = 2**31 - 1


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The same recipe on the same data repeats a run.

    Defaults are those of the Modular U-Net paper, appendices B and C, where it tells them, but for
    `normalise`: its grey values lie between 0 and 1 ("range"), where its noise of 0.03 is meant.

    Attributes
    ----------
    network : str
        Its name in `bimmjax.nets.NETWORKS`.
    settings : dict
        Of its constructor, beside channels and classes. None is as good as not given.
    classes : int
        Labels are 0 ... classes - 1, and 255 where there is none.
    channels : int
        Volumes of each specimen; 0 until training has counted them.
    pretrained : str
        Path of a safetensors file whose weights the network's backbone begins with (see
        `load_pretrained`); empty: random ones.
    pretrained_hash : str
        Its SHA-256; training fills it in, and refuses another file where it is given.
    frozen_norms : bool
        Batch normalisations use and keep the running averages that they begin with (see
        `freeze_norms`): those of the backbone after a pretrained start; of a network without a
        backbone all of them, for batches of one.
    branches : tuple of str
        Of "fusion-late": folders of finished runs of `train`, one for each channel. Its branches
        begin with what was best there and are kept; only its last layer learns. Their sizes need
        not be told in `settings`. Empty: all is trained at once.
    branches_hash : tuple of str
        SHA-256 of their weights; training fills it in, and refuses others where it is given.
    images, labels, weight
        Paths: for each specimen its channels, its labels, how much its voxels count ("": all
        alike). Empty where arrays were given.
    normalise : str
        "std" (each volume to mean 0, standard deviation 1), "range" (to 0 ... 1) or "none".
    split : (3,) floats
        Shares of training, validation and test: blocks along z in this order.
    margin : int
        Slices left out between blocks. Half the network's `context` or more, or patches show images
        of the next block.
    every : int
        Sparse annotation: only each so many-th labelled slice is used for training.
    slices : int
        Sparse annotation: only so many of those slices, all specimens together, evenly spread;
        0: all.
    patch : tuple of int
        Size along the network's axes; if empty, up to 160 in 2D and 32 in 3D.
    batch : int
        Patches of a step.
    foreground : float
        Share of patches around a voxel of a class that is not the most frequent.
    symmetries : str
        "all" (48 of a cube, 8 of a square), "plane" (8, z as it is) or "none".
    stretch, brightness, noise : float
        Greatest stretch (0.1: 10 %), shift of grey values and standard deviation of noise, in
        normalised grey values.
    loss : str
        A name in `bimmjax.nets.losses.LOSSES`, or a sum of them: "cross-entropy+dice".
    class_weights : tuple of float
        One per class, or empty.
    optimiser : str
        "adam", or "adabelief" (as in optax: without rectification).
    learning_rate : float
    schedule : str
        "constant"; "linear": constant for the first `hold` of the epochs, then down to
        `final_rate` times itself; "plateau": times `factor` whenever `patience` epochs have
        brought no lower validation loss.
    hold, final_rate, factor, patience
        See there.
    stop : int
        Stop early after so many epochs without a lower validation loss; 0: never.
    epochs, steps : int
        Steps make an epoch, after which the network is validated and kept.
    minutes : float
        Stop after the epoch that passes so many minutes of training, compiling and validating
        among them; 0: no limit. A linear schedule falls by whichever share is larger, that of the
        epochs or that of the minutes.
    accumulate : int
        Batches whose mean gradient makes one step.
    precision : str
        "float32", or "bfloat16" for accelerators: layers compute in it, while parameters, their
        averages and losses stay float32.
    tiles : int
        Tiles of the validation blocks that are looked at, at most; likewise of the test blocks.
    seed : int
        Of the network's start, its noise and dropout, and the patches.
    """

    network: str
    classes: int
    settings: dict[str, Any] = field(default_factory=dict)
    channels: int = 0
    pretrained: str = ""
    pretrained_hash: str = ""
    frozen_norms: bool = False
    branches: tuple[str, ...] = ()
    branches_hash: tuple[str, ...] = ()
    images: tuple[tuple[str, ...], ...] = ()
    labels: tuple[str, ...] = ()
    weight: tuple[str, ...] = ()
    normalise: str = "std"
    split: tuple[float, float, float] = (0.7, 0.2, 0.1)
    margin: int = 4
    every: int = 1
    slices: int = 0
    patch: tuple[int, ...] = ()
    batch: int = 10
    foreground: float = 0.0
    symmetries: str = "all"
    stretch: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0
    loss: str = "jaccard2"
    class_weights: tuple[float, ...] = ()
    optimiser: str = "adabelief"
    learning_rate: float = 1e-3
    schedule: str = "linear"
    hold: float = 0.5
    final_rate: float = 0.1
    factor: float = 0.1
    patience: int = 10
    stop: int = 0
    epochs: int = 200
    steps: int = 10
    minutes: float = 0.0
    accumulate: int = 1
    precision: str = "float32"
    tiles: int = 100
    seed: int = 0


# The tables of the file.
_TABLES = {
    "network": (
        "network", "classes", "channels", "pretrained", "pretrained_hash", "frozen_norms",
        "branches", "branches_hash",
    ),
    "data": (
        "images", "labels", "weight", "normalise", "split", "margin", "every", "slices",
    ),
    "patches": ("patch", "batch", "foreground", "symmetries", "stretch", "brightness", "noise"),
    "training": (
        "loss", "class_weights", "optimiser", "learning_rate", "schedule", "hold", "final_rate",
        "factor", "patience", "stop", "epochs", "steps", "minutes", "accumulate", "precision",
        "tiles", "seed",
    ),
}  # fmt: skip


def recipe_of(given: Recipe | Mapping[str, Any] | str | os.PathLike[str]) -> Recipe:
    """A checked recipe from settings by name, or from a recipe.toml.

    Raises
    ------
    InputError
        Settings that are not known, lacking, or impossible; a file that is no recipe.

    Examples
    --------
    >>> from bimmjax.nets import recipe_of
    >>> recipe_of({"network": "unet", "classes": 2, "epochs": 5}).loss
    'jaccard2'
    """
    if isinstance(given, Recipe):
        return _checked(given)
    if isinstance(given, str | os.PathLike):
        given = _read(Path(given))
    if not isinstance(given, Mapping):
        raise InputError(f"recipe: got {given!r}, wants settings by name, or a path")
    known = [one.name for one in fields(Recipe)]
    for name in given:
        if name not in known:
            raise InputError(f"{name}: no setting of a recipe, which has {', '.join(known)}")
    for name in ("network", "classes"):
        if name not in given:
            raise InputError(f"{name}: got none, wants it in every recipe")
    return _checked(Recipe(**given))


def recipe_text(recipe: Recipe) -> str:
    """The content of recipe.toml.

    Examples
    --------
    >>> print(recipe_text(Recipe("unet", 2, settings={"depth": 3})))  # doctest: +ELLIPSIS
    # bimmjax ...
    [network]
    network = "unet"
    classes = 2
    channels = 0
    pretrained = ""
    pretrained_hash = ""
    frozen_norms = false
    branches = []
    branches_hash = []
    <BLANKLINE>
    [network.settings]
    depth = 3
    ...
    """
    told = asdict(recipe)
    lines = [f"# bimmjax {__version__}; bimmjax train --recipe with this file repeats the run."]
    for table, names in _TABLES.items():
        lines += [f"[{table}]", *(f"{name} = {_toml(told[name])}" for name in names), ""]
        if table == "network":
            lines.append("[network.settings]")
            lines += [f"{name} = {_toml(value)}" for name, value in recipe.settings.items()]
            lines.append("")
    return "\n".join(lines)


def difference(one: Recipe, other: Recipe) -> str | None:
    """The first setting that differs, in words; where files lie does not count."""
    apart = ("images", "labels", "weight", "pretrained", "branches")
    for each in fields(Recipe):
        here, there = getattr(one, each.name), getattr(other, each.name)
        if each.name not in apart and here != there:
            return f"{each.name} = {_toml(here)}, not {_toml(there)}"
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        told = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"recipe: got {path}, which cannot be read ({reason})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"recipe: got {path}, which is no TOML ({error})") from None
    found: dict[str, Any] = {}
    for table, content in told.items():
        if table not in _TABLES or not isinstance(content, dict):
            raise InputError(
                f"recipe: got {path} with {table!r}, wants the tables {', '.join(_TABLES)}"
            )
        found |= content
    return found


def _checked(recipe: Recipe) -> Recipe:
    """The same with plain values, as read back from a file: what is written is what was meant."""
    recipe = replace(
        recipe, **{each.name: plain(getattr(recipe, each.name)) for each in fields(Recipe)}
    )
    found: dict[str, Any] = {}
    for name, low, high in (
        ("classes", 2, 255), ("channels", 0, 1000), ("margin", 0, _MOST), ("every", 1, _MOST),
        ("slices", 0, _MOST), ("batch", 1, 2**16), ("patience", 1, _MOST), ("stop", 0, _MOST),
        ("epochs", 1, 10**6), ("steps", 1, 10**6), ("accumulate", 1, 2**16), ("tiles", 1, _MOST),
        ("seed", 0, _MOST),
    ):  # fmt: skip
        found[name] = whole_number(name, getattr(recipe, name), low, high)
    for name, low, high in (
        ("foreground", 0.0, 1.0), ("stretch", 0.0, 1.0), ("brightness", 0.0, 100.0),
        ("noise", 0.0, 100.0), ("learning_rate", 1e-12, 1e3), ("hold", 0.0, 1.0),
        ("final_rate", 0.0, 1.0), ("factor", 1e-6, 1.0), ("minutes", 0.0, 1e6),
    ):  # fmt: skip
        found[name] = real_number(name, getattr(recipe, name), low, high)
    for name in ("network", "loss"):
        _check_is(name, getattr(recipe, name), str, "a name")
    for name in ("pretrained", "pretrained_hash"):
        _check_is(name, getattr(recipe, name), str, "words")
    for name in ("split", "patch", "class_weights"):
        _check_is(name, getattr(recipe, name), tuple, "a list of numbers")
    for name in ("branches", "branches_hash"):
        _check_is(name, getattr(recipe, name), tuple, "a list of words, one for each channel")
        for one in getattr(recipe, name):
            _check_is(name, one, str, "words")
    if recipe.branches and recipe.network != "fusion-late":
        raise InputError(
            f"branches: got {len(recipe.branches)} for {recipe.network}, wants none but for "
            "fusion-late"
        )
    if recipe.branches_hash and len(recipe.branches_hash) != len(recipe.branches):
        raise InputError(
            f"branches_hash: got {len(recipe.branches_hash)}, wants none, or one for each of "
            f"{len(recipe.branches)} branches"
        )
    _check_is("frozen_norms", recipe.frozen_norms, bool, "true or false")
    _check_is("settings", recipe.settings, dict, "names and values")
    apart = {"name", "channels", "classes", "seed"} & set(recipe.settings)
    if apart:
        raise InputError(f"settings: got {min(apart)}, wants what the network alone has")
    choice("normalise", recipe.normalise, WAYS)
    choice("symmetries", recipe.symmetries, SYMMETRIES)
    choice("optimiser", recipe.optimiser, OPTIMISERS)
    choice("schedule", recipe.schedule, SCHEDULES)
    choice("precision", recipe.precision, PRECISIONS)
    loss_named(recipe.loss)
    found["split"] = tuple(real_number("split", share, 0.0, 1.0) for share in recipe.split)
    found["patch"] = tuple(whole_number("patch", size, 1, 2**16) for size in recipe.patch)
    weights = tuple(real_number("class_weights", w, 0.0, 1e9) for w in recipe.class_weights)
    if weights and (len(weights) != recipe.classes or not any(weights)):
        raise InputError(
            f"class_weights: got {_toml(weights)}, wants one for each of {recipe.classes} classes, "
            "not all 0"
        )
    return replace(recipe, class_weights=weights, **found, **_paths(recipe))


def _check_is(name: str, value: object, kind: type, wanted: str) -> None:
    if not isinstance(value, kind):
        raise InputError(f"{name}: got {value!r}, wants {wanted}")


def _paths(recipe: Recipe) -> dict[str, Any]:
    """Images, labels and weight, by specimen."""
    images, labels, weight = recipe.images, recipe.labels, recipe.weight
    if isinstance(labels, str):  # of one specimen, as `train` takes them
        images, labels, weight = (images,), (labels,), (weight,) if weight else ()
    for name, value in (("images", images), ("labels", labels), ("weight", weight)):
        _check_is(name, value, tuple, "a list of paths, one for each specimen")
    channels = tuple(one if isinstance(one, tuple) else (one,) for one in images)
    for name, paths in (("images", sum(channels, ())), ("labels", labels), ("weight", weight)):
        for path in paths:
            _check_is(name, path, str, "a path")
    return {"images": channels, "labels": labels, "weight": weight}


def plain(value: Any) -> Any:
    """Tuples, names and numbers as TOML knows them, of lists, arrays, paths and numpy's numbers."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        # A file knows no None, which stands for a constructor's default.
        return {name: plain(one) for name, one in value.items() if one is not None}
    value = value.tolist() if hasattr(value, "tolist") else value
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else value


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name} = {_toml(one)}' for name, one in value.items())}}}"
    if isinstance(value, bool | str | int):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    raise InputError(f"settings: got {value!r}, wants numbers, words, or lists of them")
