"""How the quantities are distributed over the blocks, and how they change with time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.plot._maps_spread import Spread, mean_error, spread
from bimmjax.plot._maps_view import Estimates, Quantity, View, apart
from bimmjax.plot._style import INK, QUIET, figure, phase_colour, round_ticks, tidy, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from bimmjax.maps._maps import Maps

_ACROSS = 3
_WIDE, _TALL = 3.6, 2.6
_LEFT, _RIGHT, _ABOVE, _BELOW, _HEAD = 0.7, 0.18, 0.34, 0.5, 0.5
_LATER = phase_colour(5)
_ENDS = (phase_colour(0), _LATER)


def map_histograms(maps: Maps) -> Figure:
    """Distribution of each main quantity over the blocks that can be used.

    With the global fit's value, and the median standard error as a bar: a distribution no wider
    than the bar shows errors, not the sample. A series shows its first and its last volume.

    Parameters
    ----------
    maps : Maps

    Returns
    -------
    matplotlib.figure.Figure
    """
    view = View(maps)
    made, panels = _panels(len(view.drawn))
    for axes, quantity in zip(panels, view.drawn, strict=True):
        _histogram(axes, view, quantity)
    _legend(made, panels)
    return made


def map_series(maps: Maps) -> Figure:
    """Mean of each main quantity over the blocks against time.

    Bars: standard error of the mean (overlapping blocks count once). Band: standard deviation
    between blocks. Open circles: the fit of each whole volume.

    Parameters
    ----------
    maps : Maps
        Of a series.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        If there is but one volume.
    """
    view = View(maps)
    if not view.series:
        raise InputError("maps: got those of one volume, wants a series")
    made, panels = _panels(len(view.drawn))
    for axes, quantity in zip(panels, view.drawn, strict=True):
        _curve(axes, view, quantity)
    _legend(made, panels)
    return made


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    across = min(_ACROSS, count)
    rows = -(-count // across)
    width, height = max(across * _WIDE, 7.4), _HEAD + rows * _TALL
    made = figure(width, height)
    panels = []
    for number in range(count):
        x = (number % across) * _WIDE + _LEFT
        y = height - _HEAD - (number // across + 1) * _TALL + _BELOW
        size = (_WIDE - _LEFT - _RIGHT, _TALL - _ABOVE - _BELOW)
        panels.append(made.add_axes((x / width, y / height, size[0] / width, size[1] / height)))
    return made, panels


def _legend(made: Figure, panels: list[Axes]) -> None:
    """One for all panels, with what any of them shows."""
    named = {}
    for axes in panels:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(name, handle)
    if named:
        made.legend(
            list(named.values()),
            list(named),
            loc="upper left",
            bbox_to_anchor=(0.01, 1.0 - 0.08 / made.get_figheight()),
            ncols=len(named),
            frameon=False,
            fontsize=9,
            handlelength=1.8,
            columnspacing=1.4,
        )


def _histogram(axes: Axes, view: View, quantity: Quantity) -> None:
    from matplotlib.ticker import MaxNLocator

    read = view.read(quantity)
    known = read.value[np.isfinite(read.value)].astype(float)
    levels = np.array(view.global_values(quantity))
    if known.size == 0:
        _nothing(axes, quantity)
        return
    found = spread(read)
    edges, beyond = _edges(known, levels, found)
    moments = [0, view.flags.shape[0] - 1] if view.series else []
    axes.hist(
        known,
        bins=list(edges),
        color="#b9cbd9",
        label="blocks" if not moments else "blocks of all times",
    )
    for moment, colour in zip(moments, _ENDS, strict=False):
        one = read.value[moment]
        axes.hist(
            one[np.isfinite(one)],
            bins=list(edges),
            histtype="step",
            color=colour,
            linewidth=1.4,
            label=f"time {view.times[moment]:g}",
        )
    _global_lines(axes, levels, moments)
    highest = axes.get_ylim()[1]
    axes.set_ylim(0, highest * 1.22)
    if math.isfinite(found.stderr):
        axes.errorbar(
            [found.mean],
            [highest * 1.1],
            xerr=[found.stderr],
            color=INK,
            capsize=3.5,
            linewidth=1.4,
            marker="o",
            markersize=3.5,
            label="mean ± median standard error",
        )
    axes.set_xlim(edges[0], edges[-1])
    if beyond:
        axes.annotate(
            f"{beyond:,} beyond",
            (0.99, 0.72),
            xycoords="axes fraction",
            ha="right",
            fontsize=8,
            color=QUIET,
        )
    _finish(axes, quantity, "x")
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
    counted = _numbers(axes.yaxis, highest, "blocks")
    axes.set_ylabel(counted, fontsize=9)


def _global_lines(axes: Axes, levels: np.ndarray, moments: list[int]) -> None:
    lines = [(0, _LATER)] if not moments else list(zip(moments, _ENDS, strict=True))
    for number, (moment, colour) in enumerate(lines):
        if math.isfinite(levels[moment]):
            axes.axvline(
                levels[moment],
                color=colour,
                linestyle=(4 * number, (4, 4 if moments else 2)),
                linewidth=1.6,
                label=None if number else "fit of the whole volume",
            )


def _edges(known: np.ndarray, levels: np.ndarray, found: Spread) -> tuple[np.ndarray, int]:
    """Bin edges without the far tails but with the global fit; how many values lie beyond."""
    low, high = (
        np.quantile(known, (0.003, 0.997)) if known.size > 300 else (known.min(), known.max())
    )
    if math.isfinite(found.stderr):  # the bar must be seen whole, however few the blocks
        low = min(low, found.mean - 1.2 * found.stderr)
        high = max(high, found.mean + 1.2 * found.stderr)
    near = levels[np.isfinite(levels)]
    # A global fit far off would squeeze the blocks into one bin.
    reach = 2.0 * (high - low)
    near = near[(near > low - reach) & (near < high + reach)]
    low, high = float(min([low, *near])), float(max([high, *near]))
    low, high = apart(low, high)
    margin = 0.03 * (high - low)
    edges = np.linspace(low - margin, high + margin, 1 + int(np.clip(known.size**0.5, 8, 50)))
    return edges, int(((known < edges[0]) | (known > edges[-1])).sum())


def _curve(axes: Axes, view: View, quantity: Quantity) -> None:
    read = view.read(quantity)
    told = [spread(Estimates(*(part[t] for part in read))) for t in range(view.flags.shape[0])]
    times = np.array(view.times)
    mean, std = (np.array([getattr(s, name) for s in told]) for name in ("mean", "std"))
    if not np.isfinite(mean).any():
        _nothing(axes, quantity)
        return
    error = [mean_error(s.std, s.blocks, view.maps.windows) for s in told]
    axes.fill_between(
        times, mean - std, mean + std, color="#d6e2ea", linewidth=0, label="spread between blocks"
    )
    axes.errorbar(
        times,
        mean,
        yerr=np.nan_to_num(error),
        color=phase_colour(0),
        linewidth=1.4,
        marker="o",
        markersize=4,
        capsize=3,
        label="mean ± its standard error",
    )
    axes.plot(
        times,
        view.global_values(quantity),
        linestyle="none",
        marker="D",
        markersize=5,
        markerfacecolor="none",
        color=_LATER,
        label="fit of the whole volume",
    )
    _finish(axes, quantity, "y")
    time_unit = str(view.maps.attributes.get("time_unit") or "")
    axes.set_xlabel(f"time ({time_unit})" if time_unit else "time", fontsize=9)


def _finish(axes: Axes, quantity: Quantity, along: str) -> None:
    """Ticks, and a title with the unit of the axis that the quantity is along."""
    from matplotlib.ticker import MaxNLocator

    tidy(axes)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    ends = axes.get_xlim() if along == "x" else axes.get_ylim()
    axis = axes.xaxis if along == "x" else axes.yaxis
    told = _numbers(axis, max(map(abs, ends)), quantity.unit)
    title(axes, f"{quantity.name} ({told})" if told else quantity.name)


def _numbers(axis: Axis, largest: float, unit: str) -> str:
    """Ticks without offsets; the unit, with the power of ten that they leave out."""
    from matplotlib.ticker import ScalarFormatter

    axis.set_major_formatter(ScalarFormatter(useOffset=False))
    return round_ticks(axis, largest, unit).strip()


def _nothing(axes: Axes, quantity: Quantity) -> None:
    axes.set_axis_off()
    title(axes, quantity.label)
    axes.text(
        0.0, 0.85, "no block that can be used", transform=axes.transAxes,
        fontsize=9, color=QUIET, va="top",
    )  # fmt: skip
