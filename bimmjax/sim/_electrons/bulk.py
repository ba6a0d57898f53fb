"""How electrons of 0.05 to 30 keV scatter and slow down: formulas, all by table or on the host.

Energies in keV, lengths in nm, cross-sections in nm² unless a name says otherwise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bimmjax.sim._electrons.materials import Material, atomic_weight

AVOGADRO = 6.02214076e23
_CM2 = 1e14  # nm² in a cm²


def backscatter_coefficient(number: float, energy: float) -> float:
    """Share of the beam that a bulk of one element scatters back, beam upright.

    η = C E^m with m = 0.1382 - 0.9211/√Z and C a cubic in ln Z; a fit to measurements at 5 keV
    and above, extrapolated below.

    Source: Hunger and Küchler (1979); FIB thesis, Eqs. 2.2-2.4, where the formula is misprinted.

    Parameters
    ----------
    number
        Atomic number Z.
    energy
        keV.

    Examples
    --------
    >>> from bimmjax.sim import backscatter_coefficient
    >>> round(backscatter_coefficient(79, 20.0), 3)
    0.484
    """
    log = np.log(number)
    power = 0.1382 - 0.9211 / np.sqrt(number)
    factor = 0.1904 - 0.2236 * log + 0.1292 * log**2 - 0.01491 * log**3
    return float(factor * energy**power)


def bulk_backscatter(material: Material, energy: float) -> float:
    """`backscatter_coefficient` of a material: the mean over its elements by mass; vacuum has 0.

    Source: Castaing's rule of mixtures.
    """
    return sum(
        share * max(backscatter_coefficient(z, energy), 0.0) if z > 1 else 0.0
        for z, share in material.elements
    )


def electron_range(material: Material, energy: float) -> float:
    """How deep a beam goes: R = 27.6 A E^1.67 / (ρ Z^0.89), nm; infinite in vacuum.

    Of a compound Z is the mean over its electrons, and A that Z times the mass per electron.

    Source: Kanaya and Okayama (1972).

    Examples
    --------
    >>> from bimmjax.sim import MATERIALS, electron_range
    >>> round(electron_range(MATERIALS["gold"], 2.0), 1)
    18.3
    """
    if not material.density:
        return np.inf
    # Moles of electrons per gram, by element.
    electrons = [(z, share * z / atomic_weight(z)) for z, share in material.elements]
    total = sum(moles for _, moles in electrons)
    number = sum(z * moles for z, moles in electrons) / total
    return float(27.6 * number / total * energy**1.67 / (material.density * number**0.89))


def browning_cross_section(number: int, energy: npt.ArrayLike) -> np.ndarray:
    """Elastic, all angles, nm²; a fit to Mott cross-sections, 0.1-30 keV.

    Source: Browning et al. (1994).
    """
    z, energy = float(number), np.asarray(energy, np.float64)
    root = np.sqrt(energy)
    below = energy + 0.005 * z**1.7 * root + 0.0007 * z**2 / root
    return 3e-18 * z**1.7 / below * _CM2


def browning_rutherford_share(number: int, energy: npt.ArrayLike) -> np.ndarray:
    """Share of collisions with Rutherford's angles (screening 7e-3/E); the rest are isotropic."""
    energy = np.asarray(energy, np.float64)
    ratio = 300.0 * energy ** (1.0 - number / 2000.0) / number + number**3 / (3e5 * energy)
    return ratio / (1.0 + ratio)


def rutherford_screening(number: int, energy: npt.ArrayLike) -> np.ndarray:
    """α of the screened Rutherford cross-section, 3.4e-3 Z^0.67/E."""
    return 3.4e-3 * number**0.67 / np.asarray(energy, np.float64)


def rutherford_cross_section(number: int, energy: npt.ArrayLike) -> np.ndarray:
    """Elastic, screened Rutherford with the relativistic factor, nm².

    Source: Joy, Monte Carlo Modeling for Electron Microscopy and Microanalysis (1995).
    """
    energy = np.asarray(energy, np.float64)
    screening = rutherford_screening(number, energy)
    relativistic = ((energy + 511.0) / (energy + 1022.0)) ** 2
    wide = 5.21e-21 * (number / energy) ** 2 * 4.0 * np.pi / (screening * (1.0 + screening))
    return wide * relativistic * _CM2


def stopping_power(material: Material, energy: npt.ArrayLike) -> np.ndarray:
    """Energy lost per length, keV/nm, positive; Bethe's law as it was mended for low energies.

    Source: Joy and Luo (1989).
    """
    volts = np.asarray(energy, np.float64) * 1e3
    total = np.zeros_like(volts)
    for z, share in material.elements:
        # Hydrogen's mean potential is not what the law of heavier elements gives.
        potential = 9.76 * z + 58.5 * z**-0.19 if z > 1 else 19.2
        inner = 0.731 + 0.0688 * np.log10(z)
        bracket = np.log(1.166 * (volts + inner * potential) / potential)
        total += share * z / atomic_weight(z) * bracket
    # eV/Å is 1e-2 keV/nm.
    return 785.0 * material.density * total / volts * 1e-2


def atoms_per_volume(material: Material, number: int) -> float:
    """Atoms of an element in a material, per nm³."""
    share = sum(part for z, part in material.elements if z == number)
    return material.density * share / atomic_weight(number) * AVOGADRO * 1e-21
