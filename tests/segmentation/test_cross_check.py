"""A fit beside labels: what agrees, what does not, and what is refused."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

import bimmjax
from bimmjax import InputError, cross_check, fit
from bimmjax.descriptors import crofton_areas
from bimmjax.plot import cross_check as drawn
from bimmjax.plot import segments
from bimmjax.report._cross_check_page import told
from bimmjax.segmentation import NO_LABEL
from bimmjax.volumes import open_volume


@pytest.fixture(scope="module")
def made():
    return bimmjax.sim.artificial_volume(
        jax.random.key(3), (80, 80, 80), blur_std=1.2, noise_std=0.1, feature_length=9.0
    )


@pytest.fixture(scope="module")
def fitted(made):
    return fit(np.asarray(made.image), 2, spacing=0.5, unit="um")


def test_truth_agrees_with_the_fit(made, fitted):
    found = cross_check(np.asarray(made.labels), fitted)
    assert [row.which for row in found.rows] == ["0", "1", "0-1"]
    area = found.rows[2]
    # Lengths are the fit's: voxels of half a micrometre.
    assert area.measured == pytest.approx(2.0 * crofton_areas(np.asarray(made.labels), 2)[0])
    assert area.model == pytest.approx(fitted.properties.interface_areas[0])
    assert area.model is not None
    assert area.difference == pytest.approx(area.measured - area.model)
    assert area.agrees
    assert found.rows[0].measured == pytest.approx(float(np.mean(np.asarray(made.labels) == 0)))
    assert abs(found.rows[0].difference or 1.0) < 0.01


def test_rough_labels_disagree(made, fitted):
    labels = np.asarray(made.labels).copy()
    flipped = np.random.default_rng(0).random(labels.shape) < 0.05
    found = cross_check(np.where(flipped, 1 - labels, labels), fitted)
    assert found.rows[2].agrees is False
    assert (found.rows[2].difference or 0.0) > 0.1
    assert found.agrees is False


def test_dictionary_and_file_say_the_same(made, fitted, tmp_path):
    path = tmp_path / "fit.json"
    path.write_text(json.dumps(fitted.to_dict()))
    labels = np.asarray(made.labels)
    said = cross_check(labels, fitted).to_dict()
    assert (
        said
        == cross_check(labels, path).to_dict()
        == cross_check(labels, fitted.to_dict()).to_dict()
    )
    assert set(said["interface_areas"]["0-1"]) == {
        "model", "interval", "measured", "difference", "agrees", "refusal"
    }  # fmt: skip
    assert said["units"] == {"length": "um"}
    json.dumps(said, allow_nan=False)


def test_what_the_fit_does_not_know_is_none(made):
    alone = fit(np.asarray(made.image), 2, model="gmm", intervals=False)
    found = cross_check(np.asarray(made.labels), alone)
    assert found.agrees is None
    assert found.rows[2].model is None
    assert found.rows[2].agrees is None
    assert found.rows[2].measured > 0
    drawn({"labels": found})
    assert told(found.rows[2], "um")[1:] == ("-", "-", f"{found.rows[2].measured:.4g}", "-", "")


def test_gaps_do_not_count(made, fitted):
    labels = np.asarray(made.labels).copy()
    labels[:, :20] = NO_LABEL
    found = cross_check(labels, fitted)
    rest = cross_check(labels[:, 20:], replace(fitted, shape=None))
    assert found.left_out == 0.25
    assert found.rows[0].measured == pytest.approx(rest.rows[0].measured)
    assert found.rows[2].measured == pytest.approx(rest.rows[2].measured, rel=0.02)


def test_a_mask_of_0_and_255_is_two_phases(made, fitted):
    labels = np.asarray(made.labels)
    found = cross_check(np.where(labels, 255, 0).astype(np.uint8), fitted)
    assert found == cross_check(labels, fitted)
    assert found.left_out == 0.0


def test_an_empty_phase_has_no_share_and_no_area(made, fitted):
    found = cross_check(np.zeros((80, 80, 80), np.uint8), fitted)
    assert [row.measured for row in found.rows] == [1.0, 0.0, 0.0]
    assert found.agrees is False


@pytest.mark.parametrize("change", [{"goodness_of_fit": 0.11}, {"code": 1}, {"code": 2}])
def test_a_fit_that_is_no_good_judges_nothing(made, fitted, change):
    found = cross_check(np.asarray(made.labels), replace(fitted, **change))
    assert found.agrees is None
    assert [row.agrees for row in found.rows] == [None] * 3
    assert told(found.rows[0], "um")[-1] == "cannot be judged"


def test_labels_of_another_volume_are_refused(made, fitted):
    with pytest.raises(InputError, match=r"got shape \(80, 80, 70\), wants that of the volume"):
        cross_check(np.asarray(made.labels)[..., :70], fitted)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (np.full((9, 9, 9), 2), {}, "labels: got 3 phases .* wants at most the 2"),
        (np.zeros((9, 9, 9)), {}, "labels: got dtype float64"),
        (np.full((9, 9, 9), 255, np.uint8), {}, "mask: got no voxel that counts"),
        (np.zeros((9, 9, 9), int), {"spacing": 2.0, "unit": "um"}, "labels: got voxels of"),
        (np.zeros((9, 9, 9), int), {"mask": np.ones((8, 9, 9))}, "mask: got shape"),
    ],
)
def test_bad_input_is_told(fitted, labels, options, message):
    with pytest.raises(InputError, match=message):
        cross_check(labels, replace(fitted, shape=None), **options)


def test_pictures(made, fitted, tmp_path):
    labels = np.asarray(made.labels)
    checks = {"truth": cross_check(labels, fitted), "all one": cross_check(0 * labels, fitted)}
    drawn(checks).savefig(tmp_path / "check.png")
    image = open_volume(np.asarray(made.image), spacing=0.5, unit="um")
    segments(image, open_volume(labels), 2).savefig(tmp_path / "segments.png")
    assert (tmp_path / "check.png").stat().st_size > 10_000
    assert (tmp_path / "segments.png").stat().st_size > 10_000
