"""The joint histogram of intensity and gradient, the model, and what lies between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.fitting import Fit
from bimmjax.models import phase_pairs
from bimmjax.plot._expected import Expected, arcs, expected, shown_intensities
from bimmjax.plot._labels import signed
from bimmjax.plot._style import INK, QUIET, figure, round_ticks, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SMALLEST_RANGE = 0.04  # of the highest bin: a good fit shall look like one
_ARC = "#ffffff"
# Width and height of a phase's name, as shares of the axes'.
_LABEL, _LINE = 0.165, 0.045


def joint(fit: Fit, model: Expected | None = None) -> Figure:
    """Joint intensity-gradient histogram, the fitted model and their difference.

    All three in one unit, voxels per bin as a share of all voxels; the first two on one
    logarithmic scale. Over them the arcs G(I): the intensity and the gradient that the model
    expects at each place across an interface, without noise.

    Parameters
    ----------
    fit : Fit
        Of the model "bimm2d", the only one that knows gradients.
    model : Expected, optional
        `expected(fit)`, where it has been worked out already.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        If the fit is of a model of the intensities alone.
    """
    model = expected(fit) if model is None else model
    if model.joint is None:
        raise InputError(f"fit: got one of {fit.model}, wants bimm2d, which models the gradient")
    from matplotlib.colors import LogNorm, Normalize

    observed = fit.histogram.counts / fit.voxels
    difference = observed - model.joint
    peak = float(max(observed.max(), model.joint.max()))
    log = LogNorm(max(1.0 / fit.voxels, peak * 1e-5), peak)
    most = max(float(np.quantile(np.abs(difference), 0.999)), _SMALLEST_RANGE * peak)

    made = figure(12.0, 4.1)
    volume = made.add_axes((0.05, 0.135, 0.258, 0.785))
    fitted = made.add_axes((0.32, 0.135, 0.258, 0.785), sharex=volume, sharey=volume)
    scale = made.add_axes((0.584, 0.135, 0.011, 0.785))
    between = made.add_axes((0.665, 0.135, 0.258, 0.785), sharex=volume, sharey=volume)
    signed = made.add_axes((0.929, 0.135, 0.011, 0.785))

    floor = log.vmin or 0.0
    drawn = _map(volume, fit, np.where(observed > 0, observed, np.nan), norm=log, cmap="viridis")
    _map(fitted, fit, np.where(model.joint > floor, model.joint, np.nan), norm=log, cmap="viridis")
    apart = _map(between, fit, difference, norm=Normalize(-most, most), cmap="PuOr_r")
    made.colorbar(drawn, cax=scale)
    made.colorbar(apart, cax=signed, extend="both")
    signed.yaxis.set_major_formatter(_percent())
    for bar, label in (
        (scale, "share of voxels per bin"),
        (signed, "difference, % of voxels per bin"),
    ):
        bar.set_ylabel(label, fontsize=9, color=INK)
        bar.tick_params(labelsize=8, width=0.6, length=2.5)

    laws = arcs(fit)
    low, high = shown_intensities(fit)
    grey = f"{fit.intensity_unit}s"
    unit = round_ticks(volume.xaxis, max(abs(low), abs(high)), grey)
    steep = round_ticks(volume.yaxis, fit.histogram.grid.v_edges[-1], f"{grey} / voxel")
    for axes in (volume, fitted, between):
        _mark(axes, fit, laws.intensity, laws.gradient, dark=axes is between)
        axes.tick_params(labelsize=9, color=QUIET, width=0.8, length=3)
        axes.set_xlabel(f"intensity ({unit})", fontsize=10)
    for axes in (fitted, between):
        axes.tick_params(labelleft=False)
    volume.set_xlim(low, high)
    volume.set_ylim(0.0, fit.histogram.grid.v_edges[-1])
    volume.set_ylabel(f"gradient ({steep})", fontsize=10)
    title(volume, "volume")
    title(fitted, "fitted model")
    title(between, f"volume minus model ({100 * fit.goodness_of_fit:.1f} % of voxels misplaced)")
    return made


def _map(axes: Axes, fit: Fit, values: np.ndarray, **options: Any) -> Any:
    grid = fit.histogram.grid
    return axes.pcolormesh(grid.u_edges, grid.v_edges, values.T, rasterized=True, **options)


def _mark(axes: Axes, fit: Fit, intensity: np.ndarray, gradient: np.ndarray, *, dark: bool) -> None:
    """The arcs and the phases' intensities."""
    grid = fit.histogram.grid
    colour = INK if dark else _ARC
    for (i, j), along, steep in zip(phase_pairs(fit.phases), intensity, gradient, strict=True):
        axes.plot(along, steep, color=colour, linewidth=1.5, linestyle=(0, (5, 2)))
        if fit.phases > 2:
            middle = along.size // 2
            axes.annotate(
                f"{i}-{j}",
                (along[middle], steep[middle]),
                (0, 3),
                textcoords="offset points",
                color=colour,
                fontsize=8,
                ha="center",
            )
    top = grid.v_edges[-1]
    low, high = shown_intensities(fit)
    width = _LABEL * (high - low)
    values = [float(value) for value in fit.params.intensities]
    lefts = [value if value < high - width else value - width for value in values]
    rows = _rows([(left, left + width) for left in lefts])
    for i, (value, left, row) in enumerate(zip(values, lefts, rows, strict=True)):
        axes.axvline(value, color=colour, linewidth=0.8, alpha=0.65)
        axes.text(
            value,
            top * (0.985 - _LINE * row),
            f" phase {i} ",
            color=colour,
            fontsize=8,
            va="top",
            ha="left" if left == value else "right",
        )
    if not dark:
        axes.set_facecolor("#2b0a3d")


def _rows(spans: list[tuple[float, float]]) -> list[int]:
    """The first row for each label, from its left to its right end, in which it covers no other.

    Examples
    --------
    >>> _rows([(0.0, 2.0), (1.0, 3.0), (2.0, 4.0), (2.5, 4.5)])
    [0, 1, 0, 2]
    """
    rows: list[int] = []
    for i, (left, right) in enumerate(spans):
        taken = {
            row
            for row, (start, end) in zip(rows, spans[:i], strict=True)
            if start < right and left < end
        }
        rows.append(min(set(range(i + 1)) - taken))
    return rows


def _percent() -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda x, _: signed(f"{100 * x:+.3g}") if x else "0")
