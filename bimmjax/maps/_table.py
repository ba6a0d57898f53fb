"""The flat table: one row a block, written a part at a time."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bimmjax.maps._folder import new_file
from bimmjax.maps._meaning import meaning_of
from bimmjax.maps._store import MapStore
from bimmjax.maps._windows import Unit

if TYPE_CHECKING:
    from bimmjax.maps._maps import Maps

# Few enough to hold, many enough for Parquet's groups of rows.
_ROWS = 2**15


def write_table(maps: Maps, folder: str | os.PathLike[str]) -> list[Path]:
    """Write `blocks.csv`, and `blocks.parquet` where pyarrow can be imported.

    Rows lie in C order of (time,) z, y, x. Columns are those of `Maps.table`; NaN is an empty
    field in the CSV. Memory does not grow with the number of blocks.

    Parameters
    ----------
    maps : Maps
    folder : path
        Exists; may be that of the maps.

    Returns
    -------
    list of Path
        What was written. Each file appears whole.

    Raises
    ------
    InputError
        A file cannot be written, or the maps cannot be read.

    Examples
    --------
    >>> write_table(maps, maps.path)  # doctest: +SKIP
    [PosixPath('MAPS.zarr/blocks.csv')]
    """
    paths = [Path(folder) / "blocks.csv"]
    with new_file(paths[0]) as partial:
        _write_csv(maps.store, partial)
    if importlib.util.find_spec("pyarrow") is not None:
        paths.append(Path(folder) / "blocks.parquet")
        with new_file(paths[1]) as partial:
            _write_parquet(maps.store, partial)
    return paths


def rows(store: MapStore) -> Iterator[dict[str, np.ndarray]]:
    """The table in parts, column by column; all parts together in C order."""
    for time in range(store.description.volumes):
        for part in _parts(store):
            corner = _first_voxels(store, part)
            if store.times is not None:
                corner = {"time": np.full(part.windows, store.times[time]), **corner}
            values = {name: store.read(name, time, part).ravel() for name in store.columns}
            yield corner | values


def _parts(store: MapStore) -> Iterator[Unit]:
    """Boxes of whole chunks, so that none is read twice, in C order of their windows."""
    depth, height, width = store.windows.shape
    thick, tall, _ = store.windows.chunk
    layers = max(1, _ROWS // (thick * height * width)) * thick
    # Chunks of several layers hold whole layers; those of one may split it.
    lines = height if layers > 1 else min(height, max(1, _ROWS // (tall * width)) * tall)
    for z in range(0, depth, layers):
        for y in range(0, height, lines):
            yield Unit((z, y, 0), (min(layers, depth - z), min(lines, height - y), width))


def _first_voxels(store: MapStore, part: Unit) -> dict[str, np.ndarray]:
    windows = store.windows
    index = np.indices(part.shape).reshape(3, -1)
    return {
        axis: (windows.origin[i] + (part.start[i] + index[i]).astype(np.int64) * windows.stride[i])
        for i, axis in enumerate("zyx")
    }


def _write_csv(store: MapStore, path: Path) -> None:
    with path.open("w", encoding="ascii", newline="") as file:
        line = ""
        for part in rows(store):
            if not line:
                file.write(",".join(part) + "\n")
                line = ",".join(_format(values) for values in part.values()) + "\n"
            numbers = zip(*(values.tolist() for values in part.values()), strict=True)
            file.write("".join(map(line.__mod__, numbers)).replace("nan", ""))


def _format(values: np.ndarray) -> str:
    if values.dtype.kind != "f":
        return "%d"
    # As many digits as a float32 is sure of.
    return "%.7g" if values.dtype.itemsize == 4 else "%.12g"


def _write_parquet(store: MapStore, path: Path) -> None:
    pyarrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    writer: Any = None
    try:
        for part in rows(store):
            if writer is None:
                schema = pyarrow.schema([_field(store, *column) for column in part.items()])
                writer = parquet.ParquetWriter(path, schema, compression="zstd")
            writer.write_table(pyarrow.table(part, schema=writer.schema))
    finally:
        if writer is not None:
            writer.close()


def _field(store: MapStore, name: str, values: np.ndarray) -> Any:
    """A column with what is known of it."""
    pyarrow = importlib.import_module("pyarrow")
    unit = "voxel" if name in ("z", "y", "x") else store.description.unit_of(name)
    known = {"unit": unit, "meaning": meaning_of(name)}
    return pyarrow.field(name, pyarrow.from_numpy_dtype(values.dtype), metadata=known)
