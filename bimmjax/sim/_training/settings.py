"""What training sets are made of, checked, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bimmjax._core.checks import InputError, choice, real_number, whole_number
from bimmjax.sim import _checks
from bimmjax.sim._electrons.materials import Material, known_material
from bimmjax.sim._electrons.scattering import HIGHEST, LEAST
from bimmjax.sim._instrument.image import Instrument
from bimmjax.sim._instrument.volume import detector_levels
from bimmjax.sim._shine.images import escape_depth
from bimmjax.sim._shine.model import ShineThrough
from bimmjax.sim._structures.wave_volumes import ligament_wavelength

_KINDS = {"wave": (30.0,), "hierarchical": (110.0, 15.0), "pores": (40.0, 10.0)}
_STRAY = 5.0  # standard deviations that drift and the sum of thicknesses may reach
_TAPS = 2  # pixels around a shifted one that make it
_DEPTH_STEP = 16  # slices that the model of shine-through takes together

REGISTERED = Instrument(drift_walk=0.0)
"""As stacks are after registration: what adds up of the drift is gone."""


class TrainingSettings(NamedTuple):
    """Of a set of images with their truth; lengths in nm.

    Attributes
    ----------
    shape : tuple[int, int, int]
        Slices, rows and columns of each image.
    spacing : float
        Edge of a voxel.
    energies : tuple[float, ...]
        keV, one image each.
    kind : str
        "wave", "hierarchical" or "pores".
    lengths : tuple[float, ...] or None
        Mean ligament diameter of a wave (30), of both levels of a hierarchy (110 and 15), or
        mean and standard deviation of the radii of pores (40 and 10); see `measure`.
    measure : str
        What `lengths` are of waves: "ligament" (`ligament_wavelength`) or "wavelength".
    solid_fraction : tuple[float, float]
        Drawn evenly between these, one for each volume.
    solid : str or Material
    pore : str or Material
    tilt : float
        Degrees, 0 to 52.
    thickness : tuple[float, float] or None
        Mean and standard deviation of slices of uneven thickness; a voxel each by default.
    instrument : Instrument or None
        None leaves clean yields. Its `black` and `white` are set by `levels`.
    levels : tuple[float, float] or None
        Yields that become 0 and 1; by default `detector_levels` at each voltage.
    below : int or None
        Slices of the structure below the last image; by default as deep as electrons come from.
    waves : int
        Of each level.
    models : tuple[ShineThrough, ...] or None
        One for each voltage, if not those shipped.
    """

    shape: tuple[int, int, int] = (64, 256, 256)
    spacing: float = 5.0
    energies: tuple[float, ...] = (1.0, 2.0, 4.0)
    kind: str = "hierarchical"
    lengths: tuple[float, ...] | None = None
    measure: str = "ligament"
    solid_fraction: tuple[float, float] = (0.1, 0.4)
    solid: str | Material = "gold"
    pore: str | Material = "epoxy"
    tilt: float = 0.0
    thickness: tuple[float, float] | None = None
    instrument: Instrument | None = REGISTERED
    levels: tuple[float, float] | None = None
    below: int | None = None
    waves: int = 200
    models: tuple[ShineThrough, ...] | None = None


class Sizes(NamedTuple):
    """Of the structure that is made for one volume."""

    box: tuple[int, int, int]
    """Voxels."""
    margin: int
    """Voxels of it on each side along y and x that are in no image."""
    deepest: int
    """The last slice that may be imaged."""


def sizes(settings: TrainingSettings) -> Sizes:
    """How large a structure has to be; the same for all volumes, so that code is compiled once."""
    deep, high, wide = settings.shape
    margin = 0
    told = settings.instrument
    if told is not None and (told.drift_walk or told.drift_jitter):
        reach = told.drift_walk * math.sqrt(deep) + told.drift_jitter
        margin = math.ceil(_STRAY * reach) + _TAPS
    # A tilted beam leaves to the side on its way down.
    aside = _depth(settings) * math.tan(math.radians(settings.tilt))
    margin += math.ceil(aside / settings.spacing)
    deepest = deep - 1
    if settings.thickness is not None:
        mean, std = _steps(*settings.thickness, settings.spacing)
        deepest = math.ceil(mean * (deep - 1) + _STRAY * std * math.sqrt(deep - 1)) + 1
    below = settings.below
    if below is None:
        below = math.ceil(_depth(settings) / settings.spacing)
    slices = -(-(deepest + 1 + below) // _DEPTH_STEP) * _DEPTH_STEP
    return Sizes((slices, high + 2 * margin, wide + 2 * margin), margin, deepest)


def _steps(mean: float, std: float, step: float) -> tuple[float, float]:
    """Mean and standard deviation of thicknesses by a gamma law, in whole steps, at least one."""
    from scipy.stats import gamma

    law = gamma((mean / std) ** 2, scale=std**2 / mean)
    counts = np.arange(1, max(math.ceil((mean + 40.0 * std) / step), 1) + 1)
    below = np.append(0.0, law.cdf((counts + 0.5) * step))
    shares = np.diff(below)
    middle = float((shares * counts).sum())
    return middle, math.sqrt(max(float((shares * (counts - middle) ** 2).sum()), 0.0))


def _depth(settings: TrainingSettings) -> float:
    depth = escape_depth(materials(settings), max(settings.energies))
    # Through empty pores one sees that deep into the solid alone.
    empty = not known_material("pore", settings.pore).elements
    return depth / settings.solid_fraction[0] if empty else depth


def materials(settings: TrainingSettings) -> list[str | Material]:
    """Of label 0 and label 1."""
    return [settings.pore, settings.solid]


def lengths(settings: TrainingSettings, fraction: float) -> list[float]:
    """Wavelengths, or mean and standard deviation of radii, in voxels."""
    told = _KINDS[settings.kind] if settings.lengths is None else settings.lengths
    if settings.kind != "pores" and settings.measure == "ligament":
        # Each level of a hierarchy has the root of the fraction.
        own = fraction ** (1.0 / len(told))
        told = [ligament_wavelength(length, own) for length in told]
    return [length / settings.spacing for length in told]


def levels(settings: TrainingSettings, energy: float) -> tuple[float, float]:
    """Yields that become 0 and 1."""
    if settings.levels is not None:
        return settings.levels
    return detector_levels(materials(settings), energy, settings.tilt)


def checked_settings(settings: TrainingSettings) -> TrainingSettings:
    """Refuse what no volume can be made of, before any is begun."""
    shape = _checks.volume_shape("shape", settings.shape)
    real_number("spacing", settings.spacing, 1e-3, 1e6)
    energies = _checks.numbers("energies", settings.energies, "one keV or several")
    for energy in energies:
        real_number("energies", float(energy), LEAST, HIGHEST)
    if len(set(energies)) < len(energies):
        raise InputError(f"energies: got {settings.energies}, wants different ones")
    real_number("tilt", settings.tilt, 0.0, 52.0)
    for name, given in (("solid", settings.solid), ("pore", settings.pore)):
        known_material(name, given)
    if not known_material("solid", settings.solid).elements:
        raise InputError(f"solid: got {settings.solid!r}, wants something that scatters")
    if settings.below is not None:
        whole_number("below", settings.below, 0, 2**20)
    if settings.models is not None and len(settings.models) != len(energies):
        raise InputError(f"models: got {len(settings.models)}, wants {len(energies)}")
    _two("solid_fraction", settings.solid_fraction, 0.0, 1.0)
    if settings.levels is not None:
        _checks.rising("black", settings.levels[0], "white", settings.levels[1], 1)
    if settings.thickness is not None:
        _checks.numbers("thickness", settings.thickness, "mean and standard deviation, nm")
        if len(settings.thickness) != 2 or not 0.0 < settings.thickness[1] <= settings.thickness[0]:
            raise InputError(
                f"thickness: got {settings.thickness}, wants mean and standard deviation, nm, the "
                "latter above 0 and at most the mean"
            )
    _check_lengths(settings)
    return settings._replace(shape=shape, energies=tuple(energies.tolist()))


def _two(name: str, ends: Sequence[float], low: float, high: float) -> None:
    found = _checks.numbers(name, ends, "two numbers")
    if found.size != 2 or not low < found[0] <= found[1] < high:
        raise InputError(
            f"{name}: got {' '.join(f'{end:g}' for end in found)}, wants two numbers between "
            f"{low:g} and {high:g}, the lower first"
        )


def _check_lengths(settings: TrainingSettings) -> None:
    choice("kind", settings.kind, tuple(_KINDS))
    choice("measure", settings.measure, ("ligament", "wavelength"))
    count = len(_KINDS[settings.kind])
    if settings.lengths is not None:
        found = _checks.numbers("lengths", settings.lengths, "lengths, nm")
        if found.size != count or found.min() <= 0.0:
            raise InputError(f"lengths: got {settings.lengths}, wants {count} above 0, nm")
    if settings.kind == "pores":
        return
    edge = min(sizes(settings).box)
    for fraction in np.linspace(*settings.solid_fraction, 9):
        for length in lengths(settings, float(fraction)):
            if not 2.0 <= length <= edge:
                raise InputError(
                    f"lengths: got a wavelength of {length:.3g} voxels at a solid fraction of "
                    f"{fraction:.3g}, wants 2 to {edge}, the shortest edge of the structure"
                )
