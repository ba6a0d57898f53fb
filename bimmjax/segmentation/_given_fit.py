"""A fit as users give it: the object, its dictionary, or the path of its fit.json."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bimmjax._core.checks import InputError
from bimmjax.fitting import Fit


def given_fit(fit: Any) -> Mapping[str, Any]:
    """The content of `fit.json`; an `InputError` if it is none."""
    if isinstance(fit, Fit):
        return fit.to_dict()
    if isinstance(fit, str | os.PathLike):
        try:
            fit = json.loads(Path(fit).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"fit: got {fit}, wants a fit.json ({error})") from None
    if not isinstance(fit, Mapping) or not isinstance(fit.get("params"), Mapping):
        raise InputError(f"fit: got {type(fit).__name__}, wants a Fit or the path of fit.json")
    held = fit["params"]
    if held.get("intensities") is None or held.get("noise_std") is None:
        raise InputError("fit: got no intensities or noise_std in its params, wants both")
    return fit
