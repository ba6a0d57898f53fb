"""Labels against the truth: everything from one streamed confusion matrix."""

from __future__ import annotations

from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from bimmjax._core.checks import InputError, whole_number
from bimmjax.descriptors._labels import layers, open_labels, open_mask, open_phases
from bimmjax.volumes import open_volume, stream

_MOST_CLASSES = 256
# Unless more are asked for: labels beyond are not phases, but say that there is none.
_USUAL = 64


class Scores(NamedTuple):
    """How well labels agree with the truth; shares between 0 and 1, by class (N,) or over all.

    Means over classes ("macro") leave out classes that are in neither; such a class scores 1. One
    that is only in the truth, or only in the labels, scores 0. "Micro" means, of all voxels
    alike, are all equal to `accuracy`.

    Attributes
    ----------
    support : array
        Voxels of the truth, int64.
    accuracy : float
        Share of the voxels whose label is right.
    accuracy_by_class : array
        Of the question whether a voxel is of this class.
    precision : array
        Share of the voxels with this label that are of this class.
    recall : array
        Share of the voxels of this class that have this label.
    f1 : array
        Also called Dice.
    iou : array
        Also called Jaccard index.
    confusion : array
        (N, N) int64: rows are the truth, columns the labels.
    """

    support: np.ndarray
    accuracy: float
    accuracy_by_class: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    iou: np.ndarray
    confusion: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """(N,) bool: classes in the truth or in the labels."""
        return (self.confusion.sum(0) + self.confusion.sum(1)) > 0

    def macro(self, name: str) -> float:
        """Mean of a score over the classes that are present."""
        return float(np.mean(getattr(self, name)[self.present]))

    @property
    def misplaced(self) -> float:
        """MP, %: voxels with a wrong label."""
        return 100.0 * (1.0 - self.accuracy)

    @property
    def last(self) -> int:
        """The last class that is in the truth."""
        return int(np.flatnonzero(self.support)[-1])

    @property
    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond chance, whichever of the two is called the truth."""
        shares = self.normalised("all")
        chance = float(shares.sum(0) @ shares.sum(1))
        return 1.0 if chance == 1.0 else (self.accuracy - chance) / (1.0 - chance)

    def misplaced_of(self, solid: int) -> float:
        """MGP, %: voxels of a phase (gold, in the source) that have another label."""
        whole_number("solid", solid, 0, len(self.support) - 1)
        return 100.0 * (1.0 - float(self.recall[solid]))

    def normalised(self, by: str) -> np.ndarray:
        """The confusion matrix over the voxels of the "truth", of the "labels", or of "all"."""
        totals = {
            "truth": self.confusion.sum(1, keepdims=True),
            "labels": self.confusion.sum(0, keepdims=True),
            "all": self.confusion.sum(keepdims=True),
        }
        if by not in totals:
            raise InputError(f"by: got {by!r}, wants truth, labels or all")
        return self.confusion / np.maximum(totals[by], 1)

    def to_dict(self, solid: int | None = None) -> dict[str, Any]:
        """The content of `evaluate.json`; `solid` is MGP's phase, by default the truth's last."""
        solid = self.last if solid is None else solid
        by_class = ("accuracy_by_class", "precision", "recall", "f1", "iou")
        return {
            "mp": self.misplaced,
            "mgp": self.misplaced_of(solid),
            "solid": solid,
            "accuracy": self.accuracy,
            "kappa": self.kappa,
            "dice": self.f1.tolist(),
            "mean_dice": self.macro("f1"),
            "mean_iou": self.macro("iou"),
            **{name: getattr(self, name).tolist() for name in by_class},
            "macro": {name: self.macro(name) for name in by_class},
            "micro": dict.fromkeys(("precision", "recall", "f1"), self.accuracy),
            "support": self.support.tolist(),
            "confusion": self.confusion.tolist(),
            "confusion_shares": {
                by: self.normalised(by).tolist() for by in ("truth", "labels", "all")
            },
        }


def evaluate(
    labels: Any,
    truth: Any,
    *,
    classes: int | None = None,
    mask: Any = None,
    ignore: int | None = None,
) -> Scores:
    """How well labels agree with the truth: all scores, from one streamed pass.

    Parameters and errors as for `confusion_matrix`.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[[0, 0, 1, 1]]])
    >>> evaluate(np.array([[[0, 1, 1, 1]]]), truth).misplaced
    25.0
    """
    return scores(confusion_matrix(truth, labels, classes, mask=mask, ignore=ignore))


def confusion_matrix(
    truth: Any,
    labels: Any,
    classes: int | None = None,
    *,
    mask: Any = None,
    ignore: int | None = None,
) -> np.ndarray:
    """Voxels (N, N) int64 by their true class (rows) and by their label (columns).

    Parameters
    ----------
    truth, labels : path, array or Volume
        (z, y, x) of whole numbers from 0 on, of one shape. Streamed. Where `ignore` is not given,
        a mask of 0 and 255 counts as classes 0 and 1 (but of 256 `classes` 255 is one).
    classes : int, optional
        Number of classes, N; by default the largest label or class, plus one.
    mask : volume, optional
        Only voxels where it is not 0 count.
    ignore : int, optional
        A label, or true class, of voxels that do not count.

    Raises
    ------
    InputError
        Not whole numbers, negative or beyond `classes`, or volumes of different shapes.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[[0, 0, 1, 1]]])
    >>> confusion_matrix(truth, np.array([[[0, 1, 1, 1]]])).tolist()
    [[1, 1], [0, 2]]
    """
    size = _USUAL if classes is None else whole_number("classes", classes, 1, _MOST_CLASSES)
    right = open_phases(truth, "truth", ignore=ignore, classes=classes)
    told = open_phases(labels, ignore=ignore, classes=classes)
    if right.shape != told.shape:
        raise InputError(f"labels: got shape {told.shape}, wants that of the truth {right.shape}")
    covered = open_mask(mask, told, ignore)
    counts = np.zeros(size * size, np.int64)
    shape = layers(told)
    masks = repeat(None) if covered is None else stream(covered, shape, halo=0)
    both = zip(stream(right, shape, halo=0), stream(told, shape, halo=0), strict=True)
    for (one, other), kept in zip(both, masks, strict=False):
        held = slice(None) if kept is None else kept.data != 0
        a, b = one.data[held], other.data[held]
        if ignore is not None:
            a, b = a[a != ignore], b[a != ignore]
        pairs = _checked("truth", a, size) * size + _checked("labels", b, size)
        counts += np.bincount(pairs.ravel(), minlength=size * size)
    if counts.sum() == 0:
        raise InputError("mask: got no voxel that counts, wants at least one")
    matrix = counts.reshape(size, size)
    if classes is not None:
        return matrix
    held = np.flatnonzero(matrix.sum(0) + matrix.sum(1))
    return matrix[: held[-1] + 1, : held[-1] + 1] if held.size else matrix[:1, :1]


def scores(confusion: np.ndarray) -> Scores:
    """All scores of a confusion matrix (N, N): rows are the truth.

    Examples
    --------
    >>> import numpy as np
    >>> found = scores(np.array([[90, 10], [0, 100]]))
    >>> found.accuracy, found.iou.tolist(), round(found.misplaced_of(0), 9)
    (0.95, [0.9, 0.9090909090909091], 10.0)
    """
    matrix = np.asarray(confusion)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or (matrix < 0).any():
        raise InputError(f"confusion: got shape {matrix.shape}, wants counts (N, N)")
    hit = np.diag(matrix).astype(float)
    true, told = matrix.sum(1), matrix.sum(0)
    total = max(int(matrix.sum()), 1)
    absent = true + told == 0

    def share(of: np.ndarray) -> np.ndarray:
        return np.where(absent, 1.0, hit / np.maximum(of, 1))

    return Scores(
        support=true.astype(np.int64),
        accuracy=float(hit.sum() / total),
        accuracy_by_class=1.0 - (true + told - 2.0 * hit) / total,
        precision=share(told),
        recall=share(true),
        f1=share(0.5 * (true + told)),
        iou=share(true + told - hit),
        confusion=matrix.astype(np.int64),
    )


def zero_order(support: np.ndarray) -> np.ndarray:
    """Confusion matrix of a classifier that calls every voxel what most of them are (ZeroOC).

    Parameters
    ----------
    support
        (N,) voxels of each class.

    Examples
    --------
    >>> import numpy as np
    >>> scores(zero_order(np.array([81, 17, 2]))).iou.tolist()
    [0.81, 0.0, 0.0]
    """
    matrix = np.zeros((len(support), len(support)), np.int64)
    matrix[:, int(np.argmax(support))] = support
    return matrix


def bin_wise_zero_order(counts: np.ndarray) -> np.ndarray:
    """Confusion matrix of the best classifier that sees a voxel's grey value alone (Bin-ZeroOC).

    Source: Modular U-Net paper, appendix D.

    Parameters
    ----------
    counts
        (bins, N) voxels of each class by grey value (`counts_by_grey_value`).

    Examples
    --------
    >>> import numpy as np
    >>> bin_wise_zero_order(np.array([[9, 1], [2, 8]])).tolist()
    [[9, 2], [1, 8]]
    """
    classes = counts.shape[1]
    chosen = np.argmax(counts, 1)
    return np.stack([counts[chosen == k].sum(0) for k in range(classes)], 1).astype(np.int64)


def counts_by_grey_value(volume: Any, truth: Any, classes: int, *, bins: int = 256) -> np.ndarray:
    """Voxels (bins, N) of each class by grey value.

    Integers of up to 16 bits by value, anything else in `bins` equal steps from the least to the
    largest. Streamed; twice, where the range has to be found first.
    """
    grey, right = open_volume(volume), open_labels(truth, "truth")
    whole_number("classes", classes, 1, _MOST_CLASSES)
    whole_number("bins", bins, 1, 2**24)
    if right.shape != grey.shape:
        raise InputError(f"truth: got shape {right.shape}, wants that of the volume {grey.shape}")
    shape = layers(grey)
    by_value = grey.dtype.kind in "iu" and grey.dtype.itemsize <= 2
    if by_value:
        limits = np.iinfo(str(grey.dtype))
        low, size = float(limits.min), 2 ** (8 * grey.dtype.itemsize)
        width = 1.0
    else:
        ends = [_ends(b.data) for b in stream(grey, shape, halo=0)]
        low, high = min(a for a, _ in ends), max(b for _, b in ends)
        size, width = bins, max((high - low) / bins, 1e-300)
    counts = np.zeros(size * classes, np.int64)
    for block, labels in zip(
        stream(grey, shape, halo=0), stream(right, shape, halo=0), strict=True
    ):
        values = np.asarray(block.data, float)
        known = np.isfinite(values)
        at = np.clip((values[known] - low) // width, 0, size - 1).astype(np.int64)
        what = _checked("truth", labels.data, classes)[known]
        counts += np.bincount(at * classes + what, minlength=counts.size)
    return counts.reshape(size, classes)


def _ends(data: np.ndarray) -> tuple[float, float]:
    """Least and largest of those that are finite; infinity and less without any."""
    values = np.asarray(data, float)
    there = np.isfinite(values)
    return (
        float(np.min(values, where=there, initial=np.inf)),
        float(np.max(values, where=there, initial=-np.inf)),
    )


def _checked(name: str, data: np.ndarray, classes: int) -> np.ndarray:
    if data.size == 0:
        return data.astype(np.int64)
    low, high = int(data.min()), int(data.max())
    if low < 0 or high >= classes:
        raise InputError(
            f"{name}: got labels from {low} to {high}, wants 0 to {classes - 1}, one per phase; a "
            "label that means none has to be ignored (--ignore 255)"
        )
    return data.astype(np.int64)
