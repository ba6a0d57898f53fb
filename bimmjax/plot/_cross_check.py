"""A fit's fractions and areas, and those of labels, in one picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bimmjax.plot._labels import per_length
from bimmjax.plot._style import INK, QUIET, figure, phase_colour, tidy, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bimmjax.segmentation import Compared, CrossCheck

_MARKS = "osD^vP*X"
_ROW, _WIDTH, _COLUMNS = 0.42, 8.4, 4


def cross_check(checks: Mapping[str, CrossCheck]) -> Figure:
    """Fractions left, areas right: the fit with its interval (95 %), and each set of labels.

    Parameters
    ----------
    checks : CrossCheck by name of the labels, all with the same fit.

    Returns
    -------
    matplotlib.figure.Figure
    """
    first = next(iter(checks.values()))
    quantities = {
        "volume_fractions": ("Volume fractions", "share (%)", 100.0),
        "interface_areas": (
            "Interface areas",
            f"area per volume ({per_length(first.length_unit)})",
            1.0,
        ),
    }
    held = [q for q in quantities if any(row.quantity == q for row in first.rows)]
    most = max(sum(row.quantity == q for row in first.rows) for q in held)
    legend = 0.15 + 0.22 * math.ceil((2 + len(checks)) / _COLUMNS)
    height = 0.9 + most * (_ROW + 0.16 * len(checks)) + legend
    made = figure(_WIDTH if len(held) > 1 else 0.6 * _WIDTH, height)
    grid = made.subplots(1, len(held), squeeze=False)[0]
    for axes, quantity in zip(grid, held, strict=True):
        heading, unit, times = quantities[quantity]
        rows = {
            name: [row for row in check.rows if row.quantity == quantity]
            for name, check in checks.items()
        }
        _draw(axes, rows, times)
        axes.set_xlabel(unit, color=INK)
        what = "phase" if quantity == "volume_fractions" else "phases"
        axes.set_yticks(range(len(rows[next(iter(rows))])))
        axes.set_yticklabels([f"{what} {row.which}" for row in rows[next(iter(rows))]])
        axes.invert_yaxis()
        title(axes, heading)
        tidy(axes)
        axes.grid(axis="x", color=QUIET, alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
    handles, names = grid[0].get_legend_handles_labels()
    made.tight_layout(rect=(0.0, legend / height, 1.0, 1.0))
    made.legend(handles, names, loc="lower center", ncols=_COLUMNS, frameon=False, fontsize=9)
    return made


def _draw(axes: Axes, rows: Mapping[str, list[Compared]], times: float) -> None:
    count = len(rows)
    fitted = next(iter(rows.values()))
    for place, row in enumerate(fitted):
        if row.model is None:
            continue
        if row.interval is not None:
            low, high = (times * end for end in row.interval)
            axes.barh(
                place, high - low, left=low, height=0.72, color=QUIET, alpha=0.35, linewidth=0,
                label="fit, 95 %" if place == 0 else None,
            )  # fmt: skip
        axes.plot(
            [times * row.model] * 2, [place - 0.36, place + 0.36], color=INK, linewidth=1.8,
            label="fit" if place == 0 else None,
        )  # fmt: skip
    for number, (name, found) in enumerate(rows.items()):
        shift = 0.5 * (number - 0.5 * (count - 1)) / max(count, 2)
        axes.plot(
            [times * row.measured for row in found],
            [place + shift for place in range(len(found))],
            _MARKS[number % len(_MARKS)],
            color=phase_colour(number),
            markersize=6,
            label=name,
        )
