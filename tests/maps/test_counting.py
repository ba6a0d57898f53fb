"""Histograms of windows against a count voxel by voxel, on sound and on damaged volumes."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bimmjax import InputError, convert, open_volume
from bimmjax.maps import _counting, _source
from bimmjax.maps._counting import UnitCounts, window_counts
from bimmjax.maps._global import global_grid
from bimmjax.maps._source import Source, open_source
from bimmjax.maps._windows import Shape, Unit, Windows, windows_of
from bimmjax.volumes import Grid, Volume
from bimmjax.volumes._grid import choose_grid

BINS = (128, 64)
CORE = (slice(1, -1),) * 3


def grey(shape: Shape, dtype: Any) -> np.ndarray:
    """Smooth enough for some gradients to be small, noisy enough to fill many bins."""
    random = np.random.default_rng(3)
    field = np.cumsum(random.normal(size=shape), axis=1) + random.normal(size=shape)
    top = {"uint8": 255, "uint16": 60_000}.get(str(np.dtype(dtype)), 1.0)
    return ((field - field.min()) / np.ptp(field) * top).astype(dtype)


def usable(volume: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Voxels that have six neighbours, all of which count and are finite, as they are."""
    good = counted & np.isfinite(volume)
    kept = np.zeros(volume.shape, bool)
    kept[CORE] = good[CORE]
    for axis in range(3):
        for step in (-1, 1):
            kept &= np.roll(good, step, axis)
    return kept


def bins_of(volume: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    f = volume.astype(float)
    slopes = [(np.roll(f, -1, axis) - np.roll(f, 1, axis)) / 2 for axis in range(3)]
    rows = np.searchsorted(grid.u_edges[1:-1], f, side="right")
    columns = np.searchsorted(grid.v_edges[1:-1], np.sqrt(sum(s * s for s in slopes)), side="right")
    return rows, columns


def brute_force(
    volume: np.ndarray, grid: Grid, windows: Windows, kept: np.ndarray, join: int = 1
) -> np.ndarray:
    rows, columns = bins_of(volume, grid)
    counts = np.zeros((*windows.shape, BINS[0] // join, BINS[1] // join), int)
    for index in np.ndindex(*windows.shape):
        start = windows.voxel_start(index)
        box = tuple(slice(a, a + b) for a, b in zip(start, windows.block, strict=True))
        inside = kept[box]
        at = rows[box][inside] // join, columns[box][inside] // join
        np.add.at(counts[index], at, 1)
    return counts


def in_chunks(windows: Windows, layers: int, rows: int) -> Windows:
    windows.__dict__["chunk"] = (layers, rows, windows.shape[2])  # a cached property
    return windows


def counted(
    source: Source, grid: Grid, windows: Windows, units: Iterable[Unit], join: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole maps of counts, of possible voxels and of what is unreadable; -1 where not counted."""
    counts = np.full((*windows.shape, BINS[0] // join, BINS[1] // join), -1, int)
    possible = np.full(windows.shape, -1)
    unreadable = np.zeros(windows.shape, bool)
    for found in window_counts(source, grid, windows, units, join=join):
        assert found.counts.dtype == np.int32
        shape = found.unit.shape
        counts[found.unit.box] = found.counts.reshape(*shape, *counts.shape[3:])
        possible[found.unit.box] = found.possible.reshape(shape)
        unreadable[found.unit.box] = found.unreadable.reshape(shape)
    return counts, possible, unreadable


def agree(found: np.ndarray, expected: np.ndarray, *, exact: bool) -> None:
    np.testing.assert_array_equal(found.sum((-1, -2)), expected.sum((-1, -2)))
    # Of floats, a few lie on an edge of the bins to within float32.
    slack = 0 if exact else 2 + 1e-3 * expected.sum((-1, -2))
    assert np.all(np.abs(found - expected).sum((-1, -2)) <= slack)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    ("shape", "block", "stride", "chunk"),
    [
        ((33, 40, 50), 16, 8, (2, 2)),
        ((41, 29, 47), (16, 8, 24), None, (1, 2)),
        ((30, 31, 37), 12, (4, 8, 12), (2, 1)),
        ((20, 21, 22), 20, None, (1, 1)),
        ((40, 24, 24), 8, 16, (1, 1)),
    ],
)
def test_windows_are_counted_as_voxel_by_voxel(
    dtype: str, shape: Shape, block: Any, stride: Any, chunk: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_counting, "_BLOCK_VOXELS", 3000)  # several blocks are streamed per unit
    volume = grey(shape, dtype)
    source = open_source(volume)
    grid = choose_grid(source.volume)
    windows = in_chunks(windows_of(source.volume, block, stride), *chunk)
    join = 4 if dtype == "uint16" else 1
    counts, possible, unreadable = counted(source, grid, windows, windows.units(), join)
    kept = usable(volume, np.ones(shape, bool))
    expected = brute_force(volume, grid, windows, kept, join)
    agree(counts, expected, exact=dtype == "uint8")
    np.testing.assert_array_equal(possible, expected.sum((-1, -2)))
    assert not unreadable.any()


def test_origin_and_units_in_any_order():
    volume = grey((30, 34, 38), np.uint8)
    source = open_source(volume)
    grid = choose_grid(source.volume)
    windows = in_chunks(Windows((30, 34, 38), (12, 12, 12), (4, 8, 8), (1, 2, 5)), 1, 2)
    expected = brute_force(volume, grid, windows, usable(volume, np.ones(volume.shape, bool)))
    units = list(windows.units())
    shuffled = np.random.default_rng(1).permutation(len(units))
    for order in (range(len(units)), reversed(range(len(units))), shuffled):
        counts, _, _ = counted(source, grid, windows, [units[i] for i in order])
        agree(counts, expected, exact=True)
    # An interrupted map goes on with what is left: a gap within a strip.
    some = [unit for i, unit in enumerate(units) if i % 3]
    counts, _, _ = counted(source, grid, windows, some)
    for unit in some:
        agree(counts[unit.box], expected[unit.box], exact=True)


@pytest.mark.parametrize("chunk", [(1, 1), (2, 3)])
def test_mask_and_nan_leave_out_voxels_and_their_neighbours(chunk: tuple[int, int]):
    random = np.random.default_rng(5)
    volume = grey((36, 36, 36), np.float32)
    volume[8, 17, 20] = np.nan
    volume[0, 0, 0] = np.inf
    volume[24:27, 35, :] = np.nan
    mask = np.ones(volume.shape, np.int16)
    mask[:, :9, :] = 0
    mask[random.random(volume.shape) < 0.02] = 0
    mask[mask != 0] = random.integers(-3, 3, (mask != 0).sum()) * 2 + 1  # anything but 0
    for over in (None, mask):
        source = open_source(volume, over)
        grid = choose_grid(source.volume)
        windows = in_chunks(windows_of(source.volume, 16, 8), *chunk)
        counts, possible, unreadable = counted(source, grid, windows, windows.units())
        inside = np.ones(volume.shape, bool) if over is None else mask != 0
        kept = usable(volume, inside)
        agree(counts, brute_force(volume, grid, windows, kept), exact=False)
        whole = brute_force(
            volume, grid, windows, usable(np.zeros(volume.shape), np.ones(volume.shape, bool))
        )
        np.testing.assert_array_equal(possible, whole.sum((-1, -2)))
        assert not unreadable.any()
    with pytest.raises(InputError, match=r"mask: got shape \(4, 4, 4\), wants the volume's"):
        open_source(volume, mask[:4, :4, :4])
    with pytest.raises(InputError, match=r"mask: got no-mask\.tif"):
        open_source(volume, "no-mask.tif")


def damage(path: Path, chunk: Shape) -> np.ndarray:
    """Delete one shard, empty one and break one; returns which voxels are lost."""
    lost = np.zeros((48, 48, 48), bool)
    for index, how in (((0, 0, 0), "gone"), ((1, 2, 1), "broken"), ((2, 0, 2), "cut")):
        file = path / "0" / "c" / "/".join(map(str, index))
        if how == "gone":
            file.unlink()
        elif how == "cut":
            file.write_bytes(file.read_bytes()[:10])
        else:
            content = bytearray(file.read_bytes())
            content[: len(content) - 20] = b"\xff" * (len(content) - 20)
            file.write_bytes(content)
        lost[tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, chunk, strict=True))] = True
    return lost


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(("block", "stride", "streamed"), [(16, 8, 2**22), (12, 12, 4000)])
def test_damaged_chunks_cost_their_own_voxels_only(
    dtype: str,
    block: int,
    stride: int,
    streamed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(_counting, "_BLOCK_VOXELS", streamed)
    volume = grey((48, 48, 48), dtype)
    volume += np.asarray(3, dtype)  # chunks of nothing but 0 are not stored
    path = convert(volume, tmp_path / "a.zarr", chunk=(8, 8, 8), shard=(16, 16, 16))
    grid = choose_grid(open_volume(path))
    lost = damage(path, (16, 16, 16))
    source = open_source(path)
    windows = in_chunks(windows_of(source.volume, block, stride), 2, 2)
    counts, possible, unreadable = counted(source, grid, windows, windows.units())
    kept = usable(volume, ~lost)
    agree(counts, brute_force(volume, grid, windows, kept), exact=dtype == "uint8")
    whole = usable(volume, np.ones(volume.shape, bool))
    expected = brute_force(volume, grid, windows, whole).sum((-1, -2))
    np.testing.assert_array_equal(possible, expected)
    # Whoever lost a voxel is told; whoever lies two voxels off is not.
    short = counts.sum((-1, -2)) < expected
    assert short.any()
    assert not short.all()
    assert unreadable[short].all()
    far = np.ones(windows.shape, bool)
    for index in np.ndindex(*windows.shape):
        start = windows.voxel_start(index)
        near = tuple(slice(max(a - 1, 0), a + block + 1) for a in start)
        far[index] = not lost[near].any()
    assert not unreadable[far].any()
    assert far.any()


def test_one_damaged_chunk_within_a_shard(tmp_path: Path):
    volume = grey((32, 32, 32), np.uint16) + np.uint16(1)
    path = convert(volume, tmp_path / "a.zarr", chunk=(8, 8, 8), shard=(32, 32, 32))
    grid = choose_grid(open_volume(path))
    file = path / "0" / "c" / "0" / "0" / "0"
    content = bytearray(file.read_bytes())
    # The index at the end tells offset and size of each chunk.
    index = np.frombuffer(bytes(content[-4 - 16 * 64 : -4]), "<u8").reshape(4, 4, 4, 2)
    offset, size = index[1, 2, 3]
    content[offset : offset + size] = b"\x00" * int(size)
    file.write_bytes(content)
    lost = np.zeros(volume.shape, bool)
    lost[8:16, 16:24, 24:32] = True
    source = open_source(path)
    windows = windows_of(source.volume, 8)
    counts, _, unreadable = counted(source, grid, windows, windows.units())
    agree(counts, brute_force(volume, grid, windows, usable(volume, ~lost)), exact=False)
    assert unreadable[1, 2, 3]
    assert unreadable.sum() <= 18  # itself and what lies around it


def test_chunks_of_the_fill_value_are_not_damage(tmp_path: Path):
    """Air around a sample is 0 in many volumes; `convert` has to keep it apart from loss."""
    volume = grey((32, 32, 32), np.uint8) + np.uint8(1)
    volume[:16] = 0
    path = convert(volume, tmp_path / "a.zarr", chunk=(16, 16, 16), shard=(16, 16, 16))
    source = open_source(path)
    windows = windows_of(source.volume, 8)
    grid = choose_grid(open_volume(volume))
    counts, _, unreadable = counted(source, grid, windows, windows.units())
    assert not unreadable.any()
    kept = usable(volume, np.ones(volume.shape, bool))
    agree(counts, brute_force(volume, grid, windows, kept), exact=True)


def test_missing_chunks_are_empty_if_the_writer_means_it(tmp_path: Path):
    volume = grey((32, 32, 32), np.uint8) + np.uint8(1)
    path = convert(volume, tmp_path / "a.zarr", chunk=(16, 16, 16), shard=(16, 16, 16))
    (path / "0" / "c" / "0" / "1" / "0").unlink()
    filled = open_source(path, fill_missing=True)
    windows = windows_of(filled.volume, 8)
    grid = choose_grid(open_volume(volume))
    assert not counted(filled, grid, windows, windows.units())[2].any()
    assert counted(open_source(path), grid, windows, windows.units())[2].any()


def test_what_fails_once_is_read_again(monkeypatch: pytest.MonkeyPatch):
    volume = grey((24, 24, 24), np.uint8)
    opened, failures = open_volume(volume), iter([True, True] + [False] * 100)

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        if next(failures):
            raise InputError("source: busy")
        return volume[z, y, x]

    monkeypatch.setattr(_source, "_PAUSE", 0.0)
    source = open_source(replace(opened, reader=read))
    np.testing.assert_array_equal(source.volume.read(*[slice(0, 24)] * 3), volume)
    assert not source.damaged


def watched(volume: np.ndarray) -> tuple[Volume, np.ndarray]:
    """A volume, and how often each of its voxels was read."""
    opened = open_volume(volume)
    reads = np.zeros(volume.shape, int)
    lock = threading.Lock()

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        with lock:
            reads[z, y, x] += 1
        return volume[z, y, x]

    return replace(opened, reader=read), reads


def test_a_voxel_is_read_once(monkeypatch: pytest.MonkeyPatch):
    volume = grey((80, 48, 48), np.uint8)
    grid = choose_grid(open_volume(volume))
    opened, reads = watched(volume)
    source = open_source(opened)
    windows = in_chunks(windows_of(opened, 16, 8), 2, 5)
    assert len(list(windows.units())) == 5
    list(window_counts(source, grid, windows, windows.units(), join=1))
    assert reads.min() == 1
    # Units overlap by a cell, and blocks by the halo: two layers at each border.
    again = np.flatnonzero((reads > 1).any((1, 2)))
    assert reads.max() == 2
    assert again.size <= 2 * 4
    assert reads.sum() <= volume.size * (1 + 2 * 4 / 80)

    monkeypatch.setattr(_counting, "_BLOCK_VOXELS", 16**3)
    opened, reads = watched(volume)
    list(window_counts(open_source(opened), grid, windows, windows.units(), join=1))
    # Blocks of 16³ with their halo, whatever the stride.
    assert reads.sum() <= (18 / 16) ** 3 * 1.1 * volume.size


def test_consumers_may_stop_and_readers_may_fail():
    volume = grey((64, 24, 24), np.uint8)
    grid = choose_grid(open_volume(volume))
    before = threading.active_count()
    windows = in_chunks(Windows(volume.shape, (8, 8, 8), (8, 8, 8)), 1, 3)
    found = window_counts(open_source(volume), grid, windows, windows.units(), join=1)
    assert isinstance(next(found), UnitCounts)
    found.close()
    assert threading.active_count() <= before + 2

    def broken(z: slice, y: slice, x: slice) -> np.ndarray:
        if z.stop > 40:
            raise RuntimeError("the disk is on fire")
        return volume[z, y, x]

    opened = replace(open_volume(volume), reader=broken)
    got = []
    with pytest.raises(RuntimeError, match="on fire"):
        got.extend(window_counts(open_source(opened), grid, windows, windows.units(), join=1))


def test_damage_beside_damage_is_found_once(tmp_path: Path):
    """The list of what is lost must not grow with each visit, or each visit takes longer."""
    volume = grey((48, 48, 48), np.uint8) + np.uint8(3)
    path = convert(volume, tmp_path / "a.zarr", chunk=(8, 8, 8), shard=(16, 16, 16))
    damage(path, (16, 16, 16))
    meta = json.loads((path / "0" / "zarr.json").read_text())
    assert meta["shape"] == [48, 48, 48]
    source = open_source(path)
    grid = choose_grid(source.volume)
    windows = in_chunks(windows_of(source.volume, 16, 8), 1, 1)
    list(window_counts(source, grid, windows, windows.units(), join=1))
    first = len(source.damaged)
    list(window_counts(source, grid, windows, windows.units(), join=1))
    assert len(source.damaged) == first
    assert first <= 3 * 8 * math.prod([3, 3, 3])


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_what_stands_in_for_lost_voxels_does_not_move_the_bins(dtype: str, tmp_path: Path):
    volume = (grey((48, 48, 48), "float32") * 400 + 20_000).astype(dtype)
    path = convert(volume, tmp_path / "a.zarr", chunk=(8, 8, 8), shard=(16, 16, 16))
    sound = choose_grid(open_volume(path))
    damage(path, (16, 16, 16))  # the first voxel of all among them
    found = global_grid(open_source(path))
    width = sound.u_edges[-1] - sound.u_edges[0]
    ends = [0, -1]
    np.testing.assert_allclose(found.u_edges[ends], sound.u_edges[ends], atol=0.1 * width)
    assert found.v_edges[-1] == pytest.approx(sound.v_edges[-1], rel=0.2)
    assert found.clipped == sound.clipped
    mask = np.ones(volume.shape, bool)
    mask[:, :, :24] = False
    volume[:, :, :24] = 0
    inside = global_grid(open_source(volume, mask))
    np.testing.assert_allclose(inside.u_edges[ends], sound.u_edges[ends], atol=0.1 * width)
    assert inside.v_edges[-1] == pytest.approx(sound.v_edges[-1], rel=0.2)
