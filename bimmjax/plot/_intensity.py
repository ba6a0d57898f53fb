"""The intensity histogram with the fitted model and each of its components."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bimmjax.fitting import Fit
from bimmjax.models import phase_pairs
from bimmjax.plot._expected import Expected, expected, shown_intensities
from bimmjax.plot._labels import MODEL_NAMES, phase_name
from bimmjax.plot._style import (
    DATA,
    INK,
    figure,
    interface_line,
    phase_colour,
    round_ticks,
    tidy,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TOP = 1.25  # times the highest bin
_MOST_COLUMNS = 6


def intensity(fit: Fit, model: Expected | None = None) -> Figure:
    """Intensity histogram with the model's total and each component, linear and log.

    Parameters
    ----------
    fit : Fit
    model : Expected, optional
        `expected(fit)`, where it has been worked out already.

    Returns
    -------
    matplotlib.figure.Figure
    """
    model = expected(fit) if model is None else model
    # The outermost bins reach to infinity: they have no density to draw.
    edges = fit.histogram.grid.u_edges[1:-1]
    widths = np.diff(edges)
    observed, interiors, interfaces = (
        shares[..., 1:-1] / widths
        for shares in (
            fit.histogram.counts.sum(1) / fit.voxels,
            model.interiors,
            model.interfaces,
        )
    )
    total = interiors.sum(0) + interfaces.sum(0)

    made = figure(10.0, 4.2)
    left, right = made.subplots(1, 2)
    made.subplots_adjust(0.075, 0.13, 0.99, 0.82, wspace=0.19)
    for axes in (left, right):
        _draw(axes, fit, edges, observed, interiors, interfaces, total)
    peak = max(observed.max(), total.max())
    left.set_ylim(0.0, peak * 1.06)
    right.set_yscale("log")
    right.set_ylim(max(0.4 / fit.voxels / widths.max(), peak * 1e-7), peak * _TOP * 2)
    title(left, "linear")
    title(right, "logarithmic: tails and rare components")
    unit = round_ticks(left.yaxis, peak, f"per {fit.intensity_unit}")
    left.set_ylabel(f"share of voxels ({unit})")
    handles, labels = left.get_legend_handles_labels()
    columns = min(len(handles), _MOST_COLUMNS if len(handles) > 8 else 5)
    made.legend(
        handles,
        labels,
        loc="upper center",
        ncols=columns,
        frameon=False,
        fontsize=9,
        bbox_to_anchor=(0.53, 0.995),
        handlelength=2.2,
        columnspacing=1.6,
    )
    return made


def _draw(
    axes: Axes,
    fit: Fit,
    edges: np.ndarray,
    observed: np.ndarray,
    interiors: np.ndarray,
    interfaces: np.ndarray,
    total: np.ndarray,
) -> None:
    centres = 0.5 * (edges[1:] + edges[:-1])
    axes.stairs(observed, edges, fill=True, color=DATA, label="volume", baseline=1e-300)
    for i, row in enumerate(interiors):
        name = f"inside {phase_name(i, fit.phases)}"
        axes.plot(centres, row, color=phase_colour(i), linewidth=1.8, label=name)
    for k, ((i, j), row) in enumerate(zip(phase_pairs(fit.phases), interfaces, strict=False)):
        axes.plot(centres, row, linewidth=1.6, label=f"interface {i}-{j}", **interface_line(k))
    name = f"model ({MODEL_NAMES[fit.model]}), all"
    axes.plot(centres, total, color=INK, linewidth=1.1, label=name)
    low, high = shown_intensities(fit)
    axes.set_xlim(max(low, edges[0]), min(high, edges[-1]))
    unit = round_ticks(axes.xaxis, max(abs(low), abs(high)), f"{fit.intensity_unit}s")
    axes.set_xlabel(f"intensity ({unit})")
    tidy(axes)
