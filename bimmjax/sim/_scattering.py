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
from bimmjax.sim import _electrons
from bimmjax.sim._materials import Material

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
    """M materials, K bins of energy, L coarse ones."""

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
    return _bin(energy, _FINE)


def coarse_bin(energy: Array) -> Array:
    """As `fine_bin`, of the tables of angles."""
    return _bin(energy, _COARSE)


def _bin(energy: Array, drop: int) -> Array:
    bits = lax.bitcast_convert_type(energy.astype(jnp.float32), jnp.int32)
    top = _host_bin(HIGHEST, drop) - _host_bin(LOWEST, drop)
    return jnp.clip((bits >> drop) - _host_bin(LOWEST, drop), 0, top)


def _host_bin(energy: float, drop: int) -> int:
    return int(np.float32(energy).view(np.int32)) >> drop


def _energies(drop: int) -> np.ndarray:
    """The middles of the bins, keV."""
    edges = np.arange(_host_bin(LOWEST, drop), _host_bin(HIGHEST, drop) + 2, dtype=np.int32)
    values = (edges << drop).view(np.float32).astype(np.float64)
    return 0.5 * (values[1:] + values[:-1])


def scattering_tables(
    materials: Sequence[Material], model: str = "browning", mott: str | Path | None = None
) -> Tables:
    """Tables for `materials`, by labels 0 ... M - 1.

    Parameters
    ----------
    materials : those of each label.
    model : "browning", "rutherford", or "mott" with a file.
    mott : CSV with the header `z,energy_kev,angle_deg,cm2_per_sr`: differential elastic
        cross-sections of every element of the materials, at two or more energies, each at the
        same angles 0 to 180.

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
        data = _read_mott(Path(str(mott)), elements)
    else:
        data = {}
    fine, coarse = _energies(_FINE), _energies(_COARSE)
    free = np.zeros((len(materials), fine.size))
    stopping = np.zeros_like(free)
    screening = np.ones((len(materials), coarse.size))
    angles = np.zeros((len(materials), coarse.size, ANGLES + 1))
    for at, material in enumerate(materials):
        for z, _ in material.elements:
            atoms = _electrons.atoms_per_volume(material, z)
            free[at] += atoms * _cross_section(model, z, fine, data)
        stopping[at] = _electrons.stopping_power(material, fine) if material.elements else 0.0
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
    model: str, z: int, energies: np.ndarray, data: dict[int, _Differential]
) -> np.ndarray:
    if model == "browning":
        return _electrons.browning_cross_section(z, energies)
    if model == "rutherford":
        return _electrons.rutherford_cross_section(z, energies)
    return np.exp(np.interp(np.log(energies), np.log(data[z].energies), np.log(data[z].total)))


def _below(model: str, z: int, energy: float, data: dict[int, _Differential]) -> np.ndarray:
    """Share of collisions by angles below each of `_HALVES`."""
    if model == "mott":
        return data[z].below(energy)
    if model == "rutherford":
        screening = _electrons.rutherford_screening(z, np.float64(energy))
        return (1.0 + screening) * _HALVES / (_HALVES + screening)
    screening = 7e-3 / energy
    share = _electrons.browning_rutherford_share(z, np.float64(energy))
    forward = (1.0 + screening) * _HALVES / (_HALVES + screening)
    return share * forward + (1.0 - share) * _HALVES


def _angle_tables(
    material: Material, model: str, energies: np.ndarray, data: dict[int, _Differential]
) -> tuple[np.ndarray, np.ndarray]:
    uniform = 1.0 - (1.0 - np.arange(ANGLES + 1) / ANGLES) ** 2
    screenings, tables = [], []
    for energy in energies:
        below = np.zeros(_HALVES.size)
        for z, _ in material.elements:
            atoms = _electrons.atoms_per_volume(material, z)
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


class _Differential(NamedTuple):
    """Of one element: energies (E,) keV, halves (A,) of 1 - cos, cumulated (E, A), total (E,)."""

    energies: np.ndarray
    halves: np.ndarray
    cumulated: np.ndarray
    total: np.ndarray

    def below(self, energy: float) -> np.ndarray:
        at = np.interp(np.log(energy), np.log(self.energies), np.arange(self.energies.size))
        low = min(int(at), self.energies.size - 2)
        part = at - low
        mixed = (1.0 - part) * self.cumulated[low] + part * self.cumulated[low + 1]
        return np.interp(_HALVES, self.halves, mixed)


def _read_mott(path: Path, elements: set[int]) -> dict[int, _Differential]:
    wants = "a CSV with the header z,energy_kev,angle_deg,cm2_per_sr"
    try:
        rows = np.genfromtxt(path, delimiter=",", names=True, dtype=np.float64)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise InputError(
            f"mott: got {path}, which cannot be read ({error}), wants {wants}"
        ) from None
    names = ("z", "energy_kev", "angle_deg", "cm2_per_sr")
    if rows.dtype.names is None or set(rows.dtype.names) != set(names):
        raise InputError(f"mott: got {path} with columns {rows.dtype.names}, wants {wants}")
    z, energy, angle, wide = (np.atleast_1d(rows[name]) for name in names)
    if not all(np.isfinite(column).all() for column in (z, energy, angle, wide)):
        raise InputError(f"mott: got {path} with cells that are no numbers, wants {wants}")
    found = {}
    for number in sorted(elements):
        mine = z == number
        energies, angles = np.unique(energy[mine]), np.unique(angle[mine])
        whole = energies.size * angles.size == mine.sum()
        if not whole or energies.size < 2 or angles.size < 10 or wide[mine].min() <= 0.0:
            raise InputError(
                f"mott: got {path} with {mine.sum()} rows of element {number}, wants positive "
                "numbers at two or more energies, each at the same ten or more angles"
            )
        if angles[0] > 0.0 or angles[-1] < 180.0:
            raise InputError(
                f"mott: got angles {angles[0]:g} to {angles[-1]:g} of element {number}, wants "
                "0 to 180"
            )
        order = np.lexsort((angle[mine], energy[mine]))
        table = wide[mine][order].reshape(energies.size, angles.size)
        found[number] = _differential(energies, angles, table)
    return found


def _differential(energies: np.ndarray, angles: np.ndarray, table: np.ndarray) -> _Differential:
    """Integrals over angles, between those given by their logarithms."""
    fine = np.unique(np.concatenate([angles, np.logspace(-3, np.log10(180.0), 4000)]))
    fine = fine[(fine >= angles[0]) & (fine <= 180.0)]
    logs = np.array([np.interp(fine, angles, np.log(row)) for row in table])
    halves = 0.5 * (1.0 - np.cos(np.radians(fine)))
    middle = np.exp(0.5 * (logs[:, 1:] + logs[:, :-1]))
    # dΩ = 2π d(cos) = 4π d(half); cm² to nm².
    parts = 4.0 * np.pi * middle * np.diff(halves) * 1e14
    cumulated = np.concatenate([np.zeros((len(table), 1)), np.cumsum(parts, axis=1)], axis=1)
    total = cumulated[:, -1]
    return _Differential(energies, halves, cumulated / total[:, None], total)
