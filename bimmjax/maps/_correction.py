"""The bias of the model, as found on the whole, taken off the maps of its blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

_FRACTIONS = "volume_fraction_"


def factors_of(fit: Mapping[str, Any]) -> dict[str, float]:
    """What to multiply columns of maps with, from a `fit.json`; empty if it is not corrected.

    >>> factors_of({"corrected": True, "uncorrected": {"interface_areas": {"0-1": 0.08}},
    ...             "properties": {"interface_areas": {"0-1": 0.1}}})
    {'interface_area_0-1': 1.25}
    """
    if not fit.get("corrected"):
        return {}
    own, told = _flat(fit["uncorrected"]), _flat(fit["properties"])
    # A refused area has no number, and stays the model's own.
    return {
        name: told[name] / value
        for name, value in own.items()
        if value and told.get(name) is not None
    }


def _flat(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Properties of a `fit.json` by column."""
    return {
        **{f"{_FRACTIONS}{i}": x for i, x in enumerate(properties.get("volume_fractions") or [])},
        **{f"interface_area_{p}": x for p, x in (properties.get("interface_areas") or {}).items()},
        "resolution_10_90": properties.get("resolution_10_90"),
    }


def multiply(
    values: dict[str, np.ndarray], errors: dict[str, np.ndarray], factors: Mapping[str, float]
) -> None:
    """Take the bias off columns of blocks (n,), in place.

    Areas and resolution are off by the same share everywhere; of the fractions the odds are, so
    that they stay between 0 and 1 and sum to 1.
    """
    for name, factor in factors.items():
        values[name] = values[name] * factor
        errors[name] = errors[name] * factor
    shares = [name for name in factors if name.startswith(_FRACTIONS)]
    if shares:
        total = np.sum([values[name] for name in shares], 0)
        for name in shares:
            values[name] = values[name] / total
