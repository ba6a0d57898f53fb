from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from bimmjax import InputError, open_volume
from bimmjax.maps import MEANING, Flag, Maps, open_maps
from bimmjax.maps._columns import all_columns
from bimmjax.maps._store import MapStore
from bimmjax.maps._windows import Unit, Windows

# 8 units: chunks of one layer and 6 rows, then 5.
WINDOWS = Windows((4 * 32, 11 * 32, 20 * 32), (64, 64, 64), (32, 32, 32))
COLUMNS = all_columns(2, "shared")
IDENTITY = {"block": [64, 64, 64], "free": "all", "mask": None, "seed": 0}
SPACING = (5.0, 4.0, 4.0)


def _create(out: Any, **options: Any) -> MapStore:
    told = {"columns": COLUMNS, "spacing": SPACING, "unit": "nm", "identity": IDENTITY}
    return MapStore.create(out, WINDOWS, **{**told, **options})


def _values(unit: Unit, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([seed, *unit.start])
    values: dict[str, np.ndarray] = {name: rng.random(unit.shape, np.float32) for name in COLUMNS}
    values["flags"] = np.zeros(unit.shape, np.uint16)
    return values


def _fill(store: MapStore, times: int = 1):
    for time in range(times):
        for unit in store.windows.units():
            store.write(time, unit, _values(unit, time))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "MAPS.zarr"


def _group(out: Path) -> dict[str, Any]:
    return json.loads((out / "zarr.json").read_text())


@pytest.mark.parametrize("memory", [False, True])
def test_write_and_read(memory: bool, out: Path):
    store = _create(None if memory else out)
    units = list(WINDOWS.units())
    assert len(units) > 3
    assert store.pending(0) == units
    values = _values(units[1])
    values["blur_std"] = np.full(units[1].shape, np.nan)
    store.write(0, units[1], values)
    again = store if memory else MapStore.open(out)
    assert again.done(0, units[1])
    assert again.pending(0) == [unit for unit in units if unit != units[1]]
    for name, dtype in COLUMNS.items():
        part = again.read(name, 0, units[1])
        assert part.dtype == dtype
        np.testing.assert_array_equal(part, values[name].astype(dtype))
        whole = again.read(name)
        assert whole.shape == WINDOWS.shape
        np.testing.assert_array_equal(whole[units[1].box], part)
    rest = np.ones(WINDOWS.shape, bool)
    rest[units[1].box] = False
    assert (again.read("flags")[rest] == Flag.PENDING).all()
    assert np.isnan(again.read("correlation")[rest]).all()
    assert (again.read("voxels")[rest] == 0).all()
    again.write(0, units[1], _values(units[1], 1))  # once more is no harm
    np.testing.assert_array_equal(
        again.read("blur_std", 0, units[1]), _values(units[1], 1)["blur_std"]
    )


@pytest.mark.parametrize("memory", [False, True])
def test_series(memory: bool, out: Path):
    store = _create(None if memory else out, times=[0.0, 2.5, 5.0])
    _fill(store, 2)
    assert [len(store.pending(t)) for t in range(3)] == [0, 0, len(list(WINDOWS.units()))]
    assert store.read("blur_std").shape == (3, *WINDOWS.shape)
    for unit in WINDOWS.units():
        for time in range(2):
            wanted = _values(unit, time)["blur_std"]
            np.testing.assert_array_equal(store.read("blur_std", time, unit), wanted)
            np.testing.assert_array_equal(store.read("blur_std", time)[unit.box], wanted)
    maps = Maps(store)
    assert maps.times == (0.0, 2.5, 5.0)
    assert not maps.complete
    assert (maps.flags[2] == Flag.PENDING).all()
    assert maps.summary(1)["pending"] == 0
    assert maps.summary()["pending"] == WINDOWS.count
    _, keywords, _ = maps.layers(["blur_std"])[0]
    assert keywords["scale"] == (2.5, 160.0, 128.0, 128.0)
    assert keywords["translate"][0] == 0.0
    if not memory:
        assert zarr.open_group(str(out), mode="r")["blur_std"].chunks[0] == 1
        image = _group(out)["attributes"]["ome"]["multiscales"][0]
        assert [axis["name"] for axis in image["axes"]] == ["t", "z", "y", "x"]
        with pytest.raises(ValueError, match="time 3 of 3"):
            store.read("flags", 3)


def test_a_single_time_adds_no_axis(out: Path):
    assert _create(out, times=[7.0]).read("flags").shape == WINDOWS.shape
    assert open_maps(out).table()["time"][0] == 7.0


def test_uneven_times_are_placed_by_index():
    _, keywords, _ = Maps(_create(None, times=[1, 2, 4])).layers(["voxels"])[0]
    assert (keywords["scale"][0], keywords["translate"][0]) == (1.0, 0.0)


def test_ome_metadata(out: Path):
    """The required fields of OME-Zarr 0.5, section by section of the specification."""
    _create(out)
    group = _group(out)
    assert (group["zarr_format"], group["node_type"]) == (3, "group")
    ome = group["attributes"]["ome"]
    assert ome["version"] == "0.5"
    assert [image["name"] for image in ome["multiscales"]] == list(COLUMNS)
    for image in ome["multiscales"]:
        assert image["axes"] == [
            {"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"
        ]
        (level,) = image["datasets"]
        scale, shift = level["coordinateTransformations"]
        assert scale == {"type": "scale", "scale": [32 * s for s in SPACING]}
        assert shift == {"type": "translation", "translation": [63 / 2 * s for s in SPACING]}
        array = json.loads((out / level["path"] / "zarr.json").read_text())
        assert array["dimension_names"] == ["z", "y", "x"]
        assert array["shape"] == list(WINDOWS.shape)
        assert array["chunk_grid"]["configuration"]["chunk_shape"] == list(WINDOWS.chunk)
        assert array == group["consolidated_metadata"]["metadata"][level["path"]]
    ours = group["attributes"]["bimmjax"]["map"]
    assert {flag["code"] for flag in ours["flags"].values()} == {int(flag) for flag in MEANING}
    assert ours["flags"]["POOR_FIT"]["meaning"] == MEANING[Flag.POOR_FIT]
    assert all(column["meaning"] for column in ours["columns"].values())
    assert ours["columns"]["interface_area_0-1"]["unit"] == "1/nm"
    assert ours["windows"]["block"] == [64, 64, 64]


def test_voxels_without_a_unit_have_axes_without(out: Path):
    _create(out, unit="voxel")
    assert "unit" not in _group(out)["attributes"]["ome"]["multiscales"][0]["axes"][0]


def test_zarr_python_reads_it_among_other_files(out: Path):
    """Warnings are errors here."""
    store = _create(out)
    _fill(store)
    (out / "blocks.csv").write_text("a\n")
    (out / "maps.html").write_text("<html>")
    group = zarr.open_group(str(out), mode="r")
    assert {name for name, _ in group.members()} == set(COLUMNS)
    assert sorted(group.array_keys()) == sorted(COLUMNS)
    assert group.metadata.consolidated_metadata is not None
    for name in COLUMNS:
        np.testing.assert_array_equal(group[name][:], store.read(name))
    assert group["blur_std"].attrs["unit"] == "voxel"
    assert group["blur_std"].metadata.dimension_names == ("z", "y", "x")


def test_one_map_opens_as_a_volume(out: Path):
    _fill(_create(out))
    assert open_volume(out / "blur_std").shape == WINDOWS.shape


def test_it_lies_over_the_volume():
    """A block's centre is the mean of the centres of its voxels, which lie at index * spacing."""
    windows = Windows((40, 40, 40), (16, 8, 12), (8, 8, 4), (4, 0, 8))
    store = MapStore.create(None, windows, columns=COLUMNS, spacing=SPACING, unit="nm")
    _, keywords, kind = Maps(store).layers(["blur_std"])[0]
    assert kind == "image"
    for index in ((0, 0, 0), (2, 1, 3)):
        first = windows.voxel_start(index)
        for axis in range(3):
            voxels = (first[axis] + np.arange(windows.block[axis])) * SPACING[axis]
            place = keywords["translate"][axis] + index[axis] * keywords["scale"][axis]
            assert place == pytest.approx(voxels.mean())


def test_several_write_at_once(out: Path):
    """Each opens the store on its own, as processes do."""
    _create(out)
    units = list(WINDOWS.units())

    def work(share: int):
        store = MapStore.open(out)
        for unit in units[share::4]:
            store.write(0, unit, _values(unit))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    maps = open_maps(out)
    assert maps.complete
    for unit in units:
        np.testing.assert_array_equal(maps["blur_std"][unit.box], _values(unit)["blur_std"])


# What a kill, a crash or a bad disk leaves.


def test_a_unit_without_flags_is_pending(out: Path):
    store = _create(out)
    first = next(WINDOWS.units())
    _fill(store)
    (out / "flags" / "c" / "0" / "0" / "0").unlink()
    assert MapStore.open(out).pending(0) == [first]
    assert not open_maps(out).complete


def test_flags_are_written_last(out: Path):
    store = _create(out)
    first = next(WINDOWS.units())
    (out / "blur_std" / "c").write_text("a file where a folder should be")
    with pytest.raises(InputError, match=r"out: got MAPS\.zarr, which cannot be written"):
        store.write(0, first, _values(first))
    assert (out / "voxels" / "c" / "0" / "0" / "0").exists()
    assert not (out / "flags" / "c").exists()
    assert not store.done(0, first)


@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_a_lost_chunk_is_computed_again(damage: str, out: Path):
    store = _create(out)
    _fill(store)
    first = next(WINDOWS.units())
    chunk = out / "blur_std" / "c" / "0" / "0" / "0"
    chunk.unlink() if damage == "missing" else chunk.write_bytes(b"")
    maps = open_maps(out)
    assert maps.store.pending(0) == [first]
    assert (maps.flags[first.box] == Flag.PENDING).all()
    assert maps.flagged(Flag.PENDING).sum() == first.windows
    assert maps.usable.sum() == WINDOWS.count - first.windows
    assert (store.read("flags", 0, first) == Flag.PENDING).all()
    maps.store.write(0, first, _values(first))
    assert maps.complete


def test_a_flipped_bit_is_found(out: Path):
    _fill(_create(out))
    chunk = out / "blur_std" / "c" / "0" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 16
    chunk.write_bytes(content)
    with pytest.raises(InputError, match=r"whose blur_std cannot be read .*blur_std/c/0/0/0"):
        open_maps(out)["blur_std"]
    assert open_maps(out)["voxels"].shape == WINDOWS.shape


@pytest.mark.parametrize("damage", ["no array", "broken array", "other array"])
def test_a_damaged_array_is_named(damage: str, out: Path):
    _create(out)
    meta = out / "blur_std" / "zarr.json"
    if damage == "no array":
        shutil.rmtree(out / "blur_std")
    elif damage == "broken array":
        meta.write_text(meta.read_text()[:-20])
    else:
        meta.write_text((out / "voxels" / "zarr.json").read_text())
    with pytest.raises(
        InputError, match=r"path: got .*, whose map blur_std is missing or dam"
    ) as e:
        open_maps(out)
    assert "\n" not in str(e.value)


def test_a_damaged_group_is_told(out: Path):
    _create(out)
    whole = _group(out)
    text = json.dumps(whole)
    (out / "zarr.json").write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match=r"whose zarr\.json cannot be read"):
        MapStore.open(out)
    for damage in ({"windows": {}}, {"version": 99}, {"columns": {"flags": {}}}, {"times": 3}):
        group = json.loads(text)
        group["attributes"]["bimmjax"]["map"].update(damage)
        (out / "zarr.json").write_text(json.dumps(group))
        with pytest.raises(InputError, match=r"whose zarr\.json cannot be read"):
            MapStore.open(out)


@pytest.mark.parametrize("kind", ["nothing", "file", "empty folder", "zarr", "json list"])
def test_what_is_not_a_map_set(kind: str, tmp_path: Path):
    path = tmp_path / "a.zarr"
    if kind == "file":
        path.write_text("x")
    elif kind != "nothing":
        path.mkdir()
    if kind == "zarr":
        zarr.open_group(str(path), mode="w", zarr_format=3, attributes={"bimmjax": "x"})
    elif kind == "json list":
        (path / "zarr.json").write_text("[]")
    assert not MapStore.exists(path)
    with pytest.raises(InputError, match=r"path: got .* is not a map set"):
        open_maps(path)


# Making and keeping.


def test_nothing_is_left_beside(out: Path):
    _create(out)
    assert [path.name for path in out.parent.iterdir()] == ["MAPS.zarr"]
    assert MapStore.exists(out)


def test_an_existing_one_is_kept(out: Path):
    _fill(_create(out))
    with pytest.raises(InputError, match="which exists; wants a new folder, or overwrite=True"):
        _create(out)
    assert open_maps(out).complete
    (out / "blocks.csv").write_text("a\n")
    assert len(_create(out, overwrite=True).pending(0)) == len(list(WINDOWS.units()))
    assert not (out / "blocks.csv").exists()
    assert [path.name for path in out.parent.iterdir()] == ["MAPS.zarr"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_folders_of_others_are_never_touched(overwrite: bool, tmp_path: Path):
    volume = tmp_path / "volume.zarr"
    zarr.open_group(str(volume), mode="w", zarr_format=3)
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "thesis.tex").write_text("x")
    file = tmp_path / "file"
    file.write_text("x")
    for path in (volume, folder, file):
        with pytest.raises(InputError, match="out: got"):
            _create(path, overwrite=overwrite)
    assert (folder / "thesis.tex").exists()
    assert (volume / "zarr.json").exists()


def test_nor_is_what_others_put_into_ours(out: Path):
    _create(out)
    (out / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"holds notes\.txt, not of our making"):
        _create(out, overwrite=True)
    assert (out / "notes.txt").exists()


def test_an_empty_folder_is_filled(out: Path):
    out.mkdir()
    _create(out)
    assert MapStore.exists(out)


def test_a_place_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="which cannot be written"):
        _create(tmp_path / "file" / "MAPS.zarr")


def test_everything_comes_back(out: Path):
    attributes = {"global_fit": {"nll": np.float32(1.5), "bad": float("nan")}, "phases": 2}
    made = _create(out, attributes=attributes, times=(1.5,))
    store = MapStore.open(out)
    assert store.description == made.description
    assert store.windows == WINDOWS
    assert store.columns == COLUMNS
    assert store.times == (1.5,)
    assert store.identity == IDENTITY
    assert store.attributes["global_fit"] == {"nll": 1.5, "bad": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": (32, 32, 32)}, "made with block=64; wants block=32 or a new folder"),
        ({"seed": 1, "free": "weights"}, "made with free=all; wants free=weights or"),
        ({"mask": "m.tif"}, "made with mask=null; wants mask=m.tif or"),
        ({"new": 3}, "made without new; wants new=3 or"),
    ],
)
def test_other_options_are_refused(change: dict[str, Any], message: str, out: Path):
    store = _create(out)
    store.check_identity({**IDENTITY, "block": (64, 64, 64)})
    with pytest.raises(InputError, match=f"out: got MAPS.zarr, {message}"):
        store.check_identity({**IDENTITY, **change})


def test_options_left_out_or_long_are_refused():
    store = _create(None, identity={"start": "a" * 99})
    with pytest.raises(InputError, match="wants no start or a new folder"):
        store.check_identity({})
    with pytest.raises(InputError, match="wants another start or a new folder"):
        store.check_identity({"start": "a" * 98 + "b"})


@pytest.mark.parametrize("memory", [False, True])
def test_attributes_are_added(memory: bool, out: Path):
    store = _create(None if memory else out, attributes={"a": 1, "b": 2})
    other = store if memory else MapStore.open(out)
    store.update_attributes({"b": 3})
    other.update_attributes({"c": np.arange(2)})  # of another process
    assert other.attributes == {"a": 1, "b": 3, "c": [0, 1]}
    if not memory:
        again = MapStore.open(out)
        assert again.attributes == other.attributes
        assert again.identity == IDENTITY
        assert not [p for p in out.iterdir() if p.is_file() and p.name != "zarr.json"]
        assert zarr.open_group(str(out), mode="r")["flags"].shape == WINDOWS.shape


def test_a_unit_is_written_whole(out: Path):
    store = _create(out)
    first = next(WINDOWS.units())
    values = _values(first)
    with pytest.raises(ValueError, match="blur_std has shape"):
        store.write(0, first, {**values, "blur_std": np.zeros(3)})
    del values["blur_std"]
    with pytest.raises(ValueError, match="blur_std"):
        store.write(0, first, values)
    assert not store.done(0, first)
