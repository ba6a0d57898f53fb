"""Numbers and units as people write them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Interval = Sequence[float] | None

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MINUS = "\N{MINUS SIGN}"
_WIDE = 1e3  # times the value: an interval that wide only says that nothing is known
_NOTHING = 1e-12


class Figures(NamedTuple):
    """A value and intervals of it, rounded alike; all times ten to the `exponent`."""

    value: str
    intervals: tuple[str | None, ...]
    exponent: int


def rounded(value: float | None, *intervals: Interval) -> Figures:
    """Round a value and its intervals to what the narrowest interval makes worth telling.

    Examples
    --------
    >>> rounded(0.34567, (0.3411, 0.3502))
    Figures(value='0.346', intervals=('0.341 to 0.350',), exponent=0)
    >>> rounded(1.23e-5, None)
    Figures(value='1.230', intervals=(None,), exponent=-5)
    """
    if value is None or not math.isfinite(value):
        return Figures("-", tuple(None for _ in intervals), 0)
    if abs(value) < _NOTHING:
        value = 0.0
    exponent = 0
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        exponent = math.floor(math.log10(abs(value)))
    scale = 10.0**-exponent
    widths = [i[1] - i[0] for i in intervals if i is not None and _is_told(value, i)]
    halves = [0.5 * width * scale for width in widths]
    halves = [half for half in halves if half > 1e-6]
    if halves:
        places = _places(min(halves))
    else:
        places = 3 - math.floor(math.log10(abs(value * scale))) if value else 0
    places = min(max(places, 0), 6)
    told = tuple(_told(value, i, scale, places) for i in intervals)
    return Figures(_fixed(value * scale, places), told, exponent)


def _places(error: float) -> int:
    """Decimals worth telling: two digits of an error that begins with less than 3.5, else one."""
    power = math.floor(math.log10(error))
    return (1 if error < 3.5 * 10.0**power else 0) - power


def _told(value: float, interval: Interval, scale: float, places: int) -> str | None:
    if interval is None:
        return None
    if not _is_told(value, interval):
        return "not determined"
    low, high = (_fixed(end * scale, places) for end in interval)
    return f"{low} to {high}"


def _is_told(value: float, interval: Sequence[float]) -> bool:
    """Whether an interval says anything: it is finite, and not astronomically wide."""
    if not all(math.isfinite(end) for end in interval):
        return False
    return interval[1] - interval[0] <= _WIDE * max(abs(value), _NOTHING)


def _fixed(value: float, places: int) -> str:
    text = f"{value:.{places}f}"
    if float(text) == 0.0:
        text = text.lstrip("-")
    return signed(text)


def signed(text: str) -> str:
    """A number with a minus sign rather than a hyphen."""
    return text.replace("-", _MINUS)


def power(exponent: int) -> str:
    """`× 10⁻⁵`, or nothing for an exponent of 0."""
    return "" if exponent == 0 else f"× 10{str(exponent).translate(_SUPERSCRIPTS)}"


def length_name(unit: str) -> str:
    """A unit of length for a label: `µm` for `um`, `voxels` for `voxel`.

    Examples
    --------
    >>> length_name("um"), length_name("voxel")
    ('µm', 'voxels')
    """
    return {"um": "µm", "voxel": "voxels", "unit": "units", "angstrom": "Å"}.get(unit, unit)


def per_length(unit: str) -> str:
    """Area per volume in that unit: `1/µm`."""
    return "1/" + {"voxel": "voxel", "unit": "unit"}.get(unit, length_name(unit))


def phase_name(phase: int, phases: int) -> str:
    """`phase 0 (darkest)`: phases are numbered by intensity."""
    if phases == 1:
        return "phase 0"
    ends = {0: " (darkest)", phases - 1: " (brightest)"}
    return f"phase {phase}{ends.get(phase, '')}"


MODEL_NAMES = {
    "bimm2d": "BIMM-2D",
    "bimm1d": "BIMM-1D",
    "pvmm": "PVMM",
    "gmm": "GMM",
}
