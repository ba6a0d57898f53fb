"""Losses: pure functions of logits and labels, in 2D and in 3D.

All have one form, `loss(logits, labels, *, weight=None, class_weights=None)`, and give a scalar:

- `logits`: (batch, *space, classes); probabilities are their softmax.
- `labels`: (batch, *space), whole numbers 0 ... classes - 1; voxels labelled 255 do not count.
- `weight`: (batch, *space), how much each voxel counts, 0 or more; all alike if not given.
- `class_weights`: (classes,), how much each class counts; all alike if not given.

Where no voxel counts, a loss is 0 and so is its gradient. Sums are taken in float32 at least,
whatever the type of the logits. Labels beyond the classes cannot be refused within jit: `train`
does so before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from bimmjax._core.checks import InputError

IGNORED = 255
"""The label of voxels that do not count."""

SMOOTH = 1.0
"""Added above and below the line in `squared_jaccard`, by the source's authors."""

Loss = Callable[..., Array]
"""Logits and labels to one number; see `cross_entropy`."""


def cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
) -> Array:
    """Mean negative logarithm of the probability of the right class.

    Class weights multiply voxels, and their mean is that of the weighted voxels.

    Parameters, and what does not count, as for all of `bimmjax.nets.losses`.

    Returns
    -------
    scalar, float32, or float64 of float64

    Raises
    ------
    InputError
        Shapes that do not fit, labels that are no whole numbers.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bimmjax.nets import losses
    >>> logits = jnp.zeros((1, 2, 2, 4))
    >>> float(losses.cross_entropy(logits, jnp.array([[[0, 1], [2, 255]]]))) == float(jnp.log(4.0))
    True
    """
    given = _checked(logits, labels, weight, class_weights)
    right = jnp.take_along_axis(jax.nn.log_softmax(given.logits), given.labels[..., None], -1)
    return -_mean(right[..., 0], given.weight * given.class_weights[given.labels])


def mean_squared_error(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
) -> Array:
    """Mean square of probability minus truth (0 or 1), over voxels and classes.

    TXM paper, the run with two classes. Class weights multiply voxels by their true class.

    Parameters, result and errors as for `cross_entropy`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bimmjax.nets import losses
    >>> float(losses.mean_squared_error(jnp.zeros((1, 3, 2)), jnp.zeros((1, 3), int)))
    0.25
    """
    given = _checked(logits, labels, weight, class_weights)
    square = jnp.mean((given.probability - given.truth) ** 2, -1)
    return _mean(square, given.weight * given.class_weights[given.labels])


def dice(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
) -> Array:
    """One minus the Dice coefficient, 2 Σ y p / Σ (y + p), meant over the classes present.

    Sums run over the whole batch, with p the probability and y the truth (0 or 1) of a class. A
    class without a voxel that counts is left out, so that nothing need be added to the sums.

    Parameters, result and errors as for `cross_entropy`; class weights are those of the mean.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bimmjax.nets import losses
    >>> labels = jnp.array([[0, 1, 1]])
    >>> round(float(losses.dice(jnp.zeros((1, 3, 5)), labels)), 6)  # classes 2 to 4 are absent
    0.721154
    """
    given = _checked(logits, labels, weight, class_weights)
    return _dice(given, given.probability, given.truth)


def squared_dice(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
) -> Array:
    """One minus 2 Σ y p / Σ (y² + p²), meant over the classes present (Milletari 2016, eq. 2).

    As `dice` otherwise.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bimmjax.nets import losses
    >>> round(float(losses.squared_dice(jnp.zeros((1, 4, 2)), jnp.zeros((1, 4), int))), 6)
    0.2
    """
    given = _checked(logits, labels, weight, class_weights)
    return _dice(given, given.probability**2, given.truth)


def squared_jaccard(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
) -> Array:
    """Jaccard² loss: 1 - (I + 1) / (Σ y² + Σ p² - I + 1) with I = Σ y p (Modular U-Net, eq. C.2).

    Sums run over the batch and over all classes at once; an absent class therefore needs no care,
    and a rare one weighs little unless class weights multiply its terms.

    Parameters, result and errors as for `cross_entropy`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bimmjax.nets import losses
    >>> round(float(losses.squared_jaccard(jnp.zeros((1, 4, 2)), jnp.zeros((1, 4), int))), 6)
    0.4
    """
    given = _checked(logits, labels, weight, class_weights)
    each = given.weight[..., None] * given.class_weights
    both = jnp.sum(each * given.truth * given.probability)
    either = jnp.sum(each * (given.truth**2 + given.probability**2)) - both
    return 1.0 - (both + SMOOTH) / (either + SMOOTH)


LOSSES: dict[str, Loss] = {
    "mse": mean_squared_error,
    "cross-entropy": cross_entropy,
    "dice": dice,
    "squared-dice": squared_dice,
    "jaccard2": squared_jaccard,
}
"""All by the names that recipes know them by."""


def loss_named(name: str) -> Loss:
    """The loss of a name, or the sum of several: "dice", "cross-entropy+dice".

    Raises
    ------
    InputError
        A name that is none of `LOSSES`.

    Examples
    --------
    >>> from bimmjax.nets import losses
    >>> losses.loss_named("dice") is losses.dice
    True
    >>> losses.loss_named("hinge")
    Traceback (most recent call last):
        ...
    bimmjax._core.checks.InputError: loss: got 'hinge', wants mse, cross-entropy, dice, \
squared-dice or jaccard2, or a sum such as cross-entropy+dice
    """
    parts = [part.strip() for part in name.split("+")]
    if not all(part in LOSSES for part in parts):
        *most, last = LOSSES
        raise InputError(
            f"loss: got {name!r}, wants {', '.join(most)} or {last}, or a sum such as "
            "cross-entropy+dice"
        )
    if len(parts) == 1:
        return LOSSES[parts[0]]

    def total(logits: ArrayLike, labels: ArrayLike, **how: Any) -> Array:
        return sum((LOSSES[part](logits, labels, **how) for part in parts), jnp.float32(0.0))

    return total


class _Given(NamedTuple):
    """The arguments of a loss, in one shape and type."""

    logits: Array
    labels: Array
    """Those ignored are 0, and weigh nothing."""
    weight: Array
    class_weights: Array

    @property
    def probability(self) -> Array:
        return jax.nn.softmax(self.logits)

    @property
    def truth(self) -> Array:
        """1 at the right class, 0 elsewhere."""
        return jax.nn.one_hot(self.labels, self.logits.shape[-1], dtype=self.logits.dtype)


def _checked(
    logits: ArrayLike, labels: ArrayLike, weight: ArrayLike | None, class_weights: ArrayLike | None
) -> _Given:
    scores, right = jnp.asarray(logits), jnp.asarray(labels)
    if scores.ndim < 2 or right.shape != scores.shape[:-1]:
        raise InputError(
            f"labels: got shape {right.shape}, wants that of the logits without the classes, "
            f"{scores.shape[:-1]}"
        )
    if right.dtype.kind not in "iu":
        raise InputError(f"labels: got dtype {right.dtype}, wants whole numbers")
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    classes = scores.shape[-1]
    counts = right != IGNORED
    each = counts.astype(scores.dtype)
    if weight is not None:
        if jnp.shape(weight) != right.shape:
            raise InputError(
                f"weight: got shape {jnp.shape(weight)}, wants that of the labels {right.shape}"
            )
        each = jnp.where(counts, jnp.asarray(weight, scores.dtype), 0.0)
    by_class = jnp.ones(classes, scores.dtype)
    if class_weights is not None:
        by_class = jnp.asarray(class_weights, scores.dtype)
        if by_class.shape != (classes,):
            raise InputError(
                f"class_weights: got shape {by_class.shape}, wants one for each of {classes} "
                "classes"
            )
    return _Given(scores, jnp.where(counts, right, 0).astype(jnp.int32), each, by_class)


def _mean(values: Array, weight: Array) -> Array:
    total = jnp.sum(weight)
    return jnp.sum(weight * values) / jnp.where(total > 0.0, total, 1.0)


def _dice(given: _Given, probability: Array, truth: Array) -> Array:
    """Of probabilities and truths as they stand below the line."""
    axes = tuple(range(truth.ndim - 1))
    each = given.weight[..., None]
    both = jnp.sum(each * given.truth * given.probability, axes)
    either = jnp.sum(each * (truth + probability), axes)
    present = jnp.sum(each * truth, axes) > 0.0
    loss = 1.0 - 2.0 * both / jnp.where(present, either, 1.0)
    return _mean(loss, present * given.class_weights)
