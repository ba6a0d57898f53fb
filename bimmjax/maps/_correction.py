"""The bias of the model, as found on the whole, taken off the maps of its blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

_FRACTIONS = "volume_fraction_"
_NINE_IN_TEN = 1.645


class Correction(NamedTuple):
    """What the whole tells of its blocks, by column; JSON keeps it.

    factors : to multiply values with; odds, for fractions. left : std of what may be left of the
    bias in all blocks alike, as a share of the value; of V(1 - V), for fractions.
    """

    factors: dict[str, float]
    left: dict[str, float]


NO_CORRECTION = Correction({}, {})


def correction_of(fit: Mapping[str, Any]) -> Correction:
    """From a `fit.json`; nothing if it is not corrected, or what it says is no number.

    Examples
    --------
    >>> told = {"corrected": True, "uncorrected": {"interface_areas": {"0-1": 0.08}},
    ...         "properties": {"interface_areas": {"0-1": 0.1}}}
    >>> correction_of(told).factors
    {'interface_area_0-1': 1.25}
    """
    if not fit.get("corrected"):
        return NO_CORRECTION
    own, told, announced = (
        _flat(fit.get(name)) for name in ("uncorrected", "properties", "announced")
    )
    # A refused area has no number, and stays the model's own.
    factors = {
        name: told[name] / value
        for name, value in own.items()
        if value > 0.0 and told.get(name, 0.0) > 0.0
    }
    shares = {name for name in own if name.startswith(_FRACTIONS)}
    if not shares <= factors.keys():
        # A fraction of nought has no odds, and without it the others would not sum to 1.
        factors = {name: factor for name, factor in factors.items() if name not in shares}
    left = {}
    for name in factors.keys() & announced.keys():
        value = told[name] * (1.0 - told[name] if name.startswith(_FRACTIONS) else 1.0)
        if value > 0.0:
            left[name] = announced[name] / value / _NINE_IN_TEN
    return Correction(factors, left)


def _flat(properties: Any) -> dict[str, float]:
    """Those properties of a `fit.json` that are numbers, by column."""
    if not isinstance(properties, Mapping):
        return {}
    fractions = properties.get("volume_fractions")
    areas = properties.get("interface_areas")
    found = {
        **{f"{_FRACTIONS}{i}": x for i, x in enumerate(fractions or ())},
        **{f"interface_area_{p}": x for p, x in dict(areas or {}).items()},
        "resolution_10_90": properties.get("resolution_10_90"),
    }
    return {
        name: float(x)
        for name, x in found.items()
        if isinstance(x, int | float) and math.isfinite(x)
    }


def corrected(
    values: dict[str, np.ndarray], errors: dict[str, np.ndarray], factors: Mapping[str, float]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Columns of blocks (n,) and their errors with the bias taken off.

    Areas and resolution are off by the same share everywhere; of the fractions the odds are, so
    that they stay between 0 and 1 and sum to 1.
    """
    values, errors = dict(values), dict(errors)
    shares = [name for name in factors if name.startswith(_FRACTIONS)]
    total = np.sum([factors[name] * values[name] for name in shares], 0)
    for name, factor in factors.items():
        if name in shares:
            # The others as one: what this one gains they lose.
            others = (total - factor * values[name]) / np.maximum(1.0 - values[name], 1e-9)
            errors[name] = errors[name] * factor * others / total**2
            values[name] = factor * values[name] / total
        else:
            values[name] = values[name] * factor
            errors[name] = errors[name] * factor
    return values, errors


def with_what_is_left(
    values: dict[str, np.ndarray], errors: dict[str, np.ndarray], left: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Errors (n,) by column that hold what all blocks may be off by."""
    errors = dict(errors)
    for name, share in left.items():
        value = values[name]
        if name.startswith(_FRACTIONS):
            value = value * (1.0 - value)
        errors[name] = np.hypot(errors[name], share * value)
    return errors
