"""Gaps filled without anything learned: against SciPy, by hand, and box by box."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline
from scipy.ndimage import distance_transform_edt, label

from bimmjax import InputError, open_volume
from bimmjax.fib import fill, fill_distance, fill_nearest, fill_spline
from bimmjax.fib._fill import learned
from bimmjax.fib._fill.distances import FARTHEST, signed_distances
from bimmjax.sim import levelled_wave, structure_labels

ALL = [("labels", m) for m in ("nearest", "spline", "distance", "learned")] + [
    ("grey", m) for m in ("nearest", "linear", "spline")
]


@pytest.fixture(autouse=True, scope="module")
def small_tiles() -> Iterator[None]:
    """Small tiles, of which small slices have several too."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(learned, "TILE", 16)
        yield


def ligaments(edge: int = 48, seed: int = 0) -> np.ndarray:
    """A levelled wave whose ligaments are a few slices thick, uint8."""
    body = levelled_wave(jax.random.key(seed), (edge, edge, edge), 0.3, 11.0)
    return np.asarray(structure_labels(body)).astype(np.uint8)


def uneven(depth: int, seed: int, mean: float = 4.06, std: float = 1.25) -> np.ndarray:
    """Places of slices of drawn thickness, the first at 0."""
    drawn = np.random.default_rng(seed).gamma((mean / std) ** 2, std**2 / mean, depth)
    places = np.concatenate([[0], np.cumsum(np.maximum(np.rint(drawn), 1))]).astype(np.int64)
    return places[places < depth]


def _slices(kind: str, count: int, seed: int, shape: tuple[int, int] = (9, 11)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "grey":
        return rng.normal(size=(count, *shape)).astype(np.float32)
    return rng.integers(0, 3, (count, *shape), dtype=np.uint8)


@pytest.mark.numerics
@pytest.mark.parametrize("count", [2, 3, 4, 9])
def test_grey_splines_are_scipys(count: int):
    slices, places = _slices("grey", count, count), uneven(300, 1)[:count]
    whole = np.arange(places[-1] + 1)
    wanted = CubicSpline(places, slices)(whole)
    np.testing.assert_allclose(fill_spline(slices, places, kind="grey"), wanted, atol=2e-5)
    lines = np.asarray(fill(slices, places, kind="grey", method="linear"))
    by_line = [np.interp(whole, places, column) for column in slices.reshape(count, -1).T]
    np.testing.assert_allclose(lines.reshape(len(whole), -1).T, by_line, atol=2e-6)


@pytest.mark.numerics
def test_a_spline_through_twelve_slices_is_nearly_that_through_all():
    slices, places = _slices("grey", 60, 0), np.arange(60) * 4
    wanted = CubicSpline(places, slices)(np.arange(places[-1] + 1))
    assert np.abs(fill_spline(slices, places, kind="grey") - wanted).max() < 0.02
    labels = ligaments()
    places = uneven(48, 3)
    found = fill_spline(labels[places], places, holes=0)
    wanted = CubicSpline(places, labels[places].astype(float))(np.arange(places[-1] + 1)) > 0.5
    assert (found != wanted).mean() < 1e-3


@pytest.mark.parametrize(("kind", "method"), ALL)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 7))
def test_slices_are_kept_and_ends_are_the_nearest(kind: str, method: str, seed: int, count: int):
    rng = np.random.default_rng(seed)
    slices = _slices(kind, count, seed)
    places = np.cumsum(rng.integers(1, 6, count)) - 1
    depth = int(places[-1]) + 4
    filled = np.asarray(fill(slices, places, kind=kind, method=method, depth=depth))
    assert filled.shape == (depth, 9, 11)
    np.testing.assert_array_equal(filled[places], slices)
    for before in filled[: places[0]]:
        np.testing.assert_array_equal(before, slices[0])
    for after in filled[places[-1] :]:
        np.testing.assert_array_equal(after, slices[-1])
    if kind == "labels":
        # No label comes from nowhere.
        for k in range(places[0], places[-1] + 1):
            assert np.isin(filled[k], slices).all()


@pytest.mark.parametrize(("kind", "method"), ALL)
def test_a_box_is_the_same_however_it_is_read(kind: str, method: str):
    # Wider than a tile of the network, which has to agree with itself across the seam.
    rng = np.random.default_rng(5)
    if kind == "grey":
        slices = _slices("grey", 8, 0, (20, 50))
    else:
        slices = ligaments(50, 2)[:40:5, :20] * 2
        slices[:, :6][slices[:, :6] > 0] = 7
    places = np.cumsum(rng.integers(1, 6, slices.shape[0])) + 1
    volume = fill(slices, places, kind=kind, method=method, depth=int(places[-1]) + 3)
    whole = np.asarray(volume)
    assert whole.dtype == volume.dtype
    for _ in range(10):
        ends = [np.sort(rng.choice(n + 1, 2, replace=False)) for n in volume.shape]
        box = tuple(slice(int(a), int(b)) for a, b in ends)
        np.testing.assert_array_equal(volume.read(*box), whole[box])
    assert volume.read(slice(3, 3), slice(0, 4), slice(0, 4)).shape == (0, 4, 4)


def test_the_nearest_slice_and_of_two_the_former():
    slices = np.array([1, 2, 3], np.uint8).reshape(3, 1, 1)
    found = fill_nearest(slices, [1, 3, 6], 9).ravel()
    np.testing.assert_array_equal(found, [1, 1, 1, 2, 2, 3, 3, 3, 3])


def test_distances_move_edges_where_labels_would_jump():
    # An edge that is 3 pixels further from slice to slice.
    edge = (np.arange(30) < np.array([6, 9, 12, 15])[:, None, None]).astype(np.uint8)
    places = [0, 3, 6, 9]
    np.testing.assert_array_equal(
        fill_distance(edge, places).sum(2).ravel(), 6 + np.arange(10, dtype=int)
    )
    jumping = fill_spline(edge, places).sum(2).ravel()
    assert (np.diff(jumping.astype(int)) > 1).any()


def test_distances_are_better_than_splines_of_labels():
    labels = ligaments()
    places = uneven(48, 1)
    truth = labels[: places[-1] + 1]
    wrong = {
        method: (np.asarray(fill(labels[places], places, method=method)) != truth).mean()
        for method in ("nearest", "spline", "distance")
    }
    assert wrong["distance"] < 0.8 * min(wrong["spline"], wrong["nearest"])


def test_holes_that_are_small_and_closed_are_filled_between_slices():
    solid = np.ones((3, 1, 40), np.uint8)
    # In the middle slice: a pore of 1 pixel, one of 12, and one that is open to the side.
    solid[1, 0, 5] = solid[1, 0, 12:24] = solid[1, 0, 38:] = 0
    places = [0, 3, 6]
    plain = fill_spline(solid, places, holes=0)[:, 0]
    filled = fill_spline(solid, places)[:, 0]
    found: Any = label(plain == 0)
    holes, count = found
    assert count == 3
    for number in range(1, count + 1):
        hole = holes == number
        between = hole.copy()
        between[places] = False
        shut = hole.sum() < 20 and not hole[:, -1].any()
        assert (filled[between] == int(shut)).all()
        # What was seen is not filled.
        assert (filled[places][hole[places]] == 0).all()


def test_volumes_are_filled_as_they_are_read():
    slices = ligaments(40)[::8]
    read: list[int] = []

    def reader(z: slice, y: slice, x: slice) -> np.ndarray:
        read.extend(range(z.start, z.stop))
        return slices[z, y, x]

    given_ = open_volume(slices, spacing=(8.0, 2.0, 2.0), unit="nm")
    lazy = fill(replace(given_, reader=reader), np.arange(5) * 4, method="nearest", depth=17)
    assert (lazy.shape, lazy.spacing, lazy.unit) == ((17, 40, 40), (2.0, 2.0, 2.0), "nm")
    assert not read
    lazy.read(slice(7, 9), slice(0, 4), slice(0, 4))
    assert set(read) == {2}


def test_signed_distances_are_scipys():
    inside = ligaments(40, 3)[7] > 0
    wanted = np.where(
        inside,
        np.asarray(distance_transform_edt(inside)) - 0.5,
        0.5 - np.asarray(distance_transform_edt(~inside)),
    )
    found = signed_distances(inside)
    np.testing.assert_allclose(found, np.clip(wanted, -FARTHEST, FARTHEST), rtol=1e-6)
    assert (signed_distances(np.ones((3, 3), bool)) == FARTHEST).all()
    assert (signed_distances(np.zeros((3, 3), bool)) == -FARTHEST).all()


_TWO = np.zeros((2, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fill(_TWO, [0, 3, 5]), r"places: got 3, wants one for each slice \(2\)"),
        (lambda: fill(_TWO, [0.0, 3.0]), "places: got an array of float64"),
        (lambda: fill(_TWO, [3, 3]), "places: got 3 and then 3, wants ascending"),
        (lambda: fill(_TWO, [-1, 3]), "places: got -1, wants ascending whole numbers from 0"),
        (lambda: fill(_TWO, [0, 3], depth=3), "depth: got 3, wants at least 4, for the last"),
        (lambda: fill(_TWO, [0, 3], depth=4.5), "depth: got 4.5, wants a whole number"),
        (lambda: fill(_TWO, [0, 3], method="linear"), "method: got 'linear', wants one of"),
        (lambda: fill(_TWO, [0, 3], kind="grey", method="learned"), "method: got 'learned', w"),
        (lambda: fill(_TWO, [0, 3], kind="colour"), "kind: got 'colour', wants one of labels"),
        (lambda: fill(_TWO, [0, 3], holes=-1), "holes: got -1, wants a whole number from 0"),
        (lambda: fill(_TWO, [0, 3], spacing=0.0), r"spacing: got 0\.0, wants a number"),
        (lambda: fill(_TWO[0], [0, 3]), r"slices: got an array of shape \(4, 4\), wants"),
        (lambda: fill(_TWO[:0], []), r"slices: got an array of shape \(0, 4, 4\), wants"),
        (lambda: fill([_TWO[0], _TWO[0, :2]], [0, 3]), "slices: got arrays of different shapes"),
        (lambda: fill(_TWO * 0.5, [0, 3]), "slices: got float64, wants labels as uint8; grey"),
        (lambda: fill(_TWO, [0, 3], network="nowhere.safetensors"), "network: got nowhere"),
    ],
)
def test_refusals(call: Callable[[], Any], message: str):
    with pytest.raises(InputError, match=message):
        call()
