"""Images of one surface at several voltages beside the truth, and the depth below it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bimmjax.plot._slices import Section, frame, middle_section, show
from bimmjax.plot._style import INK, figure, phase_colour, title
from bimmjax.volumes import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_WIDE, _TALL = 2.5, 3.2  # inches: of a column, of the higher row at most
_LEFT, _GAP, _BELOW, _ABOVE, _LEGEND = 0.25, 0.12, 0.27, 0.3, 0.65
_BAR = 0.1  # inches, height of a colour bar
_LETTER = 0.062  # inches, mean width
_LEAST = 8  # slices from which a section through them says something


def backscatter(
    labels: Volume,
    images: Mapping[str, Volume],
    names: Sequence[str],
    *,
    unit: str = "electrons seen per electron sent",
    places: Sequence[int] | None = None,
) -> Figure:
    """A slice of the labels beside its images, and below it a section along the depth.

    Each voltage has its own scale of grey, told by a bar below it.

    Parameters
    ----------
    labels : Volume
        Of labels 0 ... N - 1, slice for slice those of the images.
    images
        By what stands above them ("2 kV"), of the same shape.
    names
        Of the N phases.
    unit
        Of the images.
    places
        Numbers of the slices, where they are not 0, 1, 2 ...

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    axes_shown = [0, 1] if labels.shape[0] >= _LEAST else [0]
    truth = [middle_section(labels, axis) for axis in axes_shown]
    columns = 1 + len(images)
    width = max(section.size[1] for section in truth)
    scale = min(_WIDE / width, _TALL / max(section.size[0] for section in truth))
    tall = [max(section.size[0] * scale, 0.4) for section in truth]
    each = max(width * scale, 1.0)
    total = 2 * _LEFT + columns * each + (columns - 1) * _GAP
    height = _LEGEND + sum(tall) + len(tall) * (_BELOW + _ABOVE)
    made = figure(total, height)
    colours = [phase_colour(k) for k in range(len(names))]
    palette = ListedColormap(colours)

    def draw(
        section: Section, row: int, column: int, name: str, of: Volume, **look: object
    ) -> AxesImage:
        low = height - sum(tall[: row + 1]) - (row + 1) * _ABOVE - row * _BELOW
        left = _LEFT + column * (each + _GAP)
        axes = made.add_axes(
            (left / total, low / height, width * scale / total, tall[row] / height)
        )
        drawn = show(axes, section, **look)
        frame(axes, section, of, scale)
        place = f"{'zyx'[section.axis]} = {section.place} of {of.shape[section.axis]}"
        if section.axis == 0 and places is not None:
            place = f"z = {places[section.place]}"
        title(axes, f"{name}, {place}" if column == 0 else name)
        if column:
            axes.set_ylabel("")
        return drawn

    for row, section in enumerate(truth):
        flat = section._replace(pixels=np.minimum(section.pixels, len(names) - 1))
        draw(
            flat, row, 0, "truth", labels, cmap=palette, vmin=-0.5, vmax=len(names) - 0.5,
            interpolation_stage="rgba",
        )  # fmt: skip
    for column, (name, image) in enumerate(images.items(), 1):
        seen = [middle_section(image, axis) for axis in axes_shown]
        # Both sections of a voltage alike, so that slices may be held against the depth.
        values = np.concatenate([s.pixels[np.isfinite(s.pixels)] for s in seen])
        low, high = np.quantile(values, (0.002, 0.998)) if values.size else (0.0, 1.0)
        drawn = [
            draw(
                section, row, column, name, image, cmap="gray", vmin=low,
                vmax=max(high, low + 1e-12),
            )
            for row, section in enumerate(seen)
        ]  # fmt: skip
        left = (_LEFT + column * (each + _GAP)) / total
        bar = made.add_axes((left, 0.5 / height, width * scale / total, _BAR / height))
        made.colorbar(drawn[0], cax=bar, orientation="horizontal")
        bar.xaxis.set_major_locator(MaxNLocator(3))
        bar.tick_params(labelsize=7, width=0.6, length=2, pad=1)
    made.legend(
        handles=[Patch(color=c, label=name) for c, name in zip(colours, names, strict=True)],
        loc="lower left",
        bbox_to_anchor=(_LEFT / total, 0.42 / height),
        frameon=False,
        fontsize=8,
        handlelength=1.0,
        borderpad=0.0,
        ncols=max(len(names), 1),
    )
    told = f"Grey: {unit}" + (", on a scale for each voltage" if len(images) > 1 else "")
    told = textwrap.fill(told, int((total - _LEFT) / _LETTER))
    made.text(_LEFT / total, 0.05 / height, told, fontsize=8, color=INK, va="bottom")
    return made
