"""One call from labels to all that describes their geometry."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError, whole_number
from bimmjax.descriptors._anisotropy import curve_anisotropy, diameter_anisotropy
from bimmjax.descriptors._autocorrelation import plane_two_point, radial_two_point
from bimmjax.descriptors._components import Components, components
from bimmjax.descriptors._crofton import MOST_PHASES, crofton_areas
from bimmjax.descriptors._labels import AXES, layers, open_mask, open_phases
from bimmjax.descriptors._lines import LineCounts, line_counts
from bimmjax.descriptors._marching import marching_cubes_areas
from bimmjax.models import phase_pairs
from bimmjax.volumes import Volume, stream

# Curves that are compared.
_COMPARED = 128


@dataclass(frozen=True, eq=False)
class Description:
    """What labels say of the geometry of each phase; lengths in `length_unit`.

    Attributes
    ----------
    phases : int
        Labels run from 0 to `phases` - 1.
    voxels : numpy.ndarray
        Of each phase, (N,) int64.
    lines : dict
        Counts behind two-point correlation and lineal path, by (phase, axis): `LineCounts`.
    planes, radial : dict
        Two-point correlation in the planes perpendicular to an axis, by (phase, axis), and over all
        directions, by phase; (lags,).
    crofton, marching_cubes : numpy.ndarray or None
        Interface areas per volume, (N(N-1)/2,), 1/length.
    parts : dict
        Connected parts, by phase: `Components`; None where they were not asked for.
    spacing : tuple of float
    length_unit : str
    periodic : bool
    left_out : float
        Share of all voxels that a mask or a label to ignore leaves out.
    """

    phases: int
    voxels: np.ndarray
    lines: dict[tuple[int, str], LineCounts]
    planes: dict[tuple[int, str], np.ndarray]
    radial: dict[int, np.ndarray]
    crofton: np.ndarray
    marching_cubes: np.ndarray | None
    parts: dict[int, Components] | None
    spacing: tuple[float, float, float]
    length_unit: str
    periodic: bool = False
    left_out: float = 0.0

    @property
    def volume_fractions(self) -> np.ndarray:
        """(N,) of the voxels that count."""
        return self.voxels / max(int(self.voxels.sum()), 1)

    def lags(self, axis: str) -> np.ndarray:
        """Lengths of the lags along an axis."""
        count = self.lines[0, axis].pairs.size // 2
        return np.arange(max(count, 1)) * self.spacing[AXES.index(axis)]

    def diameters(self, phase: int) -> dict[str, float]:
        """Ligament diameters: mean chords <l²>/(2<l>) along each axis, lengths; NaN without any."""
        return {
            axis: self.lines[phase, axis].mean_chord * h
            for axis, h in zip(AXES, self.spacing, strict=True)
        }

    def anisotropy(self, phase: int) -> dict[str, float]:
        """How much z differs from x and y: of correlation, lineal path and ligament diameter.

        Curves are compared in steps of the coarsest voxel size, up to 127 of them or as far as all
        three axes go.
        """
        two_point, lineal = (
            {axis: self._curve(phase, axis, name) for axis in AXES}
            for name in ("two_point", "lineal_path")
        )
        return {
            "e_tpcf": curve_anisotropy(two_point),
            "e_lpf": curve_anisotropy(lineal),
            "e_d": diameter_anisotropy(self.diameters(phase)),
        }

    def _curve(self, phase: int, axis: str, name: str) -> np.ndarray:
        """A curve in steps of the coarsest voxel size."""
        lengths = self.lags(axis)
        values = getattr(self.lines[phase, axis], name)[: lengths.size]
        step = max(self.spacing)
        at = np.arange(min(int(lengths[-1] / step + 1e-9) + 1, _COMPARED)) * step
        return np.interp(at, lengths, values)

    def to_dict(self) -> dict[str, Any]:
        """The content of `describe.json`: plain numbers, lists and None; never NaN."""
        pairs = [f"{i}-{j}" for i, j in phase_pairs(self.phases)]
        names = {str(p): p for p in range(self.phases)}
        return {
            "phases": self.phases,
            "volume_fractions": _plain(self.volume_fractions),
            "voxels": [int(n) for n in self.voxels],
            "left_out": self.left_out,
            "two_point": {
                name: {
                    **{a: _plain(self.lines[p, a].two_point[: self.lags(a).size]) for a in AXES},
                    **{f"plane_{a}": _plain(self.planes[p, a]) for a in AXES if self.planes},
                    **({"radial": _plain(self.radial[p])} if self.radial else {}),
                }
                for name, p in names.items()
            },
            "lineal_path": {
                name: {a: _plain(self.lines[p, a].lineal_path[: self.lags(a).size]) for a in AXES}
                for name, p in names.items()
            },
            "ligament_diameter": {
                name: {a: _plain(d) for a, d in self.diameters(p).items()}
                for name, p in names.items()
            },
            "anisotropy": {
                name: {k: _plain(e) for k, e in self.anisotropy(p).items()}
                for name, p in names.items()
            },
            "interface_areas": {
                "crofton": dict(zip(pairs, _plain(self.crofton), strict=True)),
                "marching_cubes": None
                if self.marching_cubes is None
                else dict(zip(pairs, _plain(self.marching_cubes), strict=True)),
            },
            "components": None
            if self.parts is None
            else {
                name: {
                    "count": int(self.parts[p].sizes.size),
                    "largest": [int(n) for n in self.parts[p].sizes[:100]],
                    "euler": self.parts[p].euler,
                    "connected": self.parts[p].connected,
                }
                for name, p in names.items()
            },
            "percolates": None
            if self.parts is None
            else {name: self.parts[p].percolates for name, p in names.items()},
            "spacing": list(self.spacing),
            "units": {"length": self.length_unit},
            "periodic": self.periodic,
        }


def describe(
    labels: Any,
    phases: int | None = None,
    *,
    periodic: bool = False,
    mask: Any = None,
    ignore: int | None = None,
    planes: bool = True,
    radial: bool = True,
    marching: bool = True,
    parts: bool = True,
    neighbours: int = 6,
    spacing: Any = None,
    unit: str | None = None,
    dataset: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Description:
    """Fractions, correlations, chords, areas and connected parts of each phase of labels.

    Parameters
    ----------
    labels : path, array or Volume
        (z, y, x) of whole numbers from 0 on. Where `ignore` is not given, a mask of 0 and 255 is
        phases 0 and 1.
    phases : int, optional
        Their number; by default the largest label plus one.
    periodic : bool
        The volume repeats: correlations and paths go on through its faces.
    mask : volume, optional
        Of the same shape; only voxels where it is not 0 count. Connected parts and marching cubes
        know no masks and are left out.
    ignore : int, optional
        A label that says that there is none (255 in those of `segment`): as masked.
    planes, radial, marching, parts : bool
        Whether to work out correlations in planes and over all directions, areas by marching
        cubes, and connected parts (in memory). The rest streams, and is fast.
    neighbours : int
        6 or 26: which voxels hang together.
    spacing
        As in `open_volume`; voxels need not be cubic.
    unit
        As in `open_volume`.
    dataset
        As in `open_volume`.
    progress : callable, optional
        Called with what is worked out next, in a word or two.

    Returns
    -------
    Description

    Raises
    ------
    InputError
        Labels that are no whole numbers from 0 on, or more than `phases`; a mask of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.descriptors import describe
    >>> found = describe(np.random.default_rng(0).integers(0, 2, (16, 16, 16)))
    >>> found.phases, found.to_dict()["percolates"]["1"]
    (2, {'z': True, 'y': True, 'x': True})
    """
    volume = open_phases(labels, ignore=ignore, spacing=spacing, unit=unit, dataset=dataset)
    covered = open_mask(mask, volume, ignore)
    say = progress or (lambda _: None)
    say("fractions")
    voxels = count_labels(volume, covered, phases)
    held = list(range(voxels.size))
    say("lines")
    lines = line_counts(volume, held, periodic=periodic, mask=covered)
    flat: dict[tuple[int, str], np.ndarray] = {}
    if planes:
        say("planes")
        flat = {
            (p, a): plane_two_point(volume, p, a, periodic=periodic, mask=covered)
            for p in held
            for a in AXES
        }
    if radial:
        say("all directions")
    radials = {
        p: radial_two_point(volume, p, periodic=periodic, mask=covered) for p in held if radial
    }
    say("areas")
    crofton = crofton_areas(volume, voxels.size, mask=covered)
    # A slice has no surfaces, only lines.
    cubed = marching and covered is None and min(volume.shape) > 1
    cubes = marching_cubes_areas(volume, voxels.size) if cubed else None
    found = None
    if parts and covered is None:
        say("connected parts")
        found = {p: components(volume, p, neighbours=neighbours) for p in held}
    return Description(
        phases=voxels.size,
        voxels=voxels,
        lines=lines,
        planes=flat,
        radial=radials,
        crofton=crofton,
        marching_cubes=cubes,
        parts=found,
        spacing=volume.spacing,
        length_unit=volume.unit,
        periodic=periodic,
        left_out=1.0 - int(voxels.sum()) / math.prod(volume.shape),
    )


def count_labels(volume: Volume, mask: Volume | None, phases: int | None) -> np.ndarray:
    """Voxels of each label, (N,) int64."""
    most = MOST_PHASES if phases is None else whole_number("phases", phases, 1, MOST_PHASES)
    shape = layers(volume)
    counts = np.zeros(most, np.int64)
    masks = None if mask is None else stream(mask, shape, halo=0, threads=1, ahead=0)
    for block in stream(volume, shape, halo=0):
        values = block.data if masks is None else block.data[next(masks).data != 0]
        if values.size == 0:
            continue
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= most:
            raise InputError(
                f"labels: got values from {low} to {high}, wants 0 to {most - 1}, one per phase, "
                "or what is none to be ignored"
            )
        counts += np.bincount(values.ravel(), minlength=most)
    if counts.sum() == 0:
        raise InputError("mask: got no voxel that counts, wants at least one")
    return counts if phases is not None else counts[: int(np.flatnonzero(counts)[-1]) + 1]


def _plain(value: Any) -> Any:
    if np.ndim(value) > 0:
        return [_plain(x) for x in np.asarray(value)]
    number = float(value)
    return number if math.isfinite(number) else None
