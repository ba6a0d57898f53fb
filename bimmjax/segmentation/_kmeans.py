"""k-means of grey values, on the histogram."""

from __future__ import annotations

from typing import Any

import numpy as np

from bimmjax._core.checks import InputError, whole_number
from bimmjax.segmentation._grey import by_thresholds, grey_values
from bimmjax.volumes import Volume, open_volume

STARTS = 10
MOST_CLUSTERS = 64


def kmeans(volume: Any, clusters: int = 3, *, seed: int = 0, **options: Any) -> Volume:
    """Labels 0 ... clusters - 1 (by grey value) by k-means, as a volume worked out when read.

    Worked out on the histogram, so exactly on all voxels of volumes of any size.

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x), grey values. Streamed.
    clusters : int
        2 to 64. The FIB thesis takes 3: the third is for what shines through pores.
    seed : int
        Of the starts.
    **options
        `spacing`, `unit`, `dataset`, `dtype`: as in `open_volume`.

    Raises
    ------
    InputError
        Fewer grey values than clusters, or no finite ones.

    Examples
    --------
    >>> import numpy as np
    >>> volume = np.array([[[0, 1, 100, 101, 200, 201]]], np.uint8)
    >>> kmeans(volume).read(slice(None), slice(None), slice(None)).tolist()
    [[[0, 0, 1, 1, 2, 2]]]
    """
    from sklearn.cluster import KMeans

    opened = open_volume(volume, **options)
    whole_number("clusters", clusters, 2, MOST_CLUSTERS)
    found = grey_values(opened)
    held = found.counts > 0
    enough(clusters, int(held.sum()), "grey values")
    means = KMeans(clusters, n_init=STARTS, random_state=seed)  # pyright: ignore[reportArgumentType]
    means.fit(found.centres[held, None], sample_weight=found.counts[held])
    centres = np.sort(means.cluster_centers_[:, 0])
    return by_thresholds(opened, 0.5 * (centres[1:] + centres[:-1]), "k-means")


def enough(clusters: int, held: int, what: str) -> None:
    """An `InputError` if there is less to sort than clusters."""
    if held < clusters:
        raise InputError(f"clusters: got {clusters} for {held} {what}, wants no more than that")
