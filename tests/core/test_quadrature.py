"""Rules for the mean over an interface region."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from bimmjax._core.quadrature import gauss_legendre, monte_carlo, points_needed


@pytest.mark.parametrize("size", [1, 2, 16, 64, 128])
def test_gauss_legendre_is_exact_for_polynomials(size: int):
    rule = gauss_legendre(size)
    assert rule.points.shape == rule.weights.shape == (size,)
    assert bool(jnp.all((rule.points > 0) & (rule.points < 1)))
    x, w = np.asarray(rule.points, float), np.asarray(rule.weights, float)
    for degree in range(min(2 * size, 30)):
        assert w @ x**degree == pytest.approx(1 / (degree + 1), rel=2e-5)


def test_monte_carlo_is_a_mean_over_uniform_draws():
    rule = monte_carlo(jax.random.key(0), 4000)
    assert float(rule.weights.sum()) == pytest.approx(1.0, abs=1e-4)
    assert float(rule.weights @ rule.points) == pytest.approx(0.5, abs=0.02)
    many = jax.vmap(lambda key: monte_carlo(key, 8).points)(jax.random.split(jax.random.key(1), 5))
    assert many.shape == (5, 8)
    assert len(np.unique(np.asarray(many))) == 40


def test_rules_follow_the_x64_flag():
    expected = jnp.zeros(0).dtype
    for rule in (gauss_legendre(16), monte_carlo(jax.random.key(0), 16)):
        assert rule.points.dtype == rule.weights.dtype == expected


def test_points_needed_grows_with_sharpness_and_has_few_values():
    sizes = [points_needed(c, 0.5 * c, 2.15) for c in np.linspace(1, 200, 100)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == 256
    assert len(set(sizes)) <= 9
    assert points_needed(10, 20.0, 2.15) > points_needed(10, 2.0, 2.15)
    assert points_needed(10, 2.0, 4.0) > points_needed(10, 2.0, 2.0)


@pytest.mark.parametrize("contrast", [5.0, 12.0, 30.0, 60.0])
def test_points_needed_are_enough_for_an_intensity_density(contrast: float):
    """E[φ((u - I(t)) / σ)] at intensities across the step, in double precision."""
    d = 2.15
    u = np.linspace(0, contrast, 301)[:, None]

    def mean(size: int) -> np.ndarray:
        nodes, weights = np.polynomial.legendre.leggauss(size)
        return np.exp(-0.5 * (u - contrast * ndtr(d * nodes)) ** 2) @ (0.5 * weights)

    size = points_needed(contrast, 0.0, d)
    np.testing.assert_allclose(np.log(mean(size)), np.log(mean(400)), atol=2e-4)
