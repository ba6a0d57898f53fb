from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from bimmjax import InputError, open_volume


def _slices(folder: Path, data: np.ndarray, names: Any = None, **options: Any):
    folder.mkdir()
    for i, page in enumerate(data):
        name = names[i] if names else f"slice_{i}.tif"  # unpadded: 10 must come after 9
        tifffile.imwrite(folder / name, page, **options)
    return folder


WRITERS = {
    "plain": {},
    "one strip per row": {"rowsperstrip": 1},
    "deflate": {"compression": "zlib"},
    "deflate with predictor": {"compression": "zlib", "predictor": True},
    "tiles": {"tile": (16, 16)},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
    "ImageJ": {"imagej": True},
    "OME": {"ome": True, "metadata": {"axes": "ZYX"}},
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("writer", WRITERS)
def test_multipage_round_trip(
    writer: str, dtype: Any, grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    if writer == "deflate with predictor" and dtype is np.float32:
        pytest.importorskip("imagecodecs", reason="the floating point predictor needs imagecodecs")
    data = grey.astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, **{"photometric": "minisblack", **WRITERS[writer]})
    volume = open_volume(path)
    assert (volume.shape, volume.dtype) == (data.shape, np.dtype(dtype))
    assert volume.format == "multi-page TIFF"
    assert volume.chunks == (1, 12, 15)
    np.testing.assert_array_equal(whole(volume), data)
    part = volume.read(slice(3, 6), slice(2, 9), slice(5, 7))
    np.testing.assert_array_equal(part, data[3:6, 2:9, 5:7])


def test_pages_apart_in_the_file(
    grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    """Page directories between the pages, as most writers leave them: nothing is contiguous."""
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for page in grey:
            file.write(page, contiguous=False, metadata=None)
    np.testing.assert_array_equal(whole(open_volume(path)), grey)


def test_bool_pages(grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]):
    mask = grey > 30000
    tifffile.imwrite(tmp_path / "a.tif", mask, photometric="minisblack")
    volume = open_volume(tmp_path / "a.tif")
    assert volume.dtype == np.uint8
    np.testing.assert_array_equal(whole(volume) > 0, mask)


def test_one_voxel_thin_stays_a_volume(tmp_path: Path):
    data = np.arange(20, dtype=np.uint8).reshape(4, 1, 5)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="minisblack", metadata={"axes": "ZYX"})
    assert open_volume(tmp_path / "a.tif").shape == (4, 1, 5)


def test_ome_spacing(grey: np.ndarray, tmp_path: Path):
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    units = {f"PhysicalSize{a}Unit": "nm" for a in "XYZ"}
    tifffile.imwrite(
        tmp_path / "a.ome.tif", grey, metadata={"axes": "ZYX", **sizes, **units}, ome=True
    )
    volume = open_volume(tmp_path / "a.ome.tif")
    assert (volume.spacing, volume.unit) == ((2.0, 0.5, 0.5), "nm")


def test_ome_spacing_is_in_micrometres_unless_told(grey: np.ndarray, tmp_path: Path):
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 0.5}
    tifffile.imwrite(tmp_path / "a.ome.tif", grey, metadata={"axes": "ZYX", **sizes}, ome=True)
    assert open_volume(tmp_path / "a.ome.tif").unit == "um"


@pytest.mark.parametrize("unit", ["um", "micron", "\\u00B5m"])
def test_imagej_spacing(unit: str, grey: np.ndarray, tmp_path: Path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        grey,
        imagej=True,
        resolution=(4.0, 4.0),
        metadata={"axes": "ZYX", "spacing": 0.5, "unit": unit},
    )
    volume = open_volume(tmp_path / "a.tif")
    assert volume.unit == "um"
    assert volume.spacing == pytest.approx((0.5, 0.25, 0.25), rel=1e-6)


def test_resolution_without_depth_or_unit_tells_nothing(grey: np.ndarray, tmp_path: Path):
    tifffile.imwrite(tmp_path / "a.tif", grey, resolution=(300, 300), photometric="minisblack")
    assert open_volume(tmp_path / "a.tif").unit == "voxel"
    tifffile.imwrite(
        tmp_path / "b.tif",
        grey,
        imagej=True,
        resolution=(4.0, 4.0),
        metadata={"axes": "ZYX", "spacing": 0.5, "unit": "pixel"},
    )
    assert open_volume(tmp_path / "b.tif").spacing == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("imagej", [True, False])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 0.99])
def test_truncated(
    share: float, imagej: bool, compression: str | None, grey: np.ndarray, tmp_path: Path
):
    if imagej and compression:
        pytest.skip("ImageJ files are plain")
    path = tmp_path / "a.tif"
    data = np.tile(grey, (1, 4, 4))
    with tifffile.TiffWriter(path, imagej=imagej) as file:
        if imagej:
            file.write(data)
        else:
            for page in data:
                file.write(page, contiguous=False, metadata=None, compression=compression)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"source: got .*a\.tif.*(truncated|not a readable)"):
        open_volume(path)


@pytest.mark.parametrize("content", [b"", b"II", b"II*\0", b"not a TIFF at all", b"\0" * 1000])
def test_not_a_tiff(content: bytes, tmp_path: Path):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"source: got .*a\.tif"):
        open_volume(path)


def test_damaged_pages_are_told_at_reading(
    grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, grey, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        at = file.pages[5].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[at : at + 40] = b"\xff" * 40
    path.write_bytes(content)
    volume = open_volume(path)
    with pytest.raises(InputError, match=r"source: got .*a\.tif, whose voxels \[0:9.*wants an und"):
        whole(volume)


def test_colour_is_refused(tmp_path: Path):
    data = np.zeros((5, 6, 7, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb")
    with pytest.raises(InputError, match=r"colour or channels .*wants one grey value per voxel"):
        open_volume(tmp_path / "a.tif")
    with pytest.raises(InputError, match="wants a grey slice"):
        open_volume(_slices(tmp_path / "s", data))


@pytest.mark.parametrize(("shape", "axes"), [((5, 2, 6, 7), "ZCYX"), ((3, 6, 7), "CYX")])
def test_channels_are_refused(shape: tuple[int, ...], axes: Any, tmp_path: Path):
    data = np.zeros(shape, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, metadata={"axes": axes})
    with pytest.raises(InputError, match="colour or channels"):
        open_volume(tmp_path / "a.tif")


def test_time_series_of_volumes_is_refused(tmp_path: Path):
    data = np.zeros((3, 5, 6, 7), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(InputError, match="4 dimensions"):
        open_volume(tmp_path / "a.tif")


def test_single_page_is_refused(tmp_path: Path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((6, 7), np.uint8))
    with pytest.raises(InputError, match=r"2 dimensions.*wants a 3D volume"):
        open_volume(tmp_path / "a.tif")


def test_pages_of_different_shapes_need_a_number(
    grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(grey, photometric="minisblack")
        file.write(grey[:4, :5, :6].copy(), photometric="minisblack")
    with pytest.raises(InputError, match=r"not all of one shape.*0: \(9, 12, 15\).*1: \(4, 5, 6\)"):
        open_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(
        whole(open_volume(tmp_path / "a.tif", dataset="1")), grey[:4, :5, :6]
    )
    with pytest.raises(InputError, match="dataset: got '2', wants the number"):
        open_volume(tmp_path / "a.tif", dataset="2")


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}])
def test_folder_in_natural_order(
    options: dict[str, Any], tmp_path: Path, whole: Callable[..., np.ndarray]
):
    data = np.random.default_rng(1).integers(0, 255, (12, 6, 7)).astype(np.uint16)
    folder = _slices(tmp_path / "slices", data, **options)
    (folder / "notes.txt").write_text("not a slice")
    (folder / "._slice_3.tif").write_bytes(b"left by another system")
    volume = open_volume(folder)
    assert volume.format == "folder of TIFF slices"
    assert volume.name == "slices"
    np.testing.assert_array_equal(whole(volume), data)
    np.testing.assert_array_equal(
        volume.read(slice(8, 11), slice(1, 4), slice(2, 3)), data[8:11, 1:4, 2:3]
    )


def test_folder_names_the_slice_of_another_shape_or_dtype(grey: np.ndarray, tmp_path: Path):
    folder = _slices(tmp_path / "slices", grey)
    tifffile.imwrite(folder / "slice_4.tif", grey[4, :-1])
    with pytest.raises(
        InputError, match=r"got .*slice_4\.tif of shape \(11, 15\).*wants \(12, 15\)"
    ):
        open_volume(folder)
    tifffile.imwrite(folder / "slice_4.tif", grey[4].astype(np.float32))
    with pytest.raises(InputError, match=r"got .*slice_4\.tif.*dtype float32"):
        open_volume(folder)


def test_folder_names_the_truncated_slice(grey: np.ndarray, tmp_path: Path):
    folder = _slices(tmp_path / "slices", grey)
    path = folder / "slice_7.tif"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"got .*slice_7\.tif"):
        open_volume(folder)


def test_folder_names_the_slice_of_many_pages(grey: np.ndarray, tmp_path: Path):
    folder = _slices(tmp_path / "slices", grey)
    tifffile.imwrite(folder / "slice_2.tif", grey, photometric="minisblack")
    with pytest.raises(InputError, match=r"got .*slice_2\.tif with 9 pages, wants one slice"):
        open_volume(folder)


def test_folder_around_one_multipage_file(
    grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    (tmp_path / "one").mkdir()
    tifffile.imwrite(tmp_path / "one" / "a.tif", grey, photometric="minisblack")
    np.testing.assert_array_equal(whole(open_volume(tmp_path / "one")), grey)


def test_slice_gone_while_reading(
    grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    folder = _slices(tmp_path / "slices", grey)
    volume = open_volume(folder)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="cannot be read"):
        whole(volume)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cement_128x128x128.tif", (128, 128, 128)),
        ("bone_128x128x128.tif", (128, 128, 128)),
        ("fibers_150x150x150.tif", (150, 150, 150)),
        ("flyem_fibsem_250.tif", (250, 250, 250)),
    ],
)
def test_real_volumes(
    name: str, shape: tuple[int, ...], shared_data: Path, whole: Callable[..., np.ndarray]
):
    volume = open_volume(shared_data / name)
    assert (volume.shape, volume.dtype, volume.unit) == (shape, np.uint8, "voxel")
    np.testing.assert_array_equal(whole(volume), tifffile.imread(shared_data / name))
