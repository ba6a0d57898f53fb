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
from bimmjax.sim._bodies.curvature import curvatures
from bimmjax.sim._bodies.object_bodies import _Objects, _two_phases

pytestmark = pytest.mark.numerics

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
    truth = sim.structure_body(coarse).truth
    plain = sim.interface_areas(coarse)[0]
    off = abs(truth.interface_areas[0] - known)
    assert off < 0.4 * abs(plain - known)
    assert off < 3.0 * truth.interface_areas_std[0] + 1e-3 * known


def test_mixed_phases_have_a_truth_for_each_pair():
    structure = gaussian_structure(KEY, CUBE, (0.3, 0.3, 0.4), 5.0)
    body = sim.structure_body(structure)
    np.testing.assert_allclose(body.truth.fractions, (0.3, 0.3, 0.4), atol=1e-3)
    np.testing.assert_allclose(
        body.truth.interface_areas, sim.interface_areas(structure), rtol=0.01
    )
    np.testing.assert_allclose(body.shares.sum(0), 1.0, atol=1e-6)
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
    two = np.ones(2)
    objects = _Objects(centres, radius * two, np.ones((2, 3), bool))
    truth = _two_phases(CUBE, objects, points, whole * two, two, two, two).truth
    cap = radius - apart / 2.0
    area = 2.0 * (whole - 2.0 * np.pi * radius * cap) / 64**3
    assert abs(truth.interface_areas[0] - area) < 4.0 * truth.interface_areas_std[0]
    lens = np.pi * (4.0 * radius + apart) * (2.0 * radius - apart) ** 2 / 12.0
    volume = 2.0 * 4.0 / 3.0 * np.pi * radius**3 - lens
    assert truth.fractions[0] * 64**3 == pytest.approx(
        volume, rel=3e-3
    )  # counted at 27 points a voxel


def _blurred_area(body: sim.Body, blur_std: float) -> float:
    """Area by E[g(1 - g)] = A σ/√π, right to first order in the blur for smooth surfaces."""
    seen = np.asarray(sim.body_image(body, (0.0, 1.0), blur_std), float)
    return float((seen * (1.0 - seen)).mean() * np.sqrt(np.pi) / blur_std)


@pytest.mark.parametrize(
    "body",
    [
        sim.sphere_body(KEY, CUBE, (9.0, 12.0), 0.2, overlap=False),
        sim.fibre_body(KEY, CUBE, 8.0, 0.15, overlap=False),
        sim.gyroid_body(CUBE, 1),
        sim.sheet_body(CUBE, 14.0, (1, 1, 0)),
        sim.contest_body(KEY, CUBE, 2, 8.0),
    ],
    ids=["spheres", "fibres", "gyroid", "sheets", "contest"],
)
def test_areas_of_smooth_bodies_are_those_of_their_images(body: sim.Body):
    """Theory's ε = σ²⟨3S + 2K⟩/12 and all; the image knows nothing of how the truth was found."""
    blur = 1.2
    truth = body.truth
    lost = blur**2 * (3.0 * truth.squared_curvature + 2.0 * truth.gaussian_curvature)[0] / 12.0
    found = _blurred_area(body, blur) / (1.0 - lost)
    assert found == pytest.approx(truth.interface_areas[0], rel=0.01)
    assert truth.fractions[1] == pytest.approx(body.shares[1].mean(), abs=1e-4)


@pytest.mark.parametrize("make", [sim.sphere_body, sim.fibre_body])
def test_objects_that_must_not_touch_do_not(make: Callable[..., Any]):
    apart = make(KEY, CUBE, 6.0, 0.15, overlap=False).truth
    shared = make(KEY, CUBE, 6.0, 0.15).truth
    assert apart.interface_areas_std[0] == 0.0
    assert shared.interface_areas_std[0] > 0.0
    # All of their surface counts: S/V of a sphere is 3/R, of a cylinder 2/R.
    rate = {sim.sphere_body: 3.0, sim.fibre_body: 2.0}[make] / 6.0
    assert apart.interface_areas[0] == pytest.approx(rate * apart.fractions[0], rel=4e-3)


def test_shells_have_two_interfaces_and_not_the_third():
    body = sim.shell_body(KEY, CUBE, 10.0, 4.0, 0.2)
    count = round(body.truth.interface_areas[2] * 64**3 / (4.0 * np.pi * 100.0))
    assert body.truth.interface_areas[0] == pytest.approx(count * 4.0 * np.pi * 36.0 / 64**3)
    assert body.truth.interface_areas[1] == 0.0
    cores = count * 4.0 / 3.0 * np.pi * 6.0**3 / 64**3
    assert body.truth.fractions[0] == pytest.approx(cores, rel=5e-3)
    # No voxel holds core and surroundings alone.
    assert not np.any((body.shares[0] > 0) & (body.shares[2] > 0) & (body.shares[1] == 0))


def test_a_contest_of_two_is_a_field():
    """Where one of two fields of unit variance is higher, their difference is positive."""
    found = sim.contest_body(KEY, CUBE, 2, 5.0)
    f, g = (sim.gaussian_field(jax.random.fold_in(KEY, i), CUBE, 5.0) for i in range(2))
    known = sim.structure_body(Structure((g - f)[None], jnp.zeros(1))).truth
    np.testing.assert_allclose(found.truth.interface_areas, known.interface_areas, rtol=1e-4)
    np.testing.assert_allclose(found.truth.mean_curvature, known.mean_curvature, atol=1e-4)
    np.testing.assert_allclose(found.truth.fractions, known.fractions, atol=1e-4)


def test_three_in_a_contest_share_the_surfaces_of_each_two():
    three = sim.contest_body(KEY, CUBE, 3, 5.0)
    assert np.all(three.truth.interface_areas > 0)
    # A lead so low that the third never wins leaves the contest of two.
    alone = sim.contest_body(KEY, CUBE, 3, 5.0, (0.0, 0.0, -99.0)).truth
    two = sim.contest_body(KEY, CUBE, 2, 5.0).truth
    np.testing.assert_allclose(alone.interface_areas[0], two.interface_areas[0], rtol=1e-6)
    assert alone.interface_areas[1] == alone.interface_areas[2] == 0.0


def test_sheets_have_the_area_they_are_said_to_have():
    body = sim.sheet_body(CUBE, 6.0, (3, 2, 1))
    period = 64.0 / np.sqrt(14.0)
    assert body.truth.interface_areas[0] == pytest.approx(2.0 / period)
    assert body.truth.fractions[0] == pytest.approx(6.0 / period, abs=2e-3)
    assert _blurred_area(body, 0.8) == pytest.approx(2.0 / period, rel=5e-3)


@pytest.mark.parametrize("blur_std", [0.8, 1.2, 2.0])
def test_images_of_bodies_have_the_blur_asked_for(blur_std: float):
    """Of flat sheets E[g(1 - g)] is in proportion to it."""
    body = sim.sheet_body(CUBE, 20.0, (1, 1, 1))
    found = _blurred_area(body, blur_std) / body.truth.interface_areas[0]
    assert found == pytest.approx(1.0, rel=0.01)
    seen = np.asarray(sim.body_image(body, (5.0, 7.0), blur_std))
    assert seen.min() == pytest.approx(5.0, abs=1e-3)
    assert seen.max() == pytest.approx(7.0, abs=2e-3)


def test_a_mask_keeps_its_fraction():
    mask = np.zeros((48, 48, 48), np.uint8)
    mask[10:30, 12:40, 8:28] = 255
    body = sim.mask_body(mask, 1.5)
    assert body.truth.fractions[1] == pytest.approx((mask > 0).mean(), abs=4e-3)
    edges = 2 * (20 * 28 + 28 * 20 + 20 * 20) / 48**3
    assert 0.8 * edges < body.truth.interface_areas[0] < edges


def test_the_same_key_gives_the_same_body():
    first, again = (sim.sphere_body(KEY, CUBE, 6.0, 0.2) for _ in range(2))
    np.testing.assert_array_equal(first.shares, again.shares)
    other = sim.sphere_body(jax.random.key(1), CUBE, 6.0, 0.2)
    assert np.any(first.shares != other.shares)


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
        (lambda: sim.sphere_body(KEY, CUBE, (6.0, 5.0), 0.2), "radius: got"),
        (lambda: sim.sphere_body(KEY, CUBE, 6.0, 0.6, overlap=False), "fraction: got no room"),
        (lambda: sim.shell_body(KEY, CUBE, 6.0, 5.0, 0.1), "thickness: got 5"),
        (lambda: sim.gyroid_body(CUBE, 1, 1.5), "level: got 1.5"),
        (lambda: sim.gyroid_body(CUBE, 9), "cells: got 9"),
        (lambda: sim.contest_body(KEY, CUBE, 3, 5.0, (0.0, 1.0)), "lead: got 2 numbers"),
        (lambda: sim.contest_body(KEY, (63, 64, 64), 3, 5.0), "shape: got"),
        (lambda: sim.body_image(sim.sheet_body(CUBE, 4.0), (0.0, 1.0, 2.0), 1.0), "intensities"),
        (lambda: sim.body_image(sim.sheet_body(CUBE, 4.0), (0.0, 1.0), 0.1), "blur_std: got"),
        (lambda: sim.mask_body(np.zeros(CUBE)), "mask: got"),
        (lambda: sim.mask_body(np.eye(8)), "mask: got"),
        (lambda: sim.field_body(KEY, (33, 32, 32), (0.5, 0.5), 3.0), "structure: got"),
    ],
)
def test_refusals(make: Callable[..., Any], message: str):
    with pytest.raises(InputError, match=message):
        make()
