"""Two-point correlation and lineal path along the axes, by exact counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bimmjax._core.checks import whole_number
from bimmjax.descriptors._bits import counted
from bimmjax.descriptors._labels import axis_number, open_labels, open_mask, slabs
from bimmjax.volumes import Volume


class LineCounts(NamedTuple):
    """Counts along one axis, (lags,) int64 each; lag 0 is the voxels themselves.

    pairs : both ends in the phase. paths : all voxels from one end to the other in the phase.
    possible_pairs, possible_paths : the same of all voxels that count.
    """

    pairs: np.ndarray
    paths: np.ndarray
    possible_pairs: np.ndarray
    possible_paths: np.ndarray

    @property
    def two_point(self) -> np.ndarray:
        """S2 (lags,); NaN where no pair is possible."""
        return _ratio(self.pairs, self.possible_pairs)

    @property
    def lineal_path(self) -> np.ndarray:
        """L (lags,); NaN where no path is possible."""
        return _ratio(self.paths, self.possible_paths)

    @property
    def mean_chord(self) -> float:
        """<l²> / (2 <l>) of the runs, voxels: what L/φ of unbounded lines integrates to.

        All runs have to be shorter than the lags; NaN without any.
        """
        if self.paths[0] == 0:
            return float("nan")
        return float((2 * self.paths.sum() - self.paths[0]) / (2 * self.paths[0]))


def line_counts(
    labels: Any,
    phases: Sequence[int] | int = 1,
    axes: Sequence[str] = ("z", "y", "x"),
    *,
    lags: int | None = None,
    periodic: bool = False,
    mask: Any = None,
) -> dict[tuple[int, str], LineCounts]:
    """Counts behind two-point correlation, lineal path and chords, by (phase, axis).

    Streams: memory stays bounded whatever the volume's size.

    Parameters
    ----------
    labels : path, array or Volume
        (z, y, x) of whole numbers.
    phases : int or sequence of int
        Labels of the phases.
    axes : sequence of str
        Of "z", "y", "x".
    lags : int, optional
        From 0 on, at most the voxels along the axis; those by default.
    periodic : bool
        The volume repeats; else pairs and paths end at its faces.
    mask : volume, optional
        Of the same shape; only voxels where it is not 0 count.

    Raises
    ------
    InputError
        Labels that are not whole numbers, a mask of another shape, too many lags.

    Examples
    --------
    >>> import numpy as np
    >>> stripes = np.tile(np.arange(8) // 4, (4, 4, 1))
    >>> found = line_counts(stripes, 1, ["x"])[1, "x"]
    >>> found.two_point[:3], found.mean_chord
    (array([0.5       , 0.42857143, 0.33333333]), 2.0)

    Source: FIB thesis, Eqs. 2.7 and 2.8; counted with bits instead of voxel by voxel.
    """
    volume = open_labels(labels)
    covered = open_mask(mask, volume)
    wanted = [phases] if isinstance(phases, int | np.integer) else list(phases)
    found: dict[tuple[int, str], LineCounts] = {}
    # Slabs across y serve the lines along z and x, those across z the lines along y.
    for along, served in ((1, (0, 2)), (0, (1,))):
        here = [k for k in served if "zyx"[k] in axes]
        if here:
            found |= _through(volume, covered, along, here, wanted, lags, periodic)
    return {(p, a): found[p, a] for p in wanted for a in axes if axis_number(a) >= 0}


def _through(
    volume: Volume,
    mask: Volume | None,
    along: int,
    axes: Sequence[int],
    phases: Sequence[int],
    lags: int | None,
    periodic: bool,
) -> dict[tuple[int, str], LineCounts]:
    """All slabs across one axis: lines along the others."""
    sizes = {k: lags_of(volume, k, lags) for k in axes}
    inside = {(p, k): np.zeros((2, sizes[k]), np.int64) for p in phases for k in axes}
    possible = {k: np.zeros((2, sizes[k]), np.int64) for k in axes}
    for data, good in slabs(volume, mask, along):
        for k in axes:
            if good is not None:
                possible[k] += counted(good, k, sizes[k], periodic)
            else:
                steps = data.shape[k] - (0 if periodic else np.arange(sizes[k]))
                possible[k] += steps * (data.size // data.shape[k])
        for p in phases:
            there = data == p
            if good is not None:
                there &= good
            for k in axes:
                inside[p, k] += counted(there, k, sizes[k], periodic)
    return {(p, "zyx"[k]): LineCounts(*inside[p, k], *possible[k]) for p in phases for k in axes}


def lags_of(volume: Volume, axis: int, lags: int | None) -> int:
    """Number of lags along an axis, checked."""
    return volume.shape[axis] if lags is None else whole_number("lags", lags, 1, volume.shape[axis])


def _ratio(counts: np.ndarray, possible: np.ndarray) -> np.ndarray:
    return np.where(possible > 0, counts / np.maximum(possible, 1), np.nan)
