"""Densities against SciPy's quadrature and Bessel functions, and against themselves."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import erfinv, ive

from bimmjax.models import (
    Params,
    bimm1d,
    bimm2d,
    gauss_legendre,
    gmm,
    monte_carlo,
    phase_pairs,
    pvmm,
)

X64 = bool(jax.config.read("jax_enable_x64"))
TOLERANCE = 1e-10 if X64 else 1e-5
CASES = [
    {"intensities": [0.0, 1.0], "noise_std": 0.1, "blur_std": 3.0, "interface_halfwidth": 2.15},
    {"intensities": [0.0, 1.0], "noise_std": 0.05, "correlation": 0.5, "blur_std": 1.0},
    {"intensities": [0.0, 0.4, 1.0], "noise_std": 0.2, "correlation": -0.3, "blur_std": 1.5},
    {"intensities": [0.1, 0.5, 0.9], "noise_std": 0.08, "interface_tilt": 0.2,
     "interface_bend": -0.05, "interface_halfwidth": 2.5},
]  # fmt: skip


def exact(params: Params) -> dict[str, Any]:
    """The parameters that the code under test really holds, in double precision."""
    return {k: None if v is None else np.asarray(v, float) for k, v in params._asdict().items()}


def paper_component(u: float, v: float, low: float, high: float, p: dict[str, Any], extra: float):
    """One interface component by adaptive quadrature over t, with `ive` of order one half.

    `extra` is what central differences add to the variance of the gradient profile; tilt and
    bend weight the positions. With none of these it is Eq. 12.
    """
    s2 = float(p["noise_std"]) ** 2 * (1.0 - float(p["correlation"]))
    d, blur2 = float(p["interface_halfwidth"]), float(p["blur_std"]) ** 2
    tilt = 0.0 if p["interface_tilt"] is None else p["interface_tilt"][0]
    bend = 0.0 if p["interface_bend"] is None else p["interface_bend"][0]
    blur2 = blur2 * (1.0 - bend)
    width = blur2 + extra

    def integrand(t: float) -> float:
        mean = low + (high - low) * stats.norm.cdf(t)
        steep = (high - low) / np.sqrt(2 * np.pi * width) * np.exp(-0.5 * t * t * blur2 / width)
        x = 2 * v * steep / s2
        chi = 2 / s2 * np.sqrt(v**3 / steep) * np.exp(-((v - steep) ** 2) / s2) * ive(0.5, x)
        return stats.norm.pdf(u, mean, p["noise_std"]) * chi * np.exp(tilt * t + bend * t * t)

    points = np.linspace(-d, d, 9)[1:-1]
    options: dict[str, Any] = {"epsabs": 0, "epsrel": 1e-12, "limit": 400, "points": points}
    total = integrate.quad(integrand, -d, d, **options)[0]
    share = integrate.quad(lambda t: np.exp(tilt * t + bend * t * t), -d, d, epsrel=1e-12)[0]
    return total / share


def paper_log_prob(params: Params, u: float, v: float, gradient: str) -> float:
    p = exact(params)
    s2 = float(p["noise_std"]) ** 2 * (1.0 - float(p["correlation"]))
    interior = 4 / np.sqrt(np.pi) * v**2 / s2**1.5 * np.exp(-(v**2) / s2)
    means = p["intensities"]
    total = sum(
        w * stats.norm.pdf(u, m, p["noise_std"]) * interior
        for w, m in zip(p["interior_weights"], means, strict=True)
    )
    extra = 0.2 if gradient == "central_difference" else 0.0
    for (i, j), w in zip(phase_pairs(len(means)), p["interface_weights"], strict=True):
        total += w * paper_component(u, v, means[i], means[j], p, extra)
    return float(np.log(total))


@pytest.mark.parametrize("gradient", ["plain", "central_difference"])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_bimm2d_against_quadrature_of_eq_12(case: int, gradient: Any, record_property: Any):
    params = bimm2d.init(**CASES[case])
    u, v = bimm2d.sample(jax.random.key(case), params, (25,), gradient=gradient)
    got = bimm2d.log_prob(params, u, v, rule=gauss_legendre(256), gradient=gradient)
    pairs = zip(np.asarray(u, float), np.asarray(v, float), strict=True)
    expected = np.array([paper_log_prob(params, a, b, gradient) for a, b in pairs])
    error = np.abs(np.asarray(got, float) - expected) / np.maximum(1.0, np.abs(expected))
    record_property("worst relative error", float(error.max()))
    print(f"\nEq. 12, case {case}, {gradient}: worst relative error {error.max():.1e}")
    assert error.max() < TOLERANCE


def test_default_rule_is_enough_up_to_contrast_20():
    params = bimm2d.init([0.0, 1.0], 0.05, blur_std=3.0, interface_halfwidth=2.15)
    u, v = bimm2d.sample(jax.random.key(0), params, (2000,))
    fine = bimm2d.log_prob(params, u, v, rule=gauss_legendre(256))
    assert float(jnp.abs(bimm2d.log_prob(params, u, v) - fine).max()) < 2e-5


def test_bimm1d_against_quadrature_of_eq_15():
    params = bimm1d.init([0.0, 0.3, 1.0], 0.1, interface_halfwidth=1.8)
    p = exact(params)
    for u in (-0.2, 0.1, 0.5, 1.1):
        total = float(np.dot(p["interior_weights"], stats.norm.pdf(u, p["intensities"], 0.1)))
        for (i, j), w in zip(phase_pairs(3), p["interface_weights"], strict=True):
            low, step = p["intensities"][i], p["intensities"][j] - p["intensities"][i]
            ends = low + step * stats.norm.cdf([-1.8, 1.8])

            def in_intensity(
                mean: float, u: float = u, low: float = low, step: float = step
            ) -> float:
                bend = np.exp(erfinv(2 * (mean - low) / step - 1) ** 2)
                return stats.norm.pdf(u, mean, 0.1) * np.sqrt(2 * np.pi) / (3.6 * step) * bend

            total += w * integrate.quad(in_intensity, *ends, epsrel=1e-10)[0]
        got = float(bimm1d.log_prob(params, u, rule=gauss_legendre(128)))
        assert got == pytest.approx(np.log(total), rel=1e-5, abs=1e-5)


def test_pvmm_against_its_closed_form():
    params = pvmm.init([0.0, 1.0], 0.1, interior_weights=[1, 2], interface_weights=[2])
    u = np.linspace(-0.3, 1.3, 41)
    box = stats.norm.cdf(u / 0.1) - stats.norm.cdf((u - 1) / 0.1)
    interior = 0.2 * stats.norm.pdf(u, 0, 0.1) + 0.4 * stats.norm.pdf(u, 1, 0.1)
    got = pvmm.log_prob(params, u)
    np.testing.assert_allclose(got, np.log(interior + 0.4 * box), rtol=2e-5, atol=2e-5)


def test_gmm_with_a_noise_for_each_phase():
    params = gmm.init([0.0, 1.0], [0.1, 0.3], interior_weights=[0.25, 0.75])
    u = np.linspace(-0.5, 2.0, 30)
    expected = 0.25 * stats.norm.pdf(u, 0, 0.1) + 0.75 * stats.norm.pdf(u, 1, 0.3)
    np.testing.assert_allclose(gmm.log_prob(params, u), np.log(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("phases", [1, 2, 3, 5])
@pytest.mark.parametrize("model", [gmm, pvmm, bimm1d, bimm2d], ids=lambda m: m.__name__[15:])
def test_densities_integrate_to_one(model: Any, phases: int):
    params = model.init(np.linspace(0.0, 1.0, phases), 0.1)
    u = jnp.linspace(-1.0, 2.0, 301)
    if model is bimm2d:
        v = jnp.linspace(1e-6, 2.0, 401)
        density = jax.jit(
            lambda u, v: jnp.exp(bimm2d.log_prob(params, u[:, None] + 0 * v, v + 0 * u[:, None]))
        )(u, v)
        total = integrate.simpson(integrate.simpson(np.asarray(density, float), x=v), x=u)
    else:
        total = integrate.simpson(np.exp(np.asarray(model.log_prob(params, u), float)), x=u)
    assert total == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("model", [gmm, pvmm, bimm1d, bimm2d], ids=lambda m: m.__name__[15:])
def test_samples_fill_the_bins_that_the_model_says(model: Any):
    curved = {"interface_tilt": 0.4, "interface_bend": -0.2} if model is bimm2d else {}
    params = model.init([0.0, 0.5, 1.0], [0.05, 0.1, 0.08], **curved)
    u_edges, v_edges = np.linspace(-0.3, 1.3, 33), np.linspace(0.0, 0.5, 17)
    drawn = model.sample(jax.random.key(3), params, (200_000,))
    wide = [np.r_[-np.inf, u_edges[1:-1], np.inf], np.r_[0.0, v_edges[1:-1], np.inf]]
    if model is bimm2d:
        expected = np.asarray(model.bin_probability(params, u_edges, v_edges))
        u, v = (np.asarray(x) for x in drawn)
        row, column = np.searchsorted(wide[0], u) - 1, np.searchsorted(wide[1], v) - 1
        seen = np.zeros_like(expected)
        np.add.at(seen, (row, column), 1 / u.size)
    else:
        expected = np.asarray(model.bin_probability(params, u_edges))
        seen = np.histogram(np.asarray(drawn), wide[0])[0] / 200_000
    assert expected.sum() == pytest.approx(1.0, abs=1e-5)
    errors = (seen - expected) * np.sqrt(200_000 / np.maximum(expected, 1e-4))
    assert np.abs(errors).max() < 5.5


def test_bins_are_integrals_of_the_density():
    params = bimm2d.init([0.0, 1.0], 0.1, blur_std=1.5, correlation=0.3)
    u_edges, v_edges = np.linspace(-0.4, 1.4, 10), np.linspace(0.0, 0.9, 8)
    bins = np.asarray(bimm2d.bin_probability(params, u_edges, v_edges))
    nodes, weights = np.polynomial.legendre.leggauss(12)

    def inside(edges: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        half = 0.5 * (edges[k + 1] - edges[k])
        return edges[k] + half * (nodes + 1), half * weights

    for row, column in ((1, 1), (4, 3), (7, 2), (5, 5)):
        (u, wu), (v, wv) = inside(u_edges, row), inside(v_edges, column)
        density = jnp.exp(bimm2d.log_prob(params, *jnp.meshgrid(u, v, indexing="ij")))
        expected = wu @ np.asarray(density, float) @ wv
        assert bins[row, column] == pytest.approx(expected, rel=2e-4, abs=1e-7)


def test_monte_carlo_tends_to_quadrature():
    params = bimm2d.init([0.0, 1.0], 0.1, blur_std=2.0)
    u, v = bimm2d.sample(jax.random.key(0), params, (300,))
    exact_value = bimm2d.log_prob(params, u, v)
    few, many = (
        float(jnp.abs(bimm2d.log_prob(params, u, v, rule=monte_carlo(jax.random.key(1), n))
                      - exact_value).mean()) for n in (100, 10_000)
    )  # fmt: skip
    assert many < 0.25 * few
    keys = jax.random.split(jax.random.key(2), 300)
    own = jax.vmap(lambda k, a, b: bimm2d.log_prob(params, a, b, rule=monte_carlo(k, 1000)))(
        keys, u, v
    )
    assert own.shape == (300,)
    assert float(jnp.abs(own - exact_value).mean()) < 0.1
