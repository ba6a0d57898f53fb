"""The numbers of the shine-through model that come with the package, and where they come from."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from importlib.resources import files

import numpy as np

from bimmjax.sim._materials import Material
from bimmjax.sim._shine import ShineThrough


def shine_through_model(materials: Sequence[Material], energy: float) -> ShineThrough:
    """The model for some materials at a voltage.

    The calibration for empty pores is taken where vacuum is among the materials, else that for
    filled ones. Between the calibrated voltages the logarithms of the numbers go linearly with the
    logarithm of the voltage; beyond them the nearest are taken, and only ranges and bulk
    coefficients follow the voltage.

    Parameters
    ----------
    materials : those of the volume.
    energy : keV.
    """
    empty = any(not m.elements for m in materials)
    rows = calibration()["vacuum" if empty else "epoxy"]
    energies = sorted(rows, key=float)
    logs = np.log([[rows[e][name] for name in ShineThrough._fields] for e in energies])
    at = np.log([float(e) for e in energies])
    return ShineThrough(
        *(float(np.exp(np.interp(np.log(energy), at, column))) for column in logs.T)
    )


@functools.cache
def calibration() -> dict:
    """As shipped: by filling of the pores and voltage, with `provenance`."""
    text = files("bimmjax.sim").joinpath("shine_through.json").read_text(encoding="utf-8")
    return json.loads(text)
