"""From whatever the user has to a `Volume`: the formats, and which reader opens which."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from bimmjax._core.checks import InputError
from bimmjax.volumes._arrays import open_array
from bimmjax.volumes._units import resolve
from bimmjax.volumes._volume import Volume, guarded

FORMATS = (
    "OME-Zarr / zarr / N5 / neuroglancer precomputed (folder or URL)",
    "folder of TIFF slices",
    "TIFF (.tif, .tiff)",
    "HDF5 / NeXus (.h5, .hdf5, .nxs)",
    "NumPy (.npy)",
    "raw (.raw, .vol)",
    "MetaImage (.mha, .mhd)",
    "NRRD (.nrrd, .nhdr)",
)
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_HDF5 = (".h5", ".hdf5", ".hdf", ".he5", ".nxs", ".nx", ".nx5", ".nexus")


def open_volume(
    source: Any,
    *,
    spacing: object | None = None,
    unit: str | None = None,
    dataset: str | None = None,
    dtype: npt.DTypeLike | None = None,
    fill_missing: bool = True,
) -> Volume:
    """Open a 3D volume lazily: nothing but headers is read.

    Parameters
    ----------
    source : path, array or Volume
        A file or folder in one of the formats below, a URL of a chunked one, a 3D array (NumPy,
        JAX, zarr, dask, TensorStore, h5py), or a `Volume`.
    spacing : float or three floats, optional
        Voxel size along (z, y, x); beats what the file tells.
    unit : str, optional
        Unit of `spacing` ("nm", "um", "micrometer", ...). Without `spacing`, the unit in which
        the file's own voxel size shall be told.
    dataset : str, optional
        Path of the array within an HDF5 file or a zarr/N5 group, the level of an OME-Zarr image,
        the scale's key of a precomputed volume, or the number of a TIFF's image series.
        `"scan.h5::/entry/data"` says the same in one string.
    dtype : dtype, optional
        Sample type of a `.raw` or `.vol` file whose name does not tell it.
    fill_missing : bool
        Whether a chunk that a chunked format lacks reads as its fill value, as the formats have
        it; else reading it is an error, which tells lost files from empty space.

    Returns
    -------
    Volume

    Raises
    ------
    InputError
        A missing or damaged file, an unknown format, anything but three axes, complex or object
        values; the message names what it got and what it wants.

    Notes
    -----
    Formats: OME-Zarr 0.4 and 0.5 (level 0; time and channel axes must be of length one), zarr 2
    and 3, N5, neuroglancer precomputed; a folder of TIFF slices in natural order; a multi-page
    TIFF; HDF5 and NeXus; `.npy`; `.raw`/`.vol` with a PyHST `.info` file beside it or with a name
    such as `sand_100x200x50_uint16.raw`, whose numbers are x, y, z (x runs fastest); MetaImage;
    NRRD. Nothing is ever unpickled.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax import open_volume
    >>> volume = open_volume(np.zeros((20, 30, 40), np.uint16), spacing=0.65, unit="micrometer")
    >>> volume.shape, volume.spacing, volume.unit
    ((20, 30, 40), (0.65, 0.65, 0.65), 'um')
    """
    if isinstance(source, Volume):
        volume = source
    elif isinstance(source, str | os.PathLike):
        volume = _open_path(os.fspath(source), dataset, dtype, fill_missing)
    else:
        if dataset is not None or dtype is not None:
            raise InputError("dataset, dtype: want a path as source, not an array")
        volume = open_array(source)
    if spacing is None and unit is None:
        return volume
    size, short = resolve((volume.spacing, volume.unit), spacing, unit)
    return replace(volume, spacing=size, unit=short)


def _open_path(
    text: str, dataset: str | None, dtype: npt.DTypeLike | None, fill_missing: bool
) -> Volume:
    if "::" in text and not Path(text).exists():
        text, _, inside = text.partition("::")
        if dataset is not None and dataset.strip("/") != inside.strip("/"):
            raise InputError(f"dataset: got {dataset!r} and {inside!r} in the path, wants one")
        dataset = inside or None
    volume = _open_by_format(text, dataset, dtype, fill_missing)
    return replace(volume, reader=guarded(volume.reader, text))


def _open_by_format(
    text: str, dataset: str | None, dtype: npt.DTypeLike | None, fill_missing: bool
) -> Volume:
    if "://" in text:
        from bimmjax.volumes._zarr import open_chunked

        _refuse(text, dtype=dtype)
        return open_chunked(text, dataset, fill_missing=fill_missing)
    path = Path(text)
    try:
        exists, folder = path.exists(), path.is_dir()
    except (OSError, ValueError) as error:
        raise InputError(f"source: got {text!r}, which is no path ({error})") from None
    if not exists:
        raise InputError(f"source: got {text}, which does not exist; wants a file or a folder")
    if not os.access(path, os.R_OK | (os.X_OK if folder else 0)):
        raise InputError(f"source: got {text}, which you may not read; wants a readable path")
    if folder:
        _refuse(text, dtype=dtype)
        return _open_folder(path, dataset, fill_missing)
    kind = _kind_of_file(path)
    if kind != "raw":
        _refuse(text, dtype=dtype)
    if kind not in ("tiff", "hdf5"):
        _refuse(text, dataset=dataset)
    if kind == "tiff":
        from bimmjax.volumes._tiff import open_tiff

        return open_tiff(path, dataset)
    if kind == "hdf5":
        from bimmjax.volumes._hdf5 import open_hdf5

        return open_hdf5(path, dataset)
    if kind == "npy":
        from bimmjax.volumes._npy import open_npy

        return open_npy(path)
    if kind == "raw":
        from bimmjax.volumes._raw import open_raw

        return open_raw(path, dtype)
    if kind == "mha":
        from bimmjax.volumes._mha import open_mha

        return open_mha(path)
    if kind == "nrrd":
        from bimmjax.volumes._nrrd import open_nrrd

        return open_nrrd(path)
    if path.suffix.lower() in _ARCHIVES:
        raise InputError(f"source: got {text}, an archive; wants it unpacked first")
    raise InputError(f"source: got {text} of unknown format; wants {'; '.join(FORMATS)}")


def _open_folder(path: Path, dataset: str | None, fill_missing: bool) -> Volume:
    from bimmjax.volumes._tiff import is_tiff, open_folder
    from bimmjax.volumes._zarr import is_chunked, open_chunked

    # A dataset without metadata around it (an N5 array in a plain folder) is found from within.
    if is_chunked(path) or path.suffix.lower() == ".n5":
        return open_chunked(path, dataset, fill_missing=fill_missing)
    if dataset is not None and is_chunked(path / dataset.strip("/")):
        return open_chunked(path / dataset.strip("/"), fill_missing=fill_missing)
    files = [f for f in path.iterdir() if is_tiff(f) and not f.name.startswith(".")]
    if files:
        _refuse(str(path), dataset=dataset)
        return open_folder(path, files)
    raise InputError(
        f"source: got {path}, a folder with neither TIFF slices nor zarr, N5 or precomputed "
        f"metadata; wants {'; '.join(FORMATS)}"
    )


def _kind_of_file(path: Path) -> str | None:
    """By the first bytes, which do not lie, then by the suffix, which may be all there is."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise InputError(f"source: got {path}, which cannot be read ({error.strerror})") from None
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"NRRD0"):
        return "nrrd"
    suffix = path.suffix.lower()
    if suffix in (".raw", ".vol", ".info"):
        return "raw"  # before TIFF, whose mark of four bytes may be voxels here
    if suffix in (".mha", ".mhd"):
        return "mha"
    if suffix in (".nrrd", ".nhdr"):
        return "nrrd"
    if suffix == ".npy":
        return "npy"
    if suffix in _HDF5:
        return "hdf5"
    if suffix in (".tif", ".tiff", ".btf", ".tf8") or head[:4] in (
        b"II*\0",
        b"MM\0*",
        b"II+\0",
        b"MM\0+",
    ):
        return "tiff"
    return None


def _refuse(text: str, **given: object) -> None:
    """Options that mean nothing for this source are refused, not ignored."""
    for name, value in given.items():
        if value is not None:
            raise InputError(f"{name}: got {value!r} for {text}, which takes none")
