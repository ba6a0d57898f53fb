"""Corrected fractions, areas and blur on bodies of known truth; refusals where none can be told."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import bimmjax
from bimmjax import sim
from bimmjax.report import property_rows

KEY = jax.random.key(0)
CUBE = (72, 72, 72)


def scanned(
    body: sim.Body, blur_std: float, noise_std: float = 0.07, phases: int = 2
) -> np.ndarray:
    """Continued by a voxel, so that every voxel of the body is counted."""
    seen = sim.body_image(body, np.linspace(0.0, 1.0, phases).tolist(), blur_std)
    return np.pad(np.asarray(sim.add_noise(KEY, seen, noise_std)), 1, mode="wrap")


BODIES = {
    "field": lambda: sim.field_body(KEY, CUBE, (0.35, 0.65), 4.0),
    "spheres": lambda: sim.sphere_body(KEY, CUBE, (5.0, 7.0), 0.25, overlap=False),
    "gyroid": lambda: sim.gyroid_body(CUBE, 4),
}


@pytest.mark.parametrize("name", list(BODIES))
def test_areas_blur_and_fractions_come_out(name: str):
    body = BODIES[name]()
    fit = bimmjax.fit(scanned(body, 1.4), 2)
    assert fit.uncorrected is not None
    assert fit.scan is not None
    assert fit.announced is not None
    told, area = fit.properties, body.truth.interface_areas
    plain = fit.uncorrected.interface_areas
    # Gyroids are minimal surfaces, of which the plain model loses nothing.
    assert name == "gyroid" or abs(plain / area - 1.0) > 0.03
    np.testing.assert_allclose(told.interface_areas, area, rtol=0.025)
    assert float(fit.scan.blur_std) == pytest.approx(1.4, rel=0.02)
    assert float(told.resolution_10_90) == pytest.approx(2.5631 * 1.4, rel=0.02)
    np.testing.assert_allclose(told.volume_fractions, body.truth.fractions, atol=0.003)
    np.testing.assert_allclose(fit.scan.intensities, [0.0, 1.0], atol=0.01)
    assert abs(told.interface_areas - area) < fit.announced["interface_areas"]["0-1"]
    assert fit.confidence is not None
    low, high = fit.confidence["interface_areas"]["0-1"]
    assert low < area[0] < high
    assert fit.mean_curvature is not None
    known = body.truth.mean_curvature[0]
    assert fit.mean_curvature[0] == pytest.approx(known, abs=0.25 * abs(known) + 0.01)


def test_the_plain_model_stays():
    volume = scanned(BODIES["field"](), 1.4)
    plain = bimmjax.fit(volume, 2, correct=False, intervals=False)
    mended = bimmjax.fit(volume, 2, intervals=False)
    assert mended.uncorrected is not None
    for a, b in zip(plain.properties, mended.uncorrected, strict=True):
        np.testing.assert_allclose(a, b)
    said = plain.to_dict()
    assert not said["corrected"]
    assert said["uncorrected"] is said["scan"] is said["announced"] is None
    assert mended.announced is not None


def test_lengths_scale():
    volume = scanned(BODIES["field"](), 1.4)
    voxels = bimmjax.fit(volume, 2)
    lengths = bimmjax.fit(volume, 2, spacing=0.5, unit="um")
    areas = "interface_areas"
    np.testing.assert_allclose(
        lengths.properties.interface_areas,
        2.0 * np.asarray(voxels.properties.interface_areas),
        rtol=1e-5,
    )
    for table in ("announced", "confidence"):
        a, b = (getattr(fit, table)[areas]["0-1"] for fit in (lengths, voxels))
        np.testing.assert_allclose(a, 2.0 * np.asarray(b), rtol=1e-4)
    np.testing.assert_allclose(
        lengths.mean_curvature, 2.0 * np.asarray(voxels.mean_curvature), rtol=1e-5
    )


def test_grey_values_do_not_matter():
    volume = scanned(BODIES["field"](), 1.4)
    one = bimmjax.fit(volume, 2, intervals=False)
    other = bimmjax.fit(500.0 * volume - 40.0, 2, intervals=False)
    np.testing.assert_allclose(
        other.properties.interface_areas, one.properties.interface_areas, rtol=5e-3
    )
    assert one.scan is not None
    assert other.scan is not None
    np.testing.assert_allclose(
        other.scan.intensities, 500.0 * one.scan.intensities - 40.0, atol=1.0
    )


def test_nothing_to_restore_is_refused():
    body = sim.field_body(KEY, CUBE, (0.4, 0.6), 2.0)
    said = bimmjax.fit(scanned(body, 2.5, 0.1), 2, intervals=False).to_dict()
    assert said["properties"]["interface_areas"] == {"0-1": None}
    assert said["uncorrected"]["interface_areas"]["0-1"] > 0
    assert not said["corrected"]
    assert said["announced"] is None


def test_features_too_small_are_refused():
    """What cannot be told of the area cannot be of anything: nothing is corrected."""
    body = sim.field_body(KEY, CUBE, (0.4, 0.6), 2.3)
    fit = bimmjax.fit(scanned(body, 2.0, 0.1), 2)
    said = fit.to_dict()
    assert said["properties"]["interface_areas"] == {"0-1": None}
    assert said["properties"]["mean_curvature"] == {"0-1": None}
    assert said["confidence"]["interface_areas"] == {"0-1": None}
    assert said["refusals"]["interface_areas"]["0-1"]
    assert said["uncorrected"]["interface_areas"]["0-1"] > 0
    assert said["announced"] is said["scan"] is None
    assert not said["corrected"]
    assert any("0-1 is refused" in text for text in fit.warnings)


def test_a_poor_fit_is_not_corrected():
    """Three grey values taken for two."""
    body = sim.contest_body(KEY, CUBE, 3, 7.0)
    fit = bimmjax.fit(scanned(body, 1.2, 0.03, 3), 2, intervals=False)
    assert fit.goodness_of_fit > 0.1 or not fit.converged
    assert fit.scan is None
    assert np.all(np.isnan(np.asarray(fit.properties.interface_areas)))


def test_three_phases():
    body = sim.contest_body(KEY, CUBE, 3, 6.0)
    fit = bimmjax.fit(scanned(body, 1.3, 0.04, 3), 3, intervals=False)
    assert fit.refusals == {}
    assert fit.mean_curvature is not None
    assert np.all(np.isnan(fit.mean_curvature))
    np.testing.assert_allclose(fit.properties.interface_areas, body.truth.interface_areas, rtol=0.1)
    np.testing.assert_allclose(fit.properties.volume_fractions, body.truth.fractions, atol=0.006)


def test_films_are_refused():
    """A thin shell of the middle phase looks like a wide edge between the others."""
    body = sim.shell_body(KEY, CUBE, 9.0, 3.5, 0.2)
    fit = bimmjax.fit(scanned(body, 1.8, 0.05, 3), 3, intervals=False)
    assert np.all(np.isnan(np.asarray(fit.properties.interface_areas)))
    assert set(fit.refusals["interface_areas"]) == {"0-1", "0-2", "1-2"}


def test_noise_per_phase():
    body = BODIES["field"]()
    seen = np.asarray(sim.body_image(body, (0.0, 1.0), 1.4))
    noise = np.random.default_rng(0).normal(size=seen.shape) * np.sqrt(
        0.05**2 * (1.0 - seen) + 0.1**2 * seen
    )
    fit = bimmjax.fit(np.pad(seen + noise, 1, mode="wrap"), 2, noise="per_phase", intervals=False)
    assert fit.scan is not None
    np.testing.assert_allclose(fit.scan.noise_std, [0.05, 0.1], rtol=0.04)
    np.testing.assert_allclose(
        fit.properties.interface_areas, body.truth.interface_areas, rtol=0.03
    )


@pytest.mark.parametrize("shape", [(9, 9, 9), (5, 40, 40), (72, 72, 4)])
def test_small_and_flat_volumes_keep_the_models_own(shape: tuple[int, ...]):
    volume = scanned(BODIES["field"](), 1.2)[tuple(slice(n) for n in shape)]
    fit = bimmjax.fit(volume, 2)
    plain = bimmjax.fit(volume, 2, correct=False, intervals=False)
    assert fit.scan is None
    if fit.converged and fit.goodness_of_fit < 0.1:
        assert fit.properties.interface_areas == plain.properties.interface_areas
        assert any("Nothing is corrected" in text for text in fit.warnings)


def test_a_volume_without_interfaces():
    volume = np.random.default_rng(0).normal(size=(40, 40, 40)).astype(np.float32)
    fit = bimmjax.fit(volume, 2, intervals=False)
    assert fit.scan is None
    assert fit.announced is None


@pytest.mark.parametrize("phases", [3, 4])
def test_more_phases_than_there_are(phases: int):
    fit = bimmjax.fit(scanned(BODIES["field"](), 1.4), phases, intervals=False)
    assert property_rows(fit)
    assert np.isfinite(fit.properties.volume_fractions).all()


def test_gaps_are_not_taken_for_surfaces():
    volume = scanned(BODIES["field"](), 1.4)
    volume[: volume.shape[0] // 2] = np.nan
    fit = bimmjax.fit(volume, 2, ignore_nan=True, intervals=False)
    assert fit.scan is None
    assert any("Nothing is corrected" in text for text in fit.warnings)


def test_a_hot_voxel_does_no_harm():
    body = sim.contest_body(KEY, CUBE, 3, 6.0)
    volume = scanned(body, 1.3, 0.04, 3)
    calm = bimmjax.fit(volume, 3, intervals=False)
    volume[40, 40, 40] = 50.0
    hot = bimmjax.fit(volume, 3, intervals=False)
    np.testing.assert_allclose(
        hot.properties.interface_areas, calm.properties.interface_areas, rtol=0.03
    )


def test_noise_that_is_really_there():
    length = 0.8
    seen = sim.body_image(BODIES["field"](), (0.0, 1.0), 1.4)
    noisy = sim.add_noise(KEY, seen, 0.07, noise_length=length)
    fit = bimmjax.fit(np.pad(np.asarray(noisy), 1, mode="wrap"), 2, intervals=False)
    assert fit.scan is not None
    expected = np.asarray(sim.noise_correlation(length))[:2]
    np.testing.assert_allclose(fit.scan.noise_correlation, expected, atol=0.06)


@pytest.mark.parametrize("correct", [True, False])
def test_a_known_blur_is_held(correct: bool):
    body = BODIES["field"]()
    volume = scanned(body, 1.4)
    free = bimmjax.fit(volume, 2, correct=correct, intervals=False)
    fit = bimmjax.fit(volume, 2, blur_std=1.4, correct=correct)
    assert fit.converged
    assert float(fit.params.blur_std) == pytest.approx(1.4, rel=1e-4)
    assert float(fit.properties.resolution_10_90) == pytest.approx(2.5631 * 1.4, rel=1e-3)
    area = body.truth.interface_areas
    np.testing.assert_allclose(fit.properties.interface_areas, area, rtol=0.02 if correct else 0.05)
    assert free.params.blur_std is not None
    assert abs(free.params.blur_std - 1.4) > 5e-3
    said = fit.to_dict()
    assert said["known_blur"]
    assert not free.known_blur
    for table in ("confidence", "sampling"):
        assert said[table]["blur_std"] is said[table]["resolution_10_90"] is None
    if correct:
        low, high = said["confidence"]["interface_areas"]["0-1"]
        assert low < area[0] < high
        assert said["announced"]["resolution_10_90"] is None
    assert any("Given, not fitted" in row.meaning for row in property_rows(fit))


@pytest.mark.parametrize(("blur_std", "warned"), [(1.2, True), (1.4, False), (1.8, True)])
def test_a_blur_that_does_not_suit_is_named(blur_std: float, warned: bool):
    volume = scanned(BODIES["field"](), 1.4)
    fit = bimmjax.fit(volume, 2, blur_std=blur_std, correct=False, intervals=False)
    assert any(f"given as {blur_std:.3g} voxels" in text for text in fit.warnings) == warned


def test_of_thin_sheets_fractions_are_announced_as_hardly_known():
    body = sim.sheet_body(CUBE, 2.5, (5, 2, 1))
    fit = bimmjax.fit(scanned(body, 1.5, 0.06), 2)
    off = abs(fit.properties.volume_fractions[0] - body.truth.fractions[0])
    assert off > 0.03
    assert fit.announced is not None
    assert off < fit.announced["volume_fractions"][0]
    low, high = fit.to_dict()["confidence"]["mean_curvature"]["0-1"]
    assert high - low > 0.05


def test_small_volumes_are_not_corrected_by_their_noise():
    """Of a small block the noise is drawn many times, or it would be that of the correction."""
    body = sim.field_body(KEY, (28, 28, 28), (0.4, 0.6), 4.0)
    seen = sim.body_image(body, (0.0, 1.0), 1.0)
    found = []
    for seed in range(5):
        noisy = sim.add_noise(jax.random.key(seed), seen, 0.1)
        fit = bimmjax.fit(np.pad(np.asarray(noisy), 1, mode="wrap"), 2, intervals=False)
        assert fit.uncorrected is not None
        found.append(float(fit.properties.interface_areas[0] / fit.uncorrected.interface_areas[0]))
    assert np.std(found) < 0.04


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"blur_std": True}, "blur_std: got True, wants a number of voxels above 0"),
        ({"blur_std": 0.0}, "blur_std: got 0.0, wants a number of voxels above 0"),
        ({"blur_std": "1"}, "blur_std: got '1', wants a number of voxels above 0"),
        ({"blur_std": float("nan")}, "blur_std: got nan, wants"),
        ({"blur_std": 1.0, "phases": "auto"}, "wants bimm2d, a number of phases"),
        ({"blur_std": 1.0, "model": "gmm"}, "blur_std: got 1.0 with gmm"),
        ({"blur_std": 1.0, "method": "minibatch"}, "the histogram method"),
    ],
)
def test_a_blur_that_cannot_be_held_is_refused(options: dict[str, Any], said: str):
    with pytest.raises(bimmjax.InputError, match=said):
        bimmjax.fit(np.random.default_rng(0).normal(size=(24, 24, 24)), **options)
