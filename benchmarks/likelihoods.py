"""Which model of the intensities is most likely: GMM, PVMM or BIMM-1D (the paper's Fig. 14).

On a simulated three-phase volume with the parameters that the paper found for its fuel cell,
and on two real volumes where they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import bimmjax
from benchmarks._report import Table
from benchmarks._volumes import known_volume, real_volume
from bimmjax.fitting import Fit
from bimmjax.plot._expected import expected
from bimmjax.plot._style import DATA, figure, tidy, title

_MODELS: dict[str, dict[str, Any]] = {
    "GMM": {"model": "gmm"},
    "GMM, noise per phase": {"model": "gmm", "noise": "per_phase"},
    "PVMM": {"model": "pvmm"},
    "BIMM-1D": {"model": "bimm1d"},
}
_SHOWN = ("GMM", "PVMM", "BIMM-1D")


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Mean negative log-likelihood of each model on each volume; a picture of each volume."""
    edge = 96 if quick else 256
    fuel_cell = known_volume(
        11,
        edge,
        (0.29, 0.44, 0.27),
        intensities=(0.1589, 0.6116, 0.8220),
        blur_std=1.45,
        noise_std=0.0274,
        noise_length=1.15,
        feature_length=6.0,
        with_areas=False,
    ).image
    volumes = {"fuel_cell": (fuel_cell, f"three phases, simulated ({edge}³)", 3)}
    for name in ("cement", "bone"):
        volumes[name] = (*real_volume(name), 2)
    rows, records, pictures = [], [], []
    for key, (image, label, phases) in volumes.items():
        fits = {
            name: bimmjax.fit(image, phases, intervals=False, **options)
            for name, options in _MODELS.items()
        }
        best = min(fit.nll for fit in fits.values())
        for name, fit in fits.items():
            size = f"{fit.nll:.4f}", f"+{fit.nll - best:.4f}", f"{fit.goodness_of_fit:.4f}"
            fractions = " ".join(f"{x:.4f}" for x in fit.properties.volume_fractions)
            rows.append([label, name, *size, fractions, fit.converged])
            records.append({"volume": label, "name": name, **fit.to_dict()})
        pictures.append(out / f"likelihoods_{key}.png")
        _draw({name: fits[name] for name in _SHOWN}, label).savefig(pictures[-1])
    columns = ["volume", "model", "NLL", "above best", "misfit", "V", "converged"]
    return {
        "tables": [Table("Mean negative log-likelihood, density per grey value", columns, rows)],
        "notes": [
            "lower is better; misfit: share of voxels in wrong bins beyond chance",
            *(f"picture {path}" for path in pictures),
        ],
        "fits": records,
    }


def _draw(fits: dict[str, Fit], label: str):
    """Histogram (grey) and density of each model, linear above and logarithmic below."""
    made = figure(11.0, 5.6)
    panels = made.subplots(2, len(fits), sharex=True, sharey="row")
    for column, (name, fit) in enumerate(fits.items()):
        shares = expected(fit)
        edges = fit.histogram.grid.u_edges[1:-1]  # the outermost bins reach to infinity
        widths, centres = np.diff(edges), 0.5 * (edges[1:] + edges[:-1])
        density = fit.histogram.counts.sum(1)[1:-1] / fit.voxels / widths
        total = (shares.interiors.sum(0) + shares.interfaces.sum(0))[1:-1] / widths
        for row, axes in enumerate(panels[:, column]):
            axes.stairs(density, edges, fill=True, color=DATA, label="volume", baseline=1e-300)
            axes.plot(centres, total, color="#CC79A7", linewidth=1.8, label=name)
            tidy(axes)
            if row:
                axes.set_yscale("log")
                axes.set_ylim(max(density.max() * 1e-4, 1e-12), density.max() * 2)
                axes.set_xlabel("intensity (grey value)")
            else:
                axes.set_ylim(0.0, density.max() * 1.1)
                title(axes, f"{name}: NLL {fit.nll:.4f}")
            if not column:
                axes.set_ylabel("density")
        panels[0, column].legend(frameon=False, fontsize=9)
    made.suptitle(label, fontsize=11, x=0.01, ha="left")
    made.tight_layout()
    return made
