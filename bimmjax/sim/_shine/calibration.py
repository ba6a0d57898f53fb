"""Calibrations of the shine-through model: the one that comes with the package, and others."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError, real_number
from bimmjax.sim._electrons.materials import Material, known_material
from bimmjax.sim._electrons.scattering import HIGHEST, LEAST
from bimmjax.sim._shine.model import ShineThrough

FILLINGS = ("epoxy", "vacuum")


def shine_through_model(materials: Sequence[str | Material], energy: float) -> ShineThrough:
    """The model for some materials at a voltage, by the calibration that comes with the package.

    It was made for gold at 1, 2 and 4 kV, in epoxy and with empty pores; the latter is taken where
    vacuum is among the materials.

    Parameters
    ----------
    materials
        Those of the volume.
    energy
        keV; see `calibrated_model` for those in between and beyond.

    Returns
    -------
    ShineThrough

    Examples
    --------
    >>> from bimmjax.sim import shine_through_model
    >>> 0.1 < shine_through_model(["epoxy", "gold"], 2.0).depth < 0.3
    True
    """
    return calibrated_model(shipped(), materials, energy)


@functools.cache
def shipped() -> dict[str, Any]:
    """By filling of the pores and voltage, and its provenance."""
    text = files("bimmjax.sim._shine").joinpath("shine_through.json").read_text(encoding="utf-8")
    return json.loads(text)


def calibrated_model(
    calibration: Mapping[str, Any], materials: Sequence[str | Material], energy: float
) -> ShineThrough:
    """The model for some materials at a voltage, from a calibration like the shipped one.

    Between the calibrated voltages the logarithms of the numbers go linearly with that of the
    voltage; beyond them the nearest are taken, and only ranges and bulk coefficients follow it.

    Parameters
    ----------
    calibration
        By filling of the pores ("epoxy", "vacuum"), then by voltage ("2"), the fields
        of `ShineThrough`; what `bimmjax simulate calibrate` writes.
    materials
        Those of the volume; with vacuum among them the filling is "vacuum".
    energy
        keV.

    Returns
    -------
    ShineThrough

    Raises
    ------
    InputError
        The filling is not there, its numbers are damaged, or the energy is out of range.

    Examples
    --------
    >>> from bimmjax.sim import ShineThrough, calibrated_model
    >>> numbers = dict.fromkeys(ShineThrough._fields, 1.0)
    >>> calibrated_model({"epoxy": {"2": numbers}}, ["epoxy", "gold"], 3.0).depth
    1.0
    """
    energy = real_number("energy", energy, LEAST, HIGHEST)
    empty = any(not known_material("materials", m).elements for m in materials)
    filling = FILLINGS[empty]
    rows = calibration.get(filling)
    if not isinstance(rows, Mapping) or not rows:
        had = ", ".join(name for name in FILLINGS if calibration.get(name)) or "none"
        raise InputError(f"calibration: got {had}, wants one for pores with {filling}")
    try:
        energies = sorted(rows, key=float)
        found = np.array(
            [[float(rows[e][name]) for name in ShineThrough._fields] for e in energies]
        )
        at = np.array([float(e) for e in energies])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"calibration: got damaged numbers for {filling} ({error}), wants "
            f"{', '.join(ShineThrough._fields)} for each keV"
        ) from None
    if not (np.all((found > 0.0) & np.isfinite(found)) and np.all(at > 0.0)):
        raise InputError(f"calibration: got numbers for {filling} that are not all above 0")
    where, logs = np.log(at), np.log(found)
    return ShineThrough(
        *(math.exp(np.interp(math.log(energy), where, column)) for column in logs.T)
    )
