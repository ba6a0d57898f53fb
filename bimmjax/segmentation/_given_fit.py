"""A fit as users give it: the object, its dictionary, or the path of its fit.json."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from bimmjax._core.checks import InputError, choice
from bimmjax.fitting import Fit
from bimmjax.fitting._fit import Model
from bimmjax.models._nodes import Gradient
from bimmjax.volumes import Volume


def given_fit(fit: Any) -> Mapping[str, Any]:
    """The content of `fit.json`; an `InputError` if it is none."""
    if isinstance(fit, Fit):
        return fit.to_dict()
    what = type(fit).__name__
    if isinstance(fit, str | os.PathLike):
        what = os.fspath(fit)
        try:
            fit = json.loads(Path(fit).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"fit: got {what}, wants a fit.json ({error.strerror})") from None
        except ValueError:
            raise InputError(f"fit: got {what}, which is no JSON, wants a fit.json") from None
    if not isinstance(fit, Mapping) or not isinstance(fit.get("params"), Mapping):
        raise InputError(f"fit: got {what}, wants a Fit or the path of fit.json")
    _check(fit, fit["params"])
    return fit


def sized_like(volume: Volume, fit: Mapping[str, Any]) -> Volume:
    """The volume with the voxel size of the fit of it, where it knows none itself."""
    unit = (fit.get("units") or {}).get("length", "voxel")
    if volume.unit != "voxel" or unit == "voxel" or fit.get("shape") != list(volume.shape):
        return volume
    z, y, x = map(float, fit["spacing"])
    return replace(volume, spacing=(z, y, x), unit=unit)


def _check(fit: Mapping[str, Any], held: Mapping[str, Any]) -> None:
    """What a rule is made from: nothing missing, nothing that is not a number."""
    model = choice("fit: model", fit.get("model", "bimm2d"), get_args(Model))
    choice("fit: gradient", fit.get("gradient", "central_difference"), get_args(Gradient))
    names = ["intensities", "noise_std", "interior_weights"]
    phases = np.size(held.get("intensities", ()))
    if phases > 1 and model != "gmm":
        names.append("interface_weights")
    if phases > 1 and model in ("bimm1d", "bimm2d"):
        names.append("interface_halfwidth")
    if phases > 1 and model == "bimm2d":
        names.append("blur_std")
    for name in [*names, "correlation"] if model == "bimm2d" else names:
        value = held.get(name)
        numbers = list(value.values()) if isinstance(value, Mapping) else value
        try:
            good = numbers is not None and bool(np.isfinite(np.asarray(numbers, float)).all())
        except (TypeError, ValueError):
            good = False
        if not good:
            raise InputError(f"fit: got {value!r} for {name} of its params, wants numbers")
    means = np.asarray(held["intensities"], float)
    if means.ndim != 1 or (np.diff(means) <= 0).any():
        raise InputError(f"fit: got intensities {means.tolist()}, wants a list of ascending ones")
    for name in {"noise_std", "blur_std"} & set(names):
        if not (np.asarray(held[name], float) > 0).all():
            raise InputError(f"fit: got {held[name]!r} for {name} of its params, wants it above 0")
