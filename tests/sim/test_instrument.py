"""What an instrument does to images, each part against SciPy or by its moments."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from bimmjax import InputError
from bimmjax.sim import (
    Instrument,
    add_shot_noise,
    blur_edges,
    brightness,
    curtains,
    dose_electrons,
    drift,
    instrument,
    poisson,
    shift_slices,
)
from bimmjax.sim._instrument.dose import poisson_quantile

KEY = jax.random.key(0)


def test_dose():
    assert dose_electrons(50.0, 30.0) == pytest.approx(9362.3, abs=0.1)
    assert dose_electrons(0.0, 30.0) == 0.0


@pytest.mark.numerics
@pytest.mark.parametrize("mean", [0.0, 0.05, 1.0, 7.0, 11.99, 12.01, 30.0, 500.0, 9362.0])
def test_poisson_numbers_have_scipys_probabilities(mean: float):
    # Every probability once: no sampling noise in what is compared.
    count = 400_000
    normal = stats.norm.ppf((np.arange(count) + 0.5) / count).astype(np.float32)
    numbers = np.asarray(poisson_quantile(normal, jnp.full(count, mean, jnp.float32)), int)
    found = np.bincount(numbers, minlength=3) / count
    wanted = stats.poisson.pmf(np.arange(found.size), mean)
    assert 0.5 * np.abs(found - wanted).sum() < 2e-3
    assert np.abs(np.cumsum(found) - np.cumsum(wanted)).max() < 4e-4
    assert numbers.mean() == pytest.approx(mean, rel=1e-3, abs=1e-6)


def test_poisson_of_mixed_means():
    mean = np.array([0.5, 200.0, 4.0, 3e4])
    numbers = np.asarray(poisson(KEY, jnp.broadcast_to(mean, (20_000, 4))), np.float64)
    np.testing.assert_array_equal(numbers, np.rint(numbers))
    assert np.all(np.abs(numbers.mean(0) - mean) < 5 * np.sqrt(mean / 20_000))
    np.testing.assert_allclose(numbers.var(0) / mean, 1.0, atol=0.08)


def test_noise_of_electrons_then_of_the_detector():
    image = np.full((2, 200, 200), 0.3, np.float32)
    image[1] = 0.6
    seen = np.asarray(add_shot_noise(KEY, image, 1000.0), np.float64)
    np.testing.assert_allclose(seen.mean((1, 2)), [0.3, 0.6], atol=2e-3)
    np.testing.assert_allclose(seen.var((1, 2)), [0.3e-3 + 1e-3, 0.6e-3 + 1e-3], rtol=0.03)
    scaled = np.asarray(
        add_shot_noise(KEY, image, 1000.0, black=0.2, white=0.7, gaussian_variance=0.0)
    )
    np.testing.assert_allclose(scaled.mean((1, 2)), [0.2, 0.8], atol=2e-3)
    assert add_shot_noise(KEY, image, 1.0).max() <= 1.0
    assert add_shot_noise(KEY, image * 0, 1000.0, gaussian_variance=0.0).max() == 0.0


def test_edges_are_blurred_and_the_rest_is_not():
    rng = np.random.default_rng(0)
    image = np.zeros((2, 40, 60), np.float32)
    image[0, :, 30:] = 1.0
    image[1, 20:] = 0.5
    noisy = image + 0.01 * rng.standard_normal(image.shape).astype(np.float32)
    soft = np.asarray(blur_edges(noisy, 2.0))
    # The four steps with SciPy's filters.
    for plane, found in zip(noisy.astype(float), soft, strict=True):
        smooth = ndimage.gaussian_filter(plane, 0.7, truncate=4.0)
        steps = [np.abs(np.diff(smooth, axis=axis)) for axis in (0, 1)]
        down, across = (
            np.maximum(np.insert(step, 0, 0.0, axis), np.insert(step, step.shape[axis], 0.0, axis))
            for axis, step in enumerate(steps)
        )
        size = np.hypot(down, across)
        mask = size / size.max()
        blurred = ndimage.gaussian_filter(plane, 2.0, truncate=4.0)
        np.testing.assert_allclose(found, mask * blurred + (1 - mask) * plane, atol=2e-5)
    assert np.std(soft[0, :, :20] - image[0, :, :20]) > 0.9 * 0.01
    assert 0.2 < soft[0, :, 29].mean() < 0.5
    np.testing.assert_allclose(blur_edges(np.full((1, 8, 8), 3.0)), 3.0, rtol=1e-6)
    np.testing.assert_allclose(blur_edges(image, 0.0), image, atol=1e-6)


def test_lone_pixels_and_thin_lines_get_soft_beside_a_step():
    image = np.full((1, 60, 60), 0.3, np.float32)
    image[0, 40:] = 1.1
    image[0, 10, 10] = 1.1
    image[0, 25, 30:] = 1.1
    soft = np.asarray(blur_edges(image, 1.5))
    assert soft[0, 10, 10] < 0.3 + 0.8 * 0.6
    assert (soft[0, 25, 34:] < 0.3 + 0.8 * 0.6).all()
    assert (soft[0, 10, [9, 11]] > 0.301).all()
    # Apart from what lies within 4 pixels of an edge nothing changes at all.
    even = ndimage.morphological_gradient(image[0], 3) == 0
    apart = np.asarray(ndimage.distance_transform_cdt(even, "chessboard")) > 4
    np.testing.assert_array_equal(soft[0][apart], image[0][apart])
    flat = np.full((2, 33, 47), 0.3, np.float32)
    np.testing.assert_array_equal(blur_edges(flat), flat)


@pytest.mark.numerics
def test_shifts_by_whole_and_by_parts_of_pixels():
    image = np.random.default_rng(1).random((3, 12, 15)).astype(np.float32)
    moved = shift_slices(image, [[0.0, 0.0], [3.0, -2.0], [-1.0, 100.0]])
    np.testing.assert_allclose(moved[0], image[0], atol=1e-6)
    wanted = ndimage.shift(image[1], (3, -2), order=0, mode="nearest")
    np.testing.assert_allclose(moved[1], wanted, atol=1e-6)
    np.testing.assert_allclose(moved[2, 0], image[2, 1, 0], atol=1e-6)
    # Cubic convolution reproduces parabolas exactly, away from the edges.
    y, x = np.mgrid[:20, :20] * 1.0
    moved = shift_slices(((y - 9) ** 2 + x * y)[None], [[0.3, -0.7]])
    wanted = (y - 0.3 - 9) ** 2 + (x + 0.7) * (y - 0.3)
    np.testing.assert_allclose(moved[0, 3:-3, 3:-3], wanted[3:-3, 3:-3], atol=1e-3)


def test_drift_walks_and_jitters():
    # One pixel is enough to see by how much slices move.
    _, shifts = drift(KEY, np.zeros((3000, 1, 1)), walk=0.5, jitter=0.0)
    assert np.all(np.asarray(shifts[0]) == 0)
    assert np.diff(shifts, axis=0).std() == pytest.approx(0.5, rel=0.05)
    _, shifts = drift(KEY, np.zeros((3000, 1, 1)), walk=0.0, jitter=0.4)
    assert np.std(shifts) == pytest.approx(0.4, rel=0.05)
    image = np.random.default_rng(2).random((4, 9, 9))
    moved, shifts = drift(KEY, image)
    np.testing.assert_allclose(moved, shift_slices(image, shifts), atol=1e-6)


@pytest.mark.parametrize("length", [0.0, 4.0])
def test_brightness_of_slices(length: float):
    changed, gains, offsets = brightness(
        KEY, np.full((4000, 1, 1), 2.0), gain_std=0.1, offset_std=0.3, length=length
    )
    np.testing.assert_allclose(changed[:, 0, 0], 2.0 * gains + offsets, atol=1e-5)
    logs = np.log(np.asarray(gains, np.float64))
    scatter = 0.05 if length == 0 else 0.12
    assert logs.std() == pytest.approx(0.1, rel=scatter)
    assert np.std(offsets) == pytest.approx(0.3, rel=scatter)
    for lag in (1, 4):
        wanted = math.exp(-0.5 * (lag / length) ** 2) if length else 0.0
        assert np.corrcoef(logs[lag:], logs[:-lag])[0, 1] == pytest.approx(wanted, abs=0.08)


@pytest.mark.numerics
def test_curtains_run_along_y_and_fade():
    image = np.ones((60, 8, 800), np.float32)
    striped, patterns = curtains(
        KEY, image, strength=0.1, width=2.0, length=5.0, depth=4.0, slices=math.inf
    )
    stripes = np.asarray(striped, np.float64) - 1
    fading = np.exp(-np.arange(8) / 4.0)
    np.testing.assert_allclose(stripes, np.asarray(patterns)[:, None] * fading[:, None], atol=1e-6)
    found = np.asarray(patterns, np.float64)
    assert found.std() == pytest.approx(0.1, rel=0.05)
    across = (found[:, 2:] * found[:, :-2]).mean() / found.var()
    assert across == pytest.approx(math.exp(-(2**2) / (4 * 2.0**2)), abs=0.03)
    along = (found[5:] * found[:-5]).mean() / found.var()
    assert along == pytest.approx(math.exp(-0.5), abs=0.08)
    _, fading_away = curtains(KEY, image, strength=0.1, width=2.0, length=5.0, slices=10.0)
    ratio = np.asarray(fading_away)[20] / found[20]
    np.testing.assert_allclose(ratio, math.exp(-2.0), rtol=1e-3)


def test_blocks_of_a_stack_fit_together():
    stack = np.random.default_rng(5).random((8, 24, 20)).astype(np.float32)
    settings = Instrument(brightness_length=3.0, drift_walk=1.0)
    whole = instrument(KEY, stack, settings)
    blocks = [instrument(KEY, stack[a : a + 4], settings, start=a) for a in (0, 4)]
    for name in whole._fields:
        parts = np.concatenate([getattr(block, name) for block in blocks])
        np.testing.assert_array_equal(parts, getattr(whole, name), err_msg=name)


@pytest.mark.numerics
def test_the_instrument_tells_what_it_did():
    stack = np.full((40, 16, 300), 0.25, np.float32)
    quiet = Instrument(gaussian_variance=0.0, current_pa=1e5, white=0.5)
    seen = instrument(jax.random.key(3), stack, quiet._replace(drift_walk=0.0, drift_jitter=0.0))
    wanted = seen.gains[:, None] * 0.5 * (1 + seen.curtains) + seen.offsets[:, None]
    np.testing.assert_allclose(seen.image.mean(1), wanted, atol=2e-3)
    noisy = instrument(KEY, stack, Instrument(gain_std=0.0, offset_std=0.0, curtain_strength=0.0))
    assert np.var(noisy.image) == pytest.approx(0.001 + 0.25 / 9362, rel=0.03)


def test_parts_work_inside_jit():
    stack = np.random.default_rng(6).random((3, 12, 12)).astype(np.float32)

    @jax.jit
    def inside(key: jax.Array, image: jax.Array, dose: jax.Array) -> jax.Array:
        image, _ = curtains(key, blur_edges(image, 1.0), strength=dose / 1e4)
        return add_shot_noise(key, image, dose)

    image, _ = curtains(KEY, blur_edges(stack, 1.0), strength=0.1)
    np.testing.assert_allclose(
        inside(KEY, stack, 1000.0), add_shot_noise(KEY, image, 1000.0), atol=2e-3
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dose_electrons(-1.0, 3.0), "current_pa: got -1, wants"),
        (lambda: add_shot_noise(KEY, np.zeros((2, 2)), 9.0), r"image: got an array of shape \(2"),
        (lambda: add_shot_noise(KEY, np.zeros((2, 2, 2)), 0.0), "electrons: got 0, wants"),
        (
            lambda: add_shot_noise(KEY, np.zeros((2, 2, 2)), 9.0, gaussian_variance=-1.0),
            "gaussian_variance: got -1",
        ),
        (
            lambda: add_shot_noise(KEY, np.zeros((2, 2, 2)), 9.0, black=1.0),
            "black: got 1.0, wants less than white, 1.0",
        ),
        (
            lambda: add_shot_noise(KEY, np.zeros((2, 2, 2)), 9.0, white=math.nan),
            "white: got nan, wants a finite number, or 2",
        ),
        (lambda: add_shot_noise(KEY, np.zeros((2, 2, 2)), 9.0, start=-1), "start: got -1, wants"),
        (lambda: poisson(KEY, jnp.array([1.0, -2.0])), "mean: got -2, wants numbers from 0 to 1e"),
        (lambda: poisson(KEY, jnp.array([math.nan])), "mean: got nan, wants numbers"),
        (lambda: blur_edges(np.zeros((2, 2, 2)), 9.0), "std: got 9, wants at most 8"),
        (lambda: drift(KEY, np.zeros((2, 2, 2)), walk=-1.0), "walk: got -1, wants"),
        (lambda: shift_slices(np.zeros((2, 2, 2)), [1.0]), r"shifts: got shape \(1,\), wants"),
        (lambda: brightness(KEY, np.zeros((2, 2, 2)), length=17.0), "length: got 17, wants at"),
        (lambda: curtains(KEY, np.zeros((2, 2, 2)), depth=0.0), "depth: got 0, wants"),
        (lambda: curtains(KEY, np.zeros((2, 2, 2)), slices=math.nan), "slices: got nan, wants"),
        (lambda: curtains(KEY, np.zeros((2, 2, 2)), width=math.inf), "width: got inf, wants"),
        (
            lambda: instrument(KEY, np.zeros((2, 2, 2)), Instrument(white=-1.0)),
            "black: got 0.0, wants less than white",
        ),
        (lambda: instrument(4, np.zeros((2, 2, 2))), "key: got 4, wants one random key"),
    ],
)
def test_refusals(call: Callable[[], object], message: str):
    with pytest.raises(InputError, match=message) as told:
        call()
    assert "\n" not in str(told.value)
