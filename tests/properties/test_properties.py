"""Physical properties: Eqs. 16-18, units, and the curved interfaces' limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erfinv

from bimmjax.models import bimm2d, gmm
from bimmjax.properties import interface_areas, properties, resolution_10_90, volume_fractions

PARAMS = bimm2d.init(
    [0, 1, 2], 0.1, blur_std=1.5, interface_halfwidth=2.0,
    interior_weights=[0.2, 0.1, 0.3], interface_weights=[0.1, 0.2, 0.1],
)  # fmt: skip


def test_equations_16_to_18():
    np.testing.assert_allclose(volume_fractions(PARAMS), [0.35, 0.2, 0.45], rtol=1e-5)
    np.testing.assert_allclose(interface_areas(PARAMS), np.array([0.1, 0.2, 0.1]) / 6, rtol=1e-5)
    expected = 2 * 1.5 * np.sqrt(2) * erfinv(0.8)
    assert float(resolution_10_90(PARAMS)) == pytest.approx(expected, rel=1e-5)  # type: ignore[arg-type]


def test_lengths_take_the_unit_of_the_spacing():
    one, fine = properties(PARAMS), properties(PARAMS, 0.02)
    np.testing.assert_allclose(fine.volume_fractions, one.volume_fractions)
    np.testing.assert_allclose(
        one.interface_areas, np.asarray(fine.interface_areas) / 50, rtol=1e-5
    )
    np.testing.assert_allclose(
        one.resolution_10_90, np.asarray(fine.resolution_10_90) * 50, rtol=1e-5
    )


def test_what_a_model_cannot_know_is_none():
    found = properties(gmm.init([0, 1], 0.1))
    assert found.interface_areas is None
    assert found.resolution_10_90 is None
    assert properties(bimm2d.init([0.5], 0.1)).resolution_10_90 is None


def test_no_curvature_is_the_paper():
    curved = PARAMS._replace(interface_tilt=jnp.zeros(3), interface_bend=jnp.zeros(3))
    for flat, bent in zip(properties(PARAMS), properties(curved), strict=True):
        np.testing.assert_allclose(flat, bent, rtol=2e-6)


def test_a_thin_shell_of_a_sphere():
    """Voxels about a sphere of radius R: (1 + x/R)² times as many at x; Steiner, exactly."""
    radius, blur = 12.0, 1.2
    # The darker phase inside: more voxels on the bright side. log (1 + x/R)² to second order.
    tilt, bend = 2 * blur / radius, -((blur / radius) ** 2)
    d, weight = 2.0, 0.4
    params = bimm2d.init(
        [0, 1], 0.1, blur_std=blur, interface_halfwidth=d, interior_weights=[0.3, 0.3],
        interface_weights=[weight], interface_tilt=tilt, interface_bend=bend,
    )  # fmt: skip
    x = np.linspace(-d * blur, d * blur, 20001)
    shell = np.mean((1 + x / radius) ** 2) * 2 * d * blur
    # Apparent blur and shrunken area are put back: ½Sσ² = σ²/R², ½(2H)²σ² = 2σ²/R².
    apparent = blur * np.sqrt(1 + (blur / radius) ** 2)
    expected = weight / shell * blur / apparent * (1 + 2 * (blur / radius) ** 2)
    areas = interface_areas(params)
    assert areas is not None
    assert float(areas[0]) == pytest.approx(expected, rel=2e-3)


def test_properties_are_differentiable():
    slope = jax.grad(lambda p: interface_areas(p)[0])(PARAMS)  # type: ignore[index]
    assert float(slope.blur_std) == pytest.approx(-0.1 / 4 / 1.5**2, rel=1e-4)
    assert float(jax.grad(lambda p: volume_fractions(p).sum())(PARAMS).interior_weights[0]) == 1.0
