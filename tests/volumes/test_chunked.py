"""OME-Zarr, zarr, N5 and precomputed, written by other libraries than ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr

from bimmjax import InputError, open_volume


def _zarr(path: Path, data: np.ndarray, version: Any, **options: Any):
    out = zarr.create_array(
        str(path), shape=data.shape, dtype=data.dtype, zarr_format=version, **options
    )
    out[...] = data
    return path


def _image(path: Path, levels: Any, version: Any, axes: Any, scales: Any, *, common: Any = None):
    """An OME-Zarr image in the layout of 0.4 (zarr 2) or 0.5 (zarr 3)."""
    zarr_format = 2 if version == "0.4" else 3
    group = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    for i, data in enumerate(levels):
        chunks = tuple(min(4, n) for n in data.shape)
        key: Any = {"name": "v2", "separator": "/"} if zarr_format == 2 else None
        out = group.create_array(
            str(i), shape=data.shape, dtype=data.dtype, chunks=chunks, chunk_key_encoding=key
        )
        out[...] = data
    image = {
        "axes": axes,
        "datasets": [
            {"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": s}]}
            for i, s in enumerate(scales)
        ],
    }
    if common:
        image["coordinateTransformations"] = [{"type": "scale", "scale": common}]
    if version == "0.4":
        group.attrs["multiscales"] = [{"version": "0.4", **image}]
    else:
        group.attrs["ome"] = {"version": version, "multiscales": [image]}
    return path


SPACE = [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"]
TIME = {"name": "t", "type": "time", "unit": "second"}
CHANNEL = {"name": "c", "type": "channel"}


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("order", ["C", "F"])
def test_plain_zarr(
    version: Any, order: str, grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    if version == 3 and order == "F":
        pytest.skip("zarr 3 stores no memory order")
    options = {"order": order} if version == 2 else {}
    path = _zarr(tmp_path / "a.zarr", grey, version, chunks=(4, 5, 6), **options)
    volume = open_volume(path)
    assert volume.format == f"zarr {version}"
    assert volume.name == "a.zarr"
    assert volume.chunks == (4, 5, 6)
    assert (volume.spacing, volume.unit) == ((1.0, 1.0, 1.0), "voxel")
    np.testing.assert_array_equal(whole(volume), grey)
    np.testing.assert_array_equal(
        volume.read(slice(3, 6), slice(1, 2), slice(4, 15)), grey[3:6, 1:2, 4:]
    )


@pytest.mark.parametrize("dtype", [">u2", "<f4", "f8", "i1", "u8", "?", "f2"])
@pytest.mark.parametrize("version", [2, 3])
def test_sample_types(
    version: Any, dtype: Any, grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    data = grey.astype(dtype)
    volume = open_volume(_zarr(tmp_path / "a.zarr", data, version))
    assert volume.dtype == (np.uint8 if dtype == "?" else data.dtype.newbyteorder("="))
    np.testing.assert_array_equal(whole(volume), data)


def test_shards_are_read_by_their_chunks(
    grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    data = np.tile(grey, (2, 2, 2))[:16, :16, :16]
    path = _zarr(tmp_path / "a.zarr", data, 3, chunks=(4, 4, 4), shards=(8, 16, 16))
    volume = open_volume(path)
    assert volume.chunks == (4, 4, 4)
    np.testing.assert_array_equal(whole(volume), data)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(version: Any, grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]):
    path = _image(
        tmp_path / "a.zarr", [grey, grey[::2, ::2, ::2]], version, SPACE, [[8, 4, 4], [16, 8, 8]]
    )
    volume = open_volume(path)
    assert volume.format == f"OME-Zarr {version}"
    assert (volume.spacing, volume.unit) == ((8.0, 4.0, 4.0), "nm")
    np.testing.assert_array_equal(whole(volume), grey)
    for coarse in (open_volume(path, dataset="1"), open_volume(f"{path}::/1")):
        assert coarse.spacing == (16.0, 8.0, 8.0)
        np.testing.assert_array_equal(whole(coarse), grey[::2, ::2, ::2])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_singleton_time_and_channel_are_dropped(
    version: Any, grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    path = _image(
        tmp_path / "a.zarr",
        [grey[None, None]],
        version,
        [TIME, CHANNEL, *SPACE],
        [[1, 1, 8, 4, 4]],
        common=[0.1, 1, 2, 2, 2],
    )
    volume = open_volume(path)
    assert (volume.spacing, volume.unit) == ((16.0, 8.0, 8.0), "nm")
    assert volume.chunks == (4, 4, 4)
    np.testing.assert_array_equal(whole(volume), grey)


def test_channels_are_refused(grey: np.ndarray, tmp_path: Path):
    path = _image(
        tmp_path / "a.zarr", [np.stack([grey] * 2)], "0.5", [CHANNEL, *SPACE], [[1, 8, 4, 4]]
    )
    with pytest.raises(InputError, match="with 2 steps along axis 'c', wants one 3D volume"):
        open_volume(path)


def test_axes_without_type_or_order(
    grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    """0.3 gave names only; some writers put x first."""
    path = _image(tmp_path / "a.zarr", [grey], "0.4", ["z", "y", "x"], [[1, 1, 1]])
    np.testing.assert_array_equal(whole(open_volume(path)), grey)
    flipped = [{**a, "unit": "um"} for a in SPACE[::-1]]
    path = _image(tmp_path / "b.zarr", [grey.T], "0.5", flipped, [[1, 2, 3]])
    volume = open_volume(path)
    assert (volume.spacing, volume.unit) == ((3.0, 2.0, 1.0), "um")
    np.testing.assert_array_equal(whole(volume), grey)


def test_first_image_of_a_collection(
    grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    _image(tmp_path / "a.zarr" / "0", [grey], "0.4", SPACE, [[1, 1, 1]])
    np.testing.assert_array_equal(whole(open_volume(tmp_path / "a.zarr")), grey)


def test_group_with_one_array_and_with_several(
    grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="w", zarr_format=3)
    group.create_group("inner").create_array("raw", data=grey)
    group.create_array("table", data=np.zeros((4, 4)))
    volume = open_volume(tmp_path / "g.zarr")
    assert volume.name == "g.zarr"
    np.testing.assert_array_equal(whole(volume), grey)
    group.create_array("mask", data=grey > 5)
    with pytest.raises(InputError, match=r"dataset: got none .* wants one of inner/raw, mask"):
        open_volume(tmp_path / "g.zarr")
    np.testing.assert_array_equal(
        whole(open_volume(tmp_path / "g.zarr", dataset="inner/raw")), grey
    )


def test_n5(grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]):
    group = tmp_path / "a.n5"
    spec = {
        "driver": "n5",
        "kvstore": {"driver": "file", "path": f"{group}/volumes/raw/"},
        "metadata": {
            "dimensions": [15, 12, 9],
            "blockSize": [6, 5, 4],
            "dataType": "uint16",
            "compression": {"type": "gzip"},
        },
        "create": True,
    }
    ts.open(spec).result().write(grey.T).result()
    file = group / "volumes" / "raw" / "attributes.json"
    told = json.loads(file.read_text())
    told["pixelResolution"] = {"dimensions": [4.0, 4.0, 40.0], "unit": "nm"}
    file.write_text(json.dumps(told))
    for volume in (
        open_volume(group / "volumes" / "raw"),
        open_volume(group),
        open_volume(group, dataset="volumes/raw"),
    ):
        assert volume.format == "N5"
        assert (volume.shape, volume.chunks) == ((9, 12, 15), (4, 5, 6))
        assert (volume.spacing, volume.unit) == ((40.0, 4.0, 4.0), "nm")
        np.testing.assert_array_equal(whole(volume), grey)


def test_n5_pyramid(grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]):
    for level, data in (("s0", grey), ("s1", grey[::2, ::2, ::2])):
        spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{tmp_path}/p.n5/{level}/"}}
        store = ts.open({**spec, "create": True}, dtype=ts.uint16, shape=data.T.shape).result()
        store.write(data.T).result()
    (tmp_path / "p.n5" / "attributes.json").write_text(
        '{"n5": "2.0.0", "resolution": [1, 1, 2], "units": ["um", "um", "um"]}'
    )
    volume = open_volume(tmp_path / "p.n5")
    assert (volume.spacing, volume.unit) == ((2.0, 1.0, 1.0), "um")
    np.testing.assert_array_equal(whole(volume), grey)


@pytest.mark.parametrize("encoding", ["raw", "compressed_segmentation"])
def test_precomputed(
    encoding: str, grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    kind = "uint16" if encoding == "raw" else "uint32"
    scale = {
        "size": [15, 12, 9],
        "resolution": [4, 5, 40],
        "voxel_offset": [100, 20, 3],
        "chunk_size": [8, 8, 8],
        "encoding": encoding,
        "key": "4_5_40",
    }
    if encoding != "raw":
        scale["compressed_segmentation_block_size"] = [8, 8, 8]
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{tmp_path}/pc/"},
        "multiscale_metadata": {"data_type": kind, "num_channels": 1, "type": "image"},
        "scale_metadata": scale,
        "create": True,
    }
    ts.open(spec).result()[..., 0].write(grey.T).result()
    volume = open_volume(tmp_path / "pc")
    assert volume.format == "neuroglancer precomputed"
    assert (volume.spacing, volume.unit) == ((40.0, 5.0, 4.0), "nm")
    assert volume.chunks == (8, 8, 8)
    np.testing.assert_array_equal(whole(volume), grey)
    np.testing.assert_array_equal(whole(open_volume(tmp_path / "pc", dataset="4_5_40")), grey)
    with pytest.raises(InputError, match="dataset: got 'x', wants one of the scales 4_5_40"):
        open_volume(tmp_path / "pc", dataset="x")


def test_url(grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]):
    _image(tmp_path / "a.zarr", [grey], "0.5", SPACE, [[8, 4, 4]])
    volume = open_volume(f"file://{tmp_path}/a.zarr")
    assert (volume.name, volume.unit) == ("a.zarr", "nm")
    np.testing.assert_array_equal(whole(volume), grey)


@pytest.mark.parametrize("url", ["ftp://x/y", "nonsense://", "file:///no/such/volume.zarr"])
def test_bad_url(url: str):
    with pytest.raises(InputError, match="source: got "):
        open_volume(url)


@pytest.mark.parametrize("shape", [(8, 8), (2, 8, 8, 8)])
def test_plain_zarr_of_other_ranks_is_refused(shape: tuple[int, ...], tmp_path: Path):
    path = _zarr(tmp_path / "a.zarr", np.zeros(shape, np.uint8), 3)
    with pytest.raises(InputError, match=rf"{len(shape)} dimensions.*wants a 3D volume"):
        open_volume(path)


def test_complex_zarr_is_refused(tmp_path: Path):
    path = _zarr(tmp_path / "a.zarr", np.zeros((4, 4, 4), np.complex64), 3)
    with pytest.raises(InputError, match=r"dtype complex64; wants grey values"):
        open_volume(path)


def test_objects_in_zarr_are_not_unpickled(tmp_path: Path):
    """numcodecs' pickle filter would run code; TensorStore knows no such filter."""
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    meta = {
        "zarr_format": 2,
        "shape": [4, 4, 4],
        "chunks": [4, 4, 4],
        "dtype": "|O",
        "compressor": None,
        "fill_value": None,
        "filters": [{"id": "pickle", "protocol": 5}],
        "order": "C",
    }
    (folder / ".zarray").write_text(json.dumps(meta))
    with pytest.raises(InputError, match=r"source: got .*a\.zarr, which TensorStore"):
        open_volume(folder)


def test_metadata_that_is_no_json(tmp_path: Path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_text("{broken")
    with pytest.raises(InputError, match=r"whose zarr\.json cannot be read"):
        open_volume(tmp_path / "a.zarr")


def test_levels_that_are_not_there(grey: np.ndarray, tmp_path: Path):
    path = _image(tmp_path / "a.zarr", [grey], "0.5", SPACE, [[8, 4, 4], [16, 8, 8]])
    with pytest.raises(InputError, match="tells of a level '1' that is not there"):
        open_volume(path, dataset="1")
    with pytest.raises(InputError, match=r"dataset: got '7' .*wants one of its levels: 0, 1"):
        open_volume(path, dataset="7")


def test_axes_that_do_not_match_the_array(grey: np.ndarray, tmp_path: Path):
    path = _image(tmp_path / "a.zarr", [grey], "0.5", [CHANNEL, *SPACE], [[1, 8, 4, 4]])
    with pytest.raises(InputError, match="tells of 4 axes and whose array has 3"):
        open_volume(path)


def test_empty_group(tmp_path: Path):
    zarr.open_group(str(tmp_path / "g.zarr"), mode="w")
    with pytest.raises(InputError, match="there is no 3D zarr array"):
        open_volume(tmp_path / "g.zarr")


def test_damaged_chunk_is_told_at_reading(
    grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    path = _zarr(tmp_path / "a.zarr", grey, 3, chunks=(9, 12, 15))
    chunk = path / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:50])
    volume = open_volume(path)
    with pytest.raises(InputError, match=r"a\.zarr, whose voxels .* cannot be read") as told:
        whole(volume)
    assert "\n" not in str(told.value)
    assert "tensorstore_spec" not in str(told.value)
