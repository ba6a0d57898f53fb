"""Which reader opens which path, and how paths are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bimmjax import InputError, open_volume


def test_missing_path(tmp_path: Path):
    with pytest.raises(InputError, match=r"source: got .*nowhere\.tif, which does not exist"):
        open_volume(tmp_path / "nowhere.tif")


def test_impossible_path():
    with pytest.raises(InputError, match="source: got"):
        open_volume("a\0b")


@pytest.mark.parametrize("name", ["a.png", "a.npz", "a", "a.pkl", "a.txt"])
def test_unknown_format_lists_those_known(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(
        InputError, match=r"of unknown format; wants OME-Zarr.*TIFF.*HDF5.*npy.*raw.*NRRD"
    ):
        open_volume(tmp_path / name)


def test_an_archive_has_to_be_unpacked(tmp_path: Path):
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"a.zip, an archive; wants it unpacked first"):
        open_volume(tmp_path / "a.zip")


def test_folder_of_nothing_known(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"a folder with neither TIFF slices nor zarr.*wants OME-"):
        open_volume(tmp_path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_path(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.zeros((4, 4, 4)))
    (tmp_path / "a.npy").chmod(0)
    with pytest.raises(InputError, match="which you may not read"):
        open_volume(tmp_path / "a.npy")


@pytest.mark.parametrize("option", [{"dataset": "x"}, {"dtype": "uint8"}])
def test_options_that_mean_nothing_are_refused(option: dict[str, Any], tmp_path: Path):
    np.save(tmp_path / "a.npy", np.zeros((4, 4, 4)))
    name = next(iter(option))
    with pytest.raises(InputError, match=rf"{name}: got .*a\.npy, which takes none"):
        open_volume(tmp_path / "a.npy", **option)


def test_path_as_text_or_path_with_colons(
    tmp_path: Path, grey: np.ndarray, whole: Callable[..., np.ndarray]
):
    folder = tmp_path / "a::b"
    folder.mkdir()
    np.save(folder / "a.npy", grey)
    np.testing.assert_array_equal(whole(open_volume(str(folder / "a.npy"))), grey)


def test_spacing_and_unit_of_a_file(tmp_path: Path, grey: np.ndarray):
    np.save(tmp_path / "a.npy", grey)
    volume = open_volume(tmp_path / "a.npy", spacing=(4, 2, 2), unit="nanometer")
    assert (volume.spacing, volume.unit) == ((4.0, 2.0, 2.0), "nm")


def test_import_is_light():
    """Readers are loaded when a file needs them."""
    code = (
        "import sys, bimmjax.volumes; "
        "heavy = {'tensorstore', 'tifffile', 'h5py', 'nrrd', 'zarr', 'dask'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
