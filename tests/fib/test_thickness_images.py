"""Thicknesses from images alone, of waves whose depths are known exactly."""

import tracemalloc
from collections.abc import Callable

import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bimmjax import InputError
from bimmjax.fib import thickness_from_images
from bimmjax.fib._thickness.images import _grid
from bimmjax.fib._thickness.variogram import (
    box_means,
    differences,
    in_plane_lags,
    nugget,
    sharp_semivariogram,
    tile_means,
)
from bimmjax.sim import draw_positions, draw_waves, ligament_wavelength

EDGE, PIXEL = 256, 5.0


def wave_slices(key: jax.Array, wavelength: float, positions: np.ndarray, count: int = 400):
    """A levelled wave's field cut at any depth; pixels."""
    waves = draw_waves(key, wavelength, count)
    cycles, phases = np.asarray(waves.cycles, float), np.asarray(waves.phases, float)
    y, x = (np.exp(2j * np.pi * np.arange(EDGE)[:, None] * cycles[:, k]).astype(np.complex64)
            for k in (1, 2))  # fmt: skip
    turns = np.exp(2j * np.pi * (positions[:, None] * cycles[:, 0] + phases)).astype(np.complex64)
    return np.stack([((y * turn) @ x.T).real for turn in turns]) * np.sqrt(2.0 / count)


@pytest.fixture(scope="module")
def hierarchy() -> tuple[np.ndarray, np.ndarray]:
    """Ligaments of 110 nm made of such of 15 nm, which are hardly thicker than the slices."""
    key = jax.random.key(11)
    positions = draw_positions(key, 220.0)
    solid = np.ones((positions.size, EDGE, EDGE), bool)
    for part, ligament in zip(jax.random.split(key), (110.0, 15.0), strict=True):
        length = ligament_wavelength(ligament, 0.5) / PIXEL
        field = wave_slices(part, length, positions / PIXEL)
        solid &= field >= np.quantile(field, 0.5)
    return solid.astype(np.uint8), np.diff(positions)


@pytest.fixture(scope="module")
def ligaments() -> tuple[np.ndarray, np.ndarray]:
    key = jax.random.key(5)
    positions = draw_positions(key, 300.0)
    field = wave_slices(key, ligament_wavelength(30.0, 0.3) / PIXEL, positions / PIXEL)
    return (field >= np.quantile(field, 0.7)).astype(np.uint8), np.diff(positions)


def _errors(found: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    off = (found - true) / true.mean()
    return float(np.sqrt(np.mean(off**2))), abs(float(off.mean()))


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("which", ["hierarchy", "ligaments"])
def test_ten_percent(which: str, noise: float, request: pytest.FixtureRequest):
    labels, true = request.getfixturevalue(which)
    image = labels
    if noise:
        rng = np.random.default_rng(0)
        image = labels + noise * rng.standard_normal(labels.shape).astype(np.float32)
    found = thickness_from_images(image, spacing=(10.0, PIXEL, PIXEL), unit="nm")
    rms, bias = _errors(found.thickness, true)
    assert rms < 0.1
    assert bias < 0.03
    assert found.source == "images"
    assert 0.4 < np.std((found.measured - true) / found.std) < 2.5


def test_blur_within_slices_is_made_up_for(ligaments: tuple):
    labels, true = ligaments
    soft = np.stack([gaussian_filter(s.astype(np.float32), 1.0) for s in labels[:16]])
    true = true[:15]
    told = thickness_from_images(soft, spacing=(10.0, PIXEL, PIXEL), blur_std=PIXEL)
    plain = thickness_from_images(soft, spacing=(10.0, PIXEL, PIXEL))
    assert _errors(plain.thickness, true)[1] > 0.08
    assert _errors(told.thickness, true)[1] < 0.06


def test_unit_scale_and_pixels_that_are_not_square(ligaments: tuple):
    labels, true = ligaments
    stack = labels[:12]
    plain = thickness_from_images(stack).thickness
    scaled = thickness_from_images(3 + 40 * stack, spacing=(1.0, 2.0, 2.0)).thickness
    np.testing.assert_allclose(scaled, 2.0 * plain, rtol=0.02)
    half = thickness_from_images(stack[:, ::2], spacing=(10.0, 2 * PIXEL, PIXEL)).thickness
    assert _errors(half, true[:11])[0] < 0.12


def test_thick_slices_are_searched_without_much_memory():
    positions = np.array([0.0, 12.0, 50.0, 57.0, 72.0])
    field = wave_slices(jax.random.key(2), 120.0, positions, 100)
    tracemalloc.start()
    try:
        found = thickness_from_images(field, largest=128.0)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 60e6
    np.testing.assert_allclose(found.measured, np.diff(positions), rtol=0.2)


def test_steps_of_the_search_are_a_small_share_of_what_is_found():
    for most in (0.1, 5.0, 8.0, 8.001, 16.0, 2048.0):
        grid = _grid(most)
        steps = np.diff(grid)
        assert grid.size >= 3
        assert 0.995 * most - 0.021 <= grid[-1] < most + 1e-9
        assert steps.min() > 0
        assert (steps <= np.maximum(0.0201, 0.00251 * grid[1:])).all()
    assert _grid(2048.0).size < 3000


def test_semivariogram_is_the_brute_force_mean():
    plane = np.random.default_rng(0).random((12, 15))
    lags = in_plane_lags((12, 15), 6.0, 1.5)
    found = lags.measure(plane)
    sums, counts = {}, {}
    for dy in range(-11, 12):
        for dx in range(-14, 15):
            distance = np.hypot(1.5 * dy, dx)
            if distance > 5.0:
                continue
            a = plane[max(dy, 0) : 12 + min(dy, 0), max(dx, 0) : 15 + min(dx, 0)]
            b = plane[max(-dy, 0) : 12 + min(-dy, 0), max(-dx, 0) : 15 + min(-dx, 0)]
            near = int(np.argmin(np.abs(lags.distances - distance)))
            sums[near] = sums.get(near, 0.0) + 0.5 * np.mean((a - b) ** 2)
            counts[near] = counts.get(near, 0) + 1
    for k, total in sums.items():
        assert found[k] == pytest.approx(total / counts[k], abs=1e-12)
    assert found[0] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("aspect", "blur"), [(1.0, 0.0), (2.0, 0.0), (1.0, 1.2)])
def test_differences_of_boxes_are_those_of_a_known_process(aspect: float, blur: float):
    # γ(r) = 1 - exp(-r²/2s²) is a product along the axes, so blurs and boxes act on each alone.
    s, noise, t = 4.0, 0.1, np.array([1.0, 3.0])
    distances = np.arange(0.0, 60.0, 0.25)

    def along(size: int, step: float) -> float:
        i = step * np.subtract.outer(np.arange(size), np.arange(size))
        wide = s**2 + 2 * blur**2
        return float(np.mean(s / np.sqrt(wide) * np.exp(-(i**2) / (2 * wide))))

    found = differences(lambda r: 1 - np.exp(-(r**2) / (2 * s**2)), noise, [1, 4], aspect, blur, t)
    for k, size in enumerate((1, 4)):
        own = along(size, aspect) * along(size, 1.0)
        expected = own * (1 - np.exp(-(t**2) / (2 * s**2))) + noise / size**2
        np.testing.assert_allclose(found[:, k], expected, rtol=3e-3)
    wide = s**2 + 2 * blur**2
    seen = s**2 / wide * (1 - np.exp(-(distances**2) / (2 * wide))) + noise * (distances > 0)
    sharp = sharp_semivariogram(distances, seen, noise, blur)
    r = np.linspace(1.0, 8.0, 8)
    np.testing.assert_allclose(sharp(r), 1 - np.exp(-(r**2) / (2 * s**2)), atol=0.02)


def test_nugget_is_the_noise():
    r = np.sqrt(np.arange(12.0))
    assert nugget(r, np.where(r > 0, 0.3 + 0.1 * r - 0.01 * r**2, 0.0)) == pytest.approx(0.3)
    assert nugget(r, r) == pytest.approx(0.0, abs=1e-9)


def test_means_over_boxes_and_tiles():
    plane = np.random.default_rng(0).random((21, 17)).astype(np.float32)
    means = box_means(plane, 3)
    assert [m.shape for m in means] == [(21, 17), (10, 8), (5, 4)]
    assert means[2][1, 2] == pytest.approx(plane[4:8, 8:12].mean(), rel=1e-5)
    tiles = tile_means(plane, 4)
    assert tiles.size == 16
    assert tiles[0] == pytest.approx(plane[:5, :4].mean(), rel=1e-5)
    assert tiles[-1] == pytest.approx(plane[15:, 12:].mean(), rel=1e-5)


NOISE = np.random.default_rng(0).random((4, 64, 64)).astype(np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: thickness_from_images(NOISE[:1]), "volume: got a single slice"),
        (lambda: thickness_from_images(NOISE[:, :20]), "volume: got slices of 20 x 64"),
        (lambda: thickness_from_images(np.ones((4, 64, 64))), "images of one grey value"),
        (lambda: thickness_from_images(np.repeat(NOISE[:1], 4, 0)), "volume: got slices that do"),
        (lambda: thickness_from_images(np.where(NOISE > 0.99, np.nan, NOISE)), "slice 0 with"),
        (lambda: thickness_from_images(NOISE, largest=40.0), "largest: got 40"),
        (lambda: thickness_from_images(NOISE, largest=-1.0), "largest: got -1"),
        (lambda: thickness_from_images(NOISE, largest=0.03), "largest: got 0.03, wants"),
        (lambda: thickness_from_images(NOISE, blur_std=9.0), "blur_std: got 9"),
        (lambda: thickness_from_images(NOISE, neighbours=0), "neighbours: got 0"),
        (lambda: thickness_from_images(NOISE, noise_std=-1.0), "noise_std: got -1"),
    ],
)  # fmt: skip
def test_refusals(call: Callable[[], object], message: str):
    with pytest.raises(InputError, match=message) as told:
        call()
    assert "\n" not in str(told.value)
