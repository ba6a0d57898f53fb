"""Rivals without training, against counts by hand."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bimmjax import InputError, fitting
from bimmjax.nets._compare import score
from bimmjax.nets._compare.classical import classical_labels
from bimmjax.nets._compare.common import cropped, prepared
from bimmjax.nets._compare.entry import entries
from bimmjax.nets._compare.score import classical_scored, scored

SPLIT = {"split": (0.6, 0.2, 0.2), "margin": 1}


def common_of(grey, labels, classes=3, weight=None, **how):
    recipe = {"network": "unet", "classes": classes, "settings": {"width": 2, "depth": 1}}
    made = entries(recipe | SPLIT | {"patch": (8, 8), "batch": 2} | how, given=True)
    out = Path("nowhere")
    return prepared(made, grey, labels, weight, out, devices=None, overwrite=False)[1]


def labels_of(method, common, classes=3):
    (found,) = classical_labels(method, common, classes, 0)
    return found.read(slice(None), slice(None), slice(None))


def test_zero_order_classifiers_know_what_the_training_slices_tell(pair):
    grey, truth = pair
    common = common_of(grey, truth)
    train, test = common.splits[0].train, common.splits[0].test
    assert (train, test) == (range(0, 16), range(24, 30))
    assert set(labels_of("zeror", common).ravel()) == {0}
    # By brute force: of each grey value the class it has most often.
    known, right = grey[:16][truth[:16] != 255], truth[:16][truth[:16] != 255]
    table = np.zeros(256, int)
    for value in np.unique(known):
        table[value] = np.bincount(right[known == value]).argmax()
    np.testing.assert_array_equal(labels_of("bin-zeror", common), table[grey])
    # Levels that no training slice has are the most frequent class.
    assert np.setdiff1d(grey, known).size > 0


def test_few_annotated_slices_are_all_they_see(pair):
    grey, truth = pair
    changed = truth.copy()
    changed[8] = 2  # the middle of the training block, the one slice that is annotated
    changed[8, :4] = 1
    common = common_of(grey, changed, slices=1)
    assert common.slices[0].tolist() == [8]
    assert set(labels_of("zeror", common).ravel()) == {2}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_grey_levels_of_any_dtype(pair, dtype):
    grey, truth = pair
    values = (grey.astype(float) - (100 if dtype == np.int16 else 0)).astype(dtype)
    found = labels_of("bin-zeror", common_of(values, truth))
    wanted = labels_of("bin-zeror", common_of(grey, truth))
    if dtype == np.float32:  # other levels
        assert (found == wanted).mean() > 0.97
    else:
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("method", ["otsu", "kmeans", "bimm"])
def test_labels_by_intensity_are_matched_to_classes_by_mean_grey_value(pair, method, monkeypatch):
    grey, truth = pair
    if method == "bimm":
        # The smallest of the models takes the least time to compile.
        monkeypatch.setattr(fitting, "fit", partial(fitting.fit, model="gmm"))
        # Of three phases in so few voxels nothing could be told: two will do.
        truth = np.where(truth == 2, 0, truth).astype(np.uint8)
        truth[truth != 255] = 1 - truth[truth != 255]
        grey = np.where(truth == 0, 200, 60) + np.random.default_rng(1).normal(0, 9, grey.shape)
        grey = grey.astype(np.uint8)
    classes = 2 if method == "bimm" else 3
    common = common_of(grey, truth, classes)
    (found,) = classical_labels(method, common, classes, 0)
    labels = cropped(found, common.splits[0].test)
    scores = scored([labels], common, classes)
    # In the order of classes instead of grey values most of it would be wrong.
    assert scores.accuracy > 0.9
    assert scores.support.sum() == (truth[24:] != 255).sum()


def test_what_has_no_number_or_no_weight_counts_nowhere(pair):
    grey, truth = pair
    values, weight = grey.astype(np.float32), np.ones(grey.shape)
    values[25, 5, 5] = np.nan
    weight[26] = 0.0
    common = common_of(values, truth, weight=weight)
    (found,) = classical_labels("zeror", common, 3, 0)
    labels = cropped(found, common.splits[0].test)
    counts = (truth[24:] != 255) & np.isfinite(values[24:]) & (weight[24:] > 0)
    assert scored([labels], common, 3).support.sum() == counts.sum()


def test_one_class_is_no_question(pair):
    grey, truth = pair
    # Of the others no voxel has a number.
    values = np.where(truth == 0, grey, np.float32(np.nan))
    with pytest.raises(InputError, match="classical: got otsu for a training block with 1 class"):
        classical_labels("otsu", common_of(values, truth), 3, 0)


@pytest.mark.parametrize("method", ["otsu", "bin-zeror"])
def test_reading_counts_in_no_time_and_few_slices_are_in_memory(
    pair, method, tmp_path, monkeypatch
):
    common = common_of(*pair)
    (specimen,) = common.specimens
    volume, read = specimen.images[0], []

    def reader(z, y, x):
        read.append(z.stop - z.start)
        time.sleep(0.02)
        return volume.reader(z, y, x)

    counted = replace(specimen, images=(replace(volume, reader=reader),))
    common = common._replace(specimens=[counted])
    convert, made = score.convert, []

    def converts(labels, *given, **how):
        read.clear()
        convert(labels, *given, **how)
        made.extend(read)

    monkeypatch.setattr(score, "convert", converts)
    monkeypatch.setattr(score, "_SLAB", 2 * 16 * 16)
    found = classical_scored(method, tmp_path / method, common, 3, 0)
    assert found.seconds_per_image < 0.02
    # Two slices at a time of the block of six, and nothing but them.
    assert set(made) == {2}
    (labels,) = classical_labels(method, common_of(*pair), 3, 0)
    wanted = labels.read(slice(24, 30), slice(None), slice(None))
    got = found.labels[0].read(slice(None), slice(None), slice(None))
    np.testing.assert_array_equal(got, wanted)
