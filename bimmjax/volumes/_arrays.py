"""Arrays as they are: NumPy, JAX, zarr, dask, TensorStore, h5py, and what quacks like them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bimmjax._core.checks import InputError
from bimmjax.volumes._volume import Reader, Shape, Volume, check_grid, memory_chunks


def open_array(source: Any, name: str = "array") -> Volume:
    """A lazy volume over an array, without copying or reading it.

    Raises
    ------
    InputError
        Not an array, not 3D, or not of grey values.
    """
    if isinstance(source, np.ma.MaskedArray):
        raise InputError(
            "source: got a masked array, wants a plain one: fill the masked voxels (with NaN, "
            "say) first"
        )
    if not (hasattr(source, "shape") and hasattr(source, "dtype")):
        raise InputError(
            f"source: got {type(source).__name__}, wants a path, or an array with three axes "
            "(z, y, x)"
        )
    library = type(source).__module__.split(".")[0]
    kind = {"numpy": "NumPy", "jax": "JAX", "jaxlib": "JAX", "tensorstore": "TensorStore"}.get(
        library, library
    )
    if library == "tensorstore":
        return _open_tensorstore(source, name)
    try:
        own = np.dtype(source.dtype)
    except TypeError:
        raise InputError(
            f"source: got an array of dtype {source.dtype}, wants integers, floats or bool"
        ) from None
    shape, dtype = check_grid(source.shape, own, f"a {kind} array")
    read, chunks = _reader(source, library, shape)
    return Volume(shape, dtype, read, name=name, chunks=chunks, format=f"{kind} array")


def _reader(source: Any, library: str, shape: Shape) -> tuple[Reader, Shape]:
    if isinstance(source, np.ndarray):
        view: npt.NDArray[Any] = source.view(np.ndarray)
        return (lambda z, y, x: view[z, y, x]), memory_chunks(shape, view.strides)
    if library in ("jax", "jaxlib"):
        # Whole, once, at the first read: JAX keeps the host copy, and slicing on the device
        # would compile a program per shape of block.
        return (lambda z, y, x: np.asarray(source)[z, y, x]), (1, shape[1], shape[2])
    chunks = _chunks(source, shape)
    if library == "dask":
        # One thread per read: `stream` reads several blocks at once already.
        return (lambda z, y, x: np.asarray(source[z, y, x].compute(scheduler="sync"))), chunks
    return (lambda z, y, x: np.asarray(source[z, y, x])), chunks


def _chunks(source: Any, shape: Shape) -> Shape:
    chunks = getattr(source, "chunksize", None) or getattr(source, "chunks", None)
    if isinstance(chunks, tuple) and len(chunks) == 3 and all(isinstance(c, int) for c in chunks):
        z, y, x = (min(max(c, 1), n) for c, n in zip(chunks, shape, strict=True))
        return (z, y, x)
    return (1, shape[1], shape[2])


def _open_tensorstore(source: Any, name: str) -> Volume:
    import tensorstore as ts

    shape, dtype = check_grid(source.shape, source.dtype.numpy_dtype, "a TensorStore array")
    return store_volume(source[ts.d[:].translate_to[0]], shape, dtype, name, "TensorStore array")


def store_volume(
    store: Any, shape: Shape, dtype: np.dtype[np.generic], name: str, kind: str
) -> Volume:
    """A volume over an open 3D TensorStore whose domain starts at the origin."""

    def read(z: slice, y: slice, x: slice) -> npt.NDArray[np.generic]:
        return store[z.start : z.stop, y.start : y.stop, x.start : x.stop].read().result()

    grid = store.chunk_layout.read_chunk.shape or shape
    z, y, x = (min(int(c or n), n) for c, n in zip(grid, shape, strict=True))
    return Volume(shape, dtype, read, name=name, chunks=(z, y, x), format=kind)
