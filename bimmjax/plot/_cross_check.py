"""How far labels lie from a fit's fractions and areas, in one picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from bimmjax.plot._labels import per_length
from bimmjax.plot._style import INK, QUIET, figure, phase_colour, tidy, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bimmjax.segmentation import Compared, CrossCheck

_MARKS = "osD^vP*X"
_ROW, _WIDTH, _COLUMNS = 0.42, 8.4, 4


class _Panel(NamedTuple):
    """Rows of one quantity by name of the labels; drawn as differences if the fit knows any."""

    rows: dict[str, list[Compared]]
    heading: str
    what: str
    unit: str
    differences: bool


def cross_check(checks: Mapping[str, CrossCheck]) -> Figure:
    """Labels less fit, fractions left and areas right, with the fit's interval (95 %) in grey.

    Fractions in percentage points, areas in per cent of the fit's; areas that the fit does not
    know at all are drawn as they were counted.

    Parameters
    ----------
    checks
        CrossCheck by name of the labels, all with the same fit.

    Returns
    -------
    matplotlib.figure.Figure
    """
    panels = [p for p in (_fractions(checks), _areas(checks)) if any(p.rows.values())]
    most = max(len(rows) for panel in panels for rows in panel.rows.values())
    legend = 0.15 + 0.22 * math.ceil((2 + len(checks)) / _COLUMNS)
    height = 0.9 + most * (_ROW + 0.16 * len(checks)) + legend
    made = figure(_WIDTH if len(panels) > 1 else 0.6 * _WIDTH, height)
    grid = made.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(grid, panels, strict=True):
        _draw(axes, panel)
    handles, names = grid[0].get_legend_handles_labels()
    made.tight_layout(rect=(0.0, legend / height, 1.0, 1.0))
    made.legend(handles, names, loc="lower center", ncols=_COLUMNS, frameon=False, fontsize=9)
    return made


def _fractions(checks: Mapping[str, CrossCheck]) -> _Panel:
    rows = _held(checks, "volume_fractions")
    return _Panel(rows, "Volume fractions", "phase", "labels less fit (percentage points)", True)


def _areas(checks: Mapping[str, CrossCheck]) -> _Panel:
    rows = _held(checks, "interface_areas")
    known = any(row.model for each in rows.values() for row in each)
    unit = "labels less fit (%)"
    if not known:
        length = next(iter(checks.values())).length_unit
        unit = f"area per volume ({per_length(length)}), unknown to the fit"
    return _Panel(rows, "Interface areas", "phases", unit, known)


def _held(checks: Mapping[str, CrossCheck], quantity: str) -> dict[str, list[Compared]]:
    return {
        name: [row for row in check.rows if row.quantity == quantity]
        for name, check in checks.items()
    }


def _place(row: Compared, value: float, differences: bool) -> float:
    """Where a value of this row is drawn; NaN where there is nothing to compare it with."""
    if not differences:
        return value
    if row.model is None:
        return math.nan
    if row.quantity == "volume_fractions":
        return 100.0 * (value - row.model)
    return 100.0 * (value / row.model - 1.0) if row.model > 0 else math.nan


def _draw(axes: Axes, panel: _Panel) -> None:
    count = len(panel.rows)
    fitted = next(iter(panel.rows.values()))
    for place, row in enumerate(fitted):
        if panel.differences and row.interval is not None:
            low, high = (_place(row, end, True) for end in row.interval)
            axes.barh(
                place, high - low, left=low, height=0.72, color=QUIET, alpha=0.35, linewidth=0,
                label="fit, 95 %" if place == 0 else None,
            )  # fmt: skip
        if panel.differences and row.model is None:
            axes.annotate(
                "refused by the fit" if row.refusal else "unknown to the fit", (0.5, place),
                xycoords=("axes fraction", "data"), ha="center", va="center", fontsize=8,
                color=QUIET,
            )  # fmt: skip
    if panel.differences:
        axes.axvline(0.0, color=INK, linewidth=1.2, label="fit")
    for number, (name, found) in enumerate(panel.rows.items()):
        shift = 0.5 * (number - 0.5 * (count - 1)) / max(count, 2)
        axes.plot(
            [_place(row, row.measured, panel.differences) for row in found],
            [place + shift for place in range(len(found))],
            _MARKS[number % len(_MARKS)],
            color=phase_colour(number),
            markersize=6,
            label=name,
        )
    axes.set_yticks(range(len(fitted)))
    axes.set_yticklabels([f"{panel.what} {row.which}" for row in fitted])
    axes.set_ylim(len(fitted) - 0.5, -0.5)
    axes.margins(x=0.08)
    axes.set_xlabel(panel.unit, color=INK)
    title(axes, panel.heading)
    tidy(axes)
    axes.grid(axis="x", color=QUIET, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
