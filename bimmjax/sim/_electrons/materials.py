"""Materials that electrons pass: what they consist of, and how dense they are."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from bimmjax._core.checks import InputError, real_number

_SYMBOLS = (  # noqa: SIM905 - a line each would be 92 lines
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar "
    "K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr "
    "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe "
    "Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf "
    "Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th "
    "Pa U"
).split()
# g/mol, standard atomic weights; of elements without a stable isotope that of a long-lived one.
_WEIGHTS = (
    1.008, 4.0026, 6.94, 9.0122, 10.81, 12.011, 14.007, 15.999, 18.998, 20.180,
    22.990, 24.305, 26.982, 28.085, 30.974, 32.06, 35.45, 39.948, 39.098, 40.078,
    44.956, 47.867, 50.942, 51.996, 54.938, 55.845, 58.933, 58.693, 63.546, 65.38,
    69.723, 72.630, 74.922, 78.971, 79.904, 83.798, 85.468, 87.62, 88.906, 91.224,
    92.906, 95.95, 97.0, 101.07, 102.91, 106.42, 107.87, 112.41, 114.82, 118.71,
    121.76, 127.60, 126.90, 131.29, 132.91, 137.33, 138.91, 140.12, 140.91, 144.24,
    145.0, 150.36, 151.96, 157.25, 158.93, 162.50, 164.93, 167.26, 168.93, 173.05,
    174.97, 178.49, 180.95, 183.84, 186.21, 190.23, 192.22, 195.08, 196.97, 200.59,
    204.38, 207.2, 208.98, 209.0, 210.0, 222.0, 223.0, 226.0, 227.0, 232.04, 231.04, 238.03,
)  # fmt: skip


_DENSEST = 30.0  # g/cm³


class Material(NamedTuple):
    """What a phase consists of.

    Attributes
    ----------
    name : str
    elements : tuple[tuple[int, float], ...]
        (atomic number, share of the mass) of each element; the shares sum to 1.
    density : float
        g/cm³; 0 is vacuum.
    """

    name: str
    elements: tuple[tuple[int, float], ...]
    density: float


def atomic_weight(number: int) -> float:
    """Of an element by its atomic number 1 ... 92, g/mol."""
    return _WEIGHTS[number - 1]


def material(name: str, composition: str | Mapping[str, float], density: float) -> Material:
    """A material of any composition.

    Parameters
    ----------
    name
        What to call it.
    composition
        A formula ("ZrO2", "Al2O3", "Au"), or shares of the mass by symbol.
    density
        g/cm³, above 0 and up to 30.

    Returns
    -------
    Material

    Raises
    ------
    InputError
        A formula or a symbol that cannot be read, shares that are not positive, a density out
        of range.

    Examples
    --------
    >>> from bimmjax.sim import material
    >>> alumina = material("alumina", "Al2O3", 3.95)
    >>> [(number, round(share, 3)) for number, share in alumina.elements]
    [(13, 0.529), (8, 0.471)]
    """
    density = real_number("density", density, 0.0, _DENSEST)
    if not density:
        raise InputError(f"density: got {density!r}, wants g/cm³ above 0 and up to {_DENSEST:g}")
    if isinstance(composition, str):
        counts = _formula(composition)
        masses = {symbol: n * atomic_weight(_number(symbol)) for symbol, n in counts.items()}
    else:
        try:
            masses = {symbol: float(share) for symbol, share in composition.items()}
        except (AttributeError, TypeError, ValueError):
            masses = {}
    total = sum(masses.values())
    if not (masses and min(masses.values()) > 0.0 and math.isfinite(total)):
        raise InputError(f"composition: got {composition!r}, wants positive shares by element")
    return Material(name, tuple((_number(s), m / total) for s, m in masses.items()), density)


def _formula(text: str) -> dict[str, float]:
    if not re.fullmatch(r"([A-Z][a-z]?(\d+(\.\d+)?)?)+", text):
        raise InputError(f"composition: got {text!r}, wants a formula such as ZrO2")
    counts: dict[str, float] = {}
    for symbol, n in re.findall(r"([A-Z][a-z]?)(\d*\.?\d*)", text):
        counts[symbol] = counts.get(symbol, 0.0) + (float(n) if n else 1.0)
    return counts


def _number(symbol: str) -> int:
    if symbol not in _SYMBOLS:
        raise InputError(f"composition: got {symbol!r}, wants a chemical symbol from H to U")
    return _SYMBOLS.index(symbol) + 1


MATERIALS = {
    known.name: known
    for known in (
        Material("vacuum", (), 0.0),
        # An epoxy resin by mass, FIB-SEM embedding.
        material("epoxy", {"C": 0.741, "H": 0.071, "O": 0.188}, 1.2),
        material("carbon", "C", 2.0),
        material("silicon", "Si", 2.33),
        material("nickel", "Ni", 8.91),
        material("copper", "Cu", 8.96),
        material("zirconia", "ZrO2", 5.85),
        material("platinum", "Pt", 21.45),
        material("gold", "Au", 19.3),
    )
}
"""Those known by name."""


def known_material(argument: str, given: str | Material) -> Material:
    """A material by name ("gold"), or as it is; "FORMULA@DENSITY" ("Al2O3@3.95") makes one.

    Examples
    --------
    >>> from bimmjax.sim import known_material
    >>> known_material("solid", "gold").density
    19.3
    >>> known_material("solid", "Al2O3@3.95").name
    'Al2O3@3.95'
    """
    if isinstance(given, Material):
        return _sound(argument, given)
    if given in tuple(MATERIALS):
        return MATERIALS[given]
    formula, at, density = given.partition("@") if isinstance(given, str) else ("", "", "")
    if at:
        try:
            return material(given, formula, real_number("density", _float(density), 0.0, _DENSEST))
        except InputError as error:
            raise InputError(f"{argument}: got {given!r}; {error}") from None
    raise InputError(
        f"{argument}: got {given!r}, wants one of {', '.join(MATERIALS)}, or a formula with its "
        "density in g/cm³ such as Al2O3@3.95"
    )


def _float(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _sound(argument: str, given: Material) -> Material:
    """`given` itself, unless it was made by hand and cannot be."""
    try:
        shares = [share for z, share in given.elements if 1 <= z <= len(_WEIGHTS) and share > 0]
        whole = len(shares) == len(given.elements) and abs(sum(shares) - bool(shares)) < 1e-6
        sound = whole and (0.0 < given.density <= _DENSEST if shares else given.density == 0.0)
    except (TypeError, ValueError):
        sound = False
    if not sound:
        raise InputError(
            f"{argument}: got {given}, wants atomic numbers 1 to 92 with shares that sum to 1, and "
            f"a density up to {_DENSEST:g} g/cm³; vacuum has neither"
        )
    return given
