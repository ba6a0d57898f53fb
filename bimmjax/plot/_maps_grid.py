"""Sections through maps side by side: true proportions, axes in lengths over the volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bimmjax.plot._labels import length_name
from bimmjax.plot._slices import scale_bar
from bimmjax.plot._style import INK, QUIET, figure, round_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.path import Path as Outline

    from bimmjax.maps._maps import Maps

_COLUMNS = 4
_WIDEST, _TALLEST = 1.95, 3.4  # inches, of a section
_FIRST, _LEFT, _RIGHT, _ABOVE, _BELOW, _BETWEEN = 0.42, 0.2, 0.64, 0.36, 0.47, 0.2
_BAR = 0.11
_SMALLEST = 0.9  # inches of height, so that colour bars and titles find room


class Mark(NamedTuple):
    """How some blocks are set apart: `fill` and hatching, and what it means."""

    name: str
    fill: str
    hatch: str
    ink: str


BORROWED = Mark("mostly taken from the whole volume's fit", "#ffffff50", "xxxx", "#ffffffa0")
UNUSABLE = Mark("cannot be used", "#c4c4c4", "////", "#6f6f6f")
PENDING = Mark("not fitted yet", "#f4f4f4", "....", "#a8a8a8")


_OVER_COLOUR = "#7da3ad"  # what a see-through fill looks like in the legend


class Section(NamedTuple):
    """`pixels` (rows, columns) of the plane "xy" or "xz", and which of them are marked how."""

    plane: str
    pixels: np.ndarray
    marks: Sequence[tuple[Mark, np.ndarray]] = ()


class Cell(NamedTuple):
    """One quantity: name and unit, stacks of sections (beside each other, each with a heading).

    largest : number on the colour bar, which is left out if `bar` is false.
    """

    name: str
    unit: str
    stacks: Sequence[tuple[str, Sequence[Section]]]
    norm: Any
    cmap: Any
    extend: str = "neither"
    largest: float = 1.0
    bar: bool = True
    scale_bar: bool = True


@dataclass(frozen=True)
class Frame:
    """The volume around the maps, in lengths along (z, y, x).

    sides : of the volume. low, high : where the maps' pixels begin and end; each is as wide as the
    stride, and centred on its block.
    """

    sides: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    unit: str

    @classmethod
    def of(cls, maps: Maps) -> Frame:
        """The frame of a map set."""
        windows = maps.windows
        spacing = [float(s) for s in maps.spacing]
        low = [
            0.5 * (b - s) * edge
            for b, s, edge in zip(windows.block, windows.stride, spacing, strict=True)
        ]
        return cls(
            tuple(n * edge for n, edge in zip(windows.volume_shape, spacing, strict=True)),
            tuple(low),
            tuple(
                at + n * s * edge
                for at, n, s, edge in zip(low, windows.shape, windows.stride, spacing, strict=True)
            ),
            maps.length_unit,
        )

    def centre(self, axis: int, index: int, count: int) -> float:
        """Where the centre of a block lies along an axis."""
        return self.low[axis] + (index + 0.5) * (self.high[axis] - self.low[axis]) / count

    def axes_of(self, plane: str) -> tuple[int, int]:
        """Axes (0 z, 1 y, 2 x) along a plane's rows and columns."""
        return ("zyx".index(plane[1]) if plane[0] == "x" else 0, 2)


def planes(maps: Maps) -> tuple[str, ...]:
    """The planes worth drawing: of a single layer of blocks only itself."""
    return ("xy",) if maps.windows.shape[0] == 1 else ("xy", "xz")


def grid(frame: Frame, cells: Sequence[Cell], heading: str, marks: Sequence[Mark] = ()) -> Figure:
    """All cells in rows of four stacks, with the heading and the legend of the marks above."""
    shown = [section.plane for section in cells[0].stacks[0][1]]
    tallest = max(frame.sides[frame.axes_of(p)[0]] for p in shown)
    scale = min(_WIDEST / frame.sides[2], _TALLEST / tallest)
    width = frame.sides[2] * scale
    heights = [frame.sides[frame.axes_of(p)[0]] * scale for p in shown]
    stacked = sum(heights) + _BETWEEN * (len(heights) - 1)
    room = max(stacked, _SMALLEST)
    per_cell = len(cells[0].stacks)
    across = min(max(1, _COLUMNS // per_cell), len(cells))
    step = max(width, 1.45)  # titles need room even over thin sections
    pitch = _LEFT + per_cell * step + (per_cell - 1) * 0.2 + _RIGHT
    rows = -(-len(cells) // across)
    top = 0.42 + (0.24 if marks else 0.0)
    subtitle = 0.2 if per_cell > 1 else 0.0
    row = _ABOVE + subtitle + room + _BELOW
    total = (max(_FIRST + across * pitch, 7.4), top + rows * row + 0.06)
    made = figure(*total)
    _head(made, heading, marks, total)

    for number, cell in enumerate(cells):
        left = _FIRST + (number % across) * pitch + _LEFT
        upper = total[1] - top - (number // across) * row - _ABOVE
        drawn = None
        for place, (name, sections) in enumerate(cell.stacks):
            begin = left + place * (step + 0.2)
            if name:
                made.text(
                    begin / total[0],
                    (upper - 0.06) / total[1],
                    name,
                    fontsize=8.5,
                    color=QUIET,
                    ha="left",
                    va="center",
                )
            lower = upper - subtitle
            for depth, (section, height) in enumerate(zip(sections, heights, strict=True)):
                lower -= height
                box = (begin / total[0], lower / total[1], width / total[0], height / total[1])
                axes = made.add_axes(box)
                drawn = _draw(axes, frame, section, cell)
                _ticks(
                    axes,
                    frame,
                    section.plane,
                    (width, height),
                    named=place == 0 and number % across == 0,
                )
                if depth + 1 < len(sections):
                    axes.set_xlabel("")
                    axes.tick_params(labelbottom=False)
                first = number + place + depth == 0
                if first and cell.scale_bar and min(width, height) > 0.6:
                    scale_bar(axes, frame.sides[2], axes.get_ylim()[0], frame.unit)
                lower -= _BETWEEN
        told = cell.unit
        if cell.bar:
            begin = left + (per_cell - 1) * (step + 0.2) + width + 0.1
            tall = max(stacked, 0.7)
            lower = upper - subtitle - tall
            box = (begin / total[0], lower / total[1], _BAR / total[0], tall / total[1])
            told = _colour_bar(made, made.add_axes(box), drawn, cell)
        made.text(
            (left - 0.02) / total[0],
            (upper + 0.1) / total[1],
            f"{cell.name} ({told})" if told else cell.name,
            fontsize=10,
            color=INK,
            va="bottom",
        )
    return made


def _head(made: Figure, heading: str, marks: Sequence[Mark], total: tuple[float, float]) -> None:
    from matplotlib.patches import Patch

    made.text(0.18 / total[0], 1 - 0.22 / total[1], heading, fontsize=10, color=QUIET, va="center")
    if marks:
        keys = [
            Patch(
                facecolor=_OVER_COLOUR if mark is BORROWED else mark.fill,
                edgecolor=mark.ink,
                hatch=mark.hatch,
                linewidth=0.0,
                label=mark.name,
            )
            for mark in marks
        ]
        made.legend(
            handles=keys,
            loc="center left",
            bbox_to_anchor=(0.11 / total[0], 1 - 0.47 / total[1]),
            ncols=len(keys),
            frameon=False,
            fontsize=9,
            handlelength=2.2,
            handleheight=1.2,
            columnspacing=1.6,
            borderpad=0.0,
        )


def _draw(axes: Axes, frame: Frame, section: Section, cell: Cell) -> Any:
    rows, columns = frame.axes_of(section.plane)
    extent = (frame.low[columns], frame.high[columns], frame.high[rows], frame.low[rows])
    drawn = axes.imshow(
        section.pixels,
        cmap=cell.cmap,
        norm=cell.norm,
        extent=extent,
        aspect="auto",
        interpolation="nearest",
    )
    for mark, where in section.marks:
        if where.any():
            _hatch(axes, mark, where, extent)
    axes.set_xlim(0, frame.sides[columns])
    axes.set_ylim(frame.sides[rows], 0)
    axes.set_facecolor("#ffffff")
    for spine in axes.spines.values():
        spine.set_color(QUIET)
        spine.set_linewidth(0.6)
    return drawn


def _hatch(
    axes: Axes, mark: Mark, where: np.ndarray, extent: tuple[float, float, float, float]
) -> None:
    from matplotlib.patches import PathPatch

    axes.add_patch(
        PathPatch(
            _outline(where, extent),
            facecolor=mark.fill,
            edgecolor=mark.ink,
            hatch=mark.hatch,
            linewidth=0.0,
        )
    )


def _outline(where: np.ndarray, extent: tuple[float, float, float, float]) -> Outline:
    """Rectangles over the runs of marked pixels in each row, as one path."""
    from matplotlib.path import Path as Outline

    left, right, bottom, top = extent
    rows, columns = where.shape
    padded = np.pad(where.astype(np.int8), ((0, 0), (1, 1)))
    change = np.diff(padded, axis=1)
    row, begin = np.nonzero(change == 1)
    _, end = np.nonzero(change == -1)
    x0, x1 = (left + (right - left) * at / columns for at in (begin, end))
    y0, y1 = (top + (bottom - top) * at / rows for at in (row, row + 1))
    corners = np.stack([x0, y0, x1, y0, x1, y1, x0, y1, x0, y0], axis=-1).reshape(-1, 2)
    one = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY]
    return Outline(corners, np.tile(np.array(one, np.uint8), row.size))


def _ticks(axes: Axes, frame: Frame, plane: str, size: tuple[float, float], *, named: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    rows, columns = frame.axes_of(plane)
    unit = length_name(frame.unit)
    parts: tuple[tuple[Axis, str, float, int], ...] = (
        (axes.xaxis, "x", size[0], columns),
        (axes.yaxis, "zyx"[rows], size[1], rows),
    )
    for axis, name, inches, along in parts:
        many = max(1, math.floor(inches / (0.45 if name == "x" else 0.32)))
        axis.set_major_locator(MaxNLocator(min(many, 4), steps=[1, 2, 5, 10]))
        told = round_ticks(axis, frame.sides[along], unit)
        axis.set_label_text(f"{name} ({told})" if inches > 0.7 else name)
        axis.label.set_fontsize(9)
        axis.label.set_color(INK)
    axes.tick_params(labelsize=8.5, color=QUIET, labelcolor=INK, width=0.6, length=2.5, pad=2)
    axes.xaxis.labelpad = 2
    axes.yaxis.labelpad = 2
    if not named:
        axes.set_ylabel("")
        axes.tick_params(labelleft=False)


def _colour_bar(made: Figure, bar: Axes, drawn: Any, cell: Cell) -> str:
    """Draw it; the unit, with the power of ten that its numbers leave out."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    made.colorbar(drawn, cax=bar, extend=cell.extend)
    bar.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    bar.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    told = round_ticks(bar.yaxis, cell.largest, cell.unit).strip()
    bar.tick_params(labelsize=8.5, width=0.6, length=2.5, pad=2, labelcolor=INK)
    bar.minorticks_off()
    return told
