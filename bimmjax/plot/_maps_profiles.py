"""How fractions and areas change along the axes of the volume."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.maps._profile import AXES, Axis, Profile, profile
from bimmjax.plot._labels import length_name
from bimmjax.plot._maps_view import Quantity, View
from bimmjax.plot._style import figure, phase_colour, round_ticks, tidy, title

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bimmjax.maps._maps import Maps

_KINDS = ("volume_fraction", "interface_area")
_WIDE, _TALL, _HEAD = 2.9, 1.95, 0.4
_ENDS = (phase_colour(0), phase_colour(5))


class Curve(NamedTuple):
    """The profile of a quantity along an axis at one time, in the quantity's units."""

    quantity: Quantity
    moment: int
    axis: Axis
    profile: Profile


def curves(view: View, quantity: Quantity) -> Iterator[Curve]:
    """Along each axis with more than one layer, of a series at its first and last time."""
    for axis in axes_of(view):
        for moment in moments_of(view):
            found = profile(view.maps, quantity.column, axis, time_index=moment)
            told = {
                name: quantity.times * getattr(found, name)
                for name in ("mean", "stderr", "common", "line", "slope", "slope_stderr")
            }
            yield Curve(quantity, moment, axis, found._replace(**told))


def profiled(view: View) -> list[Quantity]:
    """Fractions and areas that are drawn; nothing where there is no block or no axis to show."""
    shown = view.usable.any() and bool(axes_of(view))
    return [q for q in view.drawn if q.kind in _KINDS] if shown else []


def axes_of(view: View) -> tuple[Axis, ...]:
    """Axes along which there is more than one layer of blocks."""
    return tuple(a for a, n in zip(AXES, view.maps.windows.shape, strict=True) if n > 1)


def moments_of(view: View) -> list[int]:
    """The volumes whose profiles are shown."""
    return [0, view.flags.shape[0] - 1] if view.series else [0]


def map_profiles(maps: Maps) -> Figure:
    """Fractions and areas along z, y and x: means of layers of blocks.

    Bars: standard error by the scatter within the layer. Band: what all layers may be off by alike.
    Line: where its slope is more than chance. A series shows its first and its last
    volume. See `bimmjax.maps.profile`.

    Parameters
    ----------
    maps : Maps

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        If no block can be used, or there is but one.
    """
    view = View(maps)
    quantities, axes = profiled(view), axes_of(view)
    if not quantities:
        raise InputError("maps: got no two blocks that can be used, wants some for profiles")
    height = _HEAD + _TALL * len(quantities)
    made = figure(max(7.4, _WIDE * len(axes)), height)
    made.set_layout_engine("constrained", rect=(0, 0, 1, 1 - _HEAD / height))
    panels = made.subplots(len(quantities), len(axes), sharey="row", sharex="col", squeeze=False)
    for row, quantity in zip(panels, quantities, strict=True):
        for curve in curves(view, quantity):
            _draw(row[axes.index(curve.axis)], view, curve)
        _finish(row, quantity)
    for panel, axis in zip(panels[-1], axes, strict=True):
        told = round_ticks(panel.xaxis, panel.get_xlim()[1], length_name(maps.length_unit))
        panel.set_xlabel(f"{axis} ({told})", fontsize=9)
    named = {}
    for panel in panels.flat:
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True):
            named.setdefault(name, handle)
    made.legend(
        list(named.values()),
        list(named),
        loc="upper left",
        bbox_to_anchor=(0.01, 1.0 - 0.06 / height),
        ncols=len(named),
        frameon=False,
        fontsize=9,
        handlelength=1.8,
        columnspacing=1.4,
    )
    return made


def _draw(panel: Axes, view: View, curve: Curve) -> None:
    found = curve.profile
    colour = _ENDS[moments_of(view).index(curve.moment)]
    time = f", time {view.times[curve.moment]:g}" if view.series else ""
    if (found.common > 0).any():
        panel.fill_between(
            found.position,
            found.mean - found.common,
            found.mean + found.common,
            color="#e3eaef",
            linewidth=0,
            label="all layers may be off by this alike",
        )
    if found.certain:
        panel.plot(found.position, found.line, color=colour, linewidth=1.0, alpha=0.6)
    panel.errorbar(
        found.position,
        found.mean,
        yerr=np.nan_to_num(found.stderr),
        linestyle="none",
        color=colour,
        marker="so"[curve.moment == 0],
        markersize=3.5,
        capsize=2.5,
        linewidth=1.2,
        label=f"mean of a layer ± its standard error{time}",
    )


def _finish(row: list[Axes], quantity: Quantity) -> None:
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    for panel in row:
        tidy(panel)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
            axis.set_major_formatter(ScalarFormatter(useOffset=False))
    largest = max(map(abs, row[0].get_ylim()))
    told = round_ticks(row[0].yaxis, largest, quantity.unit).strip()
    title(row[0], f"{quantity.name} ({told})")
