"""Shifts between two images, against exact ones, dense searches and scikit-image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.registration import phase_cross_correlation

from bimmjax import InputError
from bimmjax.fib import translation

pytestmark = pytest.mark.numerics


def scene(shape: tuple[int, int], shift: tuple[float, float], seed: int = 0) -> np.ndarray:
    """Cosines, moved by `shift` exactly: nothing is interpolated, new parts come into view."""
    rng = np.random.default_rng(seed)
    waves, phases = rng.normal(0.0, 0.35, (60, 2)), rng.uniform(0, 2 * np.pi, 60)
    y, x = np.mgrid[: shape[0], : shape[1]]
    angles = waves[:, :1, None] * (y - shift[0]) + waves[:, 1:, None] * (x - shift[1])
    return np.cos(angles + phases[:, None, None]).sum(0).astype(np.float32)


@pytest.mark.parametrize("shape", [(64, 72), (65, 73)])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.77), (-11.41, 6.5)])
def test_exact_shifts_come_back(shape: tuple[int, int], shift: tuple[float, float]):
    found, correlation = translation(scene(shape, (0, 0)), scene(shape, shift))
    assert found.dtype == correlation.dtype == jnp.float32
    # Far shifts bring other parts of the scene under the window.
    np.testing.assert_allclose(found, np.negative(shift), atol=0.12 if max(shift) > 1 else 0.01)
    assert 0.9 < float(correlation) < 1.05


@pytest.mark.parametrize(("smooth", "most"), [(0.0, 0.006), (1.0, 0.008), (3.0, 0.04)])
def test_smoothing_draws_no_shift_towards_0(smooth: float, most: float):
    along = []
    for k in range(12):
        shift = 5.0 * np.array([np.cos(k * np.pi / 6), np.sin(k * np.pi / 6)])
        found, _ = translation(scene((80, 80), (0, 0), k), scene((80, 80), shift, k), smooth=smooth)
        along.append(-np.dot(found, shift) / 5.0 - 5.0)
    assert abs(np.mean(along)) < most


@pytest.mark.parametrize("size", [1e-11, 1e-4, 1e9])
def test_any_unit_does(size: float):
    images = scene((64, 72), (0, 0)), scene((64, 72), (0.3, -0.77))
    plain = translation(*images)
    told = translation(*(np.float32(size) * i for i in images))
    np.testing.assert_allclose(told[0], plain[0], atol=1e-4)
    np.testing.assert_allclose(told[1], plain[1], atol=1e-4)


def test_the_same_image_lies_on_itself():
    image = scene((64, 72), (0, 0))
    found, correlation = translation(image, image)
    np.testing.assert_allclose(found, 0.0, atol=1e-4)
    assert float(correlation) == pytest.approx(1.0, abs=1e-4)


def test_the_top_is_that_of_a_dense_search():
    # Noise makes the top lie where it has no reason to: only a search tells.
    rng = np.random.default_rng(3)
    fixed = scene((48, 40), (0, 0)) + rng.normal(0, 3, (48, 40))
    moving = scene((48, 40), (1.3, 2.2)) + rng.normal(0, 3, (48, 40))
    found, correlation = translation(fixed, moving, reach=6, smooth=1.0)
    windows = [0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n) for n in (48, 40)]
    window = np.outer(*windows)
    fy, fx = np.fft.fftfreq(48), np.fft.fftfreq(40)
    blur = np.outer(*(np.exp(-2 * (np.pi * f) ** 2) for f in (fy, fx)))
    soft = [np.fft.ifft2(np.fft.fft2(p) * blur).real for p in (fixed, moving)]
    spectra = [np.fft.fft2((p - (p * window).sum() / window.sum()) * window) for p in soft]
    cross = spectra[0] * spectra[1].conj()
    y, x = (np.arange(-500, 501) * 0.01 for _ in range(2))
    # The window's autocorrelation by sums, on a grid of pixels made finer.
    seen = []
    for n, d in ((48, y), (40, x)):
        fine = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n * 100) + 0.5) / (n * 100))
        sums = np.correlate(fine, fine, "full")
        middle = n * 100 - 1
        seen.append(sums[middle + np.rint(d * 100).astype(int)] / sums[middle])
    surface = np.exp(2j * np.pi * np.outer(y, fy)) @ cross @ np.exp(2j * np.pi * np.outer(fx, x))
    surface = surface.real / np.outer(*seen)
    at = np.unravel_index(surface.argmax(), surface.shape)
    np.testing.assert_allclose(found, [y[at[0]], x[at[1]]], atol=0.011)
    energies = [(np.abs(s) ** 2).sum() for s in spectra]
    assert float(correlation) == pytest.approx(surface.max() / np.sqrt(np.prod(energies)), rel=1e-3)


def test_as_scikit_image_where_that_is_exact():
    # Its correlation is cyclic and has no window: a cyclic shift of a periodic image suits it.
    rng = np.random.default_rng(1)
    f = np.fft.fftfreq(64)
    blur = np.exp(-2 * (np.pi * 2.0) ** 2 * (f[:, None] ** 2 + f**2))
    wave = np.fft.fft2(rng.normal(size=(64, 64))) * blur
    phase = np.exp(-2j * np.pi * (1.37 * f[:, None] - 2.81 * f))
    fixed, moving = (np.fft.ifft2(w).real for w in (wave, wave * phase))
    theirs = phase_cross_correlation(fixed, moving, upsample_factor=100, normalization=None)[0]
    np.testing.assert_allclose(theirs, [-1.37, 2.81], atol=0.011)
    ours, _ = translation(fixed, moving)
    np.testing.assert_allclose(ours, theirs, atol=0.06)


def test_noise_as_strong_as_the_signal():
    rng = np.random.default_rng(2)
    errors = []
    for k in range(12):
        shift = rng.uniform(-5, 5, 2)
        images = [scene((64, 72), s, seed=k) for s in ((0, 0), tuple(shift))]
        noisy = [i + rng.normal(0, i.std(), i.shape) for i in images]
        errors.append(np.asarray(translation(*noisy)[0]) + shift)
    assert np.sqrt(np.mean(np.square(errors))) < 0.2


def test_swapped_images_swap_the_sign():
    one, other = scene((64, 72), (0, 0)), scene((64, 72), (2.4, -3.1))
    there, back = translation(one, other)[0], translation(other, one)[0]
    np.testing.assert_allclose(there, -back, atol=2e-3)


def test_brightness_and_contrast_do_not_matter():
    one, other = scene((64, 72), (0, 0)), scene((64, 72), (2.4, -3.1))
    plain = translation(one, other)
    changed = translation(3.0 * one + 500.0, 0.01 * other - 2.0)
    np.testing.assert_allclose(changed[0], plain[0], atol=2e-3)
    np.testing.assert_allclose(changed[1], plain[1], atol=2e-3)


def test_phase_correlation_of_sharp_images():
    image = np.random.default_rng(4).random((80, 88))
    found, _ = translation(image[8:-8, 8:-8], image[5:-11, 10:-6], normalise=True)
    np.testing.assert_allclose(found, [-3, 2], atol=0.1)


def test_what_cannot_be_found_is_nan():
    image = scene((64, 72), (0, 0))
    holed = image.copy()
    holed[30, 30] = np.nan
    far = scene((64, 72), (9.0, 0.0))
    flat = np.full((64, 72), 1234.567, np.float32)
    for moving, reach in ((far, 9), (holed, None), (flat, None), (0 * image, None)):
        shift, correlation = translation(image, moving, reach=reach)
        assert np.isnan(shift).all()
        assert np.isnan(correlation)
    assert np.isnan(translation(flat, flat)[0]).all()
    np.testing.assert_allclose(translation(image, far)[0], [-9, 0], atol=0.1)


def test_many_at_once():
    fixed = np.stack([scene((64, 72), (0, 0), k) for k in range(3)])
    moving = np.stack([scene((64, 72), (k, 0.5), k) for k in range(3)])
    moving[1] = 0.0
    shifts, likeness = jax.jit(jax.vmap(lambda a, b: translation(a, b)))(fixed, moving)
    assert shifts.shape == (3, 2)
    for k in (0, 2):
        one = translation(fixed[k], moving[k])
        np.testing.assert_allclose(shifts[k], one[0], atol=1e-3)
        np.testing.assert_allclose(likeness[k], one[1], atol=1e-4)
    assert np.isnan(shifts[1]).all()


@pytest.mark.parametrize(
    ("fixed", "moving", "told", "message"),
    [
        ((16, 16), (16, 17), {}, "moving: got shape"),
        ((4, 16, 16), (4, 16, 16), {}, "wants both"),
        ((7, 16), (7, 16), {}, "^fixed: got 7 x 16 pixels, wants at least 8 x 8$"),
        ((16, 16), (16, 16), {"reach": 8}, "reach: got 8"),
        ((16, 16), (16, 16), {"reach": 2.5}, "reach: got 2.5"),
        ((16, 16), (16, 16), {"smooth": -1.0}, "smooth: got"),
    ],
)
def test_refused(fixed, moving, told, message):
    with pytest.raises(InputError, match=message):
        translation(np.ones(fixed), np.ones(moving), **told)
