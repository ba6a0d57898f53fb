"""Two-point correlation and lineal path along the axes, by exact counts."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import numpy as np

from bimmjax._core.checks import whole_number
from bimmjax.descriptors._bits import counted, packed
from bimmjax.descriptors._labels import axis_number, open_labels, open_mask, rows, slabs
from bimmjax.volumes import Volume

# Bits kept of voxels, for lines along z; half a GiB.
_BITS = 2**32


class LineCounts(NamedTuple):
    """Counts along one axis, (lags,) int64 each; lag 0 is the voxels themselves.

    Attributes
    ----------
    pairs : array
        Both ends in the phase.
    paths : array
        All voxels from one end to the other in the phase.
    possible_pairs : array
        Pairs of all voxels that count.
    possible_paths : array
        Paths of all voxels that count.
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

    Streams: memory stays bounded whatever the volume's size, by a few layers of chunks
    and half a GiB. All is read twice; for lines along z more often if their bits exceed that.

    Source: FIB thesis, Eqs. 2.7 and 2.8; counted with bits instead of voxel by voxel.

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
    """
    volume = open_labels(labels)
    covered = open_mask(mask, volume)
    wanted = [phases] if isinstance(phases, int | np.integer) else list(phases)
    sizes = {axis_number(a): lags_of(volume, axis_number(a), lags) for a in axes}
    found: dict[tuple[int | None, int], np.ndarray] = {}
    for k, n in sizes.items():
        found |= {(p, k): np.zeros((2, n), np.int64) for p in [*wanted, None]}
        if covered is None:
            steps = volume.shape[k] - (0 if periodic else np.arange(n))
            found[None, k] += steps * (volume.voxels // volume.shape[k])
    for bits in (_along_layers, _across_layers):
        for p, k, words in bits(volume, covered, wanted, list(sizes)):
            found[p, k] += counted(words, sizes[k], periodic)
    return {
        (p, a): LineCounts(*found[p, axis_number(a)], *found[None, axis_number(a)])
        for p in wanted
        for a in axes
    }


# Lines' bits, of each phase or (None) of all that a mask lets count, and their axis.
_Bits = Generator[tuple[int | None, int, np.ndarray], None, None]


def _along_layers(
    volume: Volume, mask: Volume | None, phases: Sequence[int], axes: Sequence[int]
) -> _Bits:
    """Along y and x, slab by slab."""
    within = [k for k in axes if k]
    for _, labels, good in slabs(volume, mask) if within else ():
        for p, there in _sets(labels, good, phases):
            for k in within:
                yield p, k, packed(there, k)


def _across_layers(
    volume: Volume, mask: Volume | None, phases: Sequence[int], axes: Sequence[int]
) -> _Bits:
    """Along z: of all rows at once, or, beyond `_BITS`, of some after others.

    Slabs across y would have to be the whole volume where its chunks are whole slices. So layers
    are read as they lie, and only their bits, a bit per voxel and phase, wait for the last one.
    """
    z, y, x = volume.shape
    kept = len(set(phases)) + (mask is not None)
    share = max(_BITS // (max(kept, 1) * z * x), 1)
    if share >= volume.chunks[1] > 0:
        share -= share % volume.chunks[1]
    for start in range(0, y if 0 in axes else 0, share):
        part = slice(start, min(start + share, y))
        bits: dict[int | None, np.ndarray] = {}
        masked = None if mask is None else rows(mask, part)
        for place, labels, good in slabs(rows(volume, part), masked):
            for p, there in _sets(labels, good, phases):
                words = packed(there, 0)
                if p not in bits:
                    bits[p] = np.empty((z, words.shape[1]), words.dtype)
                bits[p][place] = words
        for p in list(bits):
            yield p, 0, bits.pop(p)


def _sets(
    labels: np.ndarray, good: np.ndarray | None, phases: Sequence[int]
) -> Generator[tuple[int | None, np.ndarray], None, None]:
    """Where each phase is that counts, and (None) all that counts, with a mask."""
    if good is not None:
        yield None, good
    for p in dict.fromkeys(phases):
        yield p, (labels == p if good is None else (labels == p) & good)


def lags_of(volume: Volume, axis: int, lags: int | None) -> int:
    """Number of lags along an axis, checked."""
    return volume.shape[axis] if lags is None else whole_number("lags", lags, 1, volume.shape[axis])


def _ratio(counts: np.ndarray, possible: np.ndarray) -> np.ndarray:
    return np.where(possible > 0, counts / np.maximum(possible, 1), np.nan)
