"""Everything that decides a reconstruction, and the TOML file that it may be told in."""

from __future__ import annotations

import math
import os
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from bimmjax._core.checks import InputError, choice, real_number, whole_number
from bimmjax.fib._fill.trained import NETWORKS

ORDERS = ("labels", "grey", "layers")
SOURCES = ("even", "file", "ruler", "images")
FILLINGS = ("nearest", "spline", "distance", "learned")
DENOISERS = ("none", "nlm", "gaussian", "median", "tv")
METHODS = ("otsu", "kmeans", "spatial-kmeans", "clahe-otsu")
MODELS = ("gmm", "pvmm", "bimm1d", "bimm2d")

Region = tuple[int, int, int, int]


@dataclass(frozen=True)
class Register:
    """How slices are moved onto each other.

    skip : they lie where they should.
    reference : the stack that the others are moved onto; by default the middle one.
    region : (y0, y1, x0, x1), pixels of the raw images: a fiducial mark that drift is told by.
    reach : by how many pixels slices that are compared may be apart; 0: as `register_stack` has it.
    detrend : what of a drift is taken for the structure's own, without a region (see
        `register_stack`): smooth, linear, none; "" is smooth.
    drop : so many leading slices are left out, those with the curtains.
    tilt : degrees between the electron beam and the milled face: 52 on most instruments, whose
        pixels along y are then foreshortened; 90: they are not, or have been corrected.
    """

    skip: bool = False
    reference: str = ""
    region: Region | None = None
    reach: int = 0
    detrend: str = ""
    drop: int = 0
    tilt: float = 90.0


@dataclass(frozen=True)
class Clean:
    """What is done to grey values before they are labelled.

    brightness : each slice is brought to the grey values of its neighbours.
    curtains : stripes along y are taken out.
    denoise : none, nlm (non-local means), gaussian, median or tv (total variation).
    """

    brightness: bool = True
    curtains: bool = False
    denoise: str = "none"


@dataclass(frozen=True)
class Label:
    """What labels voxels: one of the following.

    network : the folder of a run of `train` that takes all stacks as its channels, in their order.
    networks : a run for each of some stacks, by the stack's name; the mean of their probabilities
        decides (late fusion).
    fit : a fit.json of the cleaned stack, or the name of a model to fit to it: gmm, pvmm, bimm1d,
        bimm2d.
    method : otsu, kmeans, spatial-kmeans, clahe-otsu.

    stack : the one that a fit or a method looks at; by default the first, where least shines
        through.
    phases : number of classes of a model or a method.
    uncertainty : write the entropy of the networks' probabilities, too.
    """

    network: str = ""
    networks: dict[str, str] = field(default_factory=dict)
    fit: str = ""
    method: str = ""
    stack: str = ""
    phases: int = 2
    uncertainty: bool = False


@dataclass(frozen=True)
class Depth:
    """How thick slices are.

    source : even (all as told by `mean`), file, ruler (marks in the reference stack) or images (by
        how much neighbours differ).
    mean : thickness that is aimed at, in the unit of the pixel size. Needed for `even`.
    file : CSV, text or JSON.
    ruler : (y0, y1, x0, x1), pixels of the raw images that show the ruler's four marks.
    angle : degrees between an inclined mark and the milling direction.
    outliers : the rule for them, "robust" or "article" (see `thickness_from_ruler`).
    largest, blur : of `images`, lengths: the thickest slice that is looked for, and the blur within
        slices; 0: as `thickness_from_images` has them.
    """

    source: str = "even"
    mean: float = 0.0
    file: str = ""
    ruler: Region | None = None
    angle: float = 0.0
    outliers: str = "robust"
    largest: float = 0.0
    blur: float = 0.0


@dataclass(frozen=True)
class Fill:
    """How the gaps between repositioned slices are filled.

    spacing : of the grid along z; 0: the pixel size.
    method : nearest, spline, distance or learned (see `fill`); "" is learned for labels of two
        phases, distance for those of more, spline for grey values.
    network : weights of `train_inpainting`; by default those that come with the package.
    """

    spacing: float = 0.0
    method: str = ""
    network: str = ""


@dataclass(frozen=True)
class Plan:
    """Everything that decides a reconstruction.

    Attributes
    ----------
    stacks : dict[str, str]
        Path by name, in the order of rising voltage.
    pixel : float
        Edge of a pixel of the images; 0: as the files tell it.
    unit : str
        Of all lengths.
    order : str
        "labels": voxels of the original slices are labelled, then labels are repositioned and
        filled (FIB Article II); "grey": grey values are; "layers": a network labels every layer
        of the grid from the slices around it (see `surroundings`), and nothing is left to fill.
    crop : Region or None
        (y0, y1, x0, x1), pixels of the raw images that show the specimen; by default all, or
        all below the ruler.
    register : Register
    clean : Clean
    label : Label
    depth : Depth
    fill : Fill
    """

    stacks: dict[str, str] = field(default_factory=dict)
    pixel: float = 0.0
    unit: str = ""
    order: str = "labels"
    crop: Region | None = None
    register: Register = field(default_factory=Register)
    clean: Clean = field(default_factory=Clean)
    label: Label = field(default_factory=Label)
    depth: Depth = field(default_factory=Depth)
    fill: Fill = field(default_factory=Fill)


def plan_of(told: Plan | Mapping[str, Any] | str | os.PathLike[str] | None) -> Plan:
    """A plan from a TOML file or a mapping of the same shape; names and types are checked.

    Paths in a file are relative to the file.

    Raises
    ------
    InputError
        No such file, no TOML, an unknown name, or a value of another type or out of its range.

    Examples
    --------
    >>> from bimmjax.fib import plan_of
    >>> plan = plan_of({"pixel": 5.0, "depth": {"source": "even", "mean": 10.0}})
    >>> plan.depth.mean, plan.order
    (10.0, 'labels')
    """
    if isinstance(told, Plan):
        found = told
    elif isinstance(told, str | os.PathLike):
        path = Path(told)
        found = _made(Plan, _read(path), "")
        found = _from_folder(found, path.parent)
    else:
        found = _made(Plan, dict(told or {}), "")
    _check(found)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"plan: got {path}, which cannot be read; wants a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"plan: got {path}, which is no TOML ({error})") from error


def _made(kind: Any, told: Mapping[str, Any], where: str) -> Any:
    known, types_ = {f.name: f for f in fields(kind)}, get_type_hints(kind)
    unknown = [name for name in told if name not in known]
    if unknown:
        raise InputError(
            f"plan: got {where}{unknown[0]}, wants one of {', '.join(where + n for n in known)}"
        )
    return kind(**{name: _value(types_[name], v, where + name) for name, v in told.items()})


def _value(kind: Any, value: Any, name: str) -> Any:
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise InputError(f"plan: got {name} = {value!r}, wants a section [{name}]")
        return _made(kind, value, f"{name}.")
    if get_origin(kind) in (Union, types.UnionType):
        return None if value is None else _value(get_args(kind)[0], value, name)
    if get_origin(kind) is dict:
        if not isinstance(value, Mapping):
            raise InputError(f"plan: got {name} = {value!r}, wants a section [{name}] of paths")
        found = {
            str(k): os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in value.items()
        }
        for key, one in found.items():
            # Volumes and arrays may stand for stacks.
            if not isinstance(one, str) and (name != "stacks" or isinstance(one, int | float)):
                raise InputError(f"plan: got {name}.{key} = {one!r}, wants a path")
        return found
    if get_origin(kind) is tuple:
        count = len(get_args(kind))
        try:
            found = tuple(whole_number(name, one, 0, 2**31 - 1) for one in value)
        except (TypeError, InputError):
            found = ()
        if len(found) != count:
            raise InputError(f"plan: got {name} = {value!r}, wants {count} whole numbers from 0 on")
        return found
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value) is not kind:
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
        raise InputError(f"plan: got {name} = {value!r}, wants {words[kind]}")
    return value


def _from_folder(plan: Plan, folder: Path) -> Plan:
    """Paths that a file tells, seen from where the file is."""

    def at(path: Any) -> Any:
        if not isinstance(path, str) or not path or "://" in path:
            return path
        return str(folder / path)

    label, depth, fill = plan.label, plan.depth, plan.fill
    return replace(
        plan,
        stacks={name: at(path) for name, path in plan.stacks.items()},
        label=replace(
            label,
            network=at(label.network),
            networks={name: at(path) for name, path in label.networks.items()},
            fit=label.fit if label.fit in MODELS else at(label.fit),
        ),
        depth=replace(depth, file=at(depth.file)),
        fill=replace(fill, network=fill.network if fill.network in NETWORKS else at(fill.network)),
    )


def _check(plan: Plan) -> None:
    """Values that can be judged without the stacks."""
    choice("order", plan.order, ORDERS)
    real_number("pixel", plan.pixel, 0.0, 1e12)
    regions = (
        ("crop", plan.crop),
        ("register.region", plan.register.region),
        ("depth.ruler", plan.depth.ruler),
    )
    for name, region in regions:
        if region is not None:
            check_region(name, region)
    whole_number("register.reach", plan.register.reach, 0, 2**15)
    whole_number("register.drop", plan.register.drop, 0, 2**31 - 1)
    if plan.register.detrend:
        choice("register.detrend", plan.register.detrend, ("smooth", "linear", "none"))
    real_number("register.tilt", plan.register.tilt, 1.0, 90.0)
    choice("clean.denoise", plan.clean.denoise, DENOISERS)
    whole_number("label.phases", plan.label.phases, 2, 5)
    _check_label(plan.label)
    _check_depth(plan.depth)
    real_number("fill.spacing", plan.fill.spacing, 0.0, 1e12)
    if plan.fill.method:
        choice("fill.method", plan.fill.method, FILLINGS)
    if plan.order == "layers" and (plan.fill.method or plan.fill.network):
        raise InputError('fill: got a method or a network for order "layers", which fills nothing')
    if plan.fill.network and plan.fill.method not in ("", "learned"):
        raise InputError(
            f"fill.network: got one for method {plan.fill.method!r}, wants it for 'learned'"
        )
    if plan.order == "grey" and plan.fill.method in ("distance", "learned"):
        raise InputError(
            f"fill.method: got {plan.fill.method!r} for grey values, wants 'spline' or 'nearest': "
            "it fills labels"
        )


def _check_label(label: Label) -> None:
    ways = {
        name: getattr(label, name)
        for name in ("network", "networks", "fit", "method")
        if getattr(label, name)
    }
    if len(ways) > 1:
        raise InputError(f"label: got {' and '.join(ways)}, wants one of them")
    if label.method:
        choice("label.method", label.method, METHODS)


def _check_depth(depth: Depth) -> None:
    choice("depth.source", depth.source, SOURCES)
    real_number("depth.largest", depth.largest, 0.0, 1e12)
    real_number("depth.blur", depth.blur, 0.0, 1e12)
    choice("depth.outliers", depth.outliers, ("robust", "article"))
    if depth.mean < 0 or not math.isfinite(depth.mean):
        raise InputError(f"depth.mean: got {depth.mean:g}, wants a thickness above 0")


def check_region(name: str, region: Region) -> None:
    """Refuse a box without pixels."""
    y0, y1, x0, x1 = region
    if y0 >= y1 or x0 >= x1:
        raise InputError(f"{name}: got {region}, wants y0 y1 x0 x1 with y0 < y1 and x0 < x1")
