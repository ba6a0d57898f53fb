"""A fit to take as the global one, from what a user gives."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.fitting import Fit
from bimmjax.fitting._result import params_of

_NEEDED = ("noise_std", "correlation", "blur_std", "interface_halfwidth")


def read_start(start: Any, phases: int) -> Mapping[str, Any]:
    """A fit as `fit.json` has it."""
    if isinstance(start, Fit):
        start = start.to_dict()
    if isinstance(start, str | os.PathLike):
        path = Path(start)
        try:
            start = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"start: got {path}, wants a fit.json ({error})") from None
    if not isinstance(start, Mapping) or not isinstance(start.get("params"), Mapping):
        raise InputError(f"start: got {type(start).__name__}, wants a Fit or the path of fit.json")
    if start.get("model", "bimm2d") != "bimm2d" or start.get("phases", phases) != phases:
        raise InputError(
            f"start: got {start.get('model')} with {start.get('phases')} phases, wants bimm2d with "
            f"{phases}"
        )
    try:
        shapes = {name: np.shape(x) for name, x in params_of(start["params"])._asdict().items()}
        pairs = (phases * (phases - 1) // 2,)
        fits = shapes["intensities"] == shapes["interior_weights"] == (phases,)
        fits = fits and shapes["interface_weights"] == pairs
        fits = fits and None not in [start["params"].get(name) for name in _NEEDED]
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise InputError(f"start: got other parameters than those of bimm2d with {phases} phases")
    return start
