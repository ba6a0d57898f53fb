"""Bodies against geometry that is known in closed form, and against each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bimmjax import InputError, sim
from bimmjax.sim import Structure, gaussian_structure
from bimmjax.sim._bodies import _union
from bimmjax.sim._curvature import curvatures

KEY = jax.random.key(0)
CUBE = (64, 64, 64)


@pytest.mark.parametrize(("axes", "expected"), [((0, 1, 2), (1, 2, 1)), ((0, 1), (0.5, 1, 0))])
def test_curvature_of_spheres_and_cylinders(
    axes: tuple[int, ...], expected: tuple[float, float, float]
):
    grid = np.stack(np.meshgrid(*[np.arange(64) - 32.0] * 3, indexing="ij"))
    r = np.sqrt((grid[list(axes)] ** 2).sum(0))
    found = curvatures(-np.exp(-0.5 * (r / 9.0) ** 2))
    ring = (r > 8) & (r < 20)
    for k, power in enumerate((1, 2, 2)):
        np.testing.assert_allclose(found[k][ring] * r[ring] ** power, expected[k], atol=0.01)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_gaussian_fields_have_the_curvature_that_theory_says(share: float):
    """Mean K of the level set of a Gaussian field of level u is λ(u² - 1)/2 (Gauss-Bonnet)."""
    length = 4.0
    rate = 1.0 / (2.0 * length**2)
    from scipy.special import ndtri

    level = ndtri(share)
    found = [
        sim.field_body(jax.random.key(i), CUBE, (share, 1.0 - share), length).truth
        for i in range(6)
    ]
    gaussian = np.array([truth.gaussian_curvature[0] for truth in found])
    mean = np.array([truth.mean_curvature[0] for truth in found])
    np.testing.assert_allclose(gaussian.mean(), 0.5 * rate * (level**2 - 1.0), atol=0.1 * rate)
    expected = -level * np.sqrt(np.pi * rate / 8.0)
    np.testing.assert_allclose(mean.mean(), expected, atol=0.1 * np.sqrt(rate))
    for truth in found:
        # S = κ₁² + κ₂² is at least 2H² and at least |2K|.
        assert truth.squared_curvature[0] > 2.0 * truth.mean_curvature[0] ** 2
        assert truth.squared_curvature[0] > 2.0 * abs(truth.gaussian_curvature[0])


def test_extrapolated_areas_are_nearer_to_a_finer_lattice():
    coarse = gaussian_structure(KEY, (32, 32, 32), (0.4, 0.6), 2.5)
    spectrum = np.fft.fftshift(np.fft.fftn(np.asarray(coarse.fields[0])))
    fine = np.fft.ifftn(np.fft.ifftshift(np.pad(spectrum, 32))).real * 27.0
    known = sim.interface_areas(Structure(jnp.asarray(fine[None]), coarse.levels))[0] * 3.0
    truth = sim.measured_truth(coarse)
    plain = sim.interface_areas(coarse)[0]
    off = abs(truth.interface_areas[0] - known)
    assert off < 0.4 * abs(plain - known)
    assert off < 3.0 * truth.interface_areas_std[0] + 1e-3 * known


def test_mixed_phases_have_a_truth_for_each_pair():
    body = sim.field_body(KEY, CUBE, (0.3, 0.3, 0.4), 5.0)
    np.testing.assert_allclose(body.truth.fractions, (0.3, 0.3, 0.4), atol=1e-3)
    np.testing.assert_allclose(
        body.truth.interface_areas, sim.interface_areas(body.structure), rtol=0.01
    )
    nested = sim.field_body(KEY, CUBE, (0.3, 0.3, 0.4), 5.0, arrangement="nested").truth
    assert nested.interface_areas[1] == 0.0


def test_two_spheres_that_overlap():
    """Each loses a cap of height R - d/2."""
    radius, apart = 9.0, 10.0
    centres = np.array([[32.0, 32.0, 27.0], [32.0, 32.0, 27.0 + apart]])
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2, 20_000, 3))
    points *= radius / np.linalg.norm(points, axis=2, keepdims=True)
    points += centres[:, None]
    whole = 4.0 * np.pi * radius**2
    flat = (1.0 / radius, 2.0 / radius**2, 1.0 / radius**2)
    truth = _union(CUBE, centres, np.ones((2, 3), bool), radius, points, whole, flat).truth
    cap = radius - apart / 2.0
    area = 2.0 * (whole - 2.0 * np.pi * radius * cap) / 64**3
    assert abs(truth.interface_areas[0] - area) < 4.0 * truth.interface_areas_std[0]
    lens = np.pi * (4.0 * radius + apart) * (2.0 * radius - apart) ** 2 / 12.0
    volume = 2.0 * 4.0 / 3.0 * np.pi * radius**3 - lens
    assert truth.fractions[0] * 64**3 == pytest.approx(volume, rel=4e-3)  # the crease is rounded


@pytest.mark.parametrize("make", [sim.sphere_body, sim.fibre_body])
def test_unions_tend_to_what_marching_cubes_find(make: Callable[..., Any]):
    """At creases triangles cut corners: the difference falls with the lattice's spacing."""
    off = []
    for scale in (1, 2):
        body = make(KEY, (48 * scale,) * 3, 5.0 * scale, 0.25)
        found = sim.interface_areas(body.structure)[0]
        off.append(found / body.truth.interface_areas[0] - 1.0)
    error = body.truth.interface_areas_std[0] / body.truth.interface_areas[0]
    assert abs(off[1]) < abs(off[0]) < 0.06
    assert abs(2.0 * off[1] - off[0]) < 4.0 * error + 0.004
    np.testing.assert_allclose(body.truth.fractions.sum(), 1.0, atol=1e-6)


def test_sheets_are_exact():
    body = sim.sheet_body(CUBE, 6.0, (3, 2, 1))
    period = 64.0 / np.sqrt(14.0)
    assert body.truth.interface_areas[0] == pytest.approx(2.0 / period)
    assert body.truth.fractions[0] == pytest.approx(6.0 / period)
    assert sim.interface_areas(body.structure)[0] == pytest.approx(2.0 / period, rel=2e-3)
    share = np.mean(np.asarray(sim.image_of(body.structure, (1.0, 0.0), supersample=3)))
    assert share == pytest.approx(6.0 / period, abs=2e-3)


def test_a_mask_keeps_its_fraction():
    mask = np.zeros((48, 48, 48), np.uint8)
    mask[10:30, 12:40, 8:28] = 255
    body = sim.mask_body(mask, 1.5)
    assert body.truth.fractions[1] == pytest.approx((mask > 0).mean(), abs=4e-3)
    edges = 2 * (20 * 28 + 28 * 20 + 20 * 20) / 48**3
    assert 0.8 * edges < body.truth.interface_areas[0] < edges


def test_the_same_key_gives_the_same_body():
    first, again = (sim.sphere_body(KEY, CUBE, 6.0, 0.2) for _ in range(2))
    np.testing.assert_array_equal(first.structure.fields, again.structure.fields)
    other = sim.sphere_body(jax.random.key(1), CUBE, 6.0, 0.2)
    assert np.any(np.asarray(first.structure.fields) != np.asarray(other.structure.fields))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sim.sphere_body(KEY, CUBE, 1.0, 0.2), "radius: got 1, wants"),
        (lambda: sim.sphere_body(KEY, CUBE, 40.0, 0.2), "radius: got 40"),
        (lambda: sim.sphere_body(KEY, CUBE, 5.0, 1.0), "fraction: got 1.0"),
        (lambda: sim.fibre_body(KEY, (64, 64, 48), 5.0, 0.2), "shape: got"),
        (lambda: sim.sheet_body(CUBE, 40.0, (2, 0, 0)), "thickness: got 40.0"),
        (lambda: sim.sheet_body(CUBE, 4.0, (0, 0, 0)), "normal: got"),
        (lambda: sim.sheet_body(CUBE, 4.0, (0.5, 0, 0)), "normal: got"),  # type: ignore[arg-type]
        (lambda: sim.mask_body(np.zeros(CUBE)), "mask: got"),
        (lambda: sim.mask_body(np.eye(8)), "mask: got"),
        (lambda: sim.field_body(KEY, (33, 32, 32), (0.5, 0.5), 3.0), "structure: got"),
    ],
)
def test_refusals(make: Callable[..., Any], message: str):
    with pytest.raises(InputError, match=message):
        make()
