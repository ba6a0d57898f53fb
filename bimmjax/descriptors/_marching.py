"""Interface area by marching cubes, the field's usual reference; it reads some 8 % too much."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from bimmjax._core.checks import whole_number
from bimmjax.descriptors._crofton import MOST_PHASES
from bimmjax.descriptors._labels import open_labels

_BLOCK = 128


def marching_cubes_areas(labels: Any, phases: int, **options: Any) -> np.ndarray:
    """Area per volume of the interface of each two phases, by marching cubes on the labels.

    A surface around labels has facets where the sample has none: the area is too large, by 8.8 %
    for smooth bodies. `crofton_areas` has no such bias. Of three phases i, j and the rest the area
    of i and j is (A_i + A_j - A_ij) / 2, with A of each and of both together.

    Parameters, result and errors as for `crofton_areas`, without a mask; streamed in blocks.

    Examples
    --------
    >>> import numpy as np
    >>> z, y, x = np.indices((48, 48, 48)) - 23.5
    >>> ball = (z**2 + y**2 + x**2 < 20**2).astype(np.uint8)
    >>> area = marching_cubes_areas(ball, 2)[0] * 48**3
    >>> bool(1.06 < area / (4 * np.pi * 20**2) < 1.11)
    True
    """
    volume = open_labels(labels, **options)
    whole_number("phases", phases, 1, MOST_PHASES)
    pairs = list(itertools.combinations(range(phases), 2))
    singles = [(i,) for i in range(phases)]
    sets: list[tuple[int, ...]] = singles[:1] if phases == 2 else [*singles, *pairs]
    areas = dict.fromkeys(sets, 0.0)
    starts = [range(0, max(n - 1, 1), _BLOCK) for n in volume.shape]
    for corner in itertools.product(*starts):
        ends = [min(a + _BLOCK + 1, n) for a, n in zip(corner, volume.shape, strict=True)]
        z, y, x = (slice(a, e) for a, e in zip(corner, ends, strict=True))
        data = volume.read(z, y, x)
        if min(data.shape) < 2:
            continue
        for members in sets:
            inside = np.isin(data, members)
            if inside.any() and not inside.all():
                areas[members] += _area(inside, corner, volume.shape, volume.spacing)
    total = volume.voxels * float(np.prod(volume.spacing))
    if phases == 2:
        return np.array([areas[0,] / total])
    return np.array([(areas[i,] + areas[j,] - areas[i, j]) / 2.0 / total for i, j in pairs])


def _area(
    inside: np.ndarray,
    corner: tuple[int, ...],
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
) -> float:
    """Area of a block's surface, in cells at a face of the volume half as much again.

    Between the last centres and the faces nothing is seen; it is taken to be as next to it.
    """
    from skimage.measure import marching_cubes  # slow to import

    points, triangles, _, _ = marching_cubes(inside.astype(np.float32), 0.5)
    corners = points[triangles] * np.asarray(spacing)
    sides = corners[:, 1:] - corners[:, :1]
    areas = 0.5 * np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
    cells = np.floor(points[triangles].mean(1)) + np.asarray(corner)
    last = np.asarray(shape) - 2
    weight = 1.0 + 0.5 * ((cells <= 0).astype(float) + (cells >= last))
    return float(np.sum(areas * weight.prod(1)))
