"""Whether a translation has left shapes where they were."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.nets._adapt.losses import gradient_correlation
from bimmjax.nets._data.specimen import check_same, open_named
from bimmjax.volumes import Volume, crop, sample_blocks, stream

_BINS, _SLAB = 512, 2**22
_BLOCKS, _EDGE = 8, 64  # that tell the range of grey values


class ShapesKept(NamedTuple):
    """How well shapes were kept.

    Attributes
    ----------
    gradient_correlation : float
        Mean over slices; 1: all edges where they were, with more or less contrast.
    dice_before : float or None
        Of solid by the best threshold on the grey values, against the truth.
    dice_after : float or None
        The same on translated ones: a moved edge cannot be had back by any threshold.
    """

    gradient_correlation: float
    dice_before: float | None
    dice_after: float | None


def shapes_kept(before: Any, after: Any, labels: Any = None, *, solid: int = 1) -> ShapesKept:
    """Compare a volume with its translation, slice by slice, streamed.

    Parameters
    ----------
    before, after : volume
        Anything `open_volume` takes, of one grid.
    labels : volume, optional
        The truth of `before`, whole numbers.
    solid : int
        The label whose Dice is told.

    Returns
    -------
    ShapesKept

    Raises
    ------
    InputError
        Grids that differ, labels that are no whole numbers or without `solid`, slices with fewer
        than 6 pixels along a side.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.nets import shapes_kept
    >>> labels = (np.random.default_rng(0).random((2, 16, 16)) < 0.3).astype(np.uint8)
    >>> found = shapes_kept(10.0 * labels, 5.0 - labels, labels)
    >>> [round(value, 3) for value in found]
    [-1.0, 1.0, 1.0]
    """
    one, other = open_named("before", before), open_named("after", after)
    check_same("after", other, one)
    if min(one.shape[1:]) < 6:
        raise InputError(f"before: got slices of {one.shape[1:]}, wants 6 pixels or more a side")
    truth = None if labels is None else truth_of(labels, one)
    slab = (max(_SLAB // (one.shape[1] * one.shape[2]), 1), *one.shape[1:])
    edges = [_edges(volume) for volume in (one, other)]
    counts = np.zeros((2, 2, _BINS), np.int64)
    total = 0.0
    for a, b in zip(stream(one, slab, halo=0), stream(other, slab, halo=0), strict=True):
        grey = [_finite(part.data) for part in (a, b)]
        total += float(jax.numpy.sum(_correlations(*(g[..., None] for g in grey))))
        if truth is None:
            continue
        z = slice(a.start[0], a.start[0] + a.core[0])
        right = truth.read(z, slice(None), slice(None)) == solid
        for number, (values, borders) in enumerate(zip(grey, edges, strict=True)):
            at = np.clip(np.searchsorted(borders, values), 0, _BINS - 1)
            for label in (0, 1):
                own = at[right == bool(label)]
                counts[number, label] += np.bincount(own, minlength=_BINS)
    mean = total / one.shape[0]
    if truth is None:
        return ShapesKept(mean, None, None)
    if not counts[0, 1].sum():
        raise InputError(f"labels: got no voxel of label {solid}, wants some")
    return ShapesKept(mean, *(_best_dice(*pair) for pair in counts))


def truth_of(labels: Any, volume: Volume) -> Volume:
    """Labels of a volume, opened.

    Raises
    ------
    InputError
        Grids that differ, labels that are no whole numbers.
    """
    truth = open_named("labels", labels)
    if truth.dtype.kind not in "iu":
        raise InputError(f"labels: got dtype {truth.dtype}, wants whole numbers")
    check_same("labels", truth, volume)
    return truth


def middle(volume: Volume, slices: int, side: int) -> Volume:
    """At most so many slices of at most `side` pixels a side, read when they are wanted."""
    box = []
    for size, most in zip(volume.shape, (slices, side, side), strict=True):
        first = max((size - most) // 2, 0)
        box.append(slice(first, first + min(size, most)))
    return crop(volume, *box)


_correlations = jax.jit(gradient_correlation)


def _finite(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)


def _edges(volume: Volume) -> np.ndarray:
    parts = [_finite(part).ravel() for part in sample_blocks(volume, _BLOCKS, _EDGE)]
    low, high = np.quantile(np.concatenate(parts), (0.001, 0.999))
    return np.linspace(low, max(high, low + 1e-12), _BINS - 1)


def _best_dice(outside: np.ndarray, inside: np.ndarray) -> float:
    """Of all thresholds, solid above or below them."""
    best = 0.0
    for a, b in ((outside, inside), (outside[::-1], inside[::-1])):
        right, wrong = np.cumsum(b), np.cumsum(a)
        best = max(best, float(np.max(2.0 * right / (right + wrong + b.sum()))))
    return best
