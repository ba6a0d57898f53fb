"""A zx plane: the truth, what the slices show of it, and what fillings make of that."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bimmjax.plot._style import INK, figure, title

_SHOWN = 96  # voxels
_VOXEL = 2.5  # nm
_BAR = 50.0  # nm
# Okabe and Ito's: pores and solid in greys, so that only errors are coloured.
_PORE, _SOLID, _GAP = "#f4f4f4", "#7d7d7d", "#e8d9b5"
_LACKING, _ADDED = "#D55E00", "#0072B2"


def draw(truth: np.ndarray, places: np.ndarray, filled: dict[str, np.ndarray], out: Path) -> Path:
    """Write `fib_fill.png`."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    row = _busiest(truth)
    part = (slice(0, min(_SHOWN, truth.shape[0])), row, _busiest_part(truth[:, row]))
    right = truth[part].astype(int)
    seen = np.full_like(right, 4)
    there = places[places < right.shape[0]]
    seen[there] = right[there]
    panels = {"truth": right, f"{there.size} slices of it": seen}
    for name, labels in filled.items():
        told = labels[part].astype(int)
        wrong = 100.0 * float((labels != truth).mean())
        # Solid that is lacking, and solid that is too much.
        panels[f"{name}: {wrong:.1f} % wrong"] = np.where(told == right, right, 2 + told)
    colours = ListedColormap([_PORE, _SOLID, _LACKING, _ADDED, _GAP])
    drawn = figure(10.5, 7.6)
    for axes, (name, pixels) in zip(drawn.subplots(2, 3).flat, panels.items(), strict=True):
        axes.imshow(pixels, cmap=colours, vmin=-0.5, vmax=4.5, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        title(axes, name)
    first = drawn.axes[0]
    long, low = _BAR / _VOXEL, right.shape[0] - 5
    first.plot([4, 4 + long], [low, low], color=INK, linewidth=3, solid_capstyle="butt")
    first.text(
        4 + long / 2, low - 2, f"{_BAR:g} nm", ha="center", va="bottom", fontsize=9, color=INK,
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.5},
    )  # fmt: skip
    drawn.axes[3].set_ylabel("z")
    drawn.axes[3].set_xlabel("x")
    names = {_SOLID: "gold", _PORE: "pore", _GAP: "missing", _LACKING: "gold that is lacking",
             _ADDED: "gold that is not there"}  # fmt: skip
    handles = [Patch(facecolor=c, edgecolor=INK, linewidth=0.5, label=n) for c, n in names.items()]
    drawn.tight_layout(rect=(0.0, 0.05, 1.0, 1.0))
    drawn.legend(handles=handles, loc="lower center", ncols=5, frameon=False, fontsize=10)
    path = out / "fib_fill.png"
    drawn.savefig(path)
    return path


def _busiest(truth: np.ndarray) -> int:
    """The zx plane with most outlines."""
    return int(np.argmax((np.diff(truth.astype(int), axis=0) != 0).sum((0, 2))))


def _busiest_part(plane: np.ndarray) -> slice:
    """The columns with most of them."""
    edges = (np.diff(plane[:_SHOWN].astype(int), axis=0) != 0).sum(0)
    wide = min(_SHOWN, plane.shape[1])
    sums = np.convolve(edges, np.ones(wide, int), "valid")
    start = int(np.argmax(sums))
    return slice(start, start + wide)
