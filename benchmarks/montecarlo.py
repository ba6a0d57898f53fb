"""Single electrons: bulks against formulas, the books, how many are given up, and how fast."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks._report import Table, say, spread
from bimmjax import sim

# keV and the share by which the coefficient may differ from the formula's.
_BULKS = {
    "gold": (79, (1.0, 2.0, 4.0, 20.0), 0.15),
    "copper": (29, (20.0,), 0.15),
    "silicon": (14, (20.0,), 0.15),
    "carbon": (6, (20.0,), 0.2),
}
_VOLTAGES = (1.0, 2.0, 4.0)
_SHAPE = (128, 64, 64)
_SPACING = 5.0  # nm
_REPEATS = 5


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Bulks with their books, then a levelled wave of gold in epoxy and in vacuum."""
    del out
    bulks, deviations, books = _bulks(20_000 if quick else 400_000)
    waves, figures = _waves(20 if quick else 250)
    notes = [
        f"Browning's cross-sections; η of {20_000 if quick else 400_000} electrons each; the books "
        "are energy out, left and lost over energy in, less 1",
        f"levelled wave {_SHAPE} at {_SPACING:g} nm, solid fraction 0.3, wavelength 100 nm; after "
        f"compilation, median of {_REPEATS}; {len(jax.local_devices())} device(s), all cores",
    ]
    wanted = {"deviations": deviations, "books": books, "waves": figures}
    return {"tables": [bulks, waves], "notes": notes, "figures": wanted}


def _bulks(electrons: int) -> tuple[Table, dict[str, float], float]:
    rows, deviations, books = [], {}, 0.0
    for name, (number, voltages, most) in _BULKS.items():
        for energy in voltages:
            say(f"montecarlo: {name}, {energy:g} kV")
            labels = np.zeros((1, 1, 1), np.uint8)
            seen = sim.monte_carlo(
                jax.random.key(0), labels, [name], energy, spacing=100.0, electrons=electrons
            )
            share = seen.backscattered / electrons
            formula = sim.backscatter_coefficient(number, energy)
            error = np.sqrt(share * (1.0 - share) / electrons) / formula
            off = share / formula - 1.0
            counted = seen.backscattered + seen.absorbed + seen.truncated - electrons
            energies = seen.energy_out + seen.energy_left + seen.energy_lost
            books = max(books, abs(energies / seen.energy_in - 1.0), float(abs(counted)))
            rows.append([name, energy, share, formula, off, error, most, energies
                         / seen.energy_in - 1.0, counted, seen.truncated / electrons])  # fmt: skip
            deviations[f"{name} {energy:g}"] = off
    columns = ["bulk", "kV", "η", "formula", "relative deviation", "its standard error",
               "allowed", "energy books", "electrons missing", "truncated"]  # fmt: skip
    return Table("back-scatter coefficients of bulks", columns, rows), deviations, books


def _waves(electrons: int) -> tuple[Table, dict[str, Any]]:
    key = jax.random.key(5)
    labels = np.asarray(sim.structure_labels(sim.levelled_wave(key, _SHAPE, 0.3, 20.0)), np.uint8)
    rows, figures = [], {}
    for pore in ("epoxy", "vacuum"):
        for energy in _VOLTAGES:
            say(f"montecarlo: gold and {pore}, {energy:g} kV")
            rates, means, sent, given_up, steps = [], [], 0, 0, 0.0
            for repeat in range(_REPEATS + 1):
                before = time.perf_counter()
                seen = sim.monte_carlo(
                    jax.random.key(repeat), labels, [pore, "gold"], energy,
                    spacing=_SPACING, electrons=electrons,
                )  # fmt: skip
                # The first one compiles.
                if repeat:
                    rates.append(seen.electrons / (time.perf_counter() - before))
                sent, given_up = sent + seen.electrons, given_up + seen.truncated
                steps += seen.steps
                means.append(float(seen.images.mean()))
            rows.append([f"gold, {pore}", energy, statistics.median(rates), spread(rates),
                         steps / sent, given_up / sent, statistics.mean(means)])  # fmt: skip
            figures[f"{pore} {energy:g}"] = {
                "electrons_per_second": statistics.median(rates),
                "truncated": given_up / sent,
            }
    columns = ["volume", "kV", "electrons/s", "range", "flights each", "truncated", "mean image"]
    return Table("a 64² surface", columns, rows), figures
