"""Raw voxels without a header: shape and sample type from a PyHST `.info` file or the name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from bimmjax._core.checks import InputError
from bimmjax.volumes._units import UNKNOWN, Spacing, from_metadata
from bimmjax.volumes._volume import Shape, Volume, check_grid

_DIMENSIONS = re.compile(r"(?<!\d)(\d+)x(\d+)x(\d+)(?!\d)", re.IGNORECASE)
_TYPE = re.compile(r"(?<![a-z0-9])(u?int(?:8|16|32|64)|float(?:16|32|64))(?![0-9])", re.IGNORECASE)
# Names of sample types in `.info` files besides NumPy's own.
_NAMES = {
    "unsignedbyte": "uint8",
    "unsignedshort": "uint16",
    "signedshort": "int16",
    "short": "int16",
    "signedinteger": "int32",
    "unsignedinteger": "uint32",
    "floatvalue": "float32",
    "float": "float32",
    "doublevalue": "float64",
    "double": "float64",
    "byte": "uint8",
}


def open_raw(path: Path, dtype: npt.DTypeLike | None = None) -> Volume:
    """A memory-mapped file of voxels, x running fastest.

    Shape: from `NAME.raw.info` or `NAME.info` beside the file (PyHST), else from the name, where
    `100x200x50` is x, y, z. Sample type: `dtype`, else a key of the info file, else the name.

    Raises
    ------
    InputError
        No shape or no sample type to be had, a wrong info file, or a file of another size.
    """
    if path.suffix.lower() == ".info":
        path = _data_of(path)
    info_path = next((p for p in _sidecars(path) if p.is_file()), None)
    spacing, unit = UNKNOWN
    order = None
    told = None if dtype is None else _check_dtype(dtype)
    if info_path is not None:
        info = read_info(info_path)
        shape = _info_shape(info_path, info)
        spacing, unit = _info_spacing(info)
        order = _info_order(info)
        told = told or _info_dtype(info_path, info)
    else:
        match = _DIMENSIONS.search(path.name)
        if match is None:
            raise InputError(
                f"source: got {path} without {path.name}.info beside it and without a shape in "
                "its name; wants either, such as sand_100x200x50_uint16.raw (x, y, z)"
            )
        x, y, z = (int(n) for n in match.groups())
        shape = (z, y, x)
    if told is None and (match := _TYPE.search(path.name)) is not None:
        told = np.dtype(match[1].lower())
    if told is None:
        raise InputError(
            f"dtype: got none for {path}, and neither its name nor an info file tells it; wants "
            f"one{_sizes_that_fit(path, shape)}"
        )
    if order is not None and told.byteorder != ">":
        told = told.newbyteorder(order)
    return map_voxels(path, shape, told, 0, "raw", (spacing, unit))


def map_voxels(
    path: Path,
    shape: Shape,
    stored: np.dtype[np.generic],
    offset: int,
    kind: str,
    told: tuple[Spacing, str],
    *,
    exact: bool = True,
) -> Volume:
    """A memory map over C-ordered (z, y, x) voxels that must fill the file from `offset` on."""
    shape, dtype = check_grid(shape, stored, str(path))
    wanted = offset + shape[0] * shape[1] * shape[2] * stored.itemsize
    size = path.stat().st_size
    if size < wanted or (exact and size != wanted):
        raise InputError(
            f"source: got {path} of {size} bytes, wants {wanted} for shape (z, y, x) = {shape} "
            f"of {np.dtype(stored)}" + (f" after a header of {offset} bytes" if offset else "")
        )
    voxels = np.memmap(path, stored, "r", offset, shape)
    return Volume(
        shape,
        dtype,
        lambda z, y, x: voxels[z, y, x],
        *told,
        path.name,
        (1, shape[1], shape[2]),
        kind,
    )


def read_info(path: Path) -> dict[str, str]:
    """The keys (upper case) of a PyHST info file, whose first line begins `! PyHST`."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"source: got {path}, which cannot be read ({error.strerror})") from None
    first = lines[0].strip() if lines else ""
    if re.match(r"%?\s*!\s*PyHST", first, re.IGNORECASE) is None:
        raise InputError(
            f"source: got {path} with first line {first[:60]!r}, wants '! PyHST...' or "
            "'%! PyHST...'"
        )
    keys: dict[str, str] = {}
    for line in lines[1:]:
        key, equals, value = re.split(r"[!#]", line, maxsplit=1)[0].partition("=")
        if equals:
            keys[key.strip().upper()] = value.strip()
    return keys


def _info_shape(path: Path, info: dict[str, str]) -> Shape:
    numbers: list[int] = []
    for key in ("NUM_Z", "NUM_Y", "NUM_X"):
        text = info.get(key, "")
        if not text.isdigit() or int(text) < 1:
            got = f"{key} = {text!r}" if key in info else f"no {key}"
            raise InputError(
                f"source: got {path} with {got}, wants NUM_X, NUM_Y and NUM_Z as whole numbers "
                "above 0"
            )
        numbers.append(int(text))
    return (numbers[0], numbers[1], numbers[2])


def _info_dtype(path: Path, info: dict[str, str]) -> np.dtype[np.generic] | None:
    for key in ("DATATYPE", "DATA_TYPE", "DTYPE"):
        if key in info:
            name = info[key].strip("'\"").lower()
            try:
                return _check_dtype(_NAMES.get(name, name))
            except InputError:
                raise InputError(
                    f"source: got {path} with {key} = {info[key]!r}, wants a sample type such as "
                    "uint16 or float32"
                ) from None
    return None


def _info_order(info: dict[str, str]) -> Literal["<", ">"] | None:
    told = info.get("BYTEORDER", "").upper()
    return "<" if told == "LOWBYTEFIRST" else ">" if told == "HIGHBYTEFIRST" else None


def _info_spacing(info: dict[str, str]) -> tuple[Spacing, str]:
    """PyHST's `voxelSize` is in micrometres."""
    try:
        size = float(info.get("VOXELSIZE", ""))
    except ValueError:
        return UNKNOWN
    return from_metadata([size] * 3, ["um"] * 3)


def _check_dtype(dtype: npt.DTypeLike) -> np.dtype[np.generic]:
    try:
        told = np.dtype(dtype)
    except TypeError:
        told = None
    if told is None or told.kind not in "iufb":
        raise InputError(f"dtype: got {dtype!r}, wants a sample type such as uint16 or float32")
    return told


def _sizes_that_fit(path: Path, shape: Shape) -> str:
    voxels = shape[0] * shape[1] * shape[2]
    per_voxel, rest = divmod(path.stat().st_size, voxels)
    names = {1: "uint8, int8", 2: "uint16, int16, float16", 4: "float32, uint32, int32"}
    if rest or per_voxel not in names:
        return f", such as uint16; {voxels} voxels of {shape} do not fill the file evenly"
    return f" of {per_voxel} byte(s) per voxel: {names[per_voxel]}"


def _sidecars(path: Path) -> tuple[Path, ...]:
    return (path.with_name(path.name + ".info"), path.with_suffix(".info"))


def _data_of(info: Path) -> Path:
    """The voxels beside an info file that was given in their place."""
    stem = info.with_suffix("")
    for candidate in (stem, stem.with_suffix(".raw"), stem.with_suffix(".vol")):
        if candidate.suffix.lower() in (".raw", ".vol") and candidate.is_file():
            return candidate
    raise InputError(f"source: got {info} without its voxels, wants {stem} beside it")
