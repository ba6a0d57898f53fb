"""Restored bodies and their areas against closed forms, SciPy and bodies of known truth."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from bimmjax import sim
from bimmjax.fitting._posterior import phase_shares
from bimmjax.fitting._restore import blurred, image, inside, interface_areas, restored
from bimmjax.models import bimm2d

pytestmark = pytest.mark.numerics

KEY = jax.random.key(3)
CUBE = (48, 48, 48)


def both(field: np.ndarray | jax.Array) -> jax.Array:
    """Fields of two phases, the bright one where a field is positive."""
    half = 0.5 * jnp.asarray(field)
    return jnp.stack([-half, half])


def ball(radius: float, shape: tuple[int, ...] = CUBE) -> np.ndarray:
    grid = np.stack(np.meshgrid(*[np.arange(n) - n / 2 + 0.3 for n in shape], indexing="ij"))
    return radius**2 - (grid**2).sum(0)


@pytest.mark.parametrize("std", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("shape", [(12, 15, 20), (40, 8, 9)])
def test_blur_is_scipys_with_mirrored_faces(std: float, shape: tuple[int, ...]):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = ndimage.gaussian_filter(volume, std, mode="reflect", truncate=8.0)
    np.testing.assert_allclose(blurred(jnp.asarray(volume), jnp.asarray(std)), expected, atol=2e-4)


@pytest.mark.parametrize("radius", [6.0, 10.0, 18.0])
def test_area_of_a_ball(radius: float):
    found = float(interface_areas(both(ball(radius)))[0]) * 47**3
    # Flat triangles read too little, by 0.3/R² or so.
    assert found == pytest.approx(4.0 * np.pi * radius**2, rel=0.6 / radius**2 + 1e-3)


@pytest.mark.parametrize("normal", [(1.0, 0.0, 0.0), (1.0, 2.0, 3.0), (1.0, -1.0, 0.3)])
def test_area_of_a_plane_is_exact(normal: tuple[float, ...]):
    grid = np.meshgrid(*[np.arange(12.0)] * 3, indexing="ij")
    field = sum(n * (g - 5.3) for n, g in zip(normal, grid, strict=True))
    # By many lines: the area is that of the projection along the first axis over its cosine.
    y = np.linspace(0.0, 11.0, 801)
    z = 5.3 - (normal[1] * (y[:, None] - 5.3) + normal[2] * (y - 5.3)) / normal[0]
    share = float(np.mean((z > 0) & (z < 11)))
    expected = share * 121.0 * np.linalg.norm(normal) / abs(normal[0])
    found = float(interface_areas(both(np.asarray(field)))[0]) * 11**3
    assert found == pytest.approx(expected, rel=3e-3)


def test_areas_of_three_phases_are_those_of_the_contest():
    fields = jnp.stack(
        [sim.gaussian_field(jax.random.fold_in(KEY, i), CUBE, 5.0) for i in range(3)]
    )
    truth = sim.contest_body(KEY, CUBE, 3, 5.0).truth
    wrapped = jnp.pad(fields, ((0, 0), (0, 1), (0, 1), (0, 1)), mode="wrap")
    np.testing.assert_allclose(interface_areas(wrapped), truth.interface_areas, rtol=0.01)
    shares = image(fields, jnp.arange(3.0), jnp.asarray(1.0))[1]
    np.testing.assert_allclose(shares.mean((1, 2, 3)), truth.fractions, atol=3e-3)


def test_what_is_near_the_faces_may_be_left_out():
    fields = both(ball(10.0))
    cuts = [interface_areas(fields[:, m:-m, m:-m, m:-m]) for m in (4, 5)]
    expected = 0.5 * (cuts[0] + cuts[1])
    np.testing.assert_allclose(interface_areas(fields, 5), expected, rtol=1e-5)
    kept = np.asarray(inside((6, 5, 7), 2))
    assert kept.sum() == 2 * 1 * 3
    assert kept[2:4, 2, 2:5].all()


def test_the_image_is_that_of_the_body():
    structure = sim.gaussian_structure(KEY, CUBE, (0.4, 0.6), 5.0)
    known = np.asarray(sim.body_image(sim.structure_body(structure), (0.0, 1.0), 1.2))
    field = jnp.pad(structure.fields[0] - structure.levels[0], 8, mode="wrap")
    seen = np.asarray(image(both(field), jnp.array([0.0, 1.0]), jnp.asarray(1.2))[0])
    off = seen[8:-8, 8:-8, 8:-8] - known
    assert np.sqrt((off**2).mean()) < 4e-3
    assert abs(off.mean()) < 1e-3


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_restored_body_has_the_area_that_the_blur_took(noise: float):
    body = sim.field_body(KEY, CUBE, (0.4, 0.6), 4.0)
    blur = 1.6
    clean = jnp.pad(sim.body_image(body, (0.0, 1.0), blur), 8, mode="wrap")
    block = clean + noise * jax.random.normal(KEY, clean.shape)
    smoothing = jnp.asarray(1.0)
    target = blurred(block, smoothing)
    means = jnp.array([0.0, 1.0])
    begin = both(target - 0.5)
    fields = restored(
        begin, target, means, jnp.sqrt(blur**2 + smoothing**2), smoothing, jnp.asarray(noise / 7)
    )
    known = body.truth.interface_areas[0]
    before, after = (float(interface_areas(x, 8)[0]) / known - 1.0 for x in (begin, fields))
    assert before < -0.05
    assert abs(after) < 0.015


def test_a_film_is_told_from_an_edge_by_its_gradient():
    """Grey values between two phases are an edge if steep, and a third phase if not."""
    params = bimm2d.init([0.0, 0.5, 1.0], 0.03, blur_std=1.5, interface_halfwidth=2.5)
    profile = 0.5 * (1.0 + np.tanh((np.arange(40) - 20.0) / 1.2))
    edge = jnp.asarray(np.broadcast_to(profile[:, None, None], (40, 8, 8)), float)
    slow = jnp.clip(jnp.asarray(np.abs(np.arange(40) - 20.0) / 60.0, float) + 0.45, 0.0, 0.55)
    flat = jnp.broadcast_to(slow[:, None, None], (40, 8, 8))
    steep = phase_shares(edge, params, "central_difference")[:, 20, 4, 4]
    even = phase_shares(flat, params, "central_difference")[:, 20, 4, 4]
    np.testing.assert_allclose(steep.sum(), 1.0, atol=1e-4)
    assert float(steep[1]) < 0.3
    assert float(even[1]) > 0.9
