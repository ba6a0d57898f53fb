"""Two-point correlation and lineal path of each phase along the three axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bimmjax.plot._labels import length_name
from bimmjax.plot._style import INK, QUIET, figure, phase_colour, tidy, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bimmjax.descriptors import Description

_MOST_PHASES = 4
_WIDTH, _HEIGHT = 8.4, 2.7


def correlations(description: Description) -> Figure:
    """Curves over the lag, a row for each of the first four phases.

    Left the two-point correlation S2, with the square of the fraction that it tends to where
    nothing is correlated any more; right the lineal path L.

    Parameters
    ----------
    description : Description

    Returns
    -------
    matplotlib.figure.Figure
    """
    phases = [p for p in range(description.phases) if description.voxels[p] > 0][:_MOST_PHASES]
    made = figure(_WIDTH, _HEIGHT * max(len(phases), 1) + 0.5)
    grid = made.subplots(len(phases), 2, squeeze=False, sharex=True)
    unit = length_name(description.length_unit)
    for row, phase in zip(grid, phases, strict=True):
        share = float(description.volume_fractions[phase])
        for axes, name, what in zip(
            row, ("two_point", "lineal_path"), ("Two-point correlation", "Lineal path"), strict=True
        ):
            for number, axis in enumerate("zyx"):
                lags = description.lags(axis)
                values = getattr(description.lines[phase, axis], name)[: lags.size]
                axes.plot(lags, values, linewidth=1.6, label=axis, color=phase_colour(number))
            if name == "two_point":
                axes.axhline(share**2, color=QUIET, linewidth=0.8)
                axes.annotate(
                    "fraction²", (1.0, share**2), xycoords=("axes fraction", "data"), ha="right",
                    va="top", fontsize=8, color=QUIET,
                )  # fmt: skip
            axes.set_ylim(0.0, max(1.08 * share, 1e-6))
            axes.set_xlim(left=0.0)
            title(axes, f"{what}, phase {phase}")
            tidy(axes)
    for axes in grid[-1]:
        axes.set_xlabel(f"Lag ({unit})", color=INK)
    grid[0, 1].legend(title="along", frameon=False, fontsize=9, title_fontsize=9)
    made.tight_layout()
    return made


def confusion(matrix: np.ndarray) -> Figure:
    """A confusion matrix (N, N), rows over the truth: shares of each true class, in per cent.

    Parameters
    ----------
    matrix
        (N, N) counts; rows are the truth.

    Returns
    -------
    matplotlib.figure.Figure
    """
    shares = 100.0 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    classes = len(matrix)
    size = 2.2 + 0.62 * classes
    made = figure(size, size)
    axes = made.subplots()
    axes.imshow(shares, cmap="cividis", vmin=0.0, vmax=100.0)
    for (i, j), share in np.ndenumerate(shares):
        colour = INK if share > 55.0 else "white"
        text = f"{share:.3g}" if matrix[i].sum() else "–"
        axes.text(j, i, text, ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(classes))
    axes.set_yticks(range(classes))
    axes.set_xlabel("Label")
    axes.set_ylabel("Truth")
    title(axes, "% of each true class")
    axes.tick_params(length=0, labelsize=9)
    made.tight_layout()
    return made
