"""Slices on the places of a grid, against all that could be tried."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimmjax import InputError
from bimmjax.fib import check_grid_spacing, reposition


def _moved(places: np.ndarray, positions: np.ndarray, spacing: float) -> int:
    own = np.floor((positions - positions[0]) / spacing + 0.5)
    return int(np.abs(places - own).sum())


def test_moves_as_little_as_the_best_of_all_orders():
    rng = np.random.default_rng(0)
    crowded = 0
    for _ in range(200):
        count = int(rng.integers(2, 7))
        positions = np.cumsum(rng.gamma(0.8, 1.0, count)) + rng.uniform(-5, 5)
        spacing = float(rng.uniform(0.5, 2.5))
        found = reposition(positions, spacing)
        last = int((positions[-1] - positions[0]) / spacing) + count + 1
        choices = np.array(list(combinations(range(1, last + 1), count - 1)))
        tried = np.concatenate([np.zeros((len(choices), 1), int), choices], 1)
        own = np.floor((positions - positions[0]) / spacing + 0.5)
        best = np.abs(tried - own).sum(1).min()
        assert _moved(found, positions, spacing) == best
        crowded += best > 0
    # Cases in which nothing has to move would prove nothing.
    assert crowded > 100


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(1e-3, 50.0), min_size=0, max_size=60),
    st.floats(0.1, 20.0),
    st.floats(-1e3, 1e3),
)
def test_no_slice_is_lost_and_order_is_kept(steps: list[float], spacing: float, first: float):
    positions = first + np.concatenate([[0.0], np.cumsum(steps)])
    places = reposition(positions, spacing)
    assert places.dtype == np.int64
    assert places[0] == 0
    assert (np.diff(places) > 0).all()
    own = np.floor((positions - positions[0]) / spacing + 0.5)
    if (np.diff(own) > 0).all():
        np.testing.assert_array_equal(places, own)
    # No way of giving each the first free place does better.
    greedy = [0]
    for wanted in own[1:]:
        greedy.append(max(int(wanted), greedy[-1] + 1))
    assert np.abs(places - own).sum() <= np.abs(np.array(greedy) - own).sum()


def test_crowds_spread_to_both_sides():
    # Three slices want place 5: one gives way to the left, one to the right.
    found = reposition([0.0, 4.9, 5.0, 5.1], 1.0)
    np.testing.assert_array_equal(found, [0, 4, 5, 6])


def test_long_stacks_are_as_good_as_short_ones():
    # Far more slices than could be compared with one another.
    steps = 0.01 + np.random.default_rng(1).gamma(0.7, 2.0, 100_000)
    positions = np.cumsum(steps)
    places = reposition(positions, 1.0)
    assert (np.diff(places) > 0).all()
    # Each to the first free place, from either end, is a good answer, but not the best.
    own = np.floor(positions - positions[0] + 0.5).astype(int)
    number = np.arange(own.size)
    forwards = np.maximum.accumulate(own - number) + number
    assert _moved(places, positions, 1.0) < np.abs(forwards - own).sum()


def test_a_single_slice_is_at_the_first_place():
    assert reposition([37.5], 2.5).tolist() == [0]


def test_grids_up_to_the_mean_thickness_are_taken():
    check_grid_spacing([10.0, 7.5, 12.5], 10.0)
    check_grid_spacing([0.1] * 7, 0.1)
    with pytest.raises(InputError, match=r"^spacing: got 10\.1, a grid coarser than the slices"):
        check_grid_spacing([10.0, 7.5, 12.5], 10.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reposition([0.0, np.nan], 1.0), "positions: got nan, wants ascending"),
        (lambda: reposition([0.0, np.inf], 1.0), "positions: got inf, wants ascending"),
        (lambda: reposition([0.0, 2.0, 1.0], 1.0), "positions: got 2 and then 1, wants ascending"),
        (lambda: reposition([0.0, 0.0], 1.0), "positions: got 0 and then 0, wants ascending"),
        (lambda: reposition([], 1.0), r"positions: got an array of shape \(0,\), wants"),
        (lambda: reposition([[0.0, 1.0]], 1.0), r"positions: got an array of shape \(1, 2\)"),
        (lambda: reposition("abc", 1.0), "positions: got 'abc', wants ascending"),
        (lambda: reposition([0.0, 1.0], 0.0), "spacing: got 0, wants a number above 0"),
        (lambda: reposition([0.0, 1.0], -1.0), r"spacing: got -1\.0, wants a number"),
        (lambda: reposition([0.0, 1.0], float("nan")), "spacing: got nan, wants a number"),
        (lambda: reposition([0.0, 1e20], 1.0), "spacing: got 1, wants more: the slices span"),
        (lambda: check_grid_spacing([1.0, 0.0], 1.0), "thickness: got 0, wants numbers above 0"),
        (lambda: check_grid_spacing([], 1.0), r"thickness: got an array of shape \(0,\), wants"),
        (lambda: check_grid_spacing([1.0], -2.0), r"spacing: got -2\.0, wants a number"),
    ],
)
def test_refusals(call: Callable[[], object], message: str):
    with pytest.raises(InputError, match=message):
        call()
