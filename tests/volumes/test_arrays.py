from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import dask.array
import h5py
import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore as ts
import zarr

from bimmjax import InputError, Volume, open_volume


def _h5py(data: np.ndarray, folder: Path):
    return h5py.File(folder / "a.h5", "w").create_dataset("a", data=data, chunks=(3, 4, 5))


def _zarr(data: np.ndarray, folder: Path):
    out = zarr.create_array(
        str(folder / "a.zarr"), shape=data.shape, chunks=(3, 4, 5), dtype=data.dtype
    )
    out[:] = data
    return out


LIBRARIES = {
    "NumPy": lambda data, _: data,
    "JAX": lambda data, _: jnp.asarray(data),
    "dask": lambda data, _: dask.array.from_array(data, chunks=cast(Any, (3, 4, 5))),
    "TensorStore": lambda data, _: ts.array(data),
    "h5py": _h5py,
    "zarr": _zarr,
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_arrays_are_taken_as_they_are(
    library: str, grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    volume = open_volume(LIBRARIES[library](grey, tmp_path))
    assert (volume.shape, volume.dtype) == (grey.shape, grey.dtype)
    assert (volume.spacing, volume.unit) == ((1.0, 1.0, 1.0), "voxel")
    assert volume.format == f"{library} array"
    np.testing.assert_array_equal(whole(volume), grey)
    part = volume.read(slice(2, 5), slice(1, -1), slice(4, None))
    np.testing.assert_array_equal(part, grey[2:5, 1:-1, 4:])
    assert part.flags.c_contiguous


@pytest.mark.parametrize("library", ["dask", "h5py", "zarr"])
def test_chunks_of_arrays_are_known(library: str, grey: np.ndarray, tmp_path: Path):
    assert open_volume(LIBRARIES[library](grey, tmp_path)).chunks == (3, 4, 5)


def test_dask_stays_lazy():
    def fail(block: Any):
        raise RuntimeError("computed")

    data = dask.array.zeros((4, 4, 4), chunks=2, dtype=np.uint8).map_blocks(fail, dtype=np.uint8)
    volume = open_volume(data)
    with pytest.raises(RuntimeError, match="computed"):
        volume.read(slice(0, 1), slice(0, 1), slice(0, 1))


def test_what_is_read_is_a_copy(grey: np.ndarray, whole: Callable[..., np.ndarray]):
    volume = open_volume(grey)
    before = grey.copy()
    whole(volume)[...] = 0
    np.testing.assert_array_equal(grey, before)


def test_byte_order_and_memory_order_become_native(
    grey: np.ndarray, whole: Callable[..., np.ndarray]
):
    volume = open_volume(np.asfortranarray(grey.astype(">u2")))
    assert volume.dtype == np.dtype(np.uint16)
    assert volume.dtype.isnative
    assert volume.chunks == (9, 12, 1)
    data = whole(volume)
    assert data.dtype.isnative
    assert data.flags.c_contiguous
    np.testing.assert_array_equal(data, grey)


def test_bool_is_taken_as_uint8(grey: np.ndarray, whole: Callable[..., np.ndarray]):
    volume = open_volume(grey > 30000)
    assert volume.dtype == np.uint8
    np.testing.assert_array_equal(whole(volume), (grey > 30000).astype(np.uint8))


def test_tensorstore_may_start_elsewhere(grey: np.ndarray, whole: Callable[..., np.ndarray]):
    store = ts.array(grey)[ts.d[:].translate_by[5, -3, 2]]
    np.testing.assert_array_equal(whole(open_volume(store)), grey)


@pytest.mark.parametrize("shape", [(), (5,), (5, 5), (5, 5, 5, 5), (1, 5, 5, 5)])
def test_only_three_axes(shape: tuple[int, ...]):
    with pytest.raises(InputError, match=rf"source: got .*{len(shape)} dimensions.*wants a 3D"):
        open_volume(np.zeros(shape))


@pytest.mark.parametrize("dtype", [np.complex64, object, "U3", "S3", "M8[s]", "V4", "u1,u2"])
def test_only_grey_values(dtype: Any):
    with pytest.raises(InputError, match=r"source: got .* of dtype .*; wants grey values"):
        open_volume(np.zeros((4, 4, 4), dtype))


def test_bfloat16_is_refused_in_words():
    with pytest.raises(InputError, match="bfloat16"):
        open_volume(jnp.zeros((4, 4, 4), jnp.bfloat16))


def test_empty_axis_is_refused():
    with pytest.raises(InputError, match=r"shape \(4, 0, 4\); wants at least one voxel"):
        open_volume(np.zeros((4, 0, 4)))


@pytest.mark.parametrize("source", [None, 3, [[[1]]], {"a": 1}])
def test_what_is_no_array_is_refused(source: Any):
    with pytest.raises(InputError, match=r"source: got \w+, wants a path, or an array"):
        open_volume(source)


def test_masked_arrays_are_refused():
    with pytest.raises(InputError, match="masked array, wants a plain one"):
        open_volume(np.ma.masked_equal(np.zeros((4, 4, 4)), 0))


def test_options_of_files_are_refused_for_arrays(grey: np.ndarray):
    with pytest.raises(InputError, match="dataset, dtype: want a path"):
        open_volume(grey, dataset="a")


def test_a_step_is_refused(grey: np.ndarray):
    with pytest.raises(InputError, match=r"y: got .*wants a slice with step 1"):
        open_volume(grey).read(slice(None), slice(0, 9, 2), slice(None))


def test_volume_is_told_in_one_line(grey: np.ndarray):
    volume = open_volume(grey)
    assert isinstance(volume, Volume)
    assert "reader" not in repr(volume)
    assert (volume.voxels, volume.nbytes) == (grey.size, grey.nbytes)


def test_a_volume_becomes_an_array_and_stays_a_volume():
    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    volume = open_volume(data, spacing=2.0, unit="um")
    whole = np.asarray(volume)
    np.testing.assert_array_equal(whole, data)
    assert (whole.dtype, np.asarray(volume, np.float32).dtype) == (np.int16, np.float32)
    assert not np.shares_memory(whole, data)
    with pytest.raises(ValueError, match="copy: got False"):
        np.array(volume, copy=False)
    assert open_volume(volume) is volume
