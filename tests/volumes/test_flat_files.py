"""Files of plain voxels: .npy, .raw and .vol, MetaImage, NRRD."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest

from bimmjax import InputError, open_volume

FIRST = "! PyHST_SLAVE VOLUME INFO FILE"
INFO = """{first}
NUM_X = 15
NUM_Y =  12
NUM_Z = 9
voxelSize = 0.65
BYTEORDER = LOWBYTEFIRST
ValMin = 0.0 ! by the reconstruction
"""


DEFAULT = INFO.format(first=FIRST)


def _raw(folder: Path, data: np.ndarray, name: str = "scan.raw", info: Any = DEFAULT):
    data.tofile(folder / name)
    if info is not None:
        (folder / f"{name}.info").write_text(info)
    return folder / name


# .npy


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "f4", "?"])
def test_npy(
    dtype: Any, order: Any, grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    data = np.asarray(grey.astype(dtype), order=order)
    np.save(tmp_path / "a.npy", data)
    volume = open_volume(tmp_path / "a.npy")
    assert volume.format == "NumPy file"
    assert volume.name == "a.npy"
    np.testing.assert_array_equal(whole(volume), data)


def test_pickled_npy_is_refused(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.full((4, 4, 4), {}, object), allow_pickle=True)
    with pytest.raises(InputError, match=r"source: got .*a\.npy, which cannot be read as a plain"):
        open_volume(tmp_path / "a.npy")


def test_truncated_npy(grey: np.ndarray, tmp_path: Path):
    np.save(tmp_path / "a.npy", grey)
    path = tmp_path / "a.npy"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"source: got .*a\.npy"):
        open_volume(path)


@pytest.mark.parametrize("data", [np.zeros((4, 4)), np.zeros((4, 4, 4), complex)])
def test_npy_of_other_shape_or_type(data: np.ndarray, tmp_path: Path):
    np.save(tmp_path / "a.npy", data)
    with pytest.raises(InputError, match=r"source: got .*a\.npy .*wants"):
        open_volume(tmp_path / "a.npy")


# .raw and .vol


@pytest.mark.parametrize("first", ["! PyHST_SLAVE VOLUME INFO FILE", "%! PyHST VOLUME", "!PyHST2"])
def test_raw_with_info(
    first: str, grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    path = _raw(tmp_path, grey, info=INFO.format(first=first))
    volume = open_volume(path, dtype="uint16")
    assert volume.shape == (9, 12, 15)
    assert (volume.spacing, volume.unit) == ((0.65, 0.65, 0.65), "um")
    np.testing.assert_array_equal(whole(volume), grey)
    np.testing.assert_array_equal(
        whole(open_volume(tmp_path / "scan.raw.info", dtype="uint16")), grey
    )


def test_vol_with_short_info_name(
    grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    data = grey.astype(np.float32)
    data.tofile(tmp_path / "scan.vol")
    (tmp_path / "scan.info").write_text(INFO.format(first="! PyHST") + "DATATYPE = FloatValue\n")
    volume = open_volume(tmp_path / "scan.vol")
    assert volume.dtype == np.float32
    np.testing.assert_array_equal(whole(volume), data)


def test_big_endian_by_info(grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]):
    info = INFO.format(first="! PyHST").replace("LOWBYTEFIRST", "HIGHBYTEFIRST")
    path = _raw(tmp_path, grey.astype(">u2"), info=info)
    np.testing.assert_array_equal(whole(open_volume(path, dtype="uint16")), grey)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("scan_15x12x9_uint16.raw", "<u2"),
        ("2024_run3-15X12X9-Float32.vol", "<f4"),
        ("int8.15x12x9.raw", "i1"),
    ],
)
def test_raw_by_its_name(
    name: str, dtype: Any, grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    """The dimensions of a name are x, y, z."""
    data = (grey % 100).astype(dtype)
    volume = open_volume(_raw(tmp_path, data, name, None))
    assert (volume.shape, volume.unit) == ((9, 12, 15), "voxel")
    np.testing.assert_array_equal(whole(volume), data)


def test_dtype_beats_the_name(grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]):
    path = _raw(tmp_path, grey.astype(">u2"), "scan_15x12x9_uint16.raw", None)
    np.testing.assert_array_equal(whole(open_volume(path, dtype=">u2")), grey)


def test_raw_without_any_shape(grey: np.ndarray, tmp_path: Path):
    with pytest.raises(InputError, match=r"scan\.raw without scan\.raw\.info.*x, y, z"):
        open_volume(_raw(tmp_path, grey, info=None), dtype="uint16")


def test_raw_without_dtype_tells_which_would_fit(grey: np.ndarray, tmp_path: Path):
    with pytest.raises(InputError, match=r"dtype: got none .*2 byte\(s\) per voxel: uint16"):
        open_volume(_raw(tmp_path, grey))


@pytest.mark.parametrize("dtype", ["complex64", "O", "nonsense", 3])
def test_raw_bad_dtype(dtype: Any, grey: np.ndarray, tmp_path: Path):
    with pytest.raises(InputError, match=r"dtype: got .*wants a sample type"):
        open_volume(_raw(tmp_path, grey), dtype=dtype)


def test_raw_of_another_size(grey: np.ndarray, tmp_path: Path):
    path = _raw(tmp_path, grey[:-1])
    with pytest.raises(InputError, match=rf"of {grey[:-1].nbytes} bytes, wants {grey.nbytes} for"):
        open_volume(path, dtype="uint16")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("! PyHST\n", "NUM_Q = 3\n", r"first line 'NUM_Q = 3', wants '! PyHST"),
        ("NUM_Y =  12\n", "", r"no NUM_Y, wants NUM_X, NUM_Y and NUM_Z"),
        ("NUM_Z = 9", "NUM_Z = nine", r"NUM_Z = 'nine'"),
        ("NUM_Z = 9", "NUM_Z = -9", r"NUM_Z = '-9'"),
        ("NUM_X = 15", "NUM_X = 0", r"NUM_X = '0'"),
        ("BYTEORDER", "DATATYPE = mush\nBYTEORDER", r"DATATYPE = 'mush', wants a sample type"),
    ],
)
def test_wrong_info(old: str, new: str, told: Any, grey: np.ndarray, tmp_path: Path):
    info = INFO.format(first="! PyHST").replace(old, new)
    path = _raw(tmp_path, grey, info=info)
    with pytest.raises(InputError, match=rf"source: got .*scan\.raw\.info with {told}"):
        open_volume(path, dtype=None if "DATATYPE" in new else "uint16")


def test_empty_info(grey: np.ndarray, tmp_path: Path):
    with pytest.raises(InputError, match=r"with first line '', wants"):
        open_volume(_raw(tmp_path, grey, info=""), dtype="uint16")


def test_info_without_voxels(tmp_path: Path):
    (tmp_path / "scan.raw.info").write_text(INFO.format(first="! PyHST"))
    with pytest.raises(InputError, match=r"scan\.raw\.info without its voxels"):
        open_volume(tmp_path / "scan.raw.info")


@pytest.mark.parametrize("size", [0, 5, 1 << 14])
def test_voxels_that_look_like_a_tiff(size: int, tmp_path: Path):
    """The first voxels of a raw file may read like another format's mark."""
    data = np.zeros((4, 5, 6), np.uint8)
    data[0, 0, :4] = list(b"II*\0")
    data.tofile(tmp_path / "a_6x5x4_uint8.raw")
    assert open_volume(tmp_path / "a_6x5x4_uint8.raw").format == "raw"


# MetaImage

HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = {msb}
CompressedData = {packed}
DimSize = 15 12 9
ElementSpacing = 1 2 3
ElementType = {kind}
ElementDataFile = {data}
"""


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("msb", [False, True])
@pytest.mark.parametrize("detached", [False, True])
def test_metaimage(
    detached: bool,
    msb: bool,
    packed: bool,
    grey: np.ndarray,
    tmp_path: Path,
    whole: Callable[..., np.ndarray],
):
    voxels = grey.astype(">u2" if msb else "<u2").tobytes()
    voxels = zlib.compress(voxels) if packed else voxels
    header = HEADER.format(
        msb=msb, packed=packed, kind="MET_USHORT", data="a.zraw" if detached else "LOCAL"
    ).encode()
    path = tmp_path / ("a.mhd" if detached else "a.mha")
    path.write_bytes(header if detached else header + voxels)
    if detached:
        (tmp_path / "a.zraw").write_bytes(voxels)
    volume = open_volume(path)
    assert (volume.shape, volume.spacing, volume.unit) == ((9, 12, 15), (3.0, 2.0, 1.0), "unit")
    np.testing.assert_array_equal(whole(volume), grey)
    assert open_volume(path, spacing=5, unit="um").unit == "um"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("MET_USHORT", "MET_QUARK", "ElementType MET_QUARK"),
        ("NDims = 3", "ElementNumberOfChannels = 3", "3 channel"),
        ("15 12 9", "15 12", "2 dimensions"),
        ("15 12 9", "15 12 nine", "DimSize = '15 12 nine'"),
        ("15 12 9", "15 12 10", "bytes, wants"),
        ("ElementDataFile = LOCAL", "End = here", "no ElementDataFile"),
        ("LOCAL", "gone.raw", "are not there"),
    ],
)
def test_wrong_metaimage(old: str, new: str, told: Any, grey: np.ndarray, tmp_path: Path):
    header = HEADER.format(msb=False, packed=False, kind="MET_USHORT", data="LOCAL")
    (tmp_path / "a.mha").write_bytes(header.replace(old, new).encode() + grey.tobytes())
    with pytest.raises(InputError, match=rf"source: got .*a\.mha.*{told}"):
        open_volume(tmp_path / "a.mha")


def test_truncated_compressed_metaimage(
    grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    header = HEADER.format(msb=False, packed=True, kind="MET_USHORT", data="LOCAL").encode()
    (tmp_path / "a.mha").write_bytes(header + zlib.compress(grey.tobytes())[:-200])
    volume = open_volume(tmp_path / "a.mha")
    with pytest.raises(InputError, match=r"compressed voxels end after \d+ bytes; wants 3240"):
        whole(volume)


# NRRD


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr"])
def test_nrrd(
    name: str, encoding: str, grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    header = {"encoding": encoding, "spacings": [3.0, 2.0, 1.0], "units": ["um"] * 3}
    nrrd.write(str(tmp_path / name), grey, header, index_order="C")
    volume = open_volume(tmp_path / name)
    assert volume.format == "NRRD"
    np.testing.assert_array_equal(whole(volume), grey)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", ">u2", "i4", "u4", "i8", "u8", "f4", ">f8"])
def test_nrrd_sample_types(
    dtype: Any, grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    data = (grey % 100).astype(dtype)
    nrrd.write(str(tmp_path / "a.nrrd"), data, {"encoding": "raw"}, index_order="C")
    np.testing.assert_array_equal(whole(open_volume(tmp_path / "a.nrrd")), data)


def test_nrrd_spacing(grey: np.ndarray, tmp_path: Path):
    path = tmp_path / "a.nrrd"
    told = {"space directions": np.diag([1.0, 2.0, 3.0]), "space dimension": 3}
    nrrd.write(str(path), grey, told, index_order="C")
    assert (open_volume(path).spacing, open_volume(path).unit) == ((3.0, 2.0, 1.0), "unit")
    told = {"spacings": [1.0, 2.0, 3.0], "units": ["nm"] * 3}
    nrrd.write(str(path), grey, told, index_order="C")
    assert (open_volume(path).spacing, open_volume(path).unit) == ((3.0, 2.0, 1.0), "nm")


@pytest.mark.parametrize("content", [b"", b"NRRD0004\nmush", b"NRRD0004\ntype: uint8\n\n"])
def test_broken_nrrd(content: bytes, tmp_path: Path):
    (tmp_path / "a.nrrd").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.nrrd, whose NRRD header cannot be read"):
        open_volume(tmp_path / "a.nrrd")


def test_truncated_nrrd(grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]):
    path = tmp_path / "a.nrrd"
    nrrd.write(str(path), grey, {"encoding": "raw"}, index_order="C")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"a\.nrrd of \d+ bytes, wants"):
        open_volume(path)


def test_nrrd_without_its_reader(grey: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    nrrd.write(str(tmp_path / "a.nrrd"), grey)
    monkeypatch.setitem(__import__("sys").modules, "nrrd", None)
    with pytest.raises(InputError, match="wants the package pynrrd"):
        open_volume(tmp_path / "a.nrrd")
