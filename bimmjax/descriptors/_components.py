"""Connected parts of a phase: how many, how large, from face to face; and its Euler number."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import generate_binary_structure, label

from bimmjax._core.checks import InputError
from bimmjax.descriptors._labels import open_labels

_NEIGHBOURS = {6: 1, 26: 3}
_MOST_VOXELS = 2**31


class Components(NamedTuple):
    """Connected parts of one phase.

    Attributes
    ----------
    sizes : array
        (n,) voxels of each, largest first.
    percolates : dict[str, bool]
        By axis, whether one of them touches both faces.
    connected : dict[str, float]
        Share of the phase that is in such a part, by axis.
    euler : int
        Parts less tunnels plus cavities.
    """

    sizes: np.ndarray
    percolates: dict[str, bool]
    connected: dict[str, float]
    euler: int


def components(labels: Any, phase: int = 1, *, neighbours: int = 6) -> Components:
    """Connected parts of a phase, of a volume that fits in memory several times.

    Parameters
    ----------
    labels : path, array or Volume
        (z, y, x) of whole numbers, less than 2³¹ voxels.
    phase : int
        Its label.
    neighbours : int
        6 or 26: which voxels around one hang together with it.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((4, 4, 4), int)
    >>> labels[:, 1, 1] = labels[0, 3, 3] = 1
    >>> found = components(labels)
    >>> found.sizes.tolist(), found.percolates, found.euler
    ([4, 1], {'z': True, 'y': False, 'x': False}, 2)
    """
    if neighbours not in _NEIGHBOURS:
        raise InputError(f"neighbours: got {neighbours!r}, wants 6 or 26")
    volume = open_labels(labels)
    if volume.voxels >= _MOST_VOXELS:
        raise InputError(f"labels: got {volume.voxels} voxels, wants less than {_MOST_VOXELS}")
    everything = (slice(None),) * 3
    inside = volume.read(*everything) == phase
    found: Any = label(inside, generate_binary_structure(3, _NEIGHBOURS[neighbours]))
    parts, count = found
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    total = max(int(sizes.sum()), 1)
    percolates, connected = {}, {}
    for axis, name in enumerate("zyx"):
        first, last = (np.unique(parts.take(end, axis)) for end in (0, -1))
        through = np.intersect1d(first, last)
        through = through[through > 0]
        percolates[name] = bool(through.size)
        connected[name] = float(sizes[through - 1].sum() / total)
    return Components(np.sort(sizes)[::-1], percolates, connected, _euler(inside, neighbours))


def _euler(inside: np.ndarray, neighbours: int) -> int:
    if neighbours == 6:
        # Voxels are points, and what hangs together spans edges, squares and cubes.
        return _alternating(inside, np.logical_and)
    # The union of closed voxels: a face, edge or corner is there if any voxel around it is.
    return -_alternating(np.pad(inside, 1), np.logical_or)


def _alternating(inside: np.ndarray, both: np.ufunc) -> int:
    """Voxels, less pairs of neighbours, plus squares, less cubes: those for which `both` holds."""
    total = 0
    for axes in itertools.chain.from_iterable(
        itertools.combinations(range(3), k) for k in range(4)
    ):
        held = inside
        for axis in axes:
            near = [slice(None)] * 3
            far = near.copy()
            near[axis], far[axis] = slice(None, -1), slice(1, None)
            held = both(held[tuple(near)], held[tuple(far)])
        total += (-1) ** len(axes) * int(np.count_nonzero(held))
    return total
