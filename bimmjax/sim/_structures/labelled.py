"""Labelled volumes with what is true of them, and cuts that meet a fraction to the voxel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bimmjax._core.checks import InputError, real_number
from bimmjax.sim._structures.structure import Structure, checked_structure, structure_labels
from bimmjax.sim._structures.truth import interface_areas
from bimmjax.volumes import Volume


class Labelled(NamedTuple):
    """Labels of N phases, and the truth about their P pairs (0,1), (0,2), (1,2), ...

    Attributes
    ----------
    labels : array
        (z, y, x) uint8, 0 ... N-1.
    fractions : array
        (N,) share of the voxels of each phase, counted.
    interface_areas : array
        (P,) area per volume, 1/voxel, of the surface between voxels, before it was sampled; NaN
        where it is not known.
    interface_areas_std : array
        (P,) standard error of the areas: 0 unless they were measured on a part of the volume.
    """

    labels: np.ndarray
    fractions: np.ndarray
    interface_areas: np.ndarray
    interface_areas_std: np.ndarray


class LabelledVolume(NamedTuple):
    """As `Labelled`, of a volume that is made box by box as it is read, whatever its size.

    Attributes
    ----------
    volume : Volume
        Of uint8 labels, with voxel size and unit; `bimmjax.convert` writes it.
    fractions : array
    interface_areas : array
    interface_areas_std : array
    """

    volume: Volume
    fractions: np.ndarray
    interface_areas: np.ndarray
    interface_areas_std: np.ndarray


def label_structure(structure: Structure, *, periodic: bool = False) -> Labelled:
    """The labels of level sets, with their fractions and the areas of their interfaces.

    Parameters
    ----------
    structure
        Such as `levelled_wave` and `gaussian_structure` make.
    periodic
        Whether it repeats, as for `interface_areas`.

    Returns
    -------
    Labelled

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import label_structure, levelled_wave
    >>> found = label_structure(levelled_wave(jax.random.key(0), (32, 32, 32), 0.25, 12.0))
    >>> found.labels.dtype.name, found.fractions.tolist()
    ('uint8', [0.75, 0.25])
    """
    structure = checked_structure(structure)
    labels = np.asarray(structure_labels(structure))
    areas = interface_areas(structure, periodic=periodic)
    return Labelled(labels, shares(labels, len(structure.levels) + 1), areas, np.zeros(len(areas)))


def shares(labels: np.ndarray, phases: int) -> np.ndarray:
    """(phases,) share of the voxels that carry each label."""
    return np.array([np.count_nonzero(labels == k) for k in range(phases)]) / labels.size


def wanted_voxels(name: str, share: object, voxels: int) -> int:
    """How many voxels a share amounts to; it lies between 0 and 1, and leaves some on each side."""
    found = real_number(name, share, 0.0, 1.0)
    if not 0.0 < found < 1.0:
        raise InputError(f"{name}: got {found:g}, wants a share between 0 and 1")
    count = round(found * voxels)
    if not 0 < count < voxels:
        raise InputError(f"{name}: got {found:g}, which is no or every voxel of {voxels}")
    return count


def highest(score: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    """Where `score` is among its `count` highest, and the lowest of those.

    Of equal ones the first in C order are taken, so that the count is met.
    """
    flat = score.ravel()
    level = np.partition(flat, flat.size - count)[flat.size - count]
    taken = flat > level
    missing = count - int(np.count_nonzero(taken))
    taken[np.flatnonzero(flat == level)[:missing]] = True
    return taken.reshape(score.shape), float(level)
