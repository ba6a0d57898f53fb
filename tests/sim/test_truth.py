"""True areas: spheres, planes, Gaussian ensembles, and sums over pairs."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bimmjax import InputError
from bimmjax.sim import (
    Structure,
    expected_interface_areas,
    gaussian_field_area,
    gaussian_structure,
    interface_areas,
)
from bimmjax.sim._structures import truth
from bimmjax.sim._structures.truth import split_triangles

pytestmark = pytest.mark.numerics


def grid(n: int, centre: float | None = None) -> Sequence[np.ndarray]:
    x = np.arange(n) - ((n - 1) / 2 if centre is None else centre)
    return np.meshgrid(x, x, x, indexing="ij")


def structure(fields: Sequence[np.ndarray], levels: Sequence[float]) -> Structure:
    return Structure(jnp.asarray(np.stack(fields), jnp.float32), jnp.asarray(levels, jnp.float32))


@pytest.mark.parametrize(("radius", "within"), [(8.0, 6e-3), (20.0, 1e-3)])
def test_sphere(radius: float, within: float):
    n = int(2 * radius) + 8
    z, y, x = grid(n, (n - 1) / 2 + 0.2)
    area = interface_areas(structure([np.sqrt(z**2 + y**2 + x**2)], [radius]), periodic=False)
    assert area[0] * (n - 1) ** 3 == pytest.approx(4 * np.pi * radius**2, rel=within)


def test_nested_spheres():
    z, y, x = grid(48)
    areas = interface_areas(structure([np.sqrt(z**2 + y**2 + x**2)], [10.0, 20.0]), periodic=False)
    np.testing.assert_allclose(
        areas * 47**3, [4 * np.pi * 100, 0.0, 4 * np.pi * 400], rtol=4e-3, atol=1e-12
    )


def test_sphere_cut_by_planes_shares_its_area_among_all_phases():
    # Phase 0 is the ball; a plane at height h, then one across, split the rest in three.
    n, radius, height = 44, 16.0, 5.0
    z, y, x = grid(n)
    ball = np.sqrt(z**2 + y**2 + x**2)
    areas = interface_areas(structure([ball, z, x], [radius, height, 0.0]), periodic=False)
    total = areas * (n - 1) ** 3
    zone = 2 * np.pi * radius * (radius + height)
    cap = 2 * np.pi * radius * (radius - height)
    hole = np.pi * (radius**2 - height**2)
    # The plane z = height outside the ball, halved by x = 0; the plane x = 0 above height.
    flat = ((n - 1) ** 2 - hole) / 2
    arc = radius**2 * np.arccos(height / radius) - height * np.sqrt(radius**2 - height**2)
    wall = (n - 1) * ((n - 1) / 2 - height) - arc
    np.testing.assert_allclose(total, [zone, cap / 2, cap / 2, flat, flat, wall], rtol=3e-3)


def test_slabs_join_without_seams(monkeypatch: pytest.MonkeyPatch):
    body = gaussian_structure(jax.random.key(3), (21, 12, 16), (0.3, 0.3, 0.4), 3.0)
    for periodic in (True, False):
        whole = interface_areas(body, periodic=periodic)
        monkeypatch.setattr(truth, "SLAB", 4)
        np.testing.assert_allclose(interface_areas(body, periodic=periodic), whole, rtol=1e-6)
        monkeypatch.undo()


def test_periodic_area_includes_the_seam():
    # Two planes per period, one of them between the last voxel and the first.
    wave = np.cos(2 * np.pi * (np.arange(16) + 4.5) / 16)
    body = structure([np.broadcast_to(wave, (8, 12, 16))], [0.0])
    assert interface_areas(body)[0] == pytest.approx(2 / 16, rel=1e-6)
    assert interface_areas(body, periodic=False)[0] == pytest.approx(1 / 15, rel=1e-6)


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.15, 0.85), (0.3, 0.3, 0.4)])
def test_mean_over_keys_is_rice_s_formula(fractions: tuple[float, ...]):
    length, keys = 4.0, 24
    found = np.array(
        [
            interface_areas(
                gaussian_structure(
                    jax.random.key(i), (56, 56, 56), fractions, length, levels="ensemble"
                )
            )
            for i in range(keys)
        ]
    )
    expected = expected_interface_areas(fractions, length)
    error = found.std(axis=0) / np.sqrt(keys)
    assert np.all(np.abs(found.mean(axis=0) - expected) < 3.5 * error + 0.003 * expected)
    assert np.all(error < 0.035 * expected)


def test_spectral_area_agrees():
    # An independent estimate: mean of |∇f| over the voxels within a thin shell of levels.
    length, n = 5.0, 64
    body = gaussian_structure(jax.random.key(7), (n, n, n), (0.4, 0.6), length)
    field = np.asarray(body.fields[0], np.float64)
    frequency = 2 * np.pi * np.fft.fftfreq(n)
    steepness = np.zeros_like(field)
    for axis in range(3):
        wave = np.expand_dims(frequency, [a for a in range(3) if a != axis])
        steepness += np.fft.ifft(1j * wave * np.fft.fft(field, axis=axis), axis=axis).real ** 2
    width = 0.15
    off = (field - float(body.levels[0])) / width
    shell = np.exp(-0.5 * off**2) / (width * np.sqrt(2 * np.pi))
    spectral = (shell * np.sqrt(steepness)).mean()
    assert interface_areas(body)[0] == pytest.approx(spectral, rel=0.02)


def test_pairs_add_up_to_their_surface():
    body = gaussian_structure(jax.random.key(2), (40, 40, 40), (0.3, 0.2, 0.3, 0.2), 4.0)
    a01, a02, a03, a12, a13, a23 = interface_areas(body)
    assert min(a01, a02, a03, a12, a13, a23) > 0
    one = [interface_areas(Structure(body.fields[i : i + 1], body.levels[i : i + 1]))[0]
           for i in range(3)]  # fmt: skip
    assert a01 + a02 + a03 == pytest.approx(one[0], rel=1e-5)
    assert a12 + a13 < one[1]
    assert a23 < one[2]
    nested = gaussian_structure(
        jax.random.key(2), (40, 40, 40), (0.3, 0.3, 0.4), 4.0, arrangement="nested"
    )
    areas = interface_areas(nested)
    assert areas[1] == 0
    for level, area in zip(nested.levels, areas[[0, 2]], strict=True):
        assert interface_areas(Structure(nested.fields, level[None]))[0] == pytest.approx(area)


def test_expected_areas_add_up_to_rice_s_formula():
    areas = expected_interface_areas((0.5, 0.25, 0.15, 0.1), 6.0)
    assert areas[:3].sum() == pytest.approx(gaussian_field_area(6.0, 0.0))
    nested = expected_interface_areas((0.5, 0.25, 0.25), 6.0, arrangement="nested")
    assert nested[0] == pytest.approx(gaussian_field_area(6.0, 0.0))
    assert nested[1] == 0


def test_splitting_keeps_the_area():
    corners = np.random.default_rng(0).normal(size=(500, 3, 4))

    def area(t: np.ndarray) -> float:
        normal = np.cross(t[:, 1, :3] - t[:, 0, :3], t[:, 2, :3] - t[:, 0, :3])
        return np.linalg.norm(normal, axis=1).sum() / 2

    below, above = split_triangles(corners, 3)
    assert area(below) + area(above) == pytest.approx(area(corners))
    assert below[:, :, 3].max() <= 1e-12
    assert above[:, :, 3].min() >= -1e-12


def test_one_phase_and_absent_phases_have_no_area():
    one = gaussian_structure(jax.random.key(0), (6, 6, 6), (1.0,), 2.0)
    assert interface_areas(one).shape == (0,)
    assert interface_areas(structure([np.zeros((4, 4, 4))], [5.0])).tolist() == [0.0]


def test_refuses_what_has_no_cells():
    with pytest.raises(InputError, match="structure: got fields of shape"):
        interface_areas(structure([np.zeros((1, 4, 4))], [0.0]), periodic=False)
