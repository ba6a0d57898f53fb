"""Tables of what happens to an electron in each material at each energy.

Energies are binned by the leading bits of their float32: evenly in each octave, found by a shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bimmjax._core.checks import InputError, choice
from bimmjax.sim._electrons import bulk
from bimmjax.sim._electrons.materials import Material
from bimmjax.sim._electrons.mott import Differential, read_mott

LOWEST, HIGHEST = 0.05, 30.0
"""keV; slower electrons count as absorbed."""
LEAST = 0.5
"""keV, of a beam."""
_FINE, _COARSE = 18, 20  # bits dropped: 32 bins an octave, 8 for angles
ANGLES = 512
# Halves of (1 - cos θ), close together where the forward peak is.
_HALVES = np.concatenate([[0.0], np.logspace(-9, 0, 3000)])

MODELS = ("browning", "rutherford", "mott")


class Tables(NamedTuple):
    """M materials, K bins of energy, L edges of coarse ones."""

    free: Array
    """(M * K,) float32, collisions per nm."""
    stopping: Array
    """(M * K,) float32, keV/nm."""
    reach: Array
    """(K,) float32, nm: the longest way that is left in any of the materials."""
    screening: Array
    """(M * L,) float32, α of the variable in which angles are tabulated."""
    angles: Array
    """(M * L * 513,) float32, that variable over 1 - √(1 - u), u uniform."""


def fine_bin(energy: Array) -> Array:
    """Of energies in keV; the cut-off's is 0."""
    return _bin(_bits(energy), _FINE, 0)


def coarse_bin(energy: Array, random: Array) -> Array:
    """The table of angles for `energy`: `random`, 8 bits, draws that of one edge of its bin.

    The nearer edge is the likelier one, so that on the mean angles are those in between.
    """
    up = (random.astype(jnp.int32) << (_COARSE - 8)) + (1 << (_COARSE - 9))
    return _bin(_bits(energy) + up, _COARSE, 1)


def _bits(energy: Array) -> Array:
    return lax.bitcast_convert_type(energy.astype(jnp.float32), jnp.int32)


def _bin(bits: Array, drop: int, more: int) -> Array:
    top = _host_bin(HIGHEST, drop) - _host_bin(LOWEST, drop) + more
    return jnp.clip((bits >> drop) - _host_bin(LOWEST, drop), 0, top)


def _host_bin(energy: float, drop: int) -> int:
    return int(np.float32(energy).view(np.int32)) >> drop


def _edges(drop: int) -> np.ndarray:
    """Of the bins, keV."""
    edges = np.arange(_host_bin(LOWEST, drop), _host_bin(HIGHEST, drop) + 2, dtype=np.int32)
    return (edges << drop).view(np.float32).astype(np.float64)


def scattering_tables(
    materials: Sequence[Material],
    model: str = "browning",
    mott: str | Path | None = None,
    *,
    energy: float = LEAST,
) -> Tables:
    """Tables for `materials`, by labels 0 ... M - 1.

    Parameters
    ----------
    materials : those of each label.
    model : "browning", "rutherford", or "mott" with a file.
    mott : CSV with the header `z,energy_kev,angle_deg,cm2_per_sr`: differential elastic
        cross-sections of every element of the materials, at two or more energies, each at the
        same angles 0 to 180. Below the lowest energy all stays as it is there.
    energy : of the beam, keV, which the file must reach.

    Raises
    ------
    InputError
        An unknown model, or a file that does not hold what it must.
    """
    choice("model", model, MODELS)
    if (model == "mott") != (mott is not None):
        raise InputError(f"mott: got {mott} with the model {model}, wants a file with mott only")
    if model == "mott":
        elements = {z for m in materials for z, _ in m.elements}
        data = read_mott(Path(str(mott)), elements, energy)
    else:
        data = {}
    edges, coarse = _edges(_FINE), _edges(_COARSE)
    fine = 0.5 * (edges[1:] + edges[:-1])
    free = np.zeros((len(materials), fine.size))
    stopping = np.zeros_like(free)
    screening = np.ones((len(materials), coarse.size))
    angles = np.zeros((len(materials), coarse.size, ANGLES + 1))
    for at, material in enumerate(materials):
        for z, _ in material.elements:
            atoms = bulk.atoms_per_volume(material, z)
            free[at] += atoms * _cross_section(model, z, fine, data)
        stopping[at] = bulk.stopping_power(material, fine) if material.elements else 0.0
        if material.elements:
            screening[at], angles[at] = _angle_tables(material, model, coarse, data)
    return Tables(
        *(
            jnp.asarray(table.ravel(), jnp.float32)
            for table in (free, stopping, _reach(fine, stopping), screening, angles)
        )
    )


def _reach(energies: np.ndarray, stopping: np.ndarray) -> np.ndarray:
    slowest = stopping.min(axis=0)
    if not slowest.all():
        return np.full(energies.size, np.inf)
    widths = np.diff(energies, prepend=LOWEST)
    # From the upper end of the bin, so that nothing is given up that may still come out.
    return np.cumsum(widths / slowest) + widths / slowest


def _cross_section(
    model: str, z: int, energies: np.ndarray, data: dict[int, Differential]
) -> np.ndarray:
    if model == "browning":
        return bulk.browning_cross_section(z, energies)
    if model == "rutherford":
        return bulk.rutherford_cross_section(z, energies)
    return data[z].cross_section(energies)


def _below(model: str, z: int, energy: float, data: dict[int, Differential]) -> np.ndarray:
    """Share of collisions by angles below each of `_HALVES`."""
    if model == "mott":
        return data[z].below(energy, _HALVES)
    if model == "rutherford":
        screening = bulk.rutherford_screening(z, energy)
        return (1.0 + screening) * _HALVES / (_HALVES + screening)
    screening = 7e-3 / energy
    share = bulk.browning_rutherford_share(z, energy)
    forward = (1.0 + screening) * _HALVES / (_HALVES + screening)
    return share * forward + (1.0 - share) * _HALVES


def _angle_tables(
    material: Material, model: str, energies: np.ndarray, data: dict[int, Differential]
) -> tuple[np.ndarray, np.ndarray]:
    uniform = 1.0 - (1.0 - np.arange(ANGLES + 1) / ANGLES) ** 2
    screenings, tables = [], []
    for energy in energies:
        below = np.zeros(_HALVES.size)
        for z, _ in material.elements:
            atoms = bulk.atoms_per_volume(material, z)
            rate = atoms * _cross_section(model, z, np.array([energy]), data)[0]
            below += rate * _below(model, z, energy, data)
        below /= below[-1]
        half = np.interp(uniform, below, _HALVES)
        middle = np.interp(0.5, below, _HALVES)
        # The variable that is uniform where half of the collisions are in the forward peak.
        screening = min(middle / max(1.0 - 2.0 * middle, 1e-3), 1e3)
        screenings.append(screening)
        tables.append((1.0 + screening) * half / (half + screening))
    return np.array(screenings), np.array(tables)
