"""Labels by a model: against plain likelihoods, as a stream, and on volumes of known truth."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bimmjax
from bimmjax import InputError, sim
from bimmjax.models import bimm2d, gmm
from bimmjax.segmentation import NO_LABEL, phase_probability, segment
from bimmjax.volumes import gradient_magnitude

EVERYTHING = (slice(None),) * 3


@pytest.fixture(scope="module")
def made() -> sim.Artificial:
    return sim.artificial_volume(
        jax.random.key(1),
        (64, 64, 64),
        fractions=(0.3, 0.3, 0.4),
        intensities=(0.0, 0.5, 1.0),
        blur_std=1.5,
        noise_std=0.07,
        feature_length=7.0,
        with_area=False,
    )


@pytest.fixture(scope="module")
def fits(made: sim.Artificial) -> dict[str, bimmjax.Fit]:
    return {
        model: bimmjax.fit(made.image, 3, model=model, intervals=False, correct=False)
        for model in ("gmm", "bimm2d")
    }


def test_labels_are_those_of_the_likeliest_component(
    made: sim.Artificial, fits: dict[str, bimmjax.Fit]
):
    """Each component by itself, with the package's own densities, on 400 voxels."""
    params = jax.tree.map(jnp.asarray, fits["bimm2d"].params)
    image = np.asarray(made.image)
    v = np.asarray(gradient_magnitude(image))
    inner = tuple(np.random.default_rng(0).integers(5, 59, (3, 400)))
    at_u, at_v = image[inner], v[tuple(k - 1 for k in inner)]
    logs = []
    for component in range(6):
        weights = jnp.full(6, 1e-12).at[component].set(1.0)
        alone = params._replace(interior_weights=weights[:3], interface_weights=weights[3:])
        logs.append(np.asarray(bimm2d.log_prob(alone, at_u, at_v)))
    best, means = np.argmax(logs, 0), np.asarray(params.intensities)
    expected = best.copy()
    for number, (i, j) in enumerate(((0, 1), (0, 2), (1, 2))):
        here = best == 3 + number
        expected[here] = np.where(at_u[here] > 0.5 * (means[i] + means[j]), j, i)
    labels = segment(image, fits["bimm2d"]).read(*EVERYTHING)[inner]
    # The table has bins: voxels at a boundary may fall on either side.
    assert np.mean(labels == expected) > 0.985


def test_a_mixture_of_intensities_is_cut_where_its_densities_cross(
    made: sim.Artificial, fits: dict[str, bimmjax.Fit]
):
    image, params = np.asarray(made.image), fits["gmm"].params
    labels = segment(image, fits["gmm"], weighted=True).read(*EVERYTHING)
    scores = np.stack(
        [
            np.log(params.interior_weights[k])
            - 0.5 * ((image - params.intensities[k]) / params.noise_std) ** 2
            for k in range(3)
        ]
    )
    assert np.mean(labels == scores.argmax(0)) > 0.997
    assert gmm.USES_GRADIENT is False


def test_gradients_tell_edges_from_the_phase_between(
    made: sim.Artificial, fits: dict[str, bimmjax.Fit]
):
    found = {m: bimmjax.evaluate(segment(made.image, f), made.labels) for m, f in fits.items()}
    assert found["bimm2d"].iou[1] > found["gmm"].iou[1] + 0.02
    assert found["bimm2d"].accuracy > found["gmm"].accuracy


def test_probabilities_sum_to_one_and_agree_with_labels(
    made: sim.Artificial, fits: dict[str, bimmjax.Fit]
):
    told = np.stack(
        [phase_probability(made.image, fits["bimm2d"], k).read(*EVERYTHING) for k in range(3)]
    )
    np.testing.assert_allclose(told.sum(0), 1.0, atol=1e-5)
    labels = segment(made.image, fits["bimm2d"], weighted=True).read(*EVERYTHING)
    assert np.mean(told.argmax(0) == labels) > 0.95
    right = np.take_along_axis(told, np.asarray(made.labels)[None], 0)
    assert np.mean(right) > 0.85


def test_boxes_and_files_give_the_same_labels(
    made: sim.Artificial, fits: dict[str, bimmjax.Fit], tmp_path: Path
):
    grey = sim.to_integers(made.image, scale=100.0, offset=60.0)
    fit = bimmjax.fit(grey, 3, intervals=False, correct=False)
    lazy = segment(grey, fit)
    whole = lazy.read(*EVERYTHING)
    assert whole.dtype == np.uint8
    assert lazy.shape == grey.shape
    box = (slice(3, 20), slice(0, 9), slice(50, 64))
    np.testing.assert_array_equal(lazy.read(*box), whole[box])
    path = bimmjax.convert(lazy, tmp_path / "labels.zarr", chunk=(16, 16, 16), shard=(32, 32, 32))
    np.testing.assert_array_equal(bimmjax.open_volume(path).read(*EVERYTHING), whole)
    again = segment(grey, fit.to_dict()).read(*EVERYTHING)
    np.testing.assert_array_equal(again, whole)


def test_gaps_have_no_label(made: sim.Artificial, fits: dict[str, bimmjax.Fit]):
    image = np.array(made.image)
    image[10:14, 5, 5] = np.nan
    labels = segment(image, fits["bimm2d"]).read(*EVERYTHING)
    assert (labels == NO_LABEL).sum() == 4
    told = phase_probability(image, fits["bimm2d"], 0).read(*EVERYTHING)
    assert np.isnan(told).sum() == 4


def test_the_voxel_size_is_that_of_the_fit(made: sim.Artificial, fits: dict[str, bimmjax.Fit]):
    size = {"spacing": [0.5] * 3, "units": {"length": "um", "intensity": "grey value"}}
    told = fits["gmm"].to_dict() | size
    labels = segment(made.image, told)
    assert (labels.spacing, labels.unit) == ((0.5, 0.5, 0.5), "um")
    # What the volume knows itself comes first, and another volume is not that of the fit.
    assert segment(made.image, told, spacing=2.0, unit="nm").unit == "nm"
    assert segment(made.image[:32], told).unit == "voxel"
    assert segment(made.image, fits["gmm"]).unit == "voxel"


def test_bad_fits_are_named(made: sim.Artificial, fits: dict[str, bimmjax.Fit], tmp_path: Path):
    with pytest.raises(
        InputError, match=r"fit: got phases at .* do not fit, wants the fit of this very volume"
    ):
        segment(np.asarray(made.image) + 50.0, fits["bimm2d"])
    with pytest.raises(InputError, match=r"fit: got .*nothing.json, wants a fit.json"):
        segment(made.image, tmp_path / "nothing.json")
    with pytest.raises(InputError, match="fit: got int, wants a Fit"):
        segment(made.image, 3)
    with pytest.raises(InputError, match="fit: got None for intensities"):
        segment(made.image, {"params": {}})
    with pytest.raises(InputError, match="phase: got 3"):
        phase_probability(made.image, fits["bimm2d"], 3)


@pytest.mark.parametrize("model", ["gmm", "pvmm", "bimm1d", "bimm2d"])
@pytest.mark.parametrize("noise", ["shared", "per_phase"])
def test_every_model_labels(made: sim.Artificial, model: str, noise: str):
    image = np.asarray(made.image)[:40, :40, :40]
    fit = bimmjax.fit(image, 3, model=model, noise=noise, intervals=False, correct=False)
    truth = np.asarray(made.labels)[:40, :40, :40]
    assert bimmjax.evaluate(segment(image, fit), truth).accuracy > 0.8
    posterior = [phase_probability(image, fit, k).read(*EVERYTHING) for k in range(3)]
    np.testing.assert_allclose(np.sum(posterior, 0), 1.0, atol=1e-5)


def test_integers_of_any_size_are_labelled_alike(made: sim.Artificial):
    grey = np.rint((np.asarray(made.image) + 1.0) * 10_000.0)[:40]
    fit = bimmjax.fit(grey.astype(np.float32), 3, intervals=False, correct=False)
    expected = segment(grey.astype(np.float32), fit).read(*EVERYTHING)
    for dtype in (np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float64):
        found = segment(grey.astype(dtype), fit).read(*EVERYTHING)
        np.testing.assert_array_equal(found, expected)
    large = grey.astype(np.int64) * 2**24
    fit = bimmjax.fit(large.astype(np.float64), 3, intervals=False, correct=False)
    found = segment(large, fit).read(*EVERYTHING)
    assert np.mean(found == expected) > 0.99


def test_one_phase_has_one_label(made: sim.Artificial):
    noise = np.random.default_rng(0).normal(5.0, 1.0, (24, 24, 24)).astype(np.float32)
    for model in ("gmm", "bimm2d"):
        fit = bimmjax.fit(noise, 1, model=model, intervals=False)
        assert segment(noise, fit).read(*EVERYTHING).max() == 0
        assert segment(noise, fit, mrf=True).read(*EVERYTHING).max() == 0


def test_labels_read_may_be_written_into(made: sim.Artificial, fits: dict[str, bimmjax.Fit]):
    labels = segment(made.image, fits["gmm"]).read(*EVERYTHING)
    labels[0, 0, 0] = 2
    assert labels.flags.writeable


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "foo"}, "fit: model: got 'foo'"),
        ({"gradient": "foo"}, "fit: gradient: got 'foo'"),
        ({"params": {"blur_std": None}}, "fit: got None for blur_std"),
        ({"params": {"interior_weights": None}}, "fit: got None for interior_weights"),
        (
            {"params": {"noise_std": 0.0}},
            "fit: got 0.0 for noise_std .* above 0",
        ),
        ({"params": {"intensities": "abc"}}, "fit: got 'abc' for intensities"),
        ({"params": {"intensities": 3.0}}, "fit: got intensities 3.0, wants a list"),
        ({"params": {"intensities": [1.0, 0.5, 0.0]}}, "fit: got intensities .* ascending"),
    ],
)
def test_what_is_no_fit_is_told(
    made: sim.Artificial, fits: dict[str, bimmjax.Fit], changes: dict, message: str
):
    told = fits["bimm2d"].to_dict()
    told = {**told, **changes, "params": {**told["params"], **changes.get("params", {})}}
    with pytest.raises(InputError, match=message):
        segment(made.image, told)


def test_gradients_want_cubic_voxels_and_neighbours(
    made: sim.Artificial, fits: dict[str, bimmjax.Fit]
):
    with pytest.raises(InputError, match=r"volume: got shape .* at least three voxels"):
        segment(made.image[:2], fits["bimm2d"])
    with pytest.raises(InputError, match=r"volume: got voxels of .* wants cubic"):
        segment(made.image, fits["bimm2d"], spacing=(5.0, 1.0, 1.0))
    assert segment(made.image[:1], fits["gmm"]).read(*EVERYTHING).shape == (1, 64, 64)


def test_a_part_without_one_phase_is_still_of_the_volume(fits: dict[str, bimmjax.Fit]):
    noise = np.random.default_rng(0).normal(0.0, 0.07, (24, 24, 24)).astype(np.float32)
    assert np.mean(segment(noise, fits["bimm2d"]).read(*EVERYTHING) == 0) > 0.99
    with pytest.raises(InputError, match="% of this volume's voxels"):
        segment(noise + 0.25, fits["gmm"])


@pytest.mark.parametrize(
    ("contrast", "noise", "step"), [(10, 1.0, 1), (20, 1.5, 1), (20, 1.5, 256)]
)
def test_coarse_grey_levels_are_no_other_volume(
    made: sim.Artificial, contrast: int, noise: float, step: int
):
    rng = np.random.default_rng(0)
    grey = 90.0 + contrast * np.asarray(made.labels == 2, float)[:40]
    image = np.rint(grey + noise * rng.normal(size=grey.shape)).astype(np.uint16) * step
    fit = bimmjax.fit(image, 2, model="gmm", intervals=False)
    assert np.mean(segment(image, fit).read(*EVERYTHING) == (grey > 90)) > 0.99
    with pytest.raises(InputError, match="% of this volume's voxels"):
        segment(image + 5 * contrast * step, fit)
