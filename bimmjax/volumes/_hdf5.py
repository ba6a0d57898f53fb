"""HDF5 and NeXus: one 3D dataset of a file, its chunks read on demand."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bimmjax._core.checks import InputError
from bimmjax.volumes._units import UNKNOWN, Spacing, from_metadata
from bimmjax.volumes._volume import Volume, check_grid, one_line

_CACHE_BYTES = 2**26  # the library's own 1 MiB is less than one chunk of a tomogram


def open_hdf5(path: Path, dataset: str | None = None) -> Volume:
    """The named 3D dataset, or the only one there is.

    Raises
    ------
    InputError
        Not HDF5 (or truncated), no or several candidates, or a compression this machine lacks.
    """
    import h5py

    try:
        file = h5py.File(path, "r", rdcc_nbytes=_CACHE_BYTES)
    except OSError as error:
        raise InputError(
            f"source: got {path}, which is not a readable HDF5 file ({one_line(error)})"
        ) from error
    data = _named(path, file, dataset) if dataset is not None else _only(path, file)
    what = f"{path}::{data.name}"
    shape, dtype = check_grid(data.shape or (), data.dtype, what)
    _check_filters(what, data)
    spacing, unit = _spacing(data)

    def read(z: slice, y: slice, x: slice) -> npt.NDArray[np.generic]:
        return np.asarray(data[z, y, x])

    chunks = data.chunks or (1, shape[1], shape[2])
    name = f"{path.name}::{data.name}"
    return Volume(shape, dtype, read, spacing, unit, name, chunks, "HDF5")


def _named(path: Path, file: Any, dataset: str) -> Any:
    import h5py

    try:
        found = file.get(dataset)
    except (KeyError, OSError, ValueError) as error:
        raise InputError(
            f"dataset: got {dataset!r}, which cannot be opened ({one_line(error)})"
        ) from error
    if not isinstance(found, h5py.Dataset):
        what = "is a group" if found is not None else "is not there"
        raise InputError(
            f"dataset: got {dataset!r}, which {what} in {path}; wants {_told(_candidates(file))}"
        )
    return found


def _only(path: Path, file: Any) -> Any:
    candidates = _candidates(file)
    if len(candidates) != 1:
        raise InputError(f"dataset: got none for {path}, wants {_told(candidates)}")
    return file[candidates[0]]


def _candidates(file: Any) -> list[str]:
    """Paths of the 3D datasets of numbers."""
    import h5py

    found: list[str] = []

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim == 3 and item.dtype.kind in "iufb":
            found.append("/" + name)

    file.visititems(look)
    return found


def _told(candidates: list[str]) -> str:
    if not candidates:
        return "a 3D dataset of numbers, and the file has none"
    more = ", ..." if len(candidates) > 20 else ""
    return "one of " + ", ".join(candidates[:20]) + more


def _check_filters(what: str, data: Any) -> None:
    """A missing decompressor is told now, not at the first block."""
    import h5py

    plist = data.id.get_create_plist()
    filters = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    if all(h5py.h5z.filter_avail(f[0]) for f in filters):
        return
    with contextlib.suppress(ImportError):
        importlib.import_module("hdf5plugin")  # registers its filters
    for f in filters:
        if not h5py.h5z.filter_avail(f[0]):
            label = f[3].decode(errors="replace") or f[0]
            raise InputError(
                f"source: got {what}, compressed by filter {f[0]} ({label}), which is not "
                "installed; wants the package hdf5plugin"
            )


def _spacing(data: Any) -> tuple[Spacing, str]:
    """`element_size_um` (Fiji, ilastik) or the axes of a NeXus NXdata group."""
    size = data.attrs.get("element_size_um")
    if size is not None and np.shape(size) == (3,):
        return from_metadata([float(s) for s in size], ["um"] * 3)
    axes = data.parent.attrs.get("axes")
    if axes is None or np.shape(axes) != (3,):
        return UNKNOWN
    steps: list[float] = []
    units: list[str | None] = []
    for name, length in zip(axes, data.shape, strict=True):
        axis = data.parent.get(name.decode() if isinstance(name, bytes) else str(name))
        step = _uniform_step(axis, length)
        if step is None:
            return UNKNOWN
        steps.append(step)
        told = axis.attrs.get("units")
        units.append(told.decode() if isinstance(told, bytes) else told)
    return from_metadata(steps, units)


def _uniform_step(axis: Any, length: int) -> float | None:
    """Distance between the coordinates along one axis, if they are evenly spaced."""
    if axis is None or np.shape(axis) != (length,) or length < 2 or axis.dtype.kind not in "iuf":
        return None
    positions = np.asarray(axis, dtype=np.float64)
    step = (positions[-1] - positions[0]) / (length - 1)
    if not np.allclose(np.diff(positions), step, rtol=1e-3, atol=0.0):
        return None
    return float(f"{abs(step):.6g}")
