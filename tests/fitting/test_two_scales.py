"""Moments at two scales on bodies whose surface is known, and their sums against brute force."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import bimmjax
from bimmjax import InputError, open_volume, sim
from bimmjax.fitting import _two_scales
from bimmjax.fitting._two_scales import (
    Moments,
    _expected,
    second_kernel,
    two_moments,
    two_scale_area,
)
from bimmjax.models import Params, bimm2d

CUBE = (64, 64, 64)
MARGIN = 9


def image(
    body: sim.Body, blur_std: float, noise_std: float = 0.1, noise_length: float = 0.0
) -> np.ndarray:
    """Periodic, continued on all sides so that every voxel of the body can be served."""
    seen = sim.body_image(body, (0.0, 1.0), blur_std)
    noisy = sim.add_noise(jax.random.key(1), seen, noise_std, noise_length=noise_length)
    return np.pad(np.asarray(noisy), MARGIN, mode="wrap")


def truth(blur_std: float, noise_std: float = 0.1, correlation: float = 0.0) -> Params:
    """What a perfect fit would say; the blur a little off."""
    made = bimm2d.init([0.0, 1.0], noise_std, correlation=correlation, blur_std=1.05 * blur_std)
    return made


def measured(volume: np.ndarray, params: Params, rounding: float = 0.0) -> _two_scales.TwoScales:
    kernel = second_kernel(float(params.blur_std))  # type: ignore[arg-type]
    spare = MARGIN - kernel.reach - 1
    inner = volume[tuple(slice(spare, n - spare) for n in volume.shape)]
    middle = float(params.intensities.mean())
    moments = two_moments(open_volume(inner), kernel, middle)
    assert float(moments[0].voxels) == pytest.approx(np.prod(CUBE))
    return two_scale_area(*moments, kernel, params, rounding)


@pytest.mark.parametrize("blur_std", [0.7, 1.0, 1.5, 2.0])
def test_fields_of_known_area(blur_std: float):
    body = sim.field_body(jax.random.key(2), CUBE, (0.4, 0.6), 5.0)
    found = measured(image(body, blur_std), truth(blur_std))
    assert float(found.area) == pytest.approx(body.truth.interface_areas[0], rel=0.02)
    assert float(found.blur_std) == pytest.approx(blur_std, rel=0.02)
    assert float(found.misfit) < 0.01


@pytest.mark.numerics
def test_curvature_of_a_sphere():
    """3S + 2K is 8/R², and b a sixth of it."""
    radius = 14.0
    grid = np.stack(np.meshgrid(*[np.arange(64) - 32.0] * 3, indexing="ij"))
    field = np.sqrt((grid**2).sum(0)).astype(np.float32)
    known = sim.structure_body(sim.Structure(jnp.asarray(field[None]), jnp.array([radius])))
    area = 4.0 * np.pi * radius**2 / 64**3
    found = measured(image(known, 2.0, noise_std=0.02), truth(2.0, 0.02))
    assert float(found.area) == pytest.approx(area, rel=0.01)
    assert 6.0 * float(found.bend) * radius**2 == pytest.approx(8.0, rel=0.25)
    flat = sim.sheet_body(CUBE, 32.0, (1, 0, 0))
    found = measured(image(flat, 2.0, noise_std=0.02), truth(2.0, 0.02))
    assert abs(6.0 * float(found.bend)) < 0.005


def test_correlated_noise_is_told_from_structure():
    body = sim.field_body(jax.random.key(2), CUBE, (0.4, 0.6), 5.0)
    rho = float(sim.noise_correlation(0.8)[1])
    found = measured(image(body, 1.5, noise_length=0.8), truth(1.5, correlation=rho))
    assert float(found.area) == pytest.approx(body.truth.interface_areas[0], rel=0.02)


@pytest.mark.numerics
def test_moments_are_those_of_scipy():
    rng = np.random.default_rng(0)
    volume = rng.normal(5.0, 1.0, (40, 36, 44)).astype(np.float32)
    volume[20, 18, 22] = np.nan
    kernel = second_kernel(1.3)
    first, second = two_moments(open_volume(volume), kernel, 4.0)
    reach = kernel.reach
    filled = np.nan_to_num(volume, nan=5.0).astype(float)
    blurred = filled
    for axis in range(3):
        blurred = ndimage.convolve1d(blurred, kernel.weights, axis=axis)
    served = np.isfinite(volume).astype(float)
    for axis in range(3):
        served = ndimage.convolve1d(served, kernel.weights, axis=axis)
    within = [n - 2 * reach for n in volume.shape]
    bad = np.pad(np.zeros(within, bool), reach, constant_values=True) | (served < 1.0 - 1e-5)
    cross = ndimage.generate_binary_structure(3, 1)
    counted = np.logical_not(ndimage.binary_dilation(bad, cross))
    assert float(first.voxels) == counted.sum()
    for found, field in ((first, filled), (second, blurred)):
        steps = [np.roll(field, -1, a) - np.roll(field, 1, a) for a in range(3)]
        apart = [np.roll(field, -1, a) - field for a in range(3)]
        expected = Moments(
            (field - 4.0)[counted].mean(),
            ((field - 4.0) ** 2)[counted].mean(),
            0.25 * sum((s**2)[counted].mean() for s in steps),
            sum((s**2)[counted].mean() for s in apart) / 3.0,
            4.0,
            counted.sum(),
        )
        np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_streams_in_blocks(monkeypatch: pytest.MonkeyPatch):
    volume = np.random.default_rng(0).normal(size=(50, 41, 37)).astype(np.float32)
    kernel = second_kernel(1.0)
    whole = two_moments(open_volume(volume), kernel, 0.0)
    monkeypatch.setattr(_two_scales, "_BLOCK", 16)
    parts = two_moments(open_volume(volume), kernel, 0.0)
    np.testing.assert_allclose(np.array(parts), np.array(whole), rtol=1e-4, atol=1e-4)


@pytest.mark.numerics
def test_the_solution_is_the_one_put_in():
    variance, bend, area = 2.25, 0.04, 0.08
    seen = _expected(jnp.log(jnp.array([area, variance, 1.0])).at[2].set(bend * variance), 2.0)
    found = _two_scales._solve(seen, 2.0, jnp.array(1.7))
    np.testing.assert_allclose(
        [float(found.area), float(found.blur_std), float(found.bend)],
        [area, 1.5, bend],
        rtol=2e-3,
    )


def test_through_fit_in_lengths():
    body = sim.field_body(jax.random.key(2), CUBE, (0.4, 0.6), 5.0)
    volume = image(body, 1.5, noise_std=0.05)
    fit = bimmjax.fit(volume, two_scales=True, intervals=False, spacing=0.5, unit="um")
    found = fit.to_dict()["two_scales"]
    assert found["reason"] is None
    area = body.truth.interface_areas[0] / 0.5
    assert found["interface_areas"]["0-1"] == pytest.approx(area, rel=0.05)
    assert found["blur_std"] == pytest.approx(1.5, rel=0.02)
    assert found["resolution_10_90"] == pytest.approx(2.5631 * 0.5 * found["blur_std"], rel=1e-4)
    assert "two_scales" not in bimmjax.fit(volume, intervals=False).to_dict()


def test_refused_where_features_are_too_small_or_voxels_too_few():
    body = sim.sphere_body(jax.random.key(0), CUBE, 3.0, 0.2)
    fit = bimmjax.fit(image(body, 2.0), two_scales=True, intervals=False)
    assert fit.two_scales is not None
    assert fit.two_scales["reason"] is not None
    assert fit.two_scales["interface_areas"] is None
    few = bimmjax.fit(image(body, 2.0)[:12], two_scales=True, intervals=False)
    assert few.two_scales is not None
    assert "too few voxels" in few.two_scales["reason"]


@pytest.mark.parametrize(
    "options", [{"phases": 3}, {"model": "bimm1d"}, {"noise": "per_phase"}, {"phases": "auto"}]
)
def test_refusals(options: dict):
    with pytest.raises(InputError, match="two_scales: got"):
        bimmjax.fit(np.zeros((16, 16, 16), np.uint8), two_scales=True, **options)
