"""Losses against NumPy, by hand and by torch; what does not count; gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimmjax import InputError
from bimmjax.nets import losses

pytestmark = pytest.mark.numerics

SHAPES = [(2, 5, 4), (1, 3, 4, 5)]
NAMES = list(losses.LOSSES)


def case(shape: tuple[int, ...], classes: int = 3, seed: int = 0, ignored: bool = True):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, shape)
    if ignored:
        labels[rng.random(shape) < 0.2] = losses.IGNORED
    logits = rng.normal(size=(*shape, classes)).astype(np.float32)
    weight = rng.random(shape).astype(np.float32)
    return logits, labels.astype(np.uint8), weight, rng.random(classes).astype(np.float32) + 0.1


def by_hand(name, logits, labels, weight=None, class_weights=None):
    """Voxel by voxel, in plain Python."""
    classes = logits.shape[-1]
    by_class = np.ones(classes) if class_weights is None else class_weights
    each = np.ones(labels.shape) if weight is None else weight
    sums = {"one": 0.0, "all": 0.0}
    yp, y1, p1, p2 = (np.zeros(classes) for _ in range(4))
    for at in np.ndindex(*labels.shape):
        if labels[at] == 255:
            continue
        score = np.exp(logits[at].astype(float) - logits[at].max())
        p, y = score / score.sum(), np.eye(classes)[labels[at]]
        w = each[at]
        worth = w * by_class[labels[at]]
        what = -np.log(p[labels[at]]) if name == "cross-entropy" else np.mean((y - p) ** 2)
        sums["one"] += worth * what
        sums["all"] += worth
        yp, y1, p1, p2 = yp + w * y * p, y1 + w * y, p1 + w * p, p2 + w * p * p
    if name in ("cross-entropy", "mse"):
        return sums["one"] / sums["all"]
    if name == "jaccard2":
        both = (by_class * yp).sum()
        return 1 - (both + 1) / ((by_class * (y1 + p2 - yp)).sum() + 1)
    there = y1 > 0
    below = y1 + (p1 if name == "dice" else p2)
    return np.average((1 - 2 * yp / below)[there], weights=by_class[there])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_by_hand(name, shape):
    logits, labels, weight, class_weights = case(shape)
    loss = losses.LOSSES[name]
    for how in ({}, {"weight": weight}, {"weight": weight, "class_weights": class_weights}):
        wanted = by_hand(name, logits, labels, **how)
        assert float(jax.jit(loss)(logits, labels, **how)) == pytest.approx(wanted, rel=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_an_absent_class_changes_the_mean_over_classes_as_by_hand(name):
    logits, labels, weight, class_weights = case((2, 6, 6), classes=4, seed=3)
    labels[labels == 2] = 1
    wanted = by_hand(name, logits, labels, weight, class_weights)
    found = losses.LOSSES[name](logits, labels, weight=weight, class_weights=class_weights)
    assert float(found) == pytest.approx(wanted, rel=2e-6)


def test_the_papers_two_forms_of_jaccard_agree_without_smoothing(monkeypatch):
    monkeypatch.setattr(losses, "SMOOTH", 0.0)
    logits, labels, *_ = case((3, 4, 4), ignored=False)
    p = np.asarray(jax.nn.softmax(logits)).reshape(-1, 3)
    right = p[np.arange(len(p)), labels.ravel()]
    wanted = 1 - right.sum() / (len(p) + ((p**2).sum(1) - right).sum())
    assert float(losses.squared_jaccard(logits, labels)) == pytest.approx(wanted, rel=1e-6)


def test_cross_entropy_is_torchs():
    torch = pytest.importorskip("torch")
    logits, labels, _, class_weights = case((2, 5, 6))
    loss = torch.nn.CrossEntropyLoss(torch.from_numpy(class_weights), ignore_index=255)
    scores = torch.from_numpy(np.moveaxis(logits, -1, 1).copy()).requires_grad_()
    wanted = loss(scores, torch.from_numpy(labels.astype(np.int64)))
    wanted.backward()
    found, slope = jax.value_and_grad(losses.cross_entropy)(
        logits, labels, class_weights=class_weights
    )
    assert float(found) == pytest.approx(float(wanted.detach()), rel=1e-6)
    np.testing.assert_allclose(np.moveaxis(slope, -1, 1), scores.grad.numpy(), atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences_and_vanish_where_nothing_counts(name):
    logits, labels, weight, class_weights = case((1, 3, 3), seed=5)
    weight[0, 0, 0] = 0.0
    loss = losses.LOSSES[name]
    slope = jax.jit(jax.grad(loss))(
        jnp.asarray(logits), labels, weight=weight, class_weights=class_weights
    )
    for at in np.ndindex(*logits.shape):
        ends = []
        for step in (1e-4, -1e-4):
            moved = logits.astype(float)
            moved[at] += step
            ends.append(by_hand(name, moved, labels, weight, class_weights))
        assert float(slope[at]) == pytest.approx((ends[0] - ends[1]) / 2e-4, abs=3e-6)
    assert (np.asarray(slope)[(labels == 255) | (weight == 0)] == 0).all()


@pytest.mark.parametrize("name", [*NAMES, "cross-entropy+dice"])
def test_nothing_counts(name):
    loss = losses.loss_named(name)
    logits, labels, *_ = case((1, 4, 4))
    labels[:] = 255
    found, slope = jax.jit(jax.value_and_grad(loss))(jnp.asarray(logits), labels)
    assert float(found) == 0.0
    assert (np.asarray(slope) == 0).all()


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 1000), st.permutations([0, 1, 2]))
def test_classes_may_be_renamed_and_voxels_reordered(name, seed, order):
    logits, labels, weight, class_weights = case((2, 4, 4), seed=seed)
    loss = losses.LOSSES[name]
    before = float(jax.jit(loss)(logits, labels, weight=weight, class_weights=class_weights))
    renamed = np.where(labels == 255, 255, np.argsort(order)[labels.clip(0, 2)])
    after = jax.jit(loss)(
        logits[..., order][:, ::-1], renamed[:, ::-1], weight=weight[:, ::-1],
        class_weights=class_weights[order],
    )  # fmt: skip
    assert before >= 0.0
    assert float(after) == pytest.approx(before, rel=1e-5)
    if name != "cross-entropy":
        assert before <= 1.0


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_itself_costs_nothing(name):
    _, labels, *_ = case((2, 4, 4))
    logits = 60.0 * np.eye(3)[labels.clip(0, 2)]
    assert float(losses.LOSSES[name](logits, labels)) == pytest.approx(0.0, abs=1e-6)


def test_half_precision_is_summed_in_single():
    logits = jnp.zeros((1, 5000, 2), jnp.bfloat16)
    found = losses.dice(logits, jnp.zeros((1, 5000), jnp.uint8))
    assert found.dtype == jnp.float32
    assert float(found) == pytest.approx(1.0 / 3.0, rel=1e-6)


def test_sums():
    logits, labels, weight, _ = case((2, 4, 4))
    found = losses.loss_named("cross-entropy + squared-dice")(logits, labels, weight=weight)
    parts = losses.cross_entropy(logits, labels, weight=weight), losses.squared_dice(
        logits, labels, weight=weight
    )  # fmt: skip
    assert float(found) == pytest.approx(float(sum(parts)), rel=1e-6)


def test_bad_input():
    logits, labels, weight, class_weights = case((2, 4, 4))
    with pytest.raises(InputError, match=r"labels: got shape \(2, 4\), wants .*\(2, 4, 4\)"):
        losses.dice(logits, labels[..., 0])
    with pytest.raises(InputError, match="labels: got dtype float32, wants whole numbers"):
        losses.dice(logits, weight)
    with pytest.raises(InputError, match=r"weight: got shape \(4, 4\)"):
        losses.dice(logits, labels, weight=weight[0])
    with pytest.raises(InputError, match=r"weight: got shape \(3,\)"):
        losses.dice(logits, labels, weight=np.ones(3))
    with pytest.raises(
        InputError, match=r"class_weights: got shape \(2,\), wants one for each of 3"
    ):
        losses.dice(logits, labels, class_weights=class_weights[:2])
    with pytest.raises(InputError, match="loss: got 'dice\\+', wants mse"):
        losses.loss_named("dice+")
