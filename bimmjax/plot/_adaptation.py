"""Images before and after a translation, and how it was learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.plot._slices import middle_section, scale_bar, show
from bimmjax.plot._style import INK, figure, phase_colour, tidy, title
from bimmjax.volumes import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL, _ABOVE = 3.4, 0.35
_TOGETHER = ("generators", "critics")


def adaptation(
    before: Volume,
    after: Volume,
    target: Volume | None = None,
    *,
    names: Sequence[str] = ("input", "translated", "target"),
) -> Figure:
    """The middle slice of a volume, of its translation, and of what it should look like.

    Each on its own scale of grey values, from the 0.2 % darkest to the 0.2 % brightest.

    Parameters
    ----------
    before, after : Volume
    target : Volume, optional
    names : sequence of str
        What stands above each; those beyond the volumes are not used.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        Fewer names than volumes.
    """
    volumes = [before, after] if target is None else [before, after, target]
    if isinstance(names, str) or len(names) < len(volumes):
        raise InputError(f"names: got {names!r}, wants one for each of {len(volumes)} volumes")
    sections = [middle_section(volume, 0) for volume in volumes]
    tall = max(one.size[0] / one.size[1] for one in sections)
    made = figure(_PANEL * len(volumes), _PANEL * min(tall, 2.0) + _ABOVE)
    grid = made.subplots(1, len(volumes), squeeze=False)[0]
    for axes, volume, section, name in zip(
        grid, volumes, sections, names[: len(volumes)], strict=True
    ):
        finite = section.pixels[np.isfinite(section.pixels)]
        low, high = np.quantile(finite, (0.002, 0.998)) if finite.size else (0.0, 1.0)
        show(axes, section, cmap="gray", vmin=low, vmax=max(high, low + 1e-12))
        axes.set_aspect("equal")
        axes.set_axis_off()
        title(axes, f"{name} ({low:.3g} to {high:.3g})")
        scale_bar(axes, section.size[1], section.size[0], volume.unit)
    made.tight_layout()
    return made


def adapted(history: Sequence[Mapping[str, Any]]) -> Figure:
    """The losses of a translation over its epochs: of both sides, and what the first consists of.

    Parameters
    ----------
    history
        Rows of log.csv, from `bimmjax.nets.read_log` or `Adapted.history`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        No epoch.
    """
    if not history:
        raise InputError("history: got no epoch, wants at least one")
    epochs = [row["epoch"] for row in history]
    apart = ("epoch", "learning_rate", "seconds")
    names = [name for name in history[0] if name not in apart]
    made = figure(9.4, 3.0)
    both, parts = made.subplots(1, 2)
    mark = "o" if len(history) == 1 else None
    for number, name in enumerate(names):
        axes = both if name in _TOGETHER else parts
        colour = INK if name == "generators" else phase_colour(number)
        axes.plot(epochs, [row[name] for row in history], color=colour, marker=mark, label=name)
    title(both, "Generators, all weighted, and critics")
    title(parts, "What generators are judged by, unweighted")
    for axes in (both, parts):
        axes.set_xlabel("Epoch")
        axes.set_ylabel("Loss")
        axes.set_ylim(bottom=0.0)
        axes.legend(frameon=False, fontsize=9)
        tidy(axes)
    made.tight_layout()
    return made
