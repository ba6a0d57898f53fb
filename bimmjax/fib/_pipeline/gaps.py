"""Labels of slices where there were none: voxels without a number have no label."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from bimmjax._core.checks import InputError
from bimmjax.volumes import Volume

NO_LABEL = 255


def labelled_everywhere(labels: Volume) -> Volume:
    """Voxels without a label (255) take that of the nearest one in their slice, as they are read.

    Slices are worked out whole, one by one.
    """

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        found = np.empty([s.stop - s.start for s in (z, y, x)], labels.dtype)
        for k, i in enumerate(range(z.start, z.stop)):
            found[k] = _whole(labels.read(slice(i, i + 1), slice(None), slice(None))[0], i)[y, x]
        return found

    return replace(labels, reader=read, chunks=(1, *labels.shape[1:]))


def _whole(plane: np.ndarray, number: int) -> np.ndarray:
    missing = plane == NO_LABEL
    if missing.all():
        raise InputError(
            f"stacks: got slice {number} of the labels without any, wants grey values in each slice"
        )
    if not missing.any():
        return plane
    nearest: Any = distance_transform_edt(missing, return_distances=False, return_indices=True)
    return plane[tuple(nearest)]
