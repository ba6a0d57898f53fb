"""Blobs: the connected parts of a phase one by one, and those that are larger than usual."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy.ndimage import generate_binary_structure, label

from bimmjax._core.checks import InputError, choice, real_number, whole_number
from bimmjax.descriptors._labels import layers, open_labels
from bimmjax.volumes import Volume, stream

_MOST_VOXELS = 2**31
_PROPERTIES = ("label", "area", "inertia_tensor", "extent", "equivalent_diameter_area")
# Standard deviation of normal values over their median and over their mean absolute deviation.
_PER_MEDIAN, _PER_MEAN = 1.482602218506, 1.253314137316


def blobs(
    labels: Any, phase: int, *, by_slice: bool = True, **options: Any
) -> dict[str, np.ndarray]:
    """Size, shape and place of each connected part of a phase.

    Source: Modular U-Net paper, data annotation, step 2.

    Parameters
    ----------
    labels : path, array or Volume
        (z, y, x) of whole numbers.
    phase : int
        Its label.
    by_slice : bool
        The parts of each slice (y, x), which are read a few at a time; else those in 3D, with
        the volume in memory several times.
    **options
        `spacing`, `unit`, `dataset`, `dtype`: as in `open_volume`.

    Returns
    -------
    dict of arrays (n,)
        One entry for each blob, slice after slice:

        `slice`: z index, voxels (by slice only). `label`: number of the blob, from 1 on in each
        slice, or in the volume. `area`: unit² of the spacing; in 3D `volume` instead, unit³.
        `aspect_ratio`: longest over shortest axis of the ellipse or ellipsoid of the same second
        moments. `extent`: share of the bounding box. `equivalent_diameter`: of the disc or ball
        as large, unit. `centroid_z`, `centroid_y`, `centroid_x`: voxels. `z_start`, `z_stop`,
        `y_start`, ...: bounding box, voxels.

    Raises
    ------
    InputError
        Labels that are no whole numbers, a phase below 0, 2³¹ voxels or more in 3D.

    Notes
    -----
    Voxels hang together across edges (2D) or faces (3D). In second moments they are boxes, not
    points: a row of n voxels has aspect ratio n.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((1, 5, 6), int)
    >>> labels[0, 1:3, 1:5] = labels[0, 4, 0] = 1
    >>> found = blobs(labels, 1, spacing=0.5, unit="um")
    >>> found["area"].tolist(), found["aspect_ratio"].round(9).tolist()
    ([2.0, 0.25], [2.0, 1.0])
    """
    phase = whole_number("phase", phase, 0, 2**63 - 1)
    volume = open_labels(labels, **options)
    if not by_slice and volume.voxels >= _MOST_VOXELS:
        raise InputError(f"labels: got {volume.voxels} voxels, wants less than {_MOST_VOXELS}")
    # A first blob that is none gives an empty table its columns.
    tables = [_table(np.ones((1,) * (2 if by_slice else 3), bool), volume.spacing, None)]
    tables[0] = {name: column[:0] for name, column in tables[0].items()}
    if by_slice:
        tables += [_table(inside, volume.spacing, at) for at, inside in _slices(volume, phase)]
    else:
        inside = volume.read(*(slice(None),) * 3) == phase
        tables.append(_table(inside, volume.spacing, None))
    return {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}


def _slices(volume: Volume, phase: int) -> Iterator[tuple[int, np.ndarray]]:
    """Slices where the phase is, with their index."""
    for block in stream(volume, layers(volume), halo=0):
        for k, data in enumerate(block.data):
            inside = data == phase
            if inside.any():
                yield block.start[0] + k, inside


def _table(
    inside: np.ndarray, spacing: tuple[float, float, float], at: int | None
) -> dict[str, np.ndarray]:
    """Of the blobs of a slice or of a volume; the slice's z index is `at`."""
    from skimage.measure import regionprops_table  # slow to import

    flat = inside.ndim == 2
    size = np.array(spacing[-inside.ndim :])
    parts: Any = label(inside, generate_binary_structure(inside.ndim, 1))
    found = regionprops_table(
        parts[0], properties=(*_PROPERTIES, "centroid", "bbox"), spacing=tuple(size)
    )
    count = len(found["label"])
    table = {"slice": np.full(count, at or 0, np.int64)} if flat else {}
    table |= {
        "label": found["label"].astype(np.int64),
        "area" if flat else "volume": np.asarray(found["area"], float),
        "aspect_ratio": _aspect_ratio(found, size),
        "extent": np.asarray(found["extent"], float),
        "equivalent_diameter": np.asarray(found["equivalent_diameter_area"], float),
    }
    axes = "yx" if flat else "zyx"
    centroids = {a: found[f"centroid-{k}"] / size[k] for k, a in enumerate(axes)}
    starts = {a: found[f"bbox-{k}"] for k, a in enumerate(axes)}
    stops = {a: found[f"bbox-{k + inside.ndim}"] for k, a in enumerate(axes)}
    if flat:
        z = table["slice"]
        centroids, starts, stops = (
            {"z": z, **centroids},
            {"z": z, **starts},
            {"z": z + 1, **stops},
        )
    table |= {f"centroid_{a}": np.asarray(centroids[a], float) for a in "zyx"}
    for a in "zyx":
        table[f"{a}_start"] = starts[a].astype(np.int64)
        table[f"{a}_stop"] = stops[a].astype(np.int64)
    return table


def _aspect_ratio(found: Mapping[str, np.ndarray], size: np.ndarray) -> np.ndarray:
    """From the inertia of points at the voxels' middles, and that of each voxel itself."""
    axes = range(len(size))
    inertia = np.stack(
        [np.stack([found[f"inertia_tensor-{i}-{j}"] for j in axes], -1) for i in axes], -2
    ).astype(float)
    trace = np.trace(inertia, axis1=-2, axis2=-1) / (len(size) - 1)
    spread = trace[:, None, None] * np.eye(len(size)) - inertia + np.diag(size**2 / 12.0)
    along = np.linalg.eigvalsh(spread)
    return np.sqrt(along[:, -1] / along[:, 0])


def outlier_blobs(
    table: Mapping[str, np.ndarray], *, by: str = "area", threshold: float = 3.5
) -> np.ndarray:
    """Which blobs are larger than usual, such as those that two bodies make together.

    Those whose logarithm lies above the median by more than `threshold` robust standard
    deviations (from the median absolute deviation).

    Source: the modified z-score of Iglewicz and Hoaglin, How to detect and handle outliers (1993).

    Parameters
    ----------
    table : dict of arrays (n,)
        From `blobs`.
    by : str
        A column above 0 everywhere: `area`, `volume`, `aspect_ratio`, `equivalent_diameter`, ...
    threshold : float
        Robust standard deviations.

    Returns
    -------
    array (n,) of bool
        Where more than half of the values are the same, the mean absolute deviation takes the
        median's place; none of them is an outlier where all are the same.

    Raises
    ------
    InputError
        A column that is not there or holds values that have no logarithm.

    Examples
    --------
    >>> import numpy as np
    >>> outlier_blobs({"area": np.array([9.0, 10.0, 11.0, 10.5, 1.0, 40.0])}).tolist()
    [False, False, False, False, False, True]
    """
    values = np.asarray(table[choice("by", by, tuple(table))], float)
    threshold = real_number("threshold", threshold, 0.0, 1e6)
    if not ((values > 0) & np.isfinite(values)).all():
        raise InputError(f"by: got {by!r} with values that are not above 0, wants a size or ratio")
    if values.size == 0:
        return np.zeros(0, bool)
    logs = np.log(values)
    off = logs - np.median(logs)
    scale = _PER_MEDIAN * np.median(np.abs(off)) or _PER_MEAN * np.mean(np.abs(off))
    return off > threshold * scale
