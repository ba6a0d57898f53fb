"""Thicknesses, or positions of faces, that someone else has measured: CSV, plain text or JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError, whole_number
from bimmjax.fib._thickness.result import Thickness, check_absurd, fit_gamma
from bimmjax.volumes._units import check_unit, convert_length, normalise_unit

_COLUMNS = ("thickness", "position", "positions", "z")
# "thickness", "slice thickness (nm)", "z_um" and the like.
_NAME = re.compile(
    r"(?:slice[ _])?(thickness|positions?|z)(?:[ _]*[\[(](?P<a>[^\[\]()]+)[\])]|[ _](?P<b>\S+))?"
)


def read_thickness(
    path: str | Path, slices: int | None = None, *, unit: str | None = None
) -> Thickness:
    r"""Thicknesses of slices from a file.

    Parameters
    ----------
    path : file
        One number a line; or a table (commas, semicolons, tabs or blanks) whose header names a
        column `thickness`, or `position` or `z`: depths of the faces, ascending; or JSON: a list
        of thicknesses. Lines that begin with # are left out. The name may be followed by a unit:
        `thickness (um)`, `z_nm`.
    slices : int, optional
        Of the stack: n slices have n - 1 thicknesses, or n positions.
    unit : str, optional
        In which thicknesses are wanted, as that of the volume: what a file tells in another one is
        converted, and without a unit of its own is taken to be in this one. Default: numbers as
        they are in the file, as for "unit", a volume's where nobody has told it.

    Returns
    -------
    Thickness
        No outliers, no standard errors.

    Raises
    ------
    InputError
        A file that cannot be read; the line and what is wrong in it: a word, NaN, a thickness
        that is not above 0 or above 20 times the median; another number of thicknesses; a length in
        the file where `unit` is "voxel", or the other way round.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from bimmjax.fib import read_thickness
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "slices.csv"
    >>> _ = path.write_text("slice,position\n1,0.0\n2,9.5\n3,21.0\n")
    >>> read_thickness(path, slices=3).thickness
    array([ 9.5, 11.5])
    """
    path = Path(path)
    if slices is not None:
        slices = whole_number("slices", slices, 2, 2**31 - 1)
    unit = "unit" if unit is None else check_unit(unit)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"path: got {path}, which does not exist; wants a file") from None
    except UnicodeDecodeError:
        raise InputError(f"path: got {path}, which is not text, wants CSV or JSON") from None
    except OSError as error:
        raise InputError(f"path: got {path} ({error.strerror}), wants a readable file") from None
    if text.lstrip().startswith(("[", "{")):
        column, own, (numbers, places) = "thickness", "unit", _from_json(path, text)
    else:
        column, own, numbers, places = _from_lines(path, text)
    if not numbers:
        raise InputError(f"path: got {path} without a number, wants thicknesses")
    values = np.array(numbers)
    faces = column != "thickness"
    if faces and values.size < 2:
        raise InputError(f"path: got {path} with a single position, wants at least 2")
    each = np.diff(values) if faces else values
    bad = np.flatnonzero(each <= 0)
    if bad.size:
        where, value = places[bad[0] + faces], values[bad[0] + faces]
        wants = "positions that ascend" if faces else "a thickness above 0"
        raise InputError(f"path: got {value:g} at {where} of {path}, wants {wants}")
    check_absurd("path", each, f" in {path}")
    wanted = None if slices is None else slices - (0 if faces else 1)
    if wanted is not None and values.size != wanted:
        raise InputError(
            f"path: got {path} with {values.size} {'positions' if faces else 'thicknesses'}, "
            f"wants {wanted} for {slices} slices"
        )
    each = each * _factor(path, own, unit)
    unknown, none = np.full(each.size, np.nan), np.zeros(each.size, bool)
    return Thickness(each, each.copy(), unknown, none, fit_gamma(each), "file")


def _factor(path: Path, own: str, wanted: str) -> float:
    """What turns lengths in the file's own unit into those that are wanted."""
    if "unit" in (own, wanted) or own == wanted:
        return 1.0
    if "voxel" in (own, wanted):
        raise InputError(f"path: got {own} in {path}, wants {wanted}")
    return convert_length(1.0, own, wanted)


def _from_json(path: Path, text: str) -> tuple[list[float], list[str]]:
    try:
        found: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"path: got {path}, which is no JSON (line {error.lineno}: {error.msg}), wants a list"
        ) from None
    if not isinstance(found, list):
        raise InputError(f"path: got {path} with a JSON {type(found).__name__}, wants a list")
    places = [f"item {i + 1}" for i in range(len(found))]
    return [_number(path, place, v) for place, v in zip(places, found, strict=True)], places


def _from_lines(path: Path, text: str) -> tuple[str, str, list[float], list[str]]:
    """What the column is, its unit ("unit": none is told), its numbers, and where they are."""
    numbered = [(i + 1, line.strip()) for i, line in enumerate(text.splitlines())]
    lines = [(i, line) for i, line in numbered if line and not line.startswith("#")]
    column, own, at = "thickness", "unit", 0
    if lines and not _is_number(_cells(lines[0][1])[0]):
        cells = _header(lines[0][1], len(_cells(lines[1][1])) if len(lines) > 1 else 1)
        known = {}
        for k, cell in enumerate(cells):
            name, unit = _named(cell)
            known.setdefault(name, (unit, k))
        column = next((name for name in _COLUMNS if name in known), "")
        if not column:
            raise InputError(
                f"path: got {lines[0][1]!r} at line {lines[0][0]} of {path}, wants numbers, or a "
                "header with thickness, position or z"
            )
        (own, at), lines = known[column], lines[1:]
    elif lines and len(_cells(lines[0][1])) > 1:
        raise InputError(
            f"path: got {len(_cells(lines[0][1]))} columns and no header in {path}, wants a header "
            "with thickness, position or z"
        )
    numbers, places = [], []
    for i, line in lines:
        cells = _cells(line)
        places.append(f"line {i}")
        numbers.append(_number(path, places[-1], cells[at] if at < len(cells) else ""))
    return column, own, numbers, places


def _header(line: str, columns: int) -> list[str]:
    """Names of columns: blanks part them only where they are as many as the columns then."""
    cells = _cells(line)
    parted = re.split(r"\s+(?![\[(])", line)
    if len(cells) == 1 and columns > 1:
        return parted if len(parted) == columns else []
    return cells


def _named(cell: str) -> tuple[str, str]:
    """The name of a column and its unit; "" if it is none that is known."""
    found = _NAME.fullmatch(cell.lower())
    unit = normalise_unit(found["a"] or found["b"] or "unit") if found else None
    return ("", "unit") if found is None or unit is None else (found[1], unit)


def _cells(line: str) -> list[str]:
    for separator in (";", "\t", ","):
        if separator in line:
            return [cell.strip().strip('"') for cell in line.split(separator)]
    return line.split() if _is_number(line.split()[0]) else [line.strip('"')]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(path: Path, place: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        number = np.nan
    else:
        number = float(value) if _is_number(str(value)) else np.nan
    if not np.isfinite(number):
        raise InputError(f"path: got {value!r} at {place} of {path}, wants a number")
    return number
