"""Volumes out of the ordinary: numbers of any kind and unit, hot pixels, nothing to tell apart."""

from __future__ import annotations

import json
import math
from typing import Any

import jax
import numpy as np
import pytest

import bimmjax
from bimmjax import InputError, open_volume
from bimmjax.sim import artificial_volume
from bimmjax.volumes import joint_histogram

RANDOM = np.random.default_rng(5)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    made = artificial_volume(
        jax.random.key(0), (48, 48, 48), fractions=(0.3, 0.7), blur_std=1.0, feature_length=6.0,
        with_area=False,
    )  # fmt: skip
    return np.asarray(made.image, np.float64)


@pytest.fixture(scope="module")
def plain(image: np.ndarray) -> bimmjax.Fit:
    return bimmjax.fit(image.astype(np.float32), 2, intervals=False)


@pytest.mark.parametrize(
    ("dtype", "scale", "shift"),
    [
        (np.float16, 1.0, 0.0),
        (np.float16, 40.0, 50.0),
        # Squared differences are beyond float16.
        (np.float16, 3e3, 5e3),
        (np.int8, 60.0, -30.0),
        (np.uint32, 1e4, 4.29493e9),
        (np.int64, 6e4, -30.0),
        (">u2", 6e3, 8e3),
        # Electrons per m³, and a unit as far the other way: squares do not fit float32.
        (np.float32, 3e29, 1e29),
        (np.float32, 1e-25, 0.0),
        (np.float64, 1e-25, 1e-24),
    ],
)
def test_any_kind_of_number_in_any_unit(
    image: np.ndarray, plain: bimmjax.Fit, dtype: Any, scale: float, shift: float
):
    grey = image * scale + shift
    grey = (np.rint(grey) if scale > 10 else grey).astype(dtype)
    found = bimmjax.fit(grey, 2, intervals=False)
    assert found.converged
    np.testing.assert_allclose(
        found.properties.volume_fractions, plain.properties.volume_fractions, atol=2e-3
    )
    middle = (np.asarray(found.params.intensities) - shift) / scale
    np.testing.assert_allclose(middle, plain.params.intensities, atol=5e-3)
    assert float(found.params.blur_std or 0) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("kind", ["float32", "uint16"])
@pytest.mark.parametrize("hot", [5, 40])
def test_hot_pixels_do_not_stretch_the_bins(
    image: np.ndarray, plain: bimmjax.Fit, kind: str, hot: int
):
    grey = image.astype(np.float32) if kind == "float32" else np.rint(image * 100 + 60)
    grey = grey.astype(kind)
    grey[tuple(RANDOM.integers(0, 48, (3, hot)))] = 60_000
    found = bimmjax.fit(grey, 2, intervals=False)
    span = np.ptp(found.histogram.grid.u_edges)
    assert found.histogram.grid.v_edges[-1] <= 0.9 * span
    np.testing.assert_allclose(
        found.properties.volume_fractions, plain.properties.volume_fractions, atol=5e-3
    )


def test_one_phase_fills_the_volume():
    found = bimmjax.fit(RANDOM.normal(5, 1, (40, 40, 40)).astype(np.float32), 1)
    for bars in (found.confidence, found.sampling):
        assert bars is not None
        assert bars["volume_fractions"] == [[1.0, 1.0]]
        assert bars["noise_std"][0] < 1.0 < bars["noise_std"][1]


@pytest.mark.parametrize("noise", ["shared", "per_phase"])
def test_two_phases_sought_in_one_end_in_words_not_in_a_crash(noise: Any):
    """Nothing bounds the blur there, and intervals must bear whatever it became."""
    white = RANDOM.normal(size=(40, 40, 40)).astype(np.float32)
    found = bimmjax.fit(white, 2, noise=noise)
    assert any("may be" in said for said in found.warnings)
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_mask_is_not_an_image_and_is_refused(image: np.ndarray):
    with pytest.raises(InputError, match=r"volume: got 2 distinct grey values \(a segmented"):
        bimmjax.fit((image > 0.5).astype(np.uint8), 2)


def test_numbers_too_far_from_zero_are_refused(image: np.ndarray):
    far = np.rint(image * 60).astype(np.int64) + 2**53
    with pytest.raises(InputError, match=r"volume: got grey values from .*subtract an offset"):
        bimmjax.fit(far, 2)


def test_two_phases_are_chosen_by_themselves(
    image: np.ndarray, plain: bimmjax.Fit, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("bimmjax.fitting._fit._AUTO_PHASES", 3)
    found = bimmjax.fit(image, "auto", intervals=False)
    assert found.phases == 2
    assert found.bic is not None
    assert all(math.isfinite(x) for x in found.bic.values())
    np.testing.assert_allclose(
        found.properties.volume_fractions, plain.properties.volume_fractions, atol=2e-3
    )


def test_edges_of_the_volume_are_read_once_each():
    """Every voxel with six neighbours, whatever the shape, down to three voxels."""
    for shape in ((3, 3, 3), (3, 20, 33), (17, 3, 5), (35, 34, 3)):
        volume = RANDOM.normal(size=shape).astype(np.float32)
        found = joint_histogram(open_volume(volume))
        assert found.voxels == np.prod(np.array(shape) - 2)
