"""Noise laws against SciPy: densities, bins, tails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bimmjax._core import special

X64 = jax.config.read("jax_enable_x64")
TOLERANCE = 1e-12 if X64 else 2e-6


def real(x: object) -> np.ndarray:
    """What the code under test is really given, in double precision."""
    return np.asarray(jnp.asarray(x, float), np.float64)


def log_ncx2_gradient(v, gradient, spread):
    """Log density of |G e + noise|: 2 v²/s² is non-central chi squared, 3 degrees of freedom."""
    return stats.ncx2.logpdf(2 * v**2 / spread**2, 3, 2 * gradient**2 / spread**2) + np.log(
        4 * v / spread**2
    )


def test_log_sinhc_decayed():
    x = real(np.concatenate([[0.0], np.geomspace(1e-12, 1e6, 200)]))
    got = jax.jit(special.log_sinhc_decayed)(jnp.asarray(x, float))
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(x == 0, 0.0, np.log(-np.expm1(-2 * x) / (2 * x)))
    np.testing.assert_allclose(got, expected, atol=1e-14 if X64 else 1e-6, rtol=TOLERANCE)
    slopes = jax.vmap(jax.grad(special.log_sinhc_decayed))(jnp.asarray(x, float))
    assert bool(jnp.all(jnp.isfinite(slopes)))
    # d/dx = coth(x) - 1 - 1/x, which rises from -1.
    assert float(slopes[0]) == pytest.approx(-1.0)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 3.0, 12.0])
def test_gradient_law_is_non_central_chi(ratio: float):
    spread = 0.3
    v = real(np.linspace(0.01, 6.0, 80))
    gradient, s = real(ratio * spread), real(spread)
    got = special.log_gradient_kernel(*(jnp.asarray(x, float) for x in (v, gradient, s)))
    expected = (
        log_ncx2_gradient(v, gradient, s)
        if ratio
        else (stats.chi.logpdf(v * np.sqrt(2) / s, 3) + np.log(np.sqrt(2) / s))
    )
    seen = np.isfinite(expected)
    error = np.abs(np.asarray(got, float) + 2 * np.log(v) - expected)
    assert seen.sum() > 40
    # SciPy's own series is good to about 1e-9.
    assert (error / np.maximum(1, np.abs(expected)))[seen].max() < max(3e-9, TOLERANCE)


def test_normal_bins_match_scipy_in_the_tails_too():
    edges = real(np.linspace(-3, 3, 61))
    mean, std = real([-1.0, 0.0, 2.5]), real([0.1, 1.0, 0.4])
    got = np.asarray(special.normal_bins(*(jnp.asarray(x, float) for x in (edges, mean, std))))
    z = (edges[:, None] - mean) / std
    z[0], z[-1] = -np.inf, np.inf
    expected = np.where(
        z[1:] > 0, stats.norm.sf(z[:-1]) - stats.norm.sf(z[1:]), np.diff(stats.norm.cdf(z), axis=0)
    )
    np.testing.assert_allclose(got, expected, rtol=1e-9 if X64 else 3e-4, atol=1e-30)
    np.testing.assert_allclose(got.sum(0), 1.0, atol=10 * TOLERANCE)


@pytest.mark.parametrize("bins", [1, 2, 5, 64])
@pytest.mark.parametrize("ratio", [0.0, 1e-3, 0.5, 4.0, 30.0])
def test_gradient_bins_match_scipy(bins: int, ratio: float):
    s = real(0.2)
    top = (ratio + 5.0) * 0.2
    edges, gradient = real(np.linspace(0, top, bins + 1)), real(ratio * 0.2)
    got = np.asarray(
        special.gradient_bins(*(jnp.asarray(x, float) for x in (edges, [gradient], [s])))
    )[:, 0]
    assert got.shape == (bins,)
    assert np.all(got >= 0)
    law = stats.ncx2(3, 2 * gradient**2 / s**2) if ratio else stats.chi2(3)
    below = law.cdf(2 * edges**2 / s**2)
    below[0], below[-1] = 0.0, 1.0
    np.testing.assert_allclose(got, np.diff(below), atol=1e-9 if X64 else 1e-6)
    assert got.sum() == pytest.approx(1.0, abs=10 * TOLERANCE)


def test_gradient_bins_upper_tail_keeps_its_relative_accuracy():
    """Far above, F is 1 to all digits, and a difference of F would be 0."""
    edges = real(np.linspace(0, 1.2, 13))
    got = np.asarray(
        special.gradient_bins(*(jnp.asarray(x, float) for x in (edges, [0.0], [0.2])))
    )[:, 0]
    expected = -np.diff(stats.chi2.sf(2 * edges**2 / real(0.2) ** 2, 3))
    expected[-1] = stats.chi2.sf(2 * edges[-2] ** 2 / real(0.2) ** 2, 3)
    np.testing.assert_allclose(got, expected, rtol=1e-8 if X64 else 2e-4)


def test_slopes_are_right_where_a_gradient_meets_an_edge():
    """A sign and a distance that are rounded differently would contradict each other there."""
    edges = jnp.linspace(0.0, 1.0, 33)
    gradient = edges[1:-1]
    for spread in np.geomspace(0.01, 0.5, 12):
        std = jnp.full_like(gradient, spread)

        def tails(g: jax.Array, std: jax.Array = std) -> jax.Array:
            return special.gradient_tails(edges, g, std)

        one = jnp.ones_like(gradient)
        at_tie = jax.jvp(tails, (gradient,), (one,))[1]
        beside = jax.jvp(tails, (gradient + 1e-4 * spread,), (one,))[1]
        np.testing.assert_allclose(at_tie * spread, beside * spread, atol=2e-3)
