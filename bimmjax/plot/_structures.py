"""A labelled volume by itself: three slices in the colours of its phases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bimmjax.plot._slices import frame, layout, middle_section, show
from bimmjax.plot._style import phase_colour
from bimmjax.volumes import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def structure(labels: Volume, names: Sequence[str]) -> Figure:
    """The middle slices along z, y and x, with a scale bar; each phase in its colour.

    Parameters
    ----------
    labels : Volume
        Of labels 0 ... N - 1; what is none of them stays white.
    names
        Of the N phases.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    sections = [middle_section(labels, axis) for axis in range(3)]
    made, boxes, scale = layout([section.size for section in sections])
    colours = [phase_colour(k) for k in range(len(names))]
    palette = ListedColormap([*colours, "white"])
    for section, box in zip(sections, boxes, strict=True):
        section = section._replace(pixels=np.minimum(section.pixels, len(names)))
        axes = made.add_axes(box)
        show(
            axes, section, cmap=palette, vmin=-0.5, vmax=len(names) + 0.5,
            interpolation_stage="rgba",
        )  # fmt: skip
        frame(axes, section, labels, scale)
    left, bottom, wide, tall = boxes[-1]
    made.legend(
        handles=[Patch(color=c, label=name) for c, name in zip(colours, names, strict=True)],
        loc="upper left",
        bbox_to_anchor=(left + wide + 0.005, bottom + tall),
        frameon=False,
        fontsize=8,
        handlelength=1.0,
        borderpad=0.0,
    )
    return made
