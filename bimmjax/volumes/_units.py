"""Voxel spacing and length units: one spelling per unit, and who wins when several are told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import cast

from bimmjax._core.checks import InputError

Spacing = tuple[float, float, float]

UNKNOWN: tuple[Spacing, str] = ((1.0, 1.0, 1.0), "voxel")

# One row per unit: short name, metres, UDUNITS name (what OME-Zarr asks for), other spellings.
_UNITS: tuple[tuple[str, float, str, tuple[str, ...]], ...] = (
    ("pm", 1e-12, "picometer", ("picometre",)),
    ("angstrom", 1e-10, "angstrom", ("Å", "å", "ang", "ångström")),
    ("nm", 1e-9, "nanometer", ("nanometre",)),
    ("um", 1e-6, "micrometer", ("micrometre", "µm", "μm", "micron", "micro", "microm")),
    ("mm", 1e-3, "millimeter", ("millimetre",)),
    ("cm", 1e-2, "centimeter", ("centimetre",)),
    ("m", 1.0, "meter", ("metre",)),
    ("inch", 0.0254, "inch", ("in",)),
)
_METRES = {short: metres for short, metres, _, _ in _UNITS}
_UDUNITS = {short: long for short, _, long, _ in _UNITS}
_SHORT = {
    spelling: short
    for short, _, long, others in _UNITS
    for base in (short, long, *others)
    for spelling in (base, base + "s" if len(base) > 3 else base)
} | dict.fromkeys(("voxel", "voxels", "vx", "px", "pixel", "pixels"), "voxel")
# A spacing whose unit nobody told: a length all the same, not a count of voxels.
_SHORT["unit"] = "unit"


def normalise_unit(unit: str) -> str | None:
    """The short name of a length unit, or None if it is not one we know.

    Examples
    --------
    >>> normalise_unit("Micrometer"), normalise_unit("µm"), normalise_unit("parsec")
    ('um', 'um', None)
    """
    text = unit.strip().replace("\\u00b5", "µ").replace("\\u00B5", "µ")
    # "Mm" and "MM" are not millimetres to everybody, but no tomogram is measured in megametres.
    return _SHORT.get(text) or _SHORT.get(text.lower())


def udunits(unit: str) -> str | None:
    """The UDUNITS name, which OME-Zarr wants: "micrometer" for "um"; None for "voxel"."""
    return _UDUNITS.get(unit)


def check_spacing(spacing: object, name: str = "spacing") -> Spacing:
    """One positive number or three (z, y, x) as three floats, else an `InputError`."""
    wants = f"{name}: got {spacing!r}, wants one positive number or three (z, y, x)"
    if isinstance(spacing, str | bytes | bool):
        raise InputError(wants)
    if isinstance(spacing, Real):
        numbers = [float(spacing)] * 3
    else:
        try:
            numbers = [float(s) for s in cast(Sequence[float], spacing)]
        except (TypeError, ValueError):
            raise InputError(wants) from None
        if len(numbers) == 1:
            numbers *= 3
    if len(numbers) != 3 or not all(math.isfinite(s) and s > 0 for s in numbers):
        raise InputError(wants)
    return (numbers[0], numbers[1], numbers[2])


def check_unit(unit: object) -> str:
    """The short name of the unit a user gave, else an `InputError` that lists those known."""
    known = normalise_unit(unit) if isinstance(unit, str) else None
    if known is None:
        names = ", ".join([*_METRES, "voxel"])
        raise InputError(f"unit: got {unit!r}, wants one of {names} (or their usual spellings)")
    return known


def from_metadata(spacing: Sequence[float], units: Sequence[str | None]) -> tuple[Spacing, str]:
    """Spacing and one common unit from a file's (z, y, x) values and units, where they are sound.

    Axes told in different units are brought to the unit of x. A scale without a known unit keeps
    its numbers (they still tell whether voxels are cubic) under the name "unit"; nonsense such as
    zero, negative or non-finite sizes counts as unknown.
    """
    try:
        values = check_spacing(tuple(spacing))
    except InputError:
        return UNKNOWN
    shorts = [normalise_unit(u) if u else None for u in units]
    if any(u not in _METRES for u in shorts):
        return UNKNOWN if values == UNKNOWN[0] else (values, "unit")
    z, y, x = (
        convert_length(s, str(u), str(shorts[2])) for s, u in zip(values, shorts, strict=True)
    )
    return (z, y, x), str(shorts[2])


def convert_length(length: float, unit: str, to: str) -> float:
    """A length in one known unit told in another."""
    if unit == to:
        return length
    # Rounded to 15 digits so that 10 nm reads as 0.01 um, not as 0.010000000000000002.
    return float(f"{length * _METRES[unit] / _METRES[to]:.15g}")


def resolve(
    told: tuple[Spacing, str], spacing: object | None, unit: object | None
) -> tuple[Spacing, str]:
    """What the user says beats what the file tells.

    `spacing` alone replaces the file's (in `unit` if given, else of unknown unit: the file's unit
    need not be the one the user thinks in). `unit` alone converts the file's spacing.

    Raises
    ------
    InputError
        Bad spacing, unknown unit, or a unit alone where the file tells no length to convert.
    """
    short = None if unit is None else check_unit(unit)
    if spacing is not None:
        values = check_spacing(spacing)
        default = "voxel" if values == UNKNOWN[0] else "unit"
        return values, short or default
    if short is None or short == told[1]:
        return told
    if short not in _METRES or told[1] not in _METRES:
        raise InputError(
            f"unit: got {unit!r} without a spacing, and the volume's own spacing is in "
            f"{told[1]!r}; wants spacing= as well"
        )
    z, y, x = (convert_length(s, told[1], short) for s in told[0])
    return (z, y, x), short
