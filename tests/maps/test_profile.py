"""Profiles along an axis: means, what their scatter tells, and how overlap is counted."""

from __future__ import annotations

import numpy as np
import pytest

from bimmjax import InputError
from bimmjax.maps import Flag, Maps, profile
from bimmjax.maps._columns import all_columns
from bimmjax.maps._profile import _chance, _line, _Scatter, _shares
from bimmjax.maps._store import MapStore
from bimmjax.maps._windows import Windows

AREA = "interface_area_0-1"


def _maps(windows: Windows, values: np.ndarray, flags: np.ndarray | int = 0, **more: object):
    """Maps of an area with these values (t, z, y, x); half a micrometre a voxel."""
    times = [float(t) for t in range(len(values))] if len(values) > 1 else None
    store = MapStore.create(
        None,
        windows,
        columns=all_columns(2, "shared"),
        times=times,
        spacing=(0.5,) * 3,
        unit="um",
        identity={},
        attributes=more,
    )
    for time, one in enumerate(values):
        columns = {name: np.zeros(windows.shape) for name in store.columns}
        columns |= {AREA: one, "flags": np.broadcast_to(flags, windows.shape)}
        for unit in windows.units():
            store.write(time, unit, {name: v[unit.box] for name, v in columns.items()})
    return Maps(store)


def test_blocks_side_by_side_are_counted_one_by_one():
    windows = Windows((64, 32, 48), (16, 16, 16), (16, 16, 16))
    rng = np.random.default_rng(0)
    values = rng.standard_normal((1, *windows.shape)) + 3.0 * np.arange(4)[:, None, None]
    flags = np.zeros(windows.shape, int)
    flags[1, 0, 0], flags[2] = Flag.POOR_FIT, Flag.NO_DATA
    found = profile(_maps(windows, values, flags), AREA)
    np.testing.assert_allclose(found.position, [3.75, 11.75, 19.75, 27.75])
    assert found.blocks.tolist() == [6, 5, 0, 6]
    first, second = values[0, 0].ravel(), values[0, 1].ravel()[1:]
    assert found.mean[0] == pytest.approx(first.mean(), rel=1e-6)
    assert found.stderr[0] == pytest.approx(first.std(ddof=1) / np.sqrt(6), rel=1e-5)
    assert found.stderr[1] == pytest.approx(second.std(ddof=1) / np.sqrt(5), rel=1e-5)
    assert np.isnan([found.mean[2], found.stderr[2], found.common[2]]).all()
    assert (found.common[[0, 1, 3]] == 0).all()
    weights = found.blocks[[0, 1, 3]]
    at, mean = found.position[[0, 1, 3]], found.mean[[0, 1, 3]]
    assert found.slope == pytest.approx(np.polyfit(at, mean, 1, w=np.sqrt(weights))[0])
    assert 0.0 < found.slope_stderr < found.slope / 3


@pytest.mark.parametrize("axis", ["z", "y", "x"])
def test_every_axis_has_its_slope(axis: str):
    windows = Windows((64, 48, 80), (16, 16, 16), (16, 16, 16))
    along = np.indices(windows.shape)["zyx".index(axis)]
    found = profile(_maps(windows, 2.0 + 0.1 * along[None]), AREA, axis)
    assert found.slope == pytest.approx(0.1 / 8.0)
    assert found.slope_stderr == pytest.approx(0.0, abs=1e-6)


def test_overlap_counts_by_the_voxels_in_common():
    # Two blocks that share half: 4 / (1 + ½ + ½ + 1) of them.
    windows = Windows((16, 16, 24), (16, 16, 16), (16, 16, 8))
    found = profile(_maps(windows, np.array([[[[1.0, 2.0]]]])), AREA)
    count = 4.0 / 3.0
    assert found.stderr[0] == pytest.approx(np.sqrt(0.5 / (2 - 2 / count) / count))
    assert np.isnan([found.slope, found.slope_stderr]).all()
    np.testing.assert_allclose(_shares(Windows((32,) * 3, (16,) * 3, (4, 8, 24)), 0)[0, :5],
                               [1.0, 0.75, 0.5, 0.25, 0.0])  # fmt: skip
    np.testing.assert_allclose(_shares(Windows((64,) * 3, (16,) * 3, (24,) * 3), 0), np.eye(3))


def test_the_error_of_a_line_is_its_scatter_with_overlap_too():
    """Layers are running means of two white numbers."""
    rng = np.random.default_rng(1)
    at, weights = np.arange(9.0), np.full(9, 4.0)
    shares = np.maximum(1.0 - 0.5 * np.abs(at[:, None] - at), 0.0)
    white = rng.standard_normal((2000, 10)) / np.sqrt(2)
    found, known = (
        np.array([_line(at, w[1:] + w[:-1], weights, shares, _Scatter(v, 27.0)) for w in white])
        for v in (4.0, 1e-9)
    )
    # A variance known to be 4 for each of four blocks is the least that is told; from the layers
    # alone the same comes out in the mean.
    assert found[:, 1].min() == pytest.approx(found[:, 0].std(), rel=0.05)
    assert np.mean(known[:, 1] ** 2) == pytest.approx(found[:, 0].var(), rel=0.1)


def test_layers_that_differ_without_a_slope_are_told():
    at, weights, shares = np.arange(9.0), np.full(9, 4.0), np.eye(9)
    white = np.random.default_rng(2).standard_normal((2000, 9)) / 2.0
    chance = np.array([_chance(w, weights, shares, _Scatter(1.0, 1e6)) for w in white])
    assert np.quantile(chance, 0.05) == pytest.approx(0.05, abs=0.015)
    arch = -((at - 4.0) ** 2)
    slope, error, _ = _line(at, arch, weights, shares, _Scatter(1.0, 27.0))
    assert abs(slope) < error
    assert _chance(arch, weights, shares, _Scatter(1.0, 27.0)) < 1e-9
    assert np.isnan(_chance(arch, weights, shares, _Scatter(np.nan, 0.0)))


def test_a_gradient_and_an_arch_are_told_from_chance():
    windows = Windows((9 * 16, 32, 32), (16,) * 3, (16,) * 3)
    at = np.arange(9.0)[:, None, None]
    white = np.random.default_rng(5).standard_normal((3, *windows.shape))
    values = white + np.stack([0 * at, 2.0 * at, -((at - 4.0) ** 2)])
    flat, risen, arch = (profile(_maps(windows, one[None]), AREA) for one in values)
    assert (flat.certain, flat.bent) == (False, False)
    assert (risen.certain, risen.bent) == (True, False)
    assert (arch.certain, arch.bent) == (False, True)
    np.testing.assert_allclose(
        risen.line, np.polyval(np.polyfit(at[:, 0, 0], risen.mean, 1), at[:, 0, 0])
    )
    # Two layers are always on a line.
    two = profile(_maps(Windows((32, 32, 32), (16,) * 3, (16,) * 3), values[1:2, :2]), AREA)
    assert (two.certain, two.bent) == (False, False)


def test_rounding_is_no_gradient():
    windows = Windows((13 * 16, 48, 64), (16,) * 3, (16,) * 3)
    for value in (0.123456, 1.0 / 3.0, 1.0):
        found = profile(_maps(windows, np.full((1, *windows.shape), value)), AREA)
        assert abs(found.slope) < found.slope_stderr < 1e-6


def test_what_all_layers_share_is_told_apart():
    windows = Windows((48, 32, 32), (16, 16, 16), (16, 16, 16))
    values = np.full((1, *windows.shape), 0.2)
    maps = _maps(windows, values, correction={"factors": {}, "left": {AREA: 0.05}})
    found = profile(maps, AREA)
    np.testing.assert_allclose(found.common, 0.01)
    np.testing.assert_allclose(found.stderr, 0.0, atol=1e-9)


def test_a_series_has_a_profile_at_each_time():
    windows = Windows((32, 16, 32), (16, 16, 16), (16, 16, 16))
    values = np.stack([np.full(windows.shape, 1.0), np.full(windows.shape, 2.0)])
    maps = _maps(windows, values)
    assert profile(maps, AREA, time_index=1).mean.tolist() == [2.0, 2.0]
    with pytest.raises(InputError, match="time_index: got 2, wants a whole number from 0 to 1"):
        profile(maps, AREA, time_index=2)
    with pytest.raises(InputError, match="column: got 'flags', wants one of"):
        profile(maps, "flags")
    with pytest.raises(InputError, match="axis: got 'w', wants one of z, y, x"):
        profile(maps, AREA, "w")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="column: got 'area'"):
        profile(maps, "area")
