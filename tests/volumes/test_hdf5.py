from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bimmjax import InputError, open_volume


@pytest.fixture
def scan(grey: np.ndarray, tmp_path: Path):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/volume", data=grey, chunks=(3, 4, 5), compression="gzip")
        file["entry/flat"] = np.zeros((4, 4))
        file["entry/title"] = "a scan"
    return path


def test_the_only_3d_dataset(scan: Path, grey: np.ndarray, whole: Callable[..., np.ndarray]):
    volume = open_volume(scan)
    assert volume.format == "HDF5"
    assert volume.name == "scan.h5::/entry/data/volume"
    assert volume.chunks == (3, 4, 5)
    np.testing.assert_array_equal(whole(volume), grey)
    np.testing.assert_array_equal(
        volume.read(slice(2, 5), slice(0, 3), slice(7, 9)), grey[2:5, :3, 7:9]
    )


@pytest.mark.parametrize("inside", ["/entry/data/volume", "entry/data/volume"])
def test_named_dataset(inside: str, scan: Path, grey: np.ndarray, whole: Callable[..., np.ndarray]):
    np.testing.assert_array_equal(whole(open_volume(f"{scan}::{inside}")), grey)
    np.testing.assert_array_equal(whole(open_volume(scan, dataset=inside)), grey)


def test_several_candidates_are_listed(
    scan: Path, grey: np.ndarray, whole: Callable[..., np.ndarray]
):
    with h5py.File(scan, "a") as file:
        file["other"] = grey[:4]
    with pytest.raises(
        InputError, match=r"dataset: got none .*wants one of /entry/data/volume, /other"
    ):
        open_volume(scan)
    np.testing.assert_array_equal(whole(open_volume(f"{scan}::/other")), grey[:4])


def test_no_candidate(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros((4, 4))
    with pytest.raises(InputError, match=r"dataset: got none .*the file has none"):
        open_volume(tmp_path / "a.h5")


@pytest.mark.parametrize(("inside", "what"), [("/nowhere", "is not there"), ("/entry", "a group")])
def test_wrong_name(inside: str, what: str, scan: Path):
    with pytest.raises(InputError, match=rf"dataset: got '{inside}'.*{what}.*/entry/data/volume"):
        open_volume(f"{scan}::{inside}")


def test_named_twice(scan: Path):
    with pytest.raises(InputError, match=r"dataset: got '/a' and '/b' in the path, wants one"):
        open_volume(f"{scan}::/b", dataset="/a")


@pytest.mark.parametrize(
    "data", [np.zeros((4, 4)), np.zeros((2, 4, 4, 4)), np.zeros((4, 4, 4), complex)]
)
def test_wrong_rank_or_type(data: np.ndarray, tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = data
    with pytest.raises(InputError, match=r"source: got .*a\.h5::/x .*wants"):
        open_volume(tmp_path / "a.h5", dataset="x")


def test_strings_are_refused(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.full((4, 4, 4), b"abc", object)
    with pytest.raises(InputError, match="dtype object; wants grey values"):
        open_volume(tmp_path / "a.h5", dataset="x")


def test_masks(grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = grey > 30000
    volume = open_volume(tmp_path / "a.h5")
    assert volume.dtype == np.uint8
    np.testing.assert_array_equal(whole(volume), grey > 30000)


def test_element_size(scan: Path):
    with h5py.File(scan, "a") as file:
        file["entry/data/volume"].attrs["element_size_um"] = [2.0, 0.5, 0.5]
    volume = open_volume(scan)
    assert (volume.spacing, volume.unit) == ((2.0, 0.5, 0.5), "um")


def test_nexus_axes(scan: Path):
    with h5py.File(scan, "a") as file:
        group: Any = file["entry/data"]
        group.attrs["axes"] = ["z", "y", "x"]
        for name, n, step in (("z", 9, 0.002), ("y", 12, 0.001), ("x", 15, 0.001)):
            group[name] = 7.0 + step * np.arange(n)
            group[name].attrs["units"] = "mm"
    volume = open_volume(scan)
    assert (volume.spacing, volume.unit) == ((0.002, 0.001, 0.001), "mm")


def test_uneven_nexus_axes_tell_nothing(scan: Path):
    with h5py.File(scan, "a") as file:
        group: Any = file["entry/data"]
        group.attrs["axes"] = ["z", "y", "x"]
        for name, n in (("z", 9), ("y", 12), ("x", 15)):
            group[name] = np.arange(n, dtype=float) ** 2
    assert open_volume(scan).unit == "voxel"


@pytest.mark.parametrize("suffix", [".h5", ".nxs", ".dat"])
def test_known_by_its_first_bytes(
    suffix: str, scan: Path, grey: np.ndarray, whole: Callable[..., np.ndarray]
):
    path = scan.rename(scan.with_suffix(suffix))
    np.testing.assert_array_equal(whole(open_volume(path)), grey)


def test_truncated(scan: Path):
    scan.write_bytes(scan.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"source: got .*scan\.h5, which is not a readable HDF5"):
        open_volume(scan)


def test_not_hdf5(tmp_path: Path):
    (tmp_path / "a.h5").write_bytes(b"not HDF5")
    with pytest.raises(InputError, match=r"source: got .*a\.h5, which is not a readable HDF5"):
        open_volume(tmp_path / "a.h5")


def test_compression_that_is_not_installed(
    grey: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=grey, compression="lzf")
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
    with pytest.raises(InputError, match=r"compressed by filter .*lzf.*wants the package hdf5plug"):
        open_volume(tmp_path / "a.h5")
