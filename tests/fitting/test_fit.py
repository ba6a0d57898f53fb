"""Fits of volumes whose truth is known, and of real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bimmjax
from bimmjax import InputError
from bimmjax.fitting import Schedule
from bimmjax.models import Params, bimm2d, gauss_legendre
from bimmjax.sim import Artificial, artificial_volume, to_integers
from bimmjax.volumes import gradient_magnitude

EDGE = 80
# Without what takes most of the time and has tests of its own.
PLAIN: dict[str, Any] = {"intervals": False, "correct": False}


def made(shares: tuple[float, ...] = (0.3, 0.7), seed: int = 0, **options: Any) -> Artificial:
    given = {"blur_std": 1.2, "feature_length": 8.0, "noise_std": 0.1, **options}
    return artificial_volume(jax.random.key(seed), (EDGE,) * 3, fractions=shares, **given)


def counted(volume: Artificial) -> np.ndarray:
    """Volume fractions of the voxels that a fit sees: those with six neighbours."""
    inner = np.asarray(volume.labels)[1:-1, 1:-1, 1:-1]
    return np.bincount(inner.ravel(), minlength=len(volume.intensities)) / inner.size


@pytest.fixture(scope="module")
def two() -> Artificial:
    return made()


def plain_fractions(fit: bimmjax.Fit) -> np.ndarray:
    """The model's own."""
    assert fit.uncorrected is not None
    return np.asarray(fit.uncorrected.volume_fractions)


@pytest.fixture(scope="module")
def fitted(two: Artificial) -> bimmjax.Fit:
    return bimmjax.fit(two.image, 2)


@pytest.mark.numerics
def test_default_fit_finds_the_truth(two: Artificial, fitted: bimmjax.Fit):
    assert fitted.converged
    assert fitted.warnings == ()
    np.testing.assert_allclose(fitted.properties.volume_fractions, counted(two), atol=1e-3)
    np.testing.assert_allclose(fitted.params.intensities, [0, 1], atol=2e-3)
    assert float(fitted.params.noise_std) == pytest.approx(0.1, rel=5e-3)
    assert float(fitted.params.blur_std or 0) == pytest.approx(1.2, rel=1.5e-2)
    assert float(fitted.params.correlation or 0) == pytest.approx(0.0, abs=0.01)
    np.testing.assert_allclose(fitted.properties.interface_areas, two.interface_areas, rtol=0.02)
    assert fitted.goodness_of_fit < 0.01


def test_json_has_the_names_of_the_contract(fitted: bimmjax.Fit):
    found = fitted.to_dict()
    assert set(found["params"]) >= {
        "intensities", "noise_std", "correlation", "blur_std", "interface_halfwidth",
        "interior_weights", "interface_weights",
    }  # fmt: skip
    told = {"volume_fractions", "interface_areas", "resolution_10_90"}
    assert set(found["properties"]) == told | {"mean_curvature"}
    assert set(found["uncorrected"]) == told
    assert set(found["announced"]) == told | {"mean_curvature"}
    scan = {"intensities", "noise_std", "correlation", "blur_std", "noise_correlation"}
    assert set(found["scan"]) == scan
    assert found["corrected"]
    assert found["refusals"] == {}
    assert set(found["properties"]["interface_areas"]) == {"0-1"}
    assert found["units"] == {"length": "voxel", "intensity": "grey value"}
    assert set(found["seconds"]) >= {"read", "histogram", "compile", "fit"}
    low, high = found["confidence"]["blur_std"]
    assert low < found["params"]["blur_std"] < high
    assert found["sampling"]["volume_fractions"][0][0] < found["properties"]["volume_fractions"][0]


def test_intervals_hold_the_truth_of_each_kind():
    """A few volumes only: the counted coverages are in benchmarks/RESULTS.md."""
    hits: dict[str, list[bool]] = {"own": [], "material": []}
    widths = []
    for seed in range(6):
        volume = made(seed=10 + seed, levels="ensemble", noise_length=0.6)
        found = bimmjax.fit(volume.image, 2)
        assert found.confidence is not None
        assert found.sampling is not None
        for kind, bars, share in (
            ("own", found.confidence, counted(volume)[0]), ("material", found.sampling, 0.3)
        ):  # fmt: skip
            for (low, high), truth in (
                (bars["volume_fractions"][0], share),
                (bars["blur_std"], 1.2),
                (bars["noise_std"], 0.1),
                (bars["intensities"][1], 1.0),
            ):
                hits[kind].append(bool(low <= truth <= high))
            widths.append(bars["volume_fractions"][0][1] - bars["volume_fractions"][0][0])
    assert np.mean(hits["own"]) >= 0.75
    assert np.mean(hits["material"]) >= 0.75
    # The material is known far less well than the volume, and neither interval is a formality.
    assert np.median(widths[0::2]) < 0.005 < 0.05 < np.median(widths[1::2]) < 0.6


@pytest.mark.numerics
@pytest.mark.parametrize("model", ["gmm", "pvmm", "bimm1d", "bimm2d"])
def test_every_model_gives_the_fractions(two: Artificial, model: Any):
    found = bimmjax.fit(two.image, 2, model=model, **PLAIN)
    limit = 0.03 if model == "gmm" else 0.005
    np.testing.assert_allclose(found.properties.volume_fractions, counted(two), atol=limit)
    assert (found.properties.interface_areas is None) == (model != "bimm2d")
    assert (found.params.correlation is None) == (model != "bimm2d")


@pytest.mark.parametrize(("scale", "shift"), [(1e4, 3e4), (1e-3, -5.0), (1.0, 1e3)])
def test_any_unit_of_intensity(two: Artificial, fitted: bimmjax.Fit, scale: float, shift: float):
    grey = np.asarray(two.image, np.float64) * scale + shift
    found = bimmjax.fit(grey, 2, **PLAIN)
    np.testing.assert_allclose(
        found.properties.volume_fractions, plain_fractions(fitted), atol=3e-4
    )
    np.testing.assert_allclose(found.params.intensities, [shift, shift + scale], atol=2e-3 * scale)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "comb"])
def test_integers_give_what_the_floats_gave(two: Artificial, fitted: bimmjax.Fit, kind: str):
    image = np.asarray(two.image)
    if kind == "comb":
        coarse = np.clip(np.rint(image * 60 + 50), 0, 160)
        grey, scale = np.rint(1.5 * coarse).astype(np.uint8), 90.0
    else:
        scale = 100.0 if kind == "uint8" else 12_000.0
        grey = np.asarray(to_integers(jnp.asarray(image), kind, scale=scale, offset=0.6 * scale))
    found = bimmjax.fit(grey, 2, **PLAIN)
    np.testing.assert_allclose(
        found.properties.volume_fractions, plain_fractions(fitted), atol=2e-3
    )
    assert float(found.params.noise_std) == pytest.approx(0.1 * scale, rel=0.02)
    assert float(found.params.blur_std or 0) == pytest.approx(1.2, rel=0.03)


def test_one_three_and_automatic_phases(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bimmjax.fitting._fit._AUTO_PHASES", 4)
    noise = np.random.default_rng(0).normal(5.0, 0.5, (40, 40, 40))
    single = bimmjax.fit(noise, "auto", **PLAIN)
    assert single.phases == 1
    assert bimmjax.properties.volume_fractions(single.params).tolist() == [1.0]
    assert single.params.blur_std is None
    assert float(single.params.noise_std) == pytest.approx(0.5, rel=0.01)
    three = made((0.3, 0.3, 0.4))
    found = bimmjax.fit(three.image, "auto", **PLAIN)
    assert found.phases == 3
    assert found.bic is not None
    np.testing.assert_allclose(found.properties.volume_fractions, counted(three), atol=0.005)


def test_a_phase_below_one_percent_is_found():
    rare = made((0.008, 0.992), feature_length=10.0, blur_std=1.0, noise_std=0.06)
    found = bimmjax.fit(rare.image, 2, **PLAIN)
    np.testing.assert_allclose(found.properties.volume_fractions, counted(rare), atol=1e-3)
    assert found.params.intensities[0] == pytest.approx(0.0, abs=0.03)


def test_noise_of_each_phase():
    unequal = made(noise_std=np.array([0.05, 0.15]))
    found = bimmjax.fit(unequal.image, 2, noise="per_phase", **PLAIN)
    np.testing.assert_allclose(found.params.noise_std, [0.05, 0.15], rtol=0.03)
    shared = bimmjax.fit(unequal.image, 2, **PLAIN)
    assert any("noise differs between phases" in said for said in shared.warnings)


def test_the_papers_procedure_agrees_within_its_scatter(two: Artificial, fitted: bimmjax.Fit):
    found = bimmjax.fit(
        two.image, 2, method="minibatch", **PLAIN, schedule=Schedule(iterations=1500)
    )
    assert found.interface == "flat"
    np.testing.assert_allclose(
        found.properties.volume_fractions, plain_fractions(fitted), atol=0.03
    )
    assert float(found.params.blur_std or 0) == pytest.approx(1.2, rel=0.15)


def test_warnings_when_they_should():
    clipped = np.clip(np.asarray(made().image), 0.0, 1.0)
    assert any("clipped" in said for said in bimmjax.fit(clipped, 2, **PLAIN).warnings)
    told = bimmjax.fit(made().image, 1, **PLAIN)
    assert told.goodness_of_fit > 0.1
    assert any("does not describe" in said for said in told.warnings)


def grey_nll(volume: np.ndarray, params: Params, gradient: Any) -> float:
    """Exact mean negative log density, gradients floored as in the authors' runs."""
    u = jnp.asarray(volume[1:-1, 1:-1, 1:-1].astype(np.float32)).reshape(-1, 1000)
    floor = 1e-3 * float(volume.max() - volume.min())
    v = jnp.maximum(gradient_magnitude(volume), floor).reshape(-1, 1000)
    held = Params(*(None if x is None else jnp.asarray(x, float) for x in params))  # type: ignore[arg-type]
    rule = gauss_legendre(64)
    logs = jax.lax.map(
        lambda pair: bimm2d.log_prob(held, *pair, rule=rule, gradient=gradient).mean(), (u, v)
    )
    return -float(logs.mean())


def test_cement_agrees_with_the_authors_and_is_at_least_as_likely(shared_data: Path):
    tifffile = pytest.importorskip("tifffile")
    volume = tifffile.imread(shared_data / "cement_128x128x128.tif")
    found = bimmjax.fit(volume, 2, gradient="plain", interface="flat", **PLAIN)
    p = found.params
    np.testing.assert_allclose(p.intensities, [37.24, 100.11], atol=0.3)
    assert float(p.blur_std or 0) == pytest.approx(1.006, abs=0.02)
    assert float(p.noise_std) == pytest.approx(6.72, abs=0.06)
    assert float(p.correlation or 0) == pytest.approx(0.58, abs=0.02)
    assert float(p.interface_halfwidth or 0) == pytest.approx(1.58, abs=0.03)
    np.testing.assert_allclose(p.interior_weights, [0.030, 0.625], atol=0.005)
    inner = volume[:128, :128, :128][: 2 + 125 * 1, :, :]
    cut = inner[:127, :102, :102]  # a multiple of 1000 inner voxels
    authors = bimm2d.init(
        [36.6, 100.1], 6.68, correlation=0.56, blur_std=1.02, interface_halfwidth=1.57,
        interior_weights=[0.030, 0.631], interface_weights=[0.339],
    )  # fmt: skip
    ours, theirs = grey_nll(cut, p, "plain"), grey_nll(cut, authors, "plain")
    print(f"\ncement, nll per voxel in grey levels: ours {ours:.4f}, authors' {theirs:.4f}")
    assert ours <= theirs + 2e-3
    # The bin averages tell the same as the exact density of all voxels.
    curved = bimmjax.fit(volume, 2, **PLAIN)
    assert curved.nll < found.nll
    assert found.nll == pytest.approx(6.864, abs=0.005)


def test_real_volumes_converge(shared_data: Path):
    for name in ("bone_128x128x128.tif", "fibers_150x150x150.tif"):
        found = bimmjax.fit(shared_data / name, 2, noise="per_phase", **PLAIN)
        assert found.converged, name
        flat = bimmjax.fit(shared_data / name, 2, noise="per_phase", interface="flat", **PLAIN)
        assert found.nll <= flat.nll + 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phases": 0}, "phases: got 0, wants a whole number from 1 to 8"),
        ({"phases": 1.5}, "phases: got 1.5"),
        ({"phases": "two"}, "phases: got .two., wants a whole number from 1 to 8, or .auto."),
        ({"model": "bimm3d"}, "model: got 'bimm3d', wants one of"),
        ({"method": "em"}, "method: got 'em'"),
        ({"gradient": "sobel"}, "gradient: got 'sobel'"),
        ({"noise": "pink"}, "noise: got 'pink'"),
        ({"interface": "fractal"}, "interface: got 'fractal'"),
        ({"seed": -1}, "seed: got -1"),
        ({"spacing": (2, 1, 1)}, "spacing: got .*cubic voxels for bimm2d.*bimm1d"),
    ],
)
def test_bad_arguments_are_named(two: Artificial, options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        bimmjax.fit(two.image, **options)


def test_bad_volumes_are_named(two: Artificial):
    mask = (np.asarray(two.image) > 0.5).astype(np.uint8)
    with pytest.raises(InputError, match="phases: got 3, wants at most 2, the distinct grey"):
        bimmjax.fit(mask, 3)
    with pytest.raises(InputError, match=r"volume: got 2 distinct grey values \(a segmented"):
        bimmjax.fit(mask, 2)
    with pytest.raises(InputError):
        bimmjax.fit(np.zeros((5, 5)), 2)
    with pytest.raises(InputError):
        bimmjax.fit(np.zeros((5, 5, 5), complex), 2)
    stretched = bimmjax.fit(two.image, 2, model="bimm1d", spacing=(2, 1, 1), intervals=False)
    assert stretched.converged
