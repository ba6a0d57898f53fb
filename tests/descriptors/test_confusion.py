"""Scores against scikit-learn-like counting by hand; what is empty has an answer."""

from __future__ import annotations

import numpy as np
import pytest

from bimmjax import InputError
from bimmjax.descriptors import (
    _labels,
    bin_wise_zero_order,
    confusion_matrix,
    counts_by_grey_value,
    evaluate,
    scores,
    zero_order,
)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, (11, 12, 13))
    labels = np.where(random.random(truth.shape) < 0.8, truth, random.integers(0, 3, truth.shape))
    return truth, labels


def test_all_scores_are_those_by_hand(pair, monkeypatch: pytest.MonkeyPatch):
    truth, labels = pair
    monkeypatch.setattr(_labels, "_LAYERS", 300)
    mask = np.random.default_rng(1).random(truth.shape) > 0.3
    for kept in (None, mask):
        a, b = (truth.ravel(), labels.ravel()) if kept is None else (truth[mask], labels[mask])
        found = scores(confusion_matrix(truth, labels, mask=kept))
        assert found.confusion.sum() == a.size
        assert found.accuracy == pytest.approx(np.mean(a == b))
        assert found.misplaced == pytest.approx(100 * np.mean(a != b))
        for k in range(3):
            tp, fp, fn = (
                np.sum((a == k) & (b == k)),
                np.sum((a != k) & (b == k)),
                np.sum((a == k) & (b != k)),
            )
            assert found.support[k] == tp + fn
            assert found.iou[k] == pytest.approx(tp / (tp + fp + fn))
            assert found.f1[k] == pytest.approx(2 * tp / (2 * tp + fp + fn))
            assert found.precision[k] == pytest.approx(tp / (tp + fp))
            assert found.recall[k] == pytest.approx(tp / (tp + fn))
            assert found.accuracy_by_class[k] == pytest.approx(np.mean((a == k) == (b == k)))
            assert found.misplaced_of(k) == pytest.approx(100 * fn / (tp + fn))
        assert found.macro("iou") == pytest.approx(found.iou.mean())
        np.testing.assert_allclose(found.normalised("truth").sum(1), 1.0)
        np.testing.assert_allclose(found.normalised("labels").sum(0), 1.0)
        assert found.normalised("all").sum() == pytest.approx(1.0)


def test_what_is_absent_has_an_answer():
    truth = np.zeros((2, 2, 2), int)
    found = scores(confusion_matrix(truth, truth, classes=3))
    assert found.iou.tolist() == [1.0, 1.0, 1.0]
    assert found.present.tolist() == [True, False, False]
    wrong = scores(confusion_matrix(truth, truth + 1))
    assert wrong.iou.tolist() == wrong.precision.tolist() == wrong.recall.tolist() == [0.0, 0.0]
    assert wrong.macro("f1") == 0.0


def test_baselines_of_the_papers_table():
    """Modular U-Net paper, Tables D.4 and D.5: shares of matrix, fibre and porosity."""
    found = scores(zero_order(np.array([334_400, 69_100, 2_100])))
    assert 100 * found.macro("iou") == pytest.approx(27.0, abs=0.6)
    np.testing.assert_array_equal(found.iou[1:], 0.0)


def test_by_grey_value_nothing_does_better(pair):
    truth, _ = pair
    random = np.random.default_rng(2)
    grey = (40 * truth + random.integers(0, 60, truth.shape)).astype(np.uint8)
    counts = counts_by_grey_value(grey, truth, 3)
    assert counts.shape == (256, 3)
    best = scores(bin_wise_zero_order(counts))
    assert best.confusion.sum() == truth.size
    cut = np.digitize(grey, [50, 90])
    assert best.accuracy >= scores(confusion_matrix(truth, cut)).accuracy
    floats = counts_by_grey_value(grey.astype(float), truth, 3, bins=64)
    assert floats.sum() == truth.size


@pytest.mark.parametrize(
    ("labels", "options", "said"),
    [
        (np.zeros((2, 2, 3), int), {}, r"labels: got shape \(2, 2, 3\), wants that of the truth"),
        (np.full((2, 2, 2), -1), {}, "labels: got labels from -1 to -1"),
        (np.full((2, 2, 2), 3), {"classes": 3}, "labels: got labels from 3 to 3, wants 0 to 2"),
        (np.zeros((2, 2, 2)), {}, "labels: got dtype float64, wants whole numbers"),
    ],
)
def test_bad_labels_are_named(labels: np.ndarray, options: dict[str, int], said: str):
    with pytest.raises(InputError, match=said):
        confusion_matrix(np.zeros((2, 2, 2), int), labels, **options)


def test_nothing_left_to_count_is_told():
    labels = np.full((3, 4, 5), 255, np.uint8)
    with pytest.raises(InputError, match="mask: got no voxel that counts"):
        evaluate(labels, np.zeros((3, 4, 5), int), ignore=255)
    with pytest.raises(InputError, match="mask: got no voxel that counts"):
        evaluate(labels * 0, labels * 0, mask=np.zeros((3, 4, 5)))


def test_labels_to_ignore_count_in_neither():
    rng = np.random.default_rng(0)
    truth, labels = rng.integers(0, 3, (2, 6, 7, 8))
    without, told = truth.copy(), labels.copy()
    without[0], told[1] = 255, 255
    found = confusion_matrix(without, told, ignore=255)
    np.testing.assert_array_equal(found, confusion_matrix(truth[2:], labels[2:]))
    with pytest.raises(InputError, match="wants 0 to 63, one per phase; a label"):
        evaluate(told, truth)


def test_kappa_is_that_of_the_definition():
    found = scores(np.array([[20, 5], [10, 15]]))
    assert found.kappa == pytest.approx(0.4)  # Cohen's own kind of example
    assert scores(np.array([[20, 10], [5, 15]])).kappa == pytest.approx(found.kappa)
    assert scores(np.array([[7, 0], [0, 0]])).kappa == 1.0
