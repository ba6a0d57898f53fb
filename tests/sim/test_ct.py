"""Artefacts of CT against closed forms, and scans whole against scans in tiles."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from bimmjax import InputError, open_volume
from bimmjax.sim import (
    block_mean,
    blur,
    ct_image,
    ct_volume,
    cup,
    fringes,
    gaussian_structure,
    image_of,
    noise_correlation,
    rings,
    structure_labels,
)
from bimmjax.sim._ct import volume as tiles

KEY = jax.random.key(0)
EVERYTHING = (slice(None),) * 3


def _labels(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    body = gaussian_structure(jax.random.key(seed), shape, (0.3, 0.3, 0.4), 3.0)
    return np.asarray(structure_labels(body))


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_partial_volumes_are_means_counted_one_by_one(factor: int):
    labels, values = _labels((7, 9, 10)), np.array([0.0, 3.0, 10.0])
    found = np.asarray(block_mean(labels, values, factor))
    assert found.shape == (7 // factor, 9 // factor, 10 // factor)
    for place in np.ndindex(found.shape):
        box = tuple(slice(factor * i, factor * (i + 1)) for i in place)
        assert found[place] == pytest.approx(values[labels[box]].mean(), rel=1e-5, abs=1e-5)


def test_cupping_is_what_hardened_projections_reconstruct_to():
    from skimage.transform import iradon

    size, radius, hardening = 201, 90.0, 4e-3
    across = np.arange(size) - size // 2
    path = 2.0 * np.sqrt(np.maximum(radius**2 - across**2, 0.0))
    angles = np.linspace(0.0, 180.0, 180, endpoint=False)
    projections = np.repeat((path - hardening * path**2)[:, None], angles.size, 1)
    seen = iradon(projections, theta=angles, circle=True)
    # Paths are 2 √(R² - s²), so that b path² = 4 b (R² - s²) and the axis loses 8 b R / π.
    cupping = 8.0 * hardening * radius / math.pi
    assert 0.5 < cupping < 1.0
    wanted = np.asarray(cup(np.ones((1, size, size)), cupping, radius=radius))[0]
    r = np.hypot(across[:, None], across)
    np.testing.assert_allclose(seen[r < 80], wanted[r < 80], atol=0.02)
    assert np.all(wanted[r > 90] == 1.0)


def test_cupping_darkens_towards_a_given_axis():
    seen = np.asarray(cup(np.full((2, 30, 40), 5.0), 0.3, centre=(10.0, 25.0)))
    assert np.unravel_index(seen[0].argmin(), seen[0].shape) == (10, 25)
    assert seen[0, 10, 25] == pytest.approx(5.0 * 0.7)
    assert seen.max() < 5.0
    np.testing.assert_array_equal(cup(np.ones((1, 4, 4)), 0.0), 1.0)
    image = np.random.default_rng(0).random((2, 9, 9))
    np.testing.assert_allclose(cup(image + 4.0, 0.5, air=4.0), cup(image, 0.5) + 4.0, atol=1e-5)


@pytest.mark.numerics
@pytest.mark.parametrize("centre", [None, (12.3, 40.8)])
def test_rings_are_round_and_keep_the_mean(centre: tuple[float, float] | None):
    size = (61, 81)
    seen = np.asarray(rings(KEY, np.full((40, *size), 7.0), 0.5, centre=centre, rows=0.0)) - 7.0
    assert np.abs(seen.mean((1, 2))).max() < 1e-5
    middle = (30.0, 40.0) if centre is None else centre
    r = np.hypot(*(np.mgrid[: size[0], : size[1]] - np.reshape(middle, (2, 1, 1))))
    # One function of the radius, of straight lines between whole radii.
    for plane in seen[:3]:
        order = np.argsort(r.ravel())
        radius, value = r.ravel()[order], plane.ravel()[order]
        table = [np.interp(k, radius, value) for k in range(1, int(radius[-1]))]
        inner = (radius >= 1) & (radius <= len(table))
        told = np.interp(radius[inner], np.arange(1, len(table) + 1), table)
        np.testing.assert_allclose(value[inner], told, atol=0.25)
        assert np.abs(value[inner] - told).mean() < 0.03
    if centre is None:
        np.testing.assert_allclose(seen, seen[:, ::-1, ::-1], atol=1e-5)
        at_columns = seen[:, 30, 41:70]
        assert at_columns.std() == pytest.approx(0.5, rel=0.05)
        assert abs((at_columns[1:] * at_columns[:-1]).mean()) < 0.02


def test_rings_stay_for_some_rows_and_belong_to_their_slice():
    flat = np.zeros((30, 25, 25), np.float32)
    whole = np.asarray(rings(KEY, flat, 1.0))
    np.testing.assert_array_equal(rings(KEY, flat[:7], 1.0, start=11), whole[11:18])
    assert np.corrcoef(whole[0].ravel(), whole[1].ravel())[0, 1] > 0.8


@pytest.mark.numerics
def test_fringes_are_paganins_and_keep_the_mean():
    image = np.zeros((4, 4, 256), np.float32)
    image[..., 64:192] = 1.0
    fresnel, delta_beta, std = 0.3, 400.0, 4.0
    seen = np.asarray(blur(fringes(image, fresnel, delta_beta), std), np.float64)[0, 0]
    assert seen.mean() == pytest.approx(0.5, abs=1e-5)
    # A blurred edge and minus its second derivative, (δ/β) · fresnel / 4π times.
    x = np.arange(30, 100) - 63.5
    slope = np.exp(-0.5 * (x / std) ** 2) / (std * math.sqrt(2 * math.pi))
    strength = delta_beta * fresnel / (4 * math.pi)
    wanted = ndtr(x / std) + strength * x / std**2 * slope
    np.testing.assert_allclose(seen[30:100], wanted, atol=2e-2)
    assert seen.max() > 1.04
    assert seen.min() < -0.04


def test_fringes_without_refraction_or_distance():
    image = np.random.default_rng(0).random((6, 7, 8))
    np.testing.assert_allclose(fringes(image, 0.0, 100.0), image, atol=1e-6)
    assert np.abs(np.asarray(fringes(image, 1.0, 0.0)) - image).max() > 0.05


@pytest.mark.numerics
@pytest.mark.parametrize("edges", ["mirror", "wrap"])
@pytest.mark.parametrize("length", [0.0, 1.2])
def test_noise_of_a_scan(edges: str, length: float):
    flat = np.zeros((48, 48, 48), np.uint8)
    noise = np.asarray(
        ct_image(KEY, flat, [2.0], noise_std=0.25, noise_length=length, edges=edges), np.float64
    )
    noise -= 2.0
    assert noise.mean() == pytest.approx(0.0, abs=0.01)
    assert noise.std() == pytest.approx(0.25, rel=0.04)
    for axis in range(3):
        turned = np.moveaxis(noise, axis, 0)
        found = [(turned[k:] * turned[:-k]).mean() / noise.var() for k in (1, 2)]
        np.testing.assert_allclose(found, noise_correlation(length), atol=0.05)
    # Along an axis the far face is a neighbour only where the volume repeats.
    joined = (noise[0] * noise[-1]).mean() / noise.var()
    wanted = noise_correlation(length)[0] if edges == "wrap" else 0.0
    assert joined == pytest.approx(wanted, abs=0.1)


def test_white_noise_is_normal():
    from scipy import stats

    noise = ct_image(KEY, np.zeros((20, 40, 50), np.uint8), [0.0], noise_std=1.0)
    assert stats.kstest(np.asarray(noise, np.float64).ravel(), "norm").pvalue > 0.01
    other = ct_image(jax.random.key(1), np.zeros((20, 40, 50), np.uint8), [0.0], noise_std=1.0)
    assert abs(np.corrcoef(np.ravel(noise), np.ravel(other))[0, 1]) < 0.02


@pytest.mark.numerics
def test_a_scan_is_the_sum_of_its_parts():
    body = gaussian_structure(KEY, (24, 24, 24), (0.4, 0.6), 3.0)
    periodic = ct_image(KEY, body, (0.0, 1.0), blur_std=1.5, noise_std=0.0, edges="wrap")
    np.testing.assert_allclose(periodic, blur(image_of(body, (0.0, 1.0)), 1.5), atol=1e-5)
    labels = np.asarray(structure_labels(body))
    mirrored = ct_image(KEY, labels, (0.0, 1.0), blur_std=1.5, noise_std=0.0, cupping=0.2)
    from scipy.ndimage import gaussian_filter

    sharp = gaussian_filter(labels.astype(float), 1.5, mode="reflect", truncate=6)
    np.testing.assert_allclose(mirrored, cup(sharp, 0.2), atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"blur_std": 1.5, "noise_std": 0.1, "noise_length": 1.0, "cupping": 0.2, "rings": 0.1},
        {"blur_std": 1.0, "noise_std": 0.0, "fresnel": 1.0, "delta_beta": 20.0, "edges": "wrap"},
        {"blur_std": 0.0, "noise_std": 0.1, "supersample": 2, "edges": "wrap"},
    ],
)
def test_tiles_fit_together(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiles, "TILE", (8, 16, 12))
    labels, values = _labels((21, 34, 26)), (0.0, 0.5, 1.0)
    whole = np.asarray(ct_image(KEY, labels, values, **settings))
    lazy = ct_volume(KEY, open_volume(labels, spacing=2.0, unit="nm"), values, **settings)
    assert lazy.shape == whole.shape
    assert lazy.spacing == (2.0 * settings.get("supersample", 1),) * 3
    read = lazy.read(*EVERYTHING)
    contrast = 1e-3 if "fresnel" in settings else 1e-5
    np.testing.assert_allclose(read, whole, atol=contrast)
    box = (slice(3, 9), slice(5, 13), slice(1, 13))
    np.testing.assert_array_equal(lazy.read(*box), read[box])


def test_parts_of_a_scan_inside_jit():
    image = np.random.default_rng(1).random((6, 12, 12)).astype(np.float32)

    @jax.jit
    def inside(key: jax.Array, image: jax.Array, strength: jax.Array) -> jax.Array:
        return rings(key, cup(fringes(image, strength, 10.0), strength), strength)

    wanted = rings(KEY, cup(fringes(image, 0.2, 10.0), 0.2), 0.2)
    np.testing.assert_allclose(inside(KEY, image, jnp.float32(0.2)), wanted, atol=1e-4)


ONES = np.ones((4, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: block_mean(ONES * 0.5, [0.0], 1), "labels: got float64, wants integers"),
        (lambda: block_mean(ONES, [0.0], 1), "labels: got a label 1, wants 0 to 0"),
        (lambda: block_mean(ONES, [0.0, 1.0], 5), "factor: got 5, wants at most the shortest"),
        (lambda: block_mean(ONES, [0.0, math.nan], 1), "values: got"),
        (lambda: cup(ONES, 1.5), "cupping: got 1.5, wants a number from 0 to 1"),
        (lambda: cup(ONES, 0.5, centre=(1.0,)), "centre: got 1 numbers, wants two"),
        (lambda: cup(ONES, 0.5, radius=0.0), "radius: got 0, wants"),
        (lambda: rings(KEY, ONES, -1.0), "strength: got -1, wants"),
        (lambda: rings(KEY, ONES, 1.0, rows=99.0), "rows: got 99, wants at most 16"),
        (lambda: fringes(ONES, -1.0, 1.0), "fresnel: got -1, wants"),
        (lambda: fringes(ONES, 1.0, math.inf), "delta_beta: got inf, wants"),
        (lambda: ct_image(KEY, ONES, [0.0, 1.0], blur_std=17.0), "blur_std: got 17, wants at"),
        (lambda: ct_image(KEY, ONES, [0.0, 1.0], blur=1.0), "blur: no setting of a scan, wants"),
        (lambda: ct_image(KEY, ONES, [0.0, 1.0], edges="zero"), "edges: got 'zero', wants one"),
        (lambda: ct_image(KEY, ONES, [0.0, 1.0], supersample=0), "supersample: got 0, wants a"),
        (lambda: ct_image(KEY, np.ones((4, 4)), [0.0, 1.0]), "labels: got an array of shape"),
        (lambda: ct_volume(KEY, open_volume(ONES * 0.5), [0.0, 1.0]), "labels: got float64"),
        (
            lambda: ct_volume(KEY, open_volume(ONES), [0.0]).read(*EVERYTHING),
            "labels: got a label 1, wants 0 to 0",
        ),
        (lambda: ct_volume(KEY, open_volume(ONES), [0.0], supersample=5), "supersample: got 5"),
    ],
)
def test_refusals(call: Callable[[], object], message: str):
    with pytest.raises(InputError, match=message) as told:
        call()
    assert "\n" not in str(told.value)
