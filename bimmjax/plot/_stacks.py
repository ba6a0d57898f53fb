"""Several volumes below each other, each cut through its middle along z, y and x."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from bimmjax.plot._slices import Section, frame, layout, middle_section, show
from bimmjax.plot._style import INK, QUIET, phase_colour
from bimmjax.volumes import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def stacks(
    volumes: Mapping[str, Volume], *, labels: Collection[str] = (), phases: int = 0
) -> Figure:
    """A row of middle slices for each of several volumes of about one size: before and after.

    Parameters
    ----------
    volumes
        By the name that stands beside their row.
    labels
        Names of those that are labels; others are grey values, on one scale for each row.
    phases
        Number of phases of labels; what is not one of them stays white.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    rows = {name: [middle_section(v, axis) for axis in range(3)] for name, v in volumes.items()}
    largest: list[tuple[float, float]] = []
    for axis in range(3):
        heights, widths = zip(*(row[axis].size for row in rows.values()), strict=True)
        largest.append((max(heights), max(widths)))
    made, boxes, scale = layout(largest, rows=len(rows))
    colours = [phase_colour(k) for k in range(phases)]
    gaps = False
    for number, (name, volume) in enumerate(volumes.items()):
        look = (
            {"cmap": ListedColormap([*colours, "white"]), "vmin": -0.5, "vmax": phases + 0.5,
             "interpolation_stage": "rgba"}
            if name in labels
            else _grey(rows[name])
        )  # fmt: skip
        for axis in range(3):
            section, size = rows[name][axis], largest[axis]
            if name in labels:
                gaps |= bool((section.pixels >= phases).any())
                section = section._replace(pixels=np.minimum(section.pixels, phases))
            left, bottom, wide, tall = boxes[3 * number + axis]
            high, across = section.size[0] / size[0], section.size[1] / size[1]
            box = (left, bottom + tall * (1.0 - high), wide * across, tall * high)
            axes = made.add_axes(box)
            show(axes, section, **look)
            frame(axes, section, volume, scale)
        left, bottom, wide, tall = boxes[3 * number + 2]
        made.text(left + wide + 0.008, bottom + 0.5 * tall, name, fontsize=9, color=INK,
                  rotation=90, va="center", ha="left")  # fmt: skip
    if labels:
        marks = [Patch(color=c, label=f"phase {k}") for k, c in enumerate(colours)]
        if gaps:
            marks.append(Patch(facecolor="white", edgecolor=QUIET, label="no label"))
        left, bottom, wide, tall = boxes[2]
        made.legend(handles=marks, loc="upper left", frameon=False, fontsize=8, handlelength=1.0,
                    bbox_to_anchor=(left + wide + 0.004, bottom + tall), borderpad=0.0)  # fmt: skip
    return made


def _grey(sections: list[Section]) -> dict[str, object]:
    values = np.concatenate([s.pixels[np.isfinite(s.pixels)] for s in sections])
    low, high = np.quantile(values, (0.002, 0.998)) if values.size else (0.0, 1.0)
    return {"cmap": "gray", "vmin": low, "vmax": max(high, low + 1e-12)}
