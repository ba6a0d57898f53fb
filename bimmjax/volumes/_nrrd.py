"""NRRD by pynrrd: memory-mapped if plain, read whole at the first block if compressed."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.volumes._raw import map_voxels
from bimmjax.volumes._units import UNKNOWN, Spacing, from_metadata
from bimmjax.volumes._volume import Volume, check_grid, loaded_once, one_line

_TYPES = {
    spelling: code
    for code, spellings in (
        ("i1", ("char", "int8")),
        ("u1", ("uchar", "unsigned char", "uint8")),
        ("i2", ("short", "int16")),
        ("u2", ("ushort", "unsigned short", "uint16")),
        ("i4", ("int", "int32")),
        ("u4", ("uint", "unsigned", "unsigned int", "uint32")),
        ("i8", ("longlong", "long long", "int64")),
        ("u8", ("ulonglong", "unsigned long long", "uint64")),
        ("f4", ("float",)),
        ("f8", ("double",)),
    )
    for spelling in spellings
}


def open_nrrd(path: Path) -> Volume:
    """A 3D NRRD with attached or detached voxels.

    Raises
    ------
    InputError
        pynrrd is not installed, or the file is damaged or not a 3D volume of grey values.
    """
    try:
        nrrd: Any = importlib.import_module("nrrd")
    except ImportError:
        raise InputError(
            f"source: got {path}, a NRRD file; wants the package pynrrd to be installed"
        ) from None
    try:
        with path.open("rb") as file:
            header = nrrd.read_header(file)
            offset = file.tell()
        sizes = [int(n) for n in header["sizes"]]
        stored = _stored(header)
    except Exception as error:  # pynrrd raises its own, KeyError, ValueError and more
        raise InputError(
            f"source: got {path}, whose NRRD header cannot be read ({one_line(error)})"
        ) from error
    shape, dtype = check_grid(sizes[::-1], stored, str(path))
    told = _spacing(header)
    attached = "data file" not in header and "datafile" not in header
    if attached and header.get("encoding") == "raw" and not _skips(header):
        return map_voxels(path, shape, stored, offset, "NRRD", told, exact=False)

    reader = loaded_once(lambda: nrrd.read(str(path), index_order="C")[0])
    return Volume(shape, dtype, reader, *told, path.name, shape, "NRRD")


def _stored(header: dict[str, Any]) -> np.dtype[np.generic]:
    """Sample type and byte order; the format has several spellings of each type."""
    kind = re.sub(r"^signed | int$|_t$", "", header["type"].strip())
    code = _TYPES[kind]
    return np.dtype((">" if header.get("endian") == "big" else "<") + code)


def _skips(header: dict[str, Any]) -> bool:
    keys = ("line skip", "lineskip", "byte skip", "byteskip")
    return any(int(header.get(key, 0)) != 0 for key in keys)


def _spacing(header: dict[str, Any]) -> tuple[Spacing, str]:
    """`spacings`, or the lengths of the `space directions`; x comes first."""
    size = header.get("spacings")
    units = header.get("units")
    if size is None and "space directions" in header:
        size = np.linalg.norm(np.asarray(header["space directions"], np.float64), axis=-1)
        units = header.get("space units")
    if size is None or np.shape(size) != (3,):
        return UNKNOWN
    names = list(units) if units is not None and len(units) == 3 else [None] * 3
    return from_metadata([float(f"{s:.12g}") for s in size][::-1], names[::-1])
