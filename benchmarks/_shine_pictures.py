"""Monte Carlo and the analytic model side by side, and by the depth of what shines through."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks._shine_cases import ENERGIES, FILLINGS
from bimmjax.plot._slices import scale_bar
from bimmjax.plot._style import INK, figure, phase_colour, tidy, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.shine_through import Pair

# Inches: of one image, between images, and around all.
_IMAGE, _GAP, _LEFT, _RIGHT, _ABOVE = 1.38, 0.06, 0.95, 0.72, 0.62
_BETWEEN = 0.85
_SHOWN = 2  # volumes in the picture for the documentation
_FEWEST = 12  # pixels of which a mean is shown
_WIDER = 1.15  # where a bin ends over where it starts
_MARKS = ("o", "s", "^")


def draw(pairs: list[Pair], out: Path) -> list[Path]:
    """All pictures as PNG in `out`."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.case.volume.name, []).append(pair)
    # The hierarchical ones, for which it is made.
    chosen = [own for name, own in groups.items() if name.startswith("HNPG")][:_SHOWN]
    made = {"shine-through": _side_by_side(chosen or list(groups.values())[:1])}
    for name, own in groups.items():
        made["shine-through-" + re.sub(r"\W+", "-", name)] = _side_by_side([own])
    made["shine-through-depth"] = _depths(list(groups.values()))
    paths = []
    for name, drawn in made.items():
        paths.append(out / f"{name}.png")
        drawn.savefig(paths[-1])
    return paths


def _side_by_side(groups: list[list[Pair]]) -> Any:
    """For each volume truth, and a column per filling and voltage: counted, model, difference."""
    columns = 1 + len(FILLINGS) * len(ENERGIES)
    # The truth and the fillings stand apart.
    starts = [_LEFT]
    for column in range(1, columns):
        apart = 0.55 if column == 1 else 0.2 if column == 1 + len(ENERGIES) else _GAP
        starts.append(starts[-1] + _IMAGE + apart)
    width = starts[-1] + _IMAGE + _RIGHT
    block = 3 * _IMAGE + 2 * _GAP
    height = _ABOVE + len(groups) * block + (len(groups) - 1) * _BETWEEN + 0.32
    drawn = figure(width, height)

    def box(left: float, top: float, wide: float = _IMAGE, tall: float = _IMAGE) -> Axes:
        size = (left / width, 1.0 - (top + tall) / height, wide / width, tall / height)
        return drawn.add_axes(size)

    for number, own in enumerate(groups):
        top = _ABOVE + number * (block + _BETWEEN)
        _volume(box, own, starts, top)
    return drawn


def _volume(box: Any, own: list[Pair], starts: list[float], top: float) -> None:
    volume = own[0].case.volume
    grey = {"cmap": "gray", "vmin": 0.0,
            "vmax": float(np.quantile([p.counted.image for p in own], 0.998))}  # fmt: skip
    most = float(np.quantile([np.abs(p.analytic - p.counted.image) for p in own], 0.99))
    off = {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
    rows = [top + k * (_IMAGE + _GAP) for k in range(3)]

    truth = box(starts[0], rows[0])
    extent = _show(truth, volume.labels[0], volume.spacing, cmap="gray", vmin=0, vmax=1)
    scale_bar(truth, extent[1], extent[2], "nm")
    title(truth, "Gold at the surface")
    truth.text(0, 1.24, f"{volume.name}: {100 * volume.labels.mean():.1f} % gold, "
               f"voxels of {volume.spacing:g} nm", transform=truth.transAxes, fontsize=11,
               color=INK, fontweight="bold")  # fmt: skip
    depth = box(starts[0], rows[1] + 0.3)
    deep = first_gold(volume.labels) * volume.spacing
    limit = float(np.nanquantile(deep, 0.98))
    _show(depth, deep, volume.spacing, cmap="cividis_r", vmin=0, vmax=limit)
    title(depth, "Depth of gold")
    bar = box(starts[0], rows[1] + 0.3 + _IMAGE + 0.08, _IMAGE, 0.1)
    _bar(bar, depth, "nm; white: none", "horizontal")

    for pair, left in zip(own, starts[1:], strict=True):
        kinds = (
            (pair.counted.image, grey), (pair.analytic, grey),
            (pair.analytic - pair.counted.image, off),
        )  # fmt: skip
        shown = []
        for (pixels, look), row in zip(kinds, rows, strict=True):
            shown.append(box(left, row))
            _show(shown[-1], pixels, volume.spacing, **look)
        title(shown[0], f"{pair.case.pores}, {pair.case.energy:g} kV")
        shown[2].set_xlabel(f"r {pair.score.r:.3f}, error {100 * pair.score.error:.1f} %",
                            fontsize=8, color=INK, labelpad=3)  # fmt: skip
        if pair is own[0]:
            for axes, name in zip(shown, ("Monte Carlo", "model", "difference"), strict=True):
                axes.set_ylabel(name, fontsize=10, color=INK)
        if pair is own[-1]:
            right = left + _IMAGE + 0.09
            _bar(box(right, rows[0], 0.1, 2 * _IMAGE + _GAP), shown[0], "yield", "vertical")
            _bar(
                box(right, rows[2] + 0.1, 0.1, _IMAGE - 0.1),
                shown[2],
                "model less counted",
                "vertical",
            )


def _show(axes: Axes, pixels: np.ndarray, spacing: float, **look: Any) -> tuple[float, ...]:
    height, width = (n * spacing for n in pixels.shape)
    extent = (0.0, width, height, 0.0)
    axes.imshow(pixels, extent=extent, aspect="auto", interpolation="nearest", **look)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return extent


def _bar(axes: Axes, of: Axes, name: str, orientation: Any) -> None:
    bar = axes.figure.colorbar(of.images[0], cax=axes, orientation=orientation)
    bar.set_label(name, fontsize=8, color=INK, labelpad=2)
    bar.outline.set_visible(False)
    axes.tick_params(labelsize=8, width=0.6, length=2.5)


def first_gold(labels: np.ndarray) -> np.ndarray:
    """(y, x) slices above the first gold of every pixel; NaN where there is none."""
    gold = labels == 1
    return np.where(gold.any(0), gold.argmax(0).astype(float), np.nan)


def _depths(groups: list[list[Pair]]) -> Any:
    """Mean yields by depth of the first gold: rows by filling, columns by volume."""
    drawn = figure(2.35 * len(groups) + 0.6, 5.4)
    grid = drawn.subplots(len(FILLINGS), len(groups), sharey="row", squeeze=False)
    for column, own in enumerate(groups):
        volume = own[0].case.volume
        deep = first_gold(volume.labels)
        for row, pores in enumerate(FILLINGS):
            axes = grid[row, column]
            for pair in own:
                if pair.case.pores == pores:
                    _profile(axes, pair, deep)
            title(axes, f"{volume.name}" if row == 0 else "")
            axes.set_ylim(0.0, None)
            tidy(axes)
        grid[-1, column].set_xlabel("Depth of gold (nm)")
    for row, pores in enumerate(FILLINGS):
        grid[row, 0].set_ylabel(f"Mean yield, {pores}")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False,
                 fontsize=9, title="Marks: Monte Carlo, ± 2 standard errors; lines: model",
                 title_fontsize=9)  # fmt: skip
    drawn.tight_layout(rect=(0, 0.1, 1, 1))
    return drawn


def _profile(axes: Axes, pair: Pair, deep: np.ndarray) -> None:
    """Marks with two standard errors of the counting, and the model's line."""
    depths, seen, errors, told = [], [], [], []
    for edge, stop in _bins(deep):
        pixels = (deep >= edge) & (deep < stop)
        mean = float(pair.counted.image[pixels].mean())
        sent = pair.counted.per_pixel * np.count_nonzero(pixels)
        depths.append(float(deep[pixels].mean()) * pair.case.volume.spacing)
        seen.append(mean)
        errors.append(2.0 * np.sqrt(mean * (1.0 - mean) / sent))
        told.append(float(pair.analytic[pixels].mean()))
    number = ENERGIES.index(pair.case.energy)
    axes.errorbar(depths, seen, errors, linestyle="none", marker=_MARKS[number], markersize=4,
                  color=phase_colour(number), label=f"{pair.case.energy:g} kV")  # fmt: skip
    axes.plot(depths, told, color=phase_colour(number), linewidth=1.3)


def _bins(deep: np.ndarray) -> list[tuple[float, float]]:
    """Slices from the surface down, joined so that bins widen with depth and hold enough pixels."""
    last = np.nanmax(deep)
    bins, start = [], 0.0
    while start <= last:
        stop = np.floor(1.0 + _WIDER * start)
        while np.count_nonzero((deep >= start) & (deep < stop)) < _FEWEST and stop <= last:
            stop += 1.0
        if np.count_nonzero((deep >= start) & (deep < stop)) >= _FEWEST:
            bins.append((start, stop))
        start = stop
    return bins
