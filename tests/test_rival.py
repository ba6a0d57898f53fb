"""The torch port of the paper's fit, against SciPy's Bessel function and adaptive quadrature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from scipy.integrate import quad
from scipy.special import ive
from scipy.stats import norm

pytest.importorskip("torch", reason="torch comes with the extra [bench] only")

from benchmarks.rivals import torch_bimm

PARAMS: torch_bimm.Values = {
    "intensities": np.array([0.16, 0.64, 0.9]),
    "noise_std": 0.06,
    "correlation": 0.4,
    "blur_std": 1.3,
    "interface_halfwidth": 1.8,
    "interior_weights": np.array([0.2, 0.3, 0.1]),
    "interface_weights": np.array([0.2, 0.05, 0.15]),
}
PAIRS = ((0, 1), (0, 2), (1, 2))


def expected_density(model: str, u: float, v: float) -> float:
    """Eqs. 3, 11, 12 and, without v, 13; the PVMM's interface mean is uniform between phases."""
    means, noise = np.asarray(PARAMS["intensities"]), 0.06
    variance = noise**2 * (1 - 0.4)
    interior = np.asarray(PARAMS["interior_weights"])
    interface = np.asarray(PARAMS["interface_weights"])
    if model == "gmm":
        # Its weights are those of the interiors alone, and add up to one.
        return float(interior @ norm.pdf(u, means, noise) / interior.sum())

    def of_gradient(slope: Any) -> float:
        if model != "bimm2d":
            return 1.0
        x = 2 * v * slope / variance
        scale = 2 / variance * np.sqrt(v**3 / slope)
        return float(scale * np.exp(-((v - slope) ** 2) / variance) * ive(0.5, x))

    def at(position: float, low: float, high: float) -> float:
        t = 1.8 * (2 * position - 1)
        fraction = position if model == "pvmm" else norm.cdf(t)
        slope = (high - low) * norm.pdf(t) / 1.3
        return float(norm.pdf(u, low + (high - low) * fraction, noise)) * of_gradient(slope)

    total = float(interior @ norm.pdf(u, means, noise)) * of_gradient(1e-9)
    for weight, (low, high) in zip(interface, PAIRS, strict=True):
        mean = quad(at, 0, 1, (means[low], means[high]), epsabs=0, epsrel=1e-8, limit=200)[0]
        total += weight * mean
    return total


@pytest.fixture(scope="module")
def points() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(0.1, 1.0, 12), rng.uniform(0.005, 0.25, 12)


@pytest.mark.parametrize("model", torch_bimm.MODELS)
def test_density_agrees_with_quadrature(
    model: torch_bimm.Model, points: tuple[np.ndarray, np.ndarray]
):
    u, v = points
    truth = np.log([expected_density(model, *pair) for pair in zip(u, v, strict=True)])
    given = v if model == "bimm2d" else None
    evenly = torch_bimm.log_prob(PARAMS, u, given, model=model, draws=4000, evenly=True)
    np.testing.assert_allclose(evenly, truth, atol=1e-5)
    drawn = torch_bimm.log_prob(PARAMS, u, given, model=model, draws=100_000)
    np.testing.assert_allclose(drawn, truth, atol=0.05)


@pytest.mark.parametrize("model", torch_bimm.MODELS)
def test_short_fit_is_finite_and_repeatable(model: torch_bimm.Model):
    rng = np.random.default_rng(1)
    u = np.concatenate([rng.normal(0.3, 0.05, 400), rng.normal(0.7, 0.05, 400)])
    v = np.abs(rng.normal(0.08, 0.02, 800)) + 1e-3
    settings = {"model": model, "iterations": 30, "average": 10, "draws": 50, "threads": 1}
    once, again = (torch_bimm.fit(u, v, **settings, seed=3) for _ in range(2))
    assert once.steps == 30
    assert np.isfinite(once.nll)
    assert once.nll == again.nll
    weights = [np.asarray(once.params[name]) for name in ("interior_weights", "interface_weights")]
    np.testing.assert_allclose(np.concatenate(weights).sum(), 1, atol=1e-5)
    assert (once.params["blur_std"] is None) == (model != "bimm2d")
    # Thirty steps from the start leave it towards the data.
    low, high = np.asarray(once.params["intensities"])
    assert 0 < low < high < 1


def test_start_is_kept_by_a_fit_without_steps_to_move():
    start = {**PARAMS}
    u, v = np.full(50, 0.6), np.full(50, 0.1)
    found = torch_bimm.fit(u, v, phases=3, start=start, iterations=1, average=1, threads=1)
    for name, value in PARAMS.items():
        np.testing.assert_allclose(
            np.asarray(found.params[name], float), np.asarray(value, float), rtol=1e-5, err_msg=name
        )


def test_prepare_leaves_the_border_out_and_floors_the_gradient():
    volume = np.zeros((5, 4, 6), np.uint8)
    volume[:, :, 3:] = 200
    u, v = torch_bimm.prepare(volume)
    assert u.shape == v.shape == (3 * 2 * 4,)
    assert set(u) == {0.0, 1.0}
    np.testing.assert_allclose(np.unique(v), [torch_bimm.GRADIENT_FLOOR, 0.5])


def test_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    grey = np.random.default_rng(2).integers(0, 256, (12, 12, 12), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "grey.tif", grey)
    settings = ["--iterations=5", "--average=2", "--draws=20", "--repeats=2", "--threads=1"]
    torch_bimm.main([str(tmp_path / "grey.tif"), *settings])
    report = json.loads(capsys.readouterr().out)
    assert [found["steps"] for found in report["fits"]] == [5, 5]
    assert report["median_seconds"] > 0
