"""Slices of drawn thickness, cut out of volumes, against SciPy and by hand."""

from collections.abc import Callable

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.ndimage import map_coordinates

from bimmjax import InputError, open_volume
from bimmjax.sim import cut_slices, draw_positions, draw_thickness, slice_positions


@pytest.mark.numerics
def test_thickness_is_gamma_and_longer_draws_begin_alike():
    thickness = np.asarray(draw_thickness(jax.random.key(1), 4000), np.float64)
    shape, scale = (10.16 / 3.12) ** 2, 3.12**2 / 10.16
    assert stats.kstest(thickness, stats.gamma(shape, scale=scale).cdf).pvalue > 0.01
    wide = np.asarray(draw_thickness(jax.random.key(1), 2000, 5.0, 5.0), np.float64)
    assert stats.kstest(wide, stats.expon(scale=5.0).cdf).pvalue > 0.01
    np.testing.assert_array_equal(draw_thickness(jax.random.key(1), 100), thickness[:100])


def test_thickness_in_whole_voxels():
    thickness = np.asarray(draw_thickness(jax.random.key(2), 3000, step=2.5), np.float64)
    steps = thickness / 2.5
    np.testing.assert_array_equal(steps, np.rint(steps))
    assert steps.min() >= 1
    exact = np.asarray(draw_thickness(jax.random.key(2), 3000), np.float64)
    assert np.abs(thickness - exact).max() <= max(1.25, 2.5 - exact.min()) + 1e-5


def test_positions_are_where_what_was_milled_ends():
    np.testing.assert_allclose(slice_positions([2.0, 3.0, 1.5]), [0.0, 2.0, 5.0, 6.5])
    np.testing.assert_allclose(slice_positions([2.0, 3.0, 1.5], depth=5.0), [0.0, 2.0, 5.0])
    # Slices are drawn until the depth is reached, more than once where they are thin.
    for seed in range(12):
        faces = draw_positions(jax.random.key(seed), 2000.0, 10.0, 10.0)
        assert 0 == faces[0] < 1850 < faces[-1] <= 2000
        longer = draw_positions(jax.random.key(seed), 2500.0, 10.0, 10.0)
        np.testing.assert_array_equal(longer[: faces.size], faces)
    assert draw_positions(jax.random.key(0), 0.0).tolist() == [0.0]


@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_cuts_are_scipys_and_the_same_from_disk(method: str):
    volume = np.random.default_rng(0).integers(0, 250, (9, 6, 5), dtype=np.uint8)
    positions = np.sort(np.random.default_rng(1).uniform(0, 8 * 2.5, 12))
    positions[-1] = 8 * 2.5
    grid = np.meshgrid(positions / 2.5, np.arange(6), np.arange(5), indexing="ij")
    wanted = map_coordinates(volume.astype(float), grid, order=1 if method == "linear" else 0)
    cut = cut_slices(volume, positions, spacing=2.5, method=method)
    assert cut.dtype == (np.float32 if method == "linear" else np.uint8)
    np.testing.assert_allclose(cut, wanted, atol=1e-3)
    lazy = cut_slices(open_volume(volume, spacing=2.5, unit="nm"), positions, method=method)
    assert lazy.shape == (12, 6, 5)
    assert lazy.spacing[0] == pytest.approx((positions[-1] - positions[0]) / 11)
    assert lazy.spacing[1:] == (2.5, 2.5)
    np.testing.assert_allclose(
        lazy.read(slice(2, 7), slice(1, 6), slice(0, 4)), cut[2:7, 1:6, :4], rtol=3e-7
    )


def test_slices_of_whole_voxels_are_slices_of_the_volume():
    volume = np.random.default_rng(3).random((40, 4, 4)).astype(np.float32)
    positions = draw_positions(jax.random.key(4), 39 * 2.5, step=2.5)
    at = np.rint(positions / 2.5).astype(int)
    for method in ("linear", "nearest"):
        np.testing.assert_allclose(
            cut_slices(volume, positions, spacing=2.5, method=method), volume[at], atol=1e-5
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_thickness(jax.random.key(0), 0), "count: got 0, wants a whole number"),
        (lambda: draw_thickness(jax.random.key(0), 3, mean=0.0), "mean: got 0, wants a finite"),
        (lambda: draw_thickness(jax.random.key(0), 3, std=float("nan")), "std: got nan, wants"),
        (lambda: draw_thickness(jax.random.key(0), 3, step=-1.0), "step: got -1, wants"),
        (lambda: draw_thickness(jax.random.key(0), 3, std=11.0), "std: got 11, wants at most the"),
        (lambda: draw_thickness(3, 3), "key: got 3, wants one random key"),
        (lambda: slice_positions([1.0, 0.0]), "thickness: got 0, wants numbers above 0"),
        (lambda: cut_slices(np.zeros((3, 2, 2)), [0.0, 2.1]), "positions: got 0 to 2.1, wants"),
        (lambda: cut_slices(np.zeros((3, 2, 2)), [np.nan]), "positions: got"),
        (lambda: cut_slices(np.zeros((3, 2, 2)), [0.0], method="cubic"), "method: got 'cubic'"),
        (lambda: cut_slices(np.zeros((3, 2)), [0.0]), r"volume: got an array of shape \(3, 2\)"),
        (lambda: cut_slices(np.zeros((3, 2, 2)), [0.0], spacing=0.0), "spacing: got 0.0, wants"),
    ],
)
def test_refusals(call: Callable[[], object], message: str):
    with pytest.raises(InputError, match=message):
        call()
