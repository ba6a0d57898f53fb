"""Labels beside the grey values they were made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bimmjax.plot._slices import frame, layout, middle_section, show
from bimmjax.plot._style import QUIET, phase_colour
from bimmjax.volumes import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def segments(volume: Volume, labels: Volume, phases: int) -> Figure:
    """The middle slices along z, y and x: above their grey values, below their labels.

    Parameters
    ----------
    volume : Volume
        Grey values.
    labels : Volume
        Of the same shape; what is not one of 0 ... phases - 1 stays white.
    phases : int

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    grey = [middle_section(volume, axis) for axis in range(3)]
    made, boxes, scale = layout([section.size for section in grey], rows=2)
    values = np.concatenate([s.pixels[np.isfinite(s.pixels)] for s in grey])
    low, high = np.quantile(values, (0.002, 0.998)) if values.size else (0.0, 1.0)
    colours = [phase_colour(k) for k in range(phases)]
    palette = ListedColormap([*colours, "white"])
    for section, box in zip(grey, boxes[:3], strict=True):
        axes = made.add_axes(box)
        show(axes, section, cmap="gray", vmin=low, vmax=max(high, low + 1e-12))
        frame(axes, section, volume, scale)
    gaps = False
    for axis, box in zip(range(3), boxes[3:], strict=True):
        section = middle_section(labels, axis)
        gaps |= bool((section.pixels >= phases).any())
        section = section._replace(pixels=np.minimum(section.pixels, phases))
        axes = made.add_axes(box)
        show(axes, section, cmap=palette, vmin=-0.5, vmax=phases + 0.5, interpolation_stage="rgba")
        frame(axes, section, labels, scale)
    marks = [Patch(color=c, label=f"phase {k}") for k, c in enumerate(colours)]
    if gaps:
        marks.append(Patch(facecolor="white", edgecolor=QUIET, label="no label"))
    left, bottom, wide, tall = boxes[-1]
    made.legend(
        handles=marks,
        loc="upper left",
        bbox_to_anchor=(left + wide + 0.005, bottom + tall),
        frameon=False,
        fontsize=8,
        handlelength=1.0,
        borderpad=0.0,
    )
    return made
