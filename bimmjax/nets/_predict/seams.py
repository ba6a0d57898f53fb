"""Whether the borders of tiles show in what was predicted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def seam_score(values: np.ndarray, borders: Sequence[int], axis: int, period: int = 1) -> float:
    """How far changes across the borders of tiles stand out from those elsewhere.

    Of each pair of neighbouring planes the mean absolute difference is taken, over the mean of
    the pairs before and after it, so that slow changes of the specimen do not count. Where pooling
    makes a pattern of its own, borders are compared with what stands at the same place of it.

    Parameters
    ----------
    values : (z, y, x) labels, or (z, y, x, classes) logits.
    borders : first voxels of tiles' cores along `axis`, without that of the volume.
    axis : 0, 1 or 2.
    period : of the network's coarsest grid (`Network.multiple`).

    Returns
    -------
    float
        Standard errors by which the borders' mean exceeds the others'. 4 or more is a seam; NaN
        where there is nothing to compare with.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = rng.normal(size=(8, 8, 64))
    >>> bool(abs(seam_score(values, [16, 32, 48], 2)) < 4)
    True
    >>> values[..., 16:32] += 5
    >>> bool(seam_score(values, [16, 32, 48], 2) > 4)
    True
    """
    planes = np.moveaxis(np.asarray(values), axis, 0)
    if planes.dtype.kind in "iu":
        steps = (planes[1:] != planes[:-1]).reshape(len(planes) - 1, -1).mean(1)
    else:
        steps = np.abs(np.diff(planes.astype(np.float64), axis=0)).reshape(len(planes) - 1, -1)
        steps = steps.mean(1)
    # Of planes 2 ... n - 2, each with the one before it.
    stand_out = steps[1:-1] - 0.5 * (steps[:-2] + steps[2:])
    at = np.arange(2, len(planes) - 1)
    near = np.min(np.abs(at[:, None] - np.asarray(borders)[None]), axis=1, initial=len(planes))
    scores = []
    for border in borders:
        others = stand_out[(near > 1) & ((at - border) % period == 0)]
        here = stand_out[at == border]
        if here.size and others.size > 2 and others.std() > 0.0:
            scores.append((here[0] - others.mean()) / others.std(ddof=1))
    return float(np.sum(scores) / np.sqrt(len(scores))) if scores else float("nan")
