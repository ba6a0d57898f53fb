from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from bimmjax import InputError, Volume, convert, open_volume
from bimmjax.volumes._convert import _block_of_shards, ome_metadata

SMALL: dict[str, Any] = {"chunk": (4, 4, 4), "shard": (4, 8, 8)}


def _names(folder: Path):
    return [entry.name for entry in folder.iterdir()]


def _check_ome(path: Path):
    """The required fields of OME-Zarr 0.5, section by section of the specification."""
    group = json.loads((path / "zarr.json").read_text())
    assert group["zarr_format"] == 3
    assert group["node_type"] == "group"
    ome = group["attributes"]["ome"]
    assert ome["version"] == "0.5"
    (image,) = ome["multiscales"]
    axes, datasets = image["axes"], image["datasets"]
    assert [a["name"] for a in axes] == ["z", "y", "x"]
    assert all(a["type"] == "space" for a in axes)
    last = None
    for level in datasets:
        steps = level["coordinateTransformations"]
        # Exactly one scale, at most one translation, and that after the scale.
        assert [s["type"] for s in steps] in (["scale"], ["scale", "translation"])
        assert all(len(s[s["type"]]) == len(axes) for s in steps)
        array = json.loads((path / level["path"] / "zarr.json").read_text())
        assert array["node_type"] == "array"
        assert array["dimension_names"] == ["z", "y", "x"]
        assert last is None or all(a <= b for a, b in zip(array["shape"], last, strict=True))
        last = array["shape"]
        (codec,) = array["codecs"]
        assert codec["name"] == "sharding_indexed"
        assert [c["name"] for c in codec["configuration"]["codecs"]] == ["bytes", "zstd", "crc32c"]
    return image


@pytest.mark.parametrize("dtype", ["u1", "u2", ">i2", "i4", "f4", "f8", "?"])
def test_round_trip(dtype: Any, grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]):
    data = grey.astype(dtype)
    out = convert(data, tmp_path / "a.zarr", spacing=(8, 4, 4), unit="nm", **SMALL)
    assert out == tmp_path / "a.zarr"
    image = _check_ome(out)
    assert {a["unit"] for a in image["axes"]} == {"nanometer"}
    volume = open_volume(out)
    assert volume.format == "OME-Zarr 0.5"
    assert (volume.spacing, volume.unit) == ((8.0, 4.0, 4.0), "nm")
    assert volume.chunks == (4, 4, 4)
    np.testing.assert_array_equal(whole(volume), data)
    # And by another implementation.
    np.testing.assert_array_equal(zarr.open_array(str(out / "0"), mode="r")[:], data)


def test_defaults_suit_any_size(grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]):
    out = convert(grey, tmp_path / "a.zarr")
    assert len([p for p in (out / "0").rglob("*") if p.is_file()]) == 2  # metadata and one shard
    assert open_volume(out).chunks == grey.shape
    np.testing.assert_array_equal(whole(open_volume(out)), grey)
    assert "unit" not in _check_ome(out)["axes"][0]


@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.integers(1, 20)] * 3), st.tuples(*[st.integers(1, 3)] * 3))
def test_any_shape_and_any_shard(
    tmp_path_factory: pytest.TempPathFactory, shape: Any, shards: tuple[int, ...]
):
    data = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    out = tmp_path_factory.mktemp("any") / "a.zarr"
    convert(data, out, chunk=(3, 4, 5), shard=tuple(np.multiply(shards, (3, 4, 5)).tolist()))
    np.testing.assert_array_equal(
        open_volume(out).read(slice(None), slice(None), slice(None)), data
    )


def test_from_a_tiff_with_progress(
    grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="minisblack")
    steps = []
    convert(tmp_path / "a.tif", tmp_path / "a.zarr", **SMALL, progress=lambda *s: steps.append(s))
    assert steps[-1] == (grey.size, grey.size)
    assert [d for d, _ in steps] == sorted(d for d, _ in steps)
    assert len(steps) == 3
    np.testing.assert_array_equal(whole(open_volume(tmp_path / "a.zarr")), grey)


def test_pyramid(tmp_path: Path, whole: Callable[..., np.ndarray]):
    data = np.random.default_rng(0).normal(size=(10, 13, 16)).astype(np.float32)
    out = convert(data, tmp_path / "a.zarr", spacing=2, unit="um", levels=3, **SMALL)
    image = _check_ome(out)
    assert image["type"] == "mean"
    steps = image["datasets"][2]["coordinateTransformations"]
    assert steps[0]["scale"] == [8.0, 8.0, 8.0]
    assert steps[1]["translation"] == [3.0, 3.0, 3.0]  # the middle of four voxels of 2 um
    half = open_volume(out, dataset="1")
    assert (half.shape, half.spacing) == ((5, 7, 8), (4.0, 4.0, 4.0))
    padded = np.pad(data, ((0, 0), (0, 1), (0, 0)), mode="edge")
    expected = padded.reshape(5, 2, 7, 2, 8, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(whole(half), expected, rtol=1e-5, atol=1e-6)
    assert open_volume(out, dataset="2").shape == (3, 4, 4)


def test_pyramid_of_integers_is_rounded(tmp_path: Path, whole: Callable[..., np.ndarray]):
    data = np.zeros((2, 2, 2), np.uint8)
    data[0] = [[255, 255], [255, 1]]
    convert(data, tmp_path / "a.zarr", levels=2)
    assert whole(open_volume(tmp_path / "a.zarr", dataset="1")).item() == 96  # 766 / 8 = 95.75


def test_existing_output_is_refused(grey: np.ndarray, tmp_path: Path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "keep").write_text("me")
    with pytest.raises(InputError, match=r"out: got .*a\.zarr, which exists; wants a new name"):
        convert(grey, tmp_path / "a.zarr")
    with pytest.raises(InputError, match=r"out: got .*exists and is not a zarr folder"):
        convert(grey, tmp_path / "a.zarr", overwrite=True)
    assert (tmp_path / "a.zarr" / "keep").read_text() == "me"


def test_overwrite_even_with_itself(
    grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    out = convert(grey, tmp_path / "a.zarr", **SMALL)
    convert(out, out, spacing=3, unit="nm", overwrite=True)
    volume = open_volume(out)
    assert volume.spacing == (3.0, 3.0, 3.0)
    np.testing.assert_array_equal(whole(volume), grey)
    assert _names(tmp_path) == ["a.zarr"]


def test_paths_that_lead_up_and_through_links(
    grey: np.ndarray,
    tmp_path: Path,
    whole: Callable[..., np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
):
    for folder in ("here", "far/away"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    out = convert(grey, "../there/a.zarr", **SMALL)
    assert _names(tmp_path / "there") == ["a.zarr"]
    np.testing.assert_array_equal(whole(open_volume(out)), grey)
    # As for the system, up from a link is up from where it points to.
    Path("link").symlink_to(tmp_path / "far" / "away")
    convert(grey, "link/../b.zarr", **SMALL)
    assert sorted(_names(tmp_path / "far")) == ["away", "b.zarr"]
    np.testing.assert_array_equal(whole(open_volume("link/../b.zarr")), grey)
    np.testing.assert_array_equal(whole(open_volume("link/../../there/a.zarr")), grey)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_of_a_failure(error: type[BaseException], tmp_path: Path):
    def reader(z: slice, y: slice, x: slice):
        if z.start >= 8:
            raise error
        return np.zeros(tuple(s.stop - s.start for s in (z, y, x)), np.uint8)

    volume = Volume((20, 4, 4), np.dtype(np.uint8), reader)
    with pytest.raises(error):
        convert(volume, tmp_path / "a.zarr", **SMALL)
    assert _names(tmp_path) == []


def test_failure_leaves_what_was_there(
    grey: np.ndarray, tmp_path: Path, whole: Callable[..., np.ndarray]
):
    out = convert(grey, tmp_path / "a.zarr", **SMALL)

    def stop(done: int, total: int):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        convert(np.zeros((9, 9, 9)), out, overwrite=True, progress=stop)
    np.testing.assert_array_equal(whole(open_volume(out)), grey)
    assert _names(tmp_path) == ["a.zarr"]
    assert not [t for t in threading.enumerate() if t.name.startswith("bimmjax-read")]


def test_output_that_cannot_be_written(grey: np.ndarray, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"out: got .*a\.zarr, which cannot be written"):
        convert(grey, tmp_path / "file" / "a.zarr")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"chunk": (4, 4, 4), "shard": (4, 6, 8)},
            r"shard: got \(4, 6, 8\), wants whole multiples",
        ),
        ({"chunk": (0, 4, 4)}, "chunk: got 0, wants"),
        ({"shard": 64}, "shard: got 64, wants three"),
        ({"levels": 0}, "levels: got 0, wants"),
        ({"spacing": -1}, "spacing: got -1, wants"),
    ],
)
def test_bad_arguments(options: dict[str, Any], told: Any, grey: np.ndarray, tmp_path: Path):
    with pytest.raises(InputError, match=told):
        convert(grey, tmp_path / "a.zarr", **options)
    assert _names(tmp_path) == []


def test_blocks_are_whole_shards_and_bounded():
    def block(shape: Any, dtype: Any, shard: Any = (64, 512, 512)):
        volume = Volume(shape, np.dtype(dtype), lambda *_: np.zeros(1))
        return _block_of_shards(volume, shard)

    assert block((9, 12, 15), "u1") == (9, 12, 15)
    # Whole slices where they fit: each slice of the source is then read once.
    assert block((2000, 1024, 1024), "u1") == (64, 1024, 1024)
    huge = block((9000, 9000, 9000), "f4")
    assert np.prod(huge) * 4 <= 2**27
    assert all(b % s == 0 for b, s in zip(huge, (64, 512, 512), strict=True))


def test_metadata_of_unknown_spacing():
    volume = open_volume(np.zeros((3, 3, 3), np.uint8))
    (image,) = ome_metadata(volume)["multiscales"]
    assert image["axes"] == [{"name": n, "type": "space"} for n in "zyx"]
    assert image["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0, 1.0, 1.0]
