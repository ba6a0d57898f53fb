"""Elastic cross-sections from a user's file: Mott's, computed elsewhere."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bimmjax._core.checks import InputError

_COLUMNS = ("z", "energy_kev", "angle_deg", "cm2_per_sr")
_WANTS = f"a CSV with the header {','.join(_COLUMNS)}"
_NM2 = 1e14  # in a cm²


class Differential(NamedTuple):
    """Of one element, E energies, A angles."""

    energies: np.ndarray
    """(E,) keV."""
    halves: np.ndarray
    """(A,) of 1 - cos."""
    cumulated: np.ndarray
    """(E, A) share of the collisions by smaller angles."""
    total: np.ndarray
    """(E,) nm²."""

    def cross_section(self, energies: np.ndarray) -> np.ndarray:
        """All angles together, nm², at `energies` in keV."""
        logs = np.interp(np.log(energies), np.log(self.energies), np.log(self.total))
        return np.exp(logs)

    def below(self, energy: float, halves: np.ndarray) -> np.ndarray:
        """Share of collisions by less than each of `halves` of 1 - cos."""
        at = np.interp(np.log(energy), np.log(self.energies), np.arange(self.energies.size))
        low = min(int(at), self.energies.size - 2)
        part = at - low
        mixed = (1.0 - part) * self.cumulated[low] + part * self.cumulated[low + 1]
        return np.interp(halves, self.halves, mixed)


def read_mott(path: Path, elements: set[int], highest: float) -> dict[int, Differential]:
    """The cross-sections of `elements` by atomic number, up to an energy of `highest` keV.

    Raises
    ------
    InputError
        A file that cannot be read, lacks an element, or does not reach angles or energies.
    """
    rows = _rows(path)
    z, energy, angle, wide = (np.atleast_1d(rows[name]) for name in _COLUMNS)
    if not all(np.isfinite(column).all() for column in (z, energy, angle, wide)):
        raise InputError(f"mott: got {path} with cells that are no numbers, wants {_WANTS}")
    found = {}
    for number in sorted(elements):
        mine = z == number
        energies, angles = np.unique(energy[mine]), np.unique(angle[mine])
        pairs = np.unique(np.stack([energy[mine], angle[mine]]), axis=1).shape[1]
        whole = energies.size * angles.size == mine.sum() == pairs
        if not whole or energies.size < 2 or angles.size < 10:
            raise InputError(
                f"mott: got {path} with {mine.sum()} rows of element {number}, wants two or more "
                "energies, each at the same ten or more angles, once"
            )
        if energies[0] <= 0.0 or wide[mine].min() <= 0.0:
            raise InputError(
                f"mott: got {path} with an energy or a cross-section of element {number} that is "
                "not positive, wants positive numbers"
            )
        if angles[0] != 0.0 or angles[-1] != 180.0:
            raise InputError(
                f"mott: got angles {angles[0]:g} to {angles[-1]:g} of element {number}, wants "
                "0 to 180"
            )
        if energies[-1] < highest * (1.0 - 1e-6):
            raise InputError(
                f"mott: got energies up to {energies[-1]:g} keV of element {number}, wants the "
                f"beam's {highest:g} keV or more"
            )
        order = np.lexsort((angle[mine], energy[mine]))
        table = wide[mine][order].reshape(energies.size, angles.size)
        found[number] = _integrated(energies, angles, table)
    return found


def _rows(path: Path) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            # An empty file is told below.
            warnings.simplefilter("ignore", UserWarning)
            rows = np.genfromtxt(path, delimiter=",", names=True, dtype=np.float64)
    except (OSError, ValueError, IndexError) as error:
        empty = isinstance(error, IndexError)
        reason = "no table in it" if empty else str(error).splitlines()[0].strip()
        raise InputError(
            f"mott: got {path}, which cannot be read ({reason}), wants {_WANTS}"
        ) from None
    if rows.dtype.names is None or set(rows.dtype.names) != set(_COLUMNS):
        raise InputError(f"mott: got {path} with columns {rows.dtype.names}, wants {_WANTS}")
    return rows


def _integrated(energies: np.ndarray, angles: np.ndarray, table: np.ndarray) -> Differential:
    """Integrals over angles; logarithms are straight between those given."""
    fine = np.unique(np.concatenate([angles, np.logspace(-3, np.log10(180.0), 4000)]))
    fine = fine[fine <= 180.0]
    logs = np.array([np.interp(fine, angles, np.log(row)) for row in table])
    halves = np.sin(np.radians(0.5 * fine)) ** 2
    middle = np.exp(0.5 * (logs[:, 1:] + logs[:, :-1]))
    # dΩ = 2π d(cos) = 4π d(half).
    parts = 4.0 * np.pi * middle * np.diff(halves) * _NM2
    cumulated = np.concatenate([np.zeros((len(table), 1)), np.cumsum(parts, axis=1)], axis=1)
    total = cumulated[:, -1]
    return Differential(energies, halves, cumulated / total[:, None], total)
