"""Stacks registered by themselves and onto each other."""

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from bimmjax import InputError, Volume
from bimmjax.fib import move_slices, register_onto, register_stack
from bimmjax.fib._register.chain import chained
from bimmjax.fib._register.detrend import without_structure

SIZE = 48
MARGIN = 12


def drifting(count: int, seed: int = 0, change: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A scene under a moving window, and by how much each slice has to be moved back.

    change : std of what is new in each slice.
    """
    rng = np.random.default_rng(seed)
    wide = SIZE + 2 * MARGIN
    scenes = rng.normal(size=(1, wide, wide)) + change * rng.normal(size=(count, wide, wide))
    scenes = ndimage.gaussian_filter(scenes, (0, 1.8, 1.8)).astype(np.float32)
    moves = np.concatenate([[[0, 0]], rng.normal(0, 0.8, (count - 1, 2)).cumsum(0)])
    moves = np.clip(moves, -MARGIN + 2, MARGIN - 2)
    seen = np.asarray(move_slices(scenes, moves))
    return seen[:, MARGIN:-MARGIN, MARGIN:-MARGIN], -moves


def rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


def test_a_chain_comes_back():
    # More slices than go through together.
    stack, truth = drifting(37)
    done: list[tuple[int, int]] = []
    found = register_stack(stack, detrend="none", progress=lambda a, b: done.append((a, b)))
    assert found.shifts.shape == (37, 2)
    assert found.shifts.dtype == np.float64
    assert rms(found.shifts - truth) < 0.05
    assert np.all(found.shifts[0] == 0)
    assert found.correlation[0] == 1
    assert np.all(found.correlation[1:] > 0.9)
    assert not found.refused.any()
    assert done == [(16, 37), (32, 37), (37, 37)]
    rng = np.random.default_rng(1)
    noisy = stack + rng.normal(0, stack.std(), stack.shape)
    assert rms(register_stack(noisy, detrend="none", features="grey").shifts - truth) < 0.3
    assert rms(register_stack(noisy, detrend="none").shifts - truth) < 0.3


@pytest.mark.parametrize("reference", ["first", "mean"])
def test_one_reference_for_all(reference: str):
    stack, truth = drifting(20)
    stack[7] = 3.0
    found = register_stack(stack, reference=reference, reach=20)
    assert np.flatnonzero(found.refused).tolist() == [7]
    good = ~found.refused
    assert rms((found.shifts - truth)[good]) < 0.05
    np.testing.assert_allclose(found.shifts[7], found.shifts[[6, 8]].mean(0))


def test_bad_slices_do_not_break_the_rest():
    stack, truth = drifting(24)
    stack[5] = 3.0
    stack[11, 20, 20] = np.nan
    stack[12] = np.nan
    stack[17] = np.random.default_rng(9).normal(0, stack[0].std(), stack[0].shape)
    found = register_stack(stack, detrend="none")
    # What follows two bad ones has nothing within its lags: it may have moved.
    assert {5, 11, 12, 13} <= set(np.flatnonzero(found.refused)) <= {5, 11, 12, 13, 17}
    assert np.isnan(found.correlation[found.refused]).all()
    assert np.isfinite(found.shifts).all()
    np.testing.assert_allclose(found.shifts[5], found.shifts[[4, 6]].mean(0), atol=1e-3)
    good = [k for k in range(11) if k != 5]
    assert rms((found.shifts - truth)[good]) < 0.1
    left = (found.shifts - truth)[[13, 14, 15, 16, 18, 19, 20, 21, 22, 23]]
    assert rms(left - left[0]) < 0.1
    np.testing.assert_allclose(found.shifts[13], found.shifts[10], atol=1e-3)
    bridged = register_stack(stack, detrend="none", lags=(1, 2, 3))
    assert rms((bridged.shifts - truth)[[13, 14, 15, 16, 18, 19, 20]]) < 0.25


def test_the_first_slice_may_be_bad():
    stack, truth = drifting(8)
    stack[0] = 0.0
    found = register_stack(stack, detrend="none")
    assert np.flatnonzero(found.refused).tolist() == [0]
    assert found.correlation[1] == 1
    assert rms(found.shifts[1:] - found.shifts[1] - truth[1:] + truth[1]) < 0.1


def test_a_mark_alone():
    """The structure runs aside by a pixel a slice; the mark tells the drift."""
    rng = np.random.default_rng(5)
    marks, truth = drifting(20)
    stack = np.concatenate([np.empty_like(marks), marks], 2)
    scene = ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE + 20)), 1.5)
    for k in range(20):
        stack[k, :, :SIZE] = scene[:, k : k + SIZE]
    found = register_stack(stack, region=((0, SIZE), slice(SIZE, None)), reach=20)
    assert rms(found.shifts - truth) < 0.1
    assert rms(register_stack(stack, region=((0, SIZE), (0, SIZE))).shifts[:, 1] - truth[:, 1]) > 3


def test_a_stack_is_never_read_whole():
    stack, truth = drifting(40)
    most = []

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        most.append(z.stop - z.start)
        return stack[z, y, x]

    volume = Volume(stack.shape, stack.dtype, read)
    found = register_stack(volume, detrend="none")
    assert max(most) <= 16
    assert sum(most) == 40
    np.testing.assert_allclose(found.shifts, register_stack(stack, detrend="none").shifts)
    assert rms(found.shifts - truth) < 0.1


def test_chains_are_the_weighted_least_squares():
    rng = np.random.default_rng(6)
    count, lags = 12, (1, 2, 4)
    places = rng.normal(size=(count, 2)).cumsum(0)
    shifts = np.full((3, count, 2), np.nan)
    for k, lag in enumerate(lags):
        shifts[k, lag:] = places[lag:] - places[:-lag]
    alike = np.full((3, count), 0.9)
    found, refused = chained(shifts, alike, lags)
    np.testing.assert_allclose(found, places - places[0], atol=1e-5)
    assert not refused.any()
    # A wrong pair that two others contradict hardly counts.
    shifts[0, 6] += 5.0
    alike[0, 6] = 0.3
    found, _ = chained(shifts, alike, lags)
    np.testing.assert_allclose(found, places - places[0], atol=0.01)


def test_two_slices_and_one():
    stack, truth = drifting(2)
    np.testing.assert_allclose(register_stack(stack).shifts, truth, atol=0.1)
    alone = register_stack(stack[:1])
    assert alone.shifts.tolist() == [[0, 0]]
    assert not alone.refused.any()


def test_what_changes_smoothly_is_the_structures():
    rng = np.random.default_rng(7)
    own = ndimage.gaussian_filter1d(rng.normal(size=(200, 2)), 6, axis=0)
    own = np.multiply(own, 0.4 / np.std(own)) + 0.2
    drift = rng.normal(0, 0.3, (200, 2)).cumsum(0) + rng.normal(0, 0.3, (200, 2))
    drift -= drift[0]
    kept = without_structure(drift + own.cumsum(0) - own[0])
    left = np.diff(kept - drift, axis=0)
    assert rms(left) < 0.5 * rms(own)
    assert rms(kept - drift - (kept - drift).mean(0)) < 0.25 * rms(own.cumsum(0))
    # Without structure nothing is lost but the slowest of a walk.
    assert rms(np.diff(without_structure(drift) - drift, axis=0)) < 0.1
    steady = drift + np.arange(200)[:, None] * [1.5, 0.0]
    assert abs(np.diff(without_structure(steady), axis=0).mean(0)[0] - 1.5) < 0.1
    np.testing.assert_array_equal(without_structure(drift[:20]), drift[:20])
    np.testing.assert_allclose(without_structure(np.zeros((50, 2))), 0.0)


@pytest.mark.parametrize("slices", [5.0, 15.0])
def test_a_structure_may_run_aside_in_some_of_the_slices(slices):
    rng = np.random.default_rng(0)
    drift = rng.normal(0, 0.05, (200, 2)).cumsum(0)
    drift -= drift[0]
    own = 0.8 * np.exp(-0.5 * ((np.arange(200)[:, None] - 100) / slices) ** 2)
    left = without_structure(drift + own.cumsum(0) - own[0]) - drift
    assert rms(left - left.mean(0)) < 0.15 * rms(own.cumsum(0) - own.cumsum(0).mean())


@pytest.mark.parametrize("at", [90, 199])
def test_a_jump_moves_no_slice_before_it(at):
    drift = np.random.default_rng(17).normal(0, 0.3, (200, 2)).cumsum(0)
    drift -= drift[0]
    jumped = drift + np.where(np.arange(200) >= at, 30.0, 0.0)[:, None]
    plain, found = without_structure(drift), without_structure(jumped)
    assert rms(found[:at] - plain[:at]) < 0.2
    # The step itself is kept with what the drift did there, which elsewhere may be filtered.
    assert rms(found[at:] - plain[at:] - 30.0) < 1.0


def test_a_straight_line_is_taken_off():
    stack, _ = drifting(12)
    plain = register_stack(stack, detrend="none").shifts
    found = register_stack(stack, detrend="linear").shifts
    slope = np.polyfit(np.arange(12), plain, 1)[0]
    np.testing.assert_allclose(found, plain - np.arange(12)[:, None] * slope, atol=1e-9)


def test_onto_another_stack():
    rng = np.random.default_rng(8)
    stack, truth = drifting(18, change=1.0)
    fixed = np.asarray(move_slices(stack, truth))[:, 4:-4, 4:-4]
    away = rng.normal(0, 1.0, (18, 2))
    moved: Any = np.asarray(move_slices(stack, truth - away))[:, 4:-4, 4:-4]
    seen = 0.3 * moved + 7 + rng.normal(0, 0.1 * moved.std(), moved.shape)
    seen[3] = 1.0
    found = register_onto(seen, fixed)
    assert np.flatnonzero(found.refused).tolist() == [3]
    assert np.isnan(found.correlation[3])
    good = ~found.refused
    assert rms((found.shifts - away)[good]) < 0.15
    np.testing.assert_allclose(found.shifts[3], found.shifts[[2, 4]].mean(0))


def test_edges_where_contrast_is_reversed():
    rng = np.random.default_rng(10)
    wide = SIZE + 16
    blobs = ndimage.gaussian_filter(rng.normal(size=(6, wide, wide)), (0, 3, 3)) > 0
    scenes = ndimage.gaussian_filter(blobs.astype(float), (0, 1, 1))
    away = rng.uniform(-3, 3, (6, 2))
    fixed = scenes[:, 8:-8, 8:-8]
    moved = np.asarray(move_slices(1.0 - scenes, -away))[:, 8:-8, 8:-8]
    found = register_onto(moved, fixed)
    assert rms(found.shifts - away) < 0.15
    try:
        grey = register_onto(moved, fixed, features="grey").shifts
    except InputError:
        return
    assert rms(grey - away) > 1.0


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"region": ((0, 8),)}, "region: got"),
        ({"region": ((0, 4), (0, 30))}, "region: got 4 x 30"),
        ({"region": ((8, 8), (0, 30))}, "region: got"),
        ({"region": ((0, 300), (0, 30))}, "region: got"),
        ({"region": 5}, "region: got 5"),
        ({"reference": "last"}, "reference: got 'last'"),
        ({"detrend": "some"}, "detrend: got"),
        ({"reach": 0}, "reach: got 0"),
        ({"reach": 400}, "reach: got 400"),
        ({"lags": (2,)}, "lags: got"),
        ({"lags": 1}, "lags: got 1"),
        ({"lags": (1, 0)}, "lags: got 0"),
        ({"lags": (1, 9)}, "lags: got 9"),
        ({"region": ((0, 23), (0, 30))}, "region: got 23 x 30 pixels, wants at least 24 x 24"),
        ({"features": "lines"}, "features: got"),
        ({"smooth": np.nan}, "smooth: got nan"),
    ],
)
def test_refused(told, message):
    with pytest.raises(InputError, match=message):
        register_stack(np.random.default_rng(0).random((3, 40, 40)), **told)


@pytest.mark.parametrize("fill", [0.0, np.nan])
@pytest.mark.parametrize("reference", ["chain", "first", "mean"])
def test_nothing_to_see(fill: float, reference: str):
    with pytest.raises(InputError, match="volume: got 4 slices of which none"):
        register_stack(np.full((4, 48, 48), fill), reference=reference)


def test_stacks_that_do_not_match():
    with pytest.raises(InputError, match="reference: got shape"):
        register_onto(np.ones((3, 48, 48)), np.ones((4, 48, 48)))
    with pytest.raises(InputError, match="features: got"):
        register_onto(np.ones((3, 48, 48)), np.ones((3, 48, 48)), features="lines")
    with pytest.raises(InputError, match="none can be registered"):
        register_onto(np.ones((3, 48, 48)), np.ones((3, 48, 48)))


def test_one_very_sure_pair_does_not_outweigh_the_rest():
    rng = np.random.default_rng(11)
    places = rng.normal(size=(30, 2)).cumsum(0)
    shifts = np.full((2, 30, 2), np.nan)
    alike = np.full((2, 30), 0.3)
    for k, lag in enumerate((1, 2)):
        shifts[k, lag:] = places[lag:] - places[:-lag]
    alike[0, 9] = 1.0
    found, _ = chained(shifts, alike, (1, 2))
    np.testing.assert_allclose(found, places - places[0], atol=1e-4)


def test_an_unsure_slice_lies_where_its_own_pairs_say():
    shifts = np.full((2, 20, 2), np.nan)
    alike = np.full((2, 20), 0.9)
    shifts[0, 1:] = shifts[1, 2:] = 0.0
    # Both disagree, and are far less sure than all others: no tie to the neighbour outweighs them.
    shifts[0, 19], shifts[1, 19] = 5.0, 6.0
    alike[:, 19] = 0.02
    found, refused = chained(shifts, alike, (1, 2))
    assert not refused.any()
    assert np.all(np.abs(found[19] - 5.5) < 0.6)


@pytest.mark.parametrize("edge", [24, 40])
def test_small_marks(edge: int):
    """A disc; what lies around its region is new in each slice."""
    y, x = np.mgrid[:80, :80] - 40.0
    truth = -np.array([[0, 0], [1, 1], [1, 2], [2, 1.5], [0.5, -1], [-1.3, 0.4]])
    rng = np.random.default_rng(12)
    stack = ndimage.gaussian_filter(rng.normal(size=(6, 80, 80)), (0, 1.5, 1.5)) * 2.0
    inside = (np.maximum(np.abs(y), np.abs(x))) < edge // 2
    for k, (dy, dx) in enumerate(truth):
        disc = 1.0 / (1.0 + np.exp(2.0 * (np.hypot(y + dy, x + dx) - 0.3 * edge)))
        stack[k, inside] = disc[inside]
    box = (40 - edge // 2, 40 + edge // 2)
    found = register_stack(stack, region=(box, box))
    assert not found.refused.any()
    assert rms(found.shifts - truth) < 0.1


def test_slices_too_small_for_edges():
    with pytest.raises(InputError, match=r"^volume: got 20 x 40 pixels, wants at least 24 x 24"):
        register_stack(np.random.default_rng(0).random((3, 20, 40)))
    small = np.random.default_rng(0).random((3, 20, 40))
    assert register_stack(small, features="grey").shifts.shape == (3, 2)


def test_parts_side_by_side_are_the_whole(monkeypatch):
    """On one core or on several: the same pairs."""
    from bimmjax.fib._register import stack as module

    scene, _ = drifting(40, change=0.2)
    monkeypatch.setattr(module, "together", lambda volume: 2)
    told: dict[int, list[tuple[int, int]]] = {1: [], 3: []}
    found = {}
    for cores in told:
        monkeypatch.setattr(module.os, "cpu_count", lambda cores=cores: cores)
        found[cores] = register_stack(
            scene, progress=lambda done, total, cores=cores: told[cores].append((done, total))
        )
    assert len(module._parts(40, 2, 2)) == 2
    np.testing.assert_array_equal(found[1].shifts, found[3].shifts)
    np.testing.assert_array_equal(found[1].correlation, found[3].correlation)
    assert all(seen[-1] == (40, 40) for seen in told.values())
