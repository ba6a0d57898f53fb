from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimmjax import InputError
from bimmjax.maps import Flag, Maps
from bimmjax.maps import _table as table_module
from bimmjax.maps._columns import all_columns
from bimmjax.maps._store import MapStore
from bimmjax.maps._table import _parts, write_table
from bimmjax.maps._windows import Windows

WINDOWS = Windows((4 * 32, 11 * 32, 20 * 32), (64, 64, 64), (32, 32, 32))
COLUMNS = all_columns(2, "shared")


def _maps(**options: Any) -> Maps:
    store = MapStore.create(None, WINDOWS, columns=COLUMNS, **options)
    rng = np.random.default_rng(0)
    for time in range(store.description.volumes):
        for unit in WINDOWS.units():
            values: dict[str, np.ndarray] = {
                name: rng.normal(size=unit.shape)
                if dtype == "float32"
                else rng.integers(0, 9, unit.shape)
                for name, dtype in COLUMNS.items()
            }
            values["flags"] = np.zeros(unit.shape, np.uint16)
            values["flags"].flat[0] = Flag.NO_DATA
            for name, dtype in COLUMNS.items():
                if dtype == "float32":
                    values[name].flat[0] = np.nan
            store.write(time, unit, values)
    return Maps(store)


@pytest.fixture(scope="module", params=[None, (0.0, 1.5)])
def maps(request: pytest.FixtureRequest) -> Maps:
    return _maps(times=request.param)


def test_table(maps: Maps):
    table = maps.table()
    assert list(table) == [*(["time"] if maps.times else []), "z", "y", "x", *COLUMNS]
    for name in COLUMNS:
        np.testing.assert_array_equal(table[name], maps[name].ravel())
    index = np.stack(np.unravel_index(np.arange(maps["flags"].size), maps.shape), axis=1)
    for row in (0, 1, 25, len(index) - 1):
        corner = tuple(table[axis][row] for axis in "zyx")
        assert corner == WINDOWS.voxel_start(index[row, -3:])
        if maps.times:
            assert table["time"][row] == maps.times[index[row, 0]]


@pytest.mark.parametrize("rows", [1, 100, 2**15])
def test_csv(rows: int, maps: Maps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(table_module, "_ROWS", rows)
    assert write_table(maps, tmp_path)[0] == tmp_path / "blocks.csv"
    with (tmp_path / "blocks.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    table = maps.table()
    assert header == list(table)
    assert len(lines) == maps["flags"].size
    for name, texts in zip(header, zip(*lines, strict=True), strict=True):
        numbers = np.array([float(text) if text else np.nan for text in texts])
        np.testing.assert_allclose(numbers, table[name], rtol=1e-6)
    assert "" in lines[0]
    assert not list(tmp_path.glob(".*"))


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 60), st.integers(1, 60)),
    st.sampled_from([1, 50, 500, 5000, 2**15]),
)
@settings(max_examples=80, deadline=None)
def test_parts_are_whole_chunks_in_order(shape: tuple[int, int, int], rows: int):
    windows = Windows(tuple(8 * n for n in shape), (8, 8, 8), (8, 8, 8))
    store = MapStore.create(None, windows, columns={"flags": "uint16"})
    number = np.arange(windows.count).reshape(windows.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_module, "_ROWS", rows)
        parts = list(_parts(store))
    order = np.concatenate([number[part.box].ravel() for part in parts])
    np.testing.assert_array_equal(order, np.arange(windows.count))
    largest = max(rows, int(np.prod(windows.chunk)))
    for part in parts:
        assert part.windows <= largest
        assert not any(s % n for s, n in zip(part.start, windows.chunk, strict=True))


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not here")
def test_parquet(maps: Maps, tmp_path: Path):
    parquet = importlib.import_module("pyarrow.parquet")
    assert write_table(maps, tmp_path)[1] == tmp_path / "blocks.parquet"
    read = parquet.read_table(tmp_path / "blocks.parquet")
    table = maps.table()
    assert read.column_names == list(table)
    for name, values in table.items():
        found = read[name].to_numpy()
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values)
    assert read.schema.field("blur_std").metadata[b"unit"] == b"voxel"


def test_without_pyarrow(maps: Maps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert write_table(maps, tmp_path) == [tmp_path / "blocks.csv"]


def test_an_old_table_stays_until_the_new_one_is_whole(
    maps: Maps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "blocks.csv").write_text("old")

    def rows(store: MapStore):
        yield {"z": np.arange(3)}
        raise InputError("maps: got none")

    monkeypatch.setattr(table_module, "rows", rows)
    with pytest.raises(InputError):
        write_table(maps, tmp_path)
    assert (tmp_path / "blocks.csv").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["blocks.csv"]


def test_a_folder_that_is_not_there(maps: Maps, tmp_path: Path):
    with pytest.raises(InputError, match=r"out: got .*blocks\.csv, which cannot be written"):
        write_table(maps, tmp_path / "none")


# What else Maps tells.


def test_summary(maps: Maps):
    summary = maps.summary()
    usable = maps.usable
    assert summary["blocks"] == maps["flags"].size
    assert summary["usable"] == usable.sum() < summary["blocks"]
    assert summary["flags"]["NO_DATA"] == maps.flagged(Flag.NO_DATA).sum() > 0
    assert summary["pending"] == summary["flags"]["PENDING"] == 0
    assert set(summary["quantities"]) == {*maps.quantities, "goodness_of_fit"}
    told, values = summary["quantities"]["blur_std"], maps["blur_std"][usable].astype(float)
    assert told["mean"] == pytest.approx(values.mean())
    assert told["std"] == pytest.approx(values.std())
    assert told["median"] == pytest.approx(np.median(values))


def test_summary_of_nothing():
    summary = Maps(MapStore.create(None, WINDOWS, columns=COLUMNS)).summary()
    assert summary["usable"] == 0
    assert summary["pending"] == WINDOWS.count
    assert summary["quantities"]["blur_std"]["mean"] is None


def test_names(maps: Maps):
    assert maps.phases == 2
    assert "volume_fraction_0" in maps.quantities
    assert not set(maps.quantities) & {"flags", "steps", "volume_fraction_0_stderr"}
    assert maps.unit("intensity_0") == "grey value"
    assert maps.meaning("volume_fraction_1") == "Share of the volume of phase 1"
    with pytest.raises(InputError, match=r"column: got 'blur', wants one of .*blur_std"):
        _ = maps["blur"]
    assert "2 phases" in repr(maps)


def test_layers(maps: Maps):
    layers = maps.layers()
    names = [keywords["name"] for _, keywords, _ in layers]
    assert names == [name for name in maps.columns if not name.endswith("_stderr")]
    assert [keywords["visible"] for _, keywords, _ in layers] == [True] + [False] * (len(names) - 1)
    for data, keywords, _ in layers:
        assert data.shape == maps.shape
        assert len(keywords["scale"]) == len(keywords["translate"]) == data.ndim
        low, high = keywords["contrast_limits"]
        assert low < high
