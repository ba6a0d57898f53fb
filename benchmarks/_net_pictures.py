"""Pictures of what networks found: a slice, its truth, all labels and their errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bimmjax.plot._style import INK, figure, phase_colour, title

_ROW = 5
# Class by class as in all pictures; what is wrong stands out in the ink's own black.
_WRONG = "#000000"


def beside(
    image: np.ndarray, truth: np.ndarray, found: Mapping[str, np.ndarray], path: Path,
    bar: tuple[int, str] = (20, "100 nm"),
) -> Path:  # fmt: skip
    """The middle slice (y, x) of everything, (z, y, x) each; `bar` is a length in voxels."""
    from matplotlib.colors import ListedColormap

    z = truth.shape[0] // 2
    classes = int(truth.max()) + 1
    palette = ListedColormap([*(phase_colour(k) for k in range(classes)), _WRONG])
    panels = [("image", None), ("truth", truth[z])]
    panels += [
        (name, np.where(one[z] == truth[z], truth[z], classes)) for name, one in found.items()
    ]
    rows = math.ceil(len(panels) / _ROW)
    drawn = figure(2.3 * min(_ROW, len(panels)), 2.55 * rows)
    grid = drawn.subplots(rows, min(_ROW, len(panels)), squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, (name, labels) in zip(grid, panels, strict=False):
        if labels is None:
            axes.imshow(image[z], cmap="gray", interpolation="nearest")
        else:
            axes.imshow(labels, cmap=palette, vmin=0, vmax=classes, interpolation="nearest")
        told = name if name in ("image", "truth") else f"{name}: {_share(labels, classes)}"
        title(axes, told)
    wide, high = truth.shape[2], truth.shape[1]
    length, words = bar
    at = (wide * 0.04, wide * 0.04 + length)
    grid[0].plot(at, [high * 0.95] * 2, color="white", linewidth=3, solid_capstyle="butt")
    grid[0].text(
        sum(at) / 2, high * 0.93, words, color="white", ha="center", va="bottom", fontsize=8
    )
    drawn.text(
        0.995,
        0.004,
        "black, and in per cent: wrong labels",
        ha="right",
        va="bottom",
        fontsize=8,
        color=INK,
    )
    drawn.tight_layout()
    drawn.savefig(path)
    return path


def _share(labels: np.ndarray | None, classes: int) -> str:
    wrong = 0.0 if labels is None else float((labels == classes).mean())
    return f"{100.0 * wrong:.2g} %"
