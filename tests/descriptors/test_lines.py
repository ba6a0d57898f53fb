"""Pairs and paths along lines against counting them one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from bimmjax import InputError, convert, descriptors, open_volume
from bimmjax.descriptors import _bits, _labels, _lines, line_counts

AXES = ("z", "y", "x")


def by_hand(inside: np.ndarray, axis: int, lags: int, periodic: bool) -> np.ndarray:
    """(2, lags): both ends inside, and all from one to the other."""
    lines = np.moveaxis(inside, axis, 0)
    steps = len(lines)
    found = np.zeros((2, lags), int)
    for lag in range(lags):
        for start in range(steps if periodic else steps - lag):
            way = lines[np.arange(start, start + lag + 1) % steps]
            found[0, lag] += np.sum(way[0] & way[-1])
            found[1, lag] += np.sum(way.all(0))
    return found


def volumes() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    blobs = gaussian_filter(random.normal(size=(17, 12, 37)), 2.0)
    return {
        "random": random.integers(0, 3, (9, 13, 21)),
        "blobs": np.digitize(blobs, [-0.05, 0.05]),
        "stripes": np.broadcast_to((np.arange(24) // 4) % 3, (5, 7, 24)).copy(),
    }


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", list(volumes()))
def test_counts_are_those_by_hand(name: str, masked: bool, periodic: bool):
    labels = volumes()[name]
    mask = np.random.default_rng(1).random(labels.shape) > 0.15 if masked else None
    good = np.ones(labels.shape, bool) if mask is None else mask
    found = line_counts(labels, [0, 1, 2], mask=mask, periodic=periodic)
    assert set(found) == {(p, a) for p in range(3) for a in AXES}
    for (phase, axis), counts in found.items():
        k = AXES.index(axis)
        lags = labels.shape[k]
        told = np.stack([counts.pairs, counts.paths])
        np.testing.assert_array_equal(told, by_hand((labels == phase) & good, k, lags, periodic))
        possible = np.stack([counts.possible_pairs, counts.possible_paths])
        np.testing.assert_array_equal(possible, by_hand(good, k, lags, periodic))
        share = np.mean(labels[good] == phase)
        assert counts.two_point[0] == counts.lineal_path[0] == share


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 7), st.integers(1, 9), st.integers(1, 40)),
)
@settings(max_examples=25, deadline=None)
def test_any_shape(seed: int, shape: tuple[int, int, int]):
    labels = np.random.default_rng(seed).integers(0, 2, shape)
    for (phase, axis), counts in line_counts(labels, [0, 1]).items():
        k = AXES.index(axis)
        told = np.stack([counts.pairs, counts.paths])
        np.testing.assert_array_equal(told, by_hand(labels == phase, k, shape[k], False))


def test_chords_are_moments_of_runs():
    labels = np.zeros((1, 1, 20), int)
    labels[..., 2:5] = labels[..., 8:14] = 1
    found = line_counts(labels, 1, ["x"])[1, "x"]
    assert found.mean_chord == pytest.approx((9 + 36) / (2 * (3 + 6)))
    assert np.isnan(line_counts(labels, 2, ["x"])[2, "x"].mean_chord)


def test_a_volume_streams_in_slabs(tmp_path, monkeypatch: pytest.MonkeyPatch):
    labels = volumes()["blobs"].astype(np.uint8)
    mask = (np.random.default_rng(1).random(labels.shape) > 0.1).astype(np.uint8)
    path = convert(labels, tmp_path / "a.zarr", chunk=(4, 4, 16), shard=(4, 4, 16))
    whole = line_counts(labels, [1, 2], mask=mask)
    monkeypatch.setattr(_labels, "_SLAB", 600)
    monkeypatch.setattr(_bits, "_PART", 200)
    for kept in (2**32, 17 * 37 * 3 * 5, 1):  # all rows at once, a chunk of them, single ones
        monkeypatch.setattr(_lines, "_BITS", kept)
        parts = line_counts(path, [1, 2], mask=mask)
        for key, counts in whole.items():
            for a, b in zip(counts, parts[key], strict=True):
                np.testing.assert_array_equal(a, b, err_msg=str(key))


def test_memory_is_bounded_where_slices_lie_whole(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_labels, "_SLAB", 2**15)
    monkeypatch.setattr(_lines, "_BITS", 2**18)
    labels = np.random.default_rng(0).integers(0, 2, (64, 64, 64), np.uint8)
    read: list[int] = []
    volume = open_volume(labels)

    def reader(*box: slice) -> np.ndarray:
        data = volume.reader(*box)
        read.append(data.size)
        return data

    found = line_counts(replace(volume, reader=reader), [0, 1])
    assert max(read) == 2**15
    assert sum(read) == 2 * labels.size
    np.testing.assert_array_equal(found[1, "z"].pairs[:1], labels.sum())


def test_limits():
    uniform = np.ones((6, 6, 6), np.uint8)
    found = line_counts(uniform, [0, 1])
    np.testing.assert_array_equal(found[1, "z"].two_point, np.ones(6))
    np.testing.assert_array_equal(found[0, "z"].lineal_path, np.zeros(6))
    random = np.random.default_rng(0).random((64, 64, 64)) < 0.3
    far = line_counts(random, 1, ["y"], lags=32)[1, "y"]
    np.testing.assert_allclose(far.two_point[1:], 0.09, atol=2e-3)
    np.testing.assert_allclose(far.lineal_path[:4], 0.3 ** np.arange(1, 5), atol=2e-3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: line_counts(np.zeros((4, 4, 4))), "labels: got dtype float64, wants whole"),
        (lambda: line_counts(np.zeros((4, 4), int)), "3D volume"),
        (lambda: line_counts(np.zeros((4, 4, 4), int), lags=9), "lags: got 9"),
        (lambda: line_counts(np.zeros((4, 4, 4), int), 1, ["w"]), "axis: got 'w'"),
        (
            lambda: line_counts(np.zeros((4, 4, 4), int), mask=np.ones((4, 4, 3))),
            r"mask: got shape \(4, 4, 3\)",
        ),
        (lambda: descriptors.components(np.zeros((4, 4, 4), int), neighbours=8), "neighbours"),
    ],
)
def test_bad_input_is_named(call, said: str):
    with pytest.raises(InputError, match=said):
        call()
