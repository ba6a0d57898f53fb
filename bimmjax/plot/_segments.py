"""Labels beside the grey values they were made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bimmjax.plot._slices import Box, frame, layout, middle_section, show
from bimmjax.plot._style import INK, QUIET, phase_colour
from bimmjax.volumes import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def segments(
    volume: Volume,
    labels: Volume,
    phases: int,
    *,
    uncertainty: Volume | None = None,
    name: str = "phase",
) -> Figure:
    """The middle slices along z, y and x: above their grey values, below their labels.

    Parameters
    ----------
    volume : Volume
        Grey values.
    labels : Volume
        Of the same shape; what is not one of 0 ... phases - 1 stays white.
    phases : int
    uncertainty : Volume, optional
        0 (sure) to 255 (no idea), of the same shape, for a third row.
    name : str
        What labels are called.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    grey = [middle_section(volume, axis) for axis in range(3)]
    made, boxes, scale = layout(
        [section.size for section in grey], rows=2 if uncertainty is None else 3
    )
    values = np.concatenate([s.pixels[np.isfinite(s.pixels)] for s in grey])
    low, high = np.quantile(values, (0.002, 0.998)) if values.size else (0.0, 1.0)
    colours = [phase_colour(k) for k in range(phases)]
    palette = ListedColormap([*colours, "white"])
    for section, box in zip(grey, boxes[:3], strict=True):
        axes = made.add_axes(box)
        show(axes, section, cmap="gray", vmin=low, vmax=max(high, low + 1e-12))
        frame(axes, section, volume, scale)
    gaps = False
    for axis, box in zip(range(3), boxes[3:6], strict=True):
        section = middle_section(labels, axis)
        gaps |= bool((section.pixels >= phases).any())
        section = section._replace(pixels=np.minimum(section.pixels, phases))
        axes = made.add_axes(box)
        show(axes, section, cmap=palette, vmin=-0.5, vmax=phases + 0.5, interpolation_stage="rgba")
        frame(axes, section, labels, scale)
    marks = [Patch(color=c, label=f"{name} {k}") for k, c in enumerate(colours)]
    if gaps:
        marks.append(Patch(facecolor="white", edgecolor=QUIET, label="no label"))
    left, bottom, wide, tall = boxes[5]
    made.legend(
        handles=marks,
        loc="upper left",
        bbox_to_anchor=(left + wide + 0.005, bottom + tall),
        frameon=False,
        fontsize=8,
        handlelength=1.0,
        borderpad=0.0,
    )
    if uncertainty is not None:
        _doubts(made, boxes[6:], uncertainty, scale)
    return made


def _doubts(made: Figure, boxes: list[Box], uncertainty: Volume, scale: float) -> None:
    """A row of slices of the uncertainty, and a bar that tells what it means."""
    drawn = None
    for axis, box in zip(range(3), boxes, strict=True):
        section = middle_section(uncertainty, axis)
        section = section._replace(pixels=section.pixels / 255.0)
        axes = made.add_axes(box)
        drawn = show(axes, section, cmap="magma", vmin=0.0, vmax=1.0)
        frame(axes, section, uncertainty, scale)
    assert drawn is not None
    left, bottom, wide, tall = boxes[-1]
    inches = made.get_figwidth()
    bar = made.add_axes((left + wide + 0.17 / inches, bottom, 0.14 / inches, tall))
    made.colorbar(drawn, cax=bar)
    bar.set_ylabel("uncertainty", fontsize=9, color=INK)
    bar.tick_params(labelsize=8, width=0.6, length=2.5)
