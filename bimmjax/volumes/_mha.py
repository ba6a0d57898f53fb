"""MetaImage (.mha, .mhd): a text header and plain or zlib-compressed voxels."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bimmjax._core.checks import InputError
from bimmjax.volumes._raw import map_voxels
from bimmjax.volumes._units import UNKNOWN, Spacing, from_metadata
from bimmjax.volumes._volume import Shape, Volume, check_grid, loaded_once

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def open_mha(path: Path) -> Volume:
    """A MetaImage; memory-mapped if plain, inflated at the first read if compressed.

    Raises
    ------
    InputError
        A damaged header, several channels, or voxels that are missing or of another size.
    """
    header, end = _header(path)
    shape, stored = _layout(path, header)
    data = header["ELEMENTDATAFILE"]
    voxels = path if data.upper() == "LOCAL" else path.parent / data
    if not voxels.is_file():
        raise InputError(f"source: got {path}, whose voxels {voxels} are not there")
    told = _spacing(header)
    size = voxels.stat().st_size
    offset = end if voxels == path else int(header.get("HEADERSIZE", "0") or 0)
    if offset < 0:  # MetaIO: whatever comes before the voxels at the file's end
        offset = max(size - shape[0] * shape[1] * shape[2] * stored.itemsize, 0)
    if header.get("COMPRESSEDDATA", "False").lower() != "true":
        return map_voxels(voxels, shape, stored, offset, "MetaImage", told, exact=False)
    return _inflated(path, voxels, shape, stored, offset, told)


def _header(path: Path) -> tuple[dict[str, str], int]:
    """Keys (upper case) up to `ElementDataFile`, and the byte after that line."""
    keys: dict[str, str] = {}
    with path.open("rb") as file:
        for _ in range(200):
            line = file.readline(4096)
            key, equals, value = line.decode("latin-1").partition("=")
            if not equals:
                break
            keys[key.strip().upper()] = value.strip()
            if key.strip().upper() == "ELEMENTDATAFILE":
                return keys, file.tell()
    raise InputError(
        f"source: got {path}, whose MetaImage header has no ElementDataFile; wants lines of "
        "'Key = value' that end with it"
    )


def _layout(path: Path, header: dict[str, str]) -> tuple[Shape, np.dtype[np.generic]]:
    kind = header.get("ELEMENTTYPE", "").upper()
    if kind not in _TYPES or header.get("ELEMENTNUMBEROFCHANNELS", "1") != "1":
        raise InputError(
            f"source: got {path} with ElementType {kind or 'unknown'} and "
            f"{header.get('ELEMENTNUMBEROFCHANNELS', '1')} channel(s), wants one grey value per "
            "voxel"
        )
    big = header.get("ELEMENTBYTEORDERMSB", header.get("BINARYDATABYTEORDERMSB", "False"))
    stored = np.dtype((">" if big.lower() == "true" else "<") + _TYPES[kind])
    try:
        sizes = [int(n) for n in header.get("DIMSIZE", "").split()]
    except ValueError:
        raise InputError(
            f"source: got {path} with DimSize = {header['DIMSIZE']!r}, wants three whole numbers"
        ) from None
    shape, _ = check_grid(sizes[::-1], stored, str(path))
    return shape, stored


def _spacing(header: dict[str, str]) -> tuple[Spacing, str]:
    """MetaImage leaves the unit open: ITK takes millimetres, microscopes do not."""
    text = header.get("ELEMENTSPACING", header.get("ELEMENTSIZE", ""))
    try:
        size = [float(s) for s in text.split()]
    except ValueError:
        return UNKNOWN
    return from_metadata(size[::-1], [None] * 3) if len(size) == 3 else UNKNOWN


def _inflated(
    path: Path,
    voxels: Path,
    shape: Shape,
    stored: np.dtype[np.generic],
    offset: int,
    told: tuple[Spacing, str],
) -> Volume:
    wanted = shape[0] * shape[1] * shape[2] * stored.itemsize

    def whole() -> npt.NDArray[np.generic]:
        # One zlib stream has no way in but from its start.
        with voxels.open("rb") as file:
            file.seek(offset)
            data = zlib.decompressobj().decompress(file.read(), wanted)
        if len(data) != wanted:
            raise InputError(
                f"source: got {path}, whose compressed voxels end after {len(data)} bytes; wants "
                f"{wanted} for shape (z, y, x) = {shape}"
            )
        return np.frombuffer(data, stored).reshape(shape)

    _, dtype = check_grid(shape, stored, str(path))
    return Volume(
        shape,
        dtype,
        loaded_once(whole),
        *told,
        path.name,
        shape,
        "MetaImage (zlib)",
    )
