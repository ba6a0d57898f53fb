"""Several images in one zarr: whole or not at all, and found by readers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bimmjax import InputError, convert, open_volume
from bimmjax.volumes import new_collection

EVERYTHING = (slice(None),) * 3


def test_images_are_found_by_their_paths(tmp_path: Path):
    images = {"image/1kV": 1.0, "image/2kV": 2.0, "truth": 3.0}
    with new_collection(tmp_path / "a.zarr", list(images)) as folder:
        assert not (tmp_path / "a.zarr").exists()
        for name, value in images.items():
            convert(np.full((4, 5, 6), value, np.float32), folder / name, spacing=5, unit="nm")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    for name, value in images.items():
        for found in (
            open_volume(tmp_path / "a.zarr", dataset=name),
            open_volume(tmp_path / "a.zarr" / name),
        ):
            assert (found.shape, found.unit) == ((4, 5, 6), "nm")
            assert (found.read(*EVERYTHING) == value).all()
    with pytest.raises(InputError, match="wants one of image/1kV, image/2kV, truth"):
        open_volume(tmp_path / "a.zarr")
    told = json.loads((tmp_path / "a.zarr" / "OME" / "zarr.json").read_text("utf-8"))
    assert told["attributes"]["ome"]["series"] == list(images)


def test_another_library_reads_it(tmp_path: Path):
    zarr = pytest.importorskip("zarr")
    with new_collection(tmp_path / "a.zarr", ["image/2kV"]) as folder:
        convert(np.arange(24.0).reshape(2, 3, 4), folder / "image/2kV")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group.attrs["ome"]["bioformats2raw.layout"] == 3
    np.testing.assert_array_equal(group["image/2kV/0"][:].ravel(), np.arange(24.0))


def _fail_halfway(out: Path) -> None:
    with new_collection(out, ["1kV"]) as folder:
        convert(np.zeros((2, 2, 2)), folder / "1kV")
        raise RuntimeError


def test_what_fails_leaves_nothing_and_what_is_there_stays(tmp_path: Path):
    out = tmp_path / "deep" / "a.zarr"
    with pytest.raises(RuntimeError):
        _fail_halfway(out)
    assert list(out.parent.iterdir()) == []
    with new_collection(out, ["1kV"]) as folder:
        convert(np.zeros((2, 2, 2)), folder / "1kV")
    with pytest.raises(InputError, match="which exists"), new_collection(out, ["1kV"]):
        pass
    with pytest.raises(RuntimeError), new_collection(out, ["2kV"], overwrite=True):
        raise RuntimeError
    assert open_volume(out).shape == (2, 2, 2)
    with new_collection(out, ["2kV"], overwrite=True) as folder:
        convert(np.zeros((3, 3, 3)), folder / "2kV")
    assert (open_volume(out).shape, (out / "1kV").exists()) == ((3, 3, 3), False)
