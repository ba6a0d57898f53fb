"""The profile of an edge, as sharp as the volume shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.fitting import Fit
from bimmjax.fitting._result import check_fit
from bimmjax.models import phase_pairs
from bimmjax.plot._labels import length_name, power, rounded
from bimmjax.plot._style import (
    INK,
    QUIET,
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

_REACH = 4.0  # blurs
_TENTH = 1.2815515655446004  # Φ(1.28) = 90 %


def edge(fit: Fit) -> Figure:
    """Intensity across an interface (BIMM paper, Eq. 1), with its 10-90 % width.

    Drawn for the interface of largest area, the others beside it in thin lines; with the noise of
    a single voxel, and with what the confidence interval of the blur allows.

    Parameters
    ----------
    fit : Fit
        Of the model "bimm2d", with at least two phases.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        If the fit knows no blur.
    """
    check_fit(fit)
    width = fit.properties.resolution_10_90
    if fit.params.blur_std is None or width is None or fit.properties.interface_areas is None:
        raise InputError(f"fit: got one of {fit.model} that knows no blur, wants bimm2d")
    from scipy.special import ndtr

    pairs = phase_pairs(fit.phases)
    # Refused areas are NaN; which is the largest the model knows all the same.
    areas = fit.properties if fit.uncorrected is None else fit.uncorrected
    main = int(np.argmax(np.asarray(areas.interface_areas)))
    levels = np.asarray(fit.params.intensities, float)
    blur = float(width) / (2.0 * _TENTH)
    x = np.linspace(-_REACH * blur, _REACH * blur, 401)
    mixed = ndtr(x / blur)
    made = figure(7.2, 4.4)
    axes = made.subplots()
    made.subplots_adjust(0.105, 0.13, 0.985, 0.915)

    i, j = pairs[main]
    step = levels[j] - levels[i]
    profile = levels[i] + step * mixed
    noise = np.broadcast_to(fit.params.noise_std, (fit.phases,))
    spread = np.sqrt(noise[i] ** 2 * (1.0 - mixed) + noise[j] ** 2 * mixed)
    _band(axes, x, profile - spread, profile + spread, "#ececec", "± noise of a voxel")
    colour = phase_colour(0)
    band = (fit.confidence or {}).get("resolution_10_90")
    if band is not None:
        ends = [levels[i] + step * ndtr(x * 2.0 * _TENTH / end) for end in band]
        _band(axes, x, ends[0], ends[1], "#a5c9e6", "blur within its 95 % interval")
    for k, (low, high) in enumerate(pairs):
        if k != main:
            other = levels[low] + (levels[high] - levels[low]) * mixed
            name = f"interface {low}-{high}"
            axes.plot(x, other, linewidth=1.1, label=name, **interface_line(k))
    axes.plot(x, profile, color=colour, linewidth=2.0, label=f"interface {i}-{j}")
    _name_phases(axes, levels, (i, j))
    _mark_width(axes, fit, (levels[i] + 0.1 * step, levels[i] + 0.9 * step), blur, band)
    axes.set_xlim(x[0], x[-1])
    axes.set_xlabel(f"distance from the interface ({length_name(fit.length_unit)})")
    largest = float(np.abs(levels).max())
    unit = round_ticks(axes.yaxis, largest, f"{fit.intensity_unit}s")
    axes.set_ylabel(f"intensity ({unit})")
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    tidy(axes)
    title(axes, f"edge between phases {i} and {j}")
    return made


def _band(
    axes: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str, name: str
) -> None:
    axes.fill_between(x, low, high, color=colour, linewidth=0.8, label=name)


def _name_phases(axes: Axes, levels: np.ndarray, ends: tuple[int, int]) -> None:
    """The phases' names at their levels: at the left where the edge begins, else at the right."""
    for phase, level in enumerate(levels):
        left = phase == ends[0]
        if phase not in ends:
            axes.axhline(level, color=QUIET, linewidth=0.6, zorder=0.5)
        axes.annotate(
            f"phase {phase}",
            (0.008 if left else 0.995, level),
            (0, -3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="left" if left else "right",
            va="top",
            fontsize=8.5,
            color=QUIET,
        )


def _mark_width(
    axes: Axes,
    fit: Fit,
    values: tuple[float, float],
    blur: float,
    band: list[float] | None,
) -> None:
    """The two levels, where the edge crosses them, and the distance in between."""
    ends = (-_TENTH * blur, _TENTH * blur)
    levels = fit.params.intensities
    span = float(levels[-1] - levels[0])
    foot = float(levels[0]) - 0.22 * span
    for place, value, share in zip(ends, values, ("10 %", "90 %"), strict=True):
        axes.plot([place, place], [foot, value], color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        axes.plot([place], [value], "o", color=INK, markersize=4)
        side = -7 if share == "10 %" else 7
        axes.annotate(
            share,
            (place, value),
            (side, 6 if side < 0 else -9),
            textcoords="offset points",
            ha="right" if side < 0 else "left",
            fontsize=9,
            color=INK,
        )
    arrow = {"arrowstyle": "<->", "color": INK, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (ends[0], foot), (ends[1], foot), arrowprops=arrow)
    told = rounded(2.0 * _TENTH * blur, band)
    unit = f"{power(told.exponent)} {length_name(fit.length_unit)}".strip()
    text = f"10-90 % width: {told.value} {unit}"
    if told.intervals[0] is not None:
        text += f"\n(95 %: {told.intervals[0]})"
    axes.annotate(
        text,
        (ends[1], foot),
        (8, 0),
        textcoords="offset points",
        ha="left",
        va="center",
        fontsize=9.5,
        color=INK,
    )
    axes.set_ylim(foot - 0.13 * span, None)
