"""Figures 6 to 10 of the BIMM paper, redrawn from our own fits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import bimmjax
from benchmarks._volumes import Known
from bimmjax.plot._expected import expected
from bimmjax.plot._style import DATA, INK, QUIET, figure, tidy, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = dict[str, Any]

# Okabe and Ito's colours; a marker each, so that colour is not all that tells them apart.
_LOOKS = {
    "GMM": ("#009E73", "s"),
    "GMM, shared noise": ("#000000", "P"),
    "PVMM": ("#E69F00", "^"),
    "BIMM-1D": ("#0072B2", "o"),
    "BIMM-2D": ("#D55E00", "D"),
    "BIMM-2D, flat": ("#56B4E9", "<"),
    "BIMM-2D, paper's": ("#CC79A7", "v"),
}


def draw(
    records: list[Record], example: Known, variants: dict[str, dict[str, Any]], out: Path
) -> list[Path]:
    """All figures of the series as PNG in `out`; `variants` are the models' options."""
    makers = {
        "6_volume_fraction": lambda: _fractions(records),
        "7_peaks": lambda: _peaks(example, variants),
        "8_intensities": lambda: _intensities(records),
        "9_halfwidth": lambda: _halfwidths(records),
        "10_area": lambda: _areas(records),
    }
    paths = []
    for name, make in makers.items():
        paths.append(out / f"artificial_figure_{name}.png")
        make().savefig(paths[-1])
    return paths


def _line(
    axes: Axes,
    records: list[Record],
    variant: str,
    x: Any,
    y: Any,
    *,
    bars: bool = True,
    **look: Any,
) -> None:
    """Means over volumes of one V1; bars are one standard deviation."""
    own = [r for r in records if r["variant"] == variant]
    shares = sorted({r["v1"] for r in own})
    groups = [[r for r in own if r["v1"] == share] for share in shares]
    places = np.array([x(group[0]) for group in groups])
    values = [[y(r) for r in group] for group in groups]
    spreads = [np.std(v, ddof=1) if len(v) > 1 else 0.0 for v in values]
    colour, marker = _LOOKS[variant]
    order = np.argsort(places)
    options = {"color": colour, "marker": marker, "label": variant, **look}
    axes.errorbar(
        places[order],
        np.array([np.mean(v) for v in values])[order],
        np.array(spreads)[order] if bars and max(spreads) > 0 else None,
        markersize=4,
        linewidth=1.3,
        elinewidth=0.8,
        capsize=2,
        **options,
    )


def _zero(axes: Axes) -> None:
    axes.axhline(0.0, color=QUIET, linewidth=0.8, zorder=0)


def _legend(axes: Axes, **options: Any) -> None:
    axes.legend(frameon=False, fontsize=9, **options)


def _fractions(records: list[Record]):
    made = figure(9.6, 4.0)
    left, right = made.subplots(1, 2)
    four = ["GMM", "PVMM", "BIMM-1D", "BIMM-2D"]
    for axes, variants in ((left, four), (right, [*four[1:], "BIMM-2D, paper's"])):
        _zero(axes)
        for variant in variants:
            _line(axes, records, variant, lambda r: r["v1"], lambda r: r["fraction_errors"][0])
        axes.set_xlabel("volume fraction V₁")
        axes.set_ylabel("fitted V₁ - true V₁")
        tidy(axes)
        _legend(axes)
    title(left, "error of the volume fraction, all models")
    title(right, "the same without the GMM, enlarged")
    made.tight_layout()
    return made


def _peaks(known: Known, variants: dict[str, dict[str, Any]]):
    made = figure(9.6, 4.2)
    axes = made.subplots()
    for name in ("GMM", "BIMM-1D"):
        fit = bimmjax.fit(known.image, 2, intervals=False, **variants[name])
        edges = fit.histogram.grid.u_edges
        edges = edges[1:-1]  # the outermost bins reach to infinity
        width, centres = np.diff(edges), 0.5 * (edges[1:] + edges[:-1])
        interiors, interfaces = (x[:, 1:-1] / width for x in expected(fit)[1:])
        colour = _LOOKS[name][0]
        if name == "GMM":
            counts = fit.histogram.counts.sum(1)[1:-1] / fit.voxels / width
            axes.stairs(counts, edges, fill=True, color=DATA, label="histogram", baseline=0)
            for half in (centres < 0.5, centres >= 0.5):
                peak = centres[half][np.argmax(counts[half])]
                axes.axvline(peak, color=QUIET, linestyle=(0, (1.2, 1.2)), linewidth=1.3)
        else:
            total = interiors.sum(0) + interfaces.sum(0)
            axes.plot(centres, total, color=INK, linewidth=1.0, label="BIMM-1D, all")
            axes.plot(
                centres,
                interfaces[0],
                color=colour,
                linewidth=1.3,
                linestyle="--",
                label="BIMM-1D, interface",
            )
        for number, row in enumerate(interiors):
            label = f"{name}, interiors" if number == 0 else None
            axes.plot(centres, row, color=colour, linewidth=1.7, label=label)
            mean = float(fit.params.intensities[number])
            axes.axvline(mean, color=colour, linestyle=(0, (5, 2)), linewidth=1.1)
    axes.set_xlabel("intensity (true phases at 0 and 1)")
    axes.set_ylabel("density")
    axes.set_xlim(-0.35, 1.35)
    title(axes, f"V₁ = {known.fractions[0]:.2f}: peaks as estimates of the phase intensities")
    tidy(axes)
    _legend(axes, loc="upper left")
    made.tight_layout()
    return made


def _intensities(records: list[Record]):
    made = figure(9.6, 4.0)
    panels = made.subplots(1, 2)
    for phase, axes in enumerate(panels):
        _zero(axes)
        for variant in ("GMM", "PVMM", "BIMM-1D", "BIMM-2D"):
            _line(
                axes,
                records,
                variant,
                lambda r, phase=phase: r["v1"] if phase == 0 else 1.0 - r["v1"],
                lambda r, phase=phase: r["intensity_errors"][phase],
            )
        axes.set_xlabel(f"volume fraction V{'₁₂'[phase]}")
        axes.set_ylabel(f"fitted I{'₁₂'[phase]} - true I{'₁₂'[phase]}")
        title(axes, f"intensity of phase {phase + 1}")
        tidy(axes)
        _legend(axes)
    made.tight_layout()
    return made


def _halfwidths(records: list[Record]):
    made = figure(5.6, 4.0)
    axes = made.subplots()
    for variant in ("BIMM-2D", "BIMM-2D, flat", "BIMM-2D, paper's"):
        _line(axes, records, variant, lambda r: r["v1"], lambda r: r["halfwidth"])
    axes.set_xlabel("volume fraction V₁")
    axes.set_ylabel("half-width d, in units of the blur")
    title(axes, "width of the interface regions")
    tidy(axes)
    _legend(axes)
    made.tight_layout()
    return made


def _areas(records: list[Record]):
    made = figure(9.6, 4.0)
    left, right = made.subplots(1, 2)
    true: dict[str, Any] = {"color": INK, "marker": "", "label": "true"}
    _line(left, records, "BIMM-2D", lambda r: r["v1"], lambda r: r["areas"][0], bars=False, **true)
    mask: dict[str, Any] = {
        "color": "#009E73",
        "marker": "x",
        "label": "marching cubes on the mask",
    }
    _line(
        left,
        records,
        "BIMM-2D",
        lambda r: r["v1"],
        lambda r: r["mask_areas"][0],
        bars=False,
        **mask,
    )
    _zero(right)
    _line(right, records, "BIMM-2D", lambda r: r["v1"], lambda r: r["mask_area_errors"][0], **mask)
    for variant in ("BIMM-2D", "BIMM-2D, flat", "BIMM-2D, paper's"):
        fitted = (lambda r: r["v1"], lambda r: r["fitted_areas"][0])
        _line(left, records, variant, *fitted, bars=False)
        _line(right, records, variant, lambda r: r["v1"], lambda r: r["area_errors"][0])
    left.set_ylabel("interface area per volume (1/voxel)")
    left.set_ylim(bottom=0.0)
    right.set_ylabel("error of the area, % of the true one")
    title(left, "interface area")
    title(right, "against the area of the continuous interface")
    for axes in (left, right):
        axes.set_xlabel("volume fraction V₁")
        tidy(axes)
    _legend(left)
    _legend(right, loc="center", bbox_to_anchor=(0.5, 0.68))
    made.tight_layout()
    return made
