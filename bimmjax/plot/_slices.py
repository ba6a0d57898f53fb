"""The middle slices of a volume, at whatever size and cost of reading."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bimmjax.plot._labels import length_name
from bimmjax.plot._style import INK, figure, round_ticks, title
from bimmjax.volumes import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_PIXELS = 700  # more than these along an axis no screen shows in a third of a figure
_BUDGET = 2**27  # voxels decoded for one slice, beyond which only some rows are read
_TALLEST = 5.5  # inches
_BAR_INCHES = 0.2
_BARS = (1.0, 2.0, 5.0)


class Section(NamedTuple):
    """A slice of a volume: `pixels` (rows, columns) over `size` (height, width) in lengths."""

    pixels: np.ndarray
    size: tuple[float, float]
    axis: int
    place: int


def slices(volume: Volume, *, intensity_unit: str = "grey value") -> Figure:
    """The middle slices along z, y and x, with scale bar and colour bar.

    Parameters
    ----------
    volume : Volume
        Of any size: where a slice crosses more of the file than is worth decoding, only some of
        its rows are read.
    intensity_unit : str
        For the colour bar.

    Returns
    -------
    matplotlib.figure.Figure
    """
    sections = [middle_section(volume, axis) for axis in range(3)]
    values = np.concatenate([s.pixels[np.isfinite(s.pixels)] for s in sections])
    low, high = np.quantile(values, (0.002, 0.998)) if values.size else (0.0, 1.0)
    if high <= low:
        low, high = float(values.min(initial=0.0)), float(values.max(initial=1.0))

    made, boxes, scale = layout([section.size for section in sections])
    drawn = None
    for section, box in zip(sections, boxes, strict=True):
        axes = made.add_axes(box)
        drawn = show(axes, section, cmap="gray", vmin=low, vmax=high)
        frame(axes, section, volume, scale)
    assert drawn is not None
    left, bottom, wide, tall = boxes[-1]
    inches = made.get_figwidth()
    bar = made.add_axes((left + wide + 0.17 / inches, bottom, 0.14 / inches, tall))
    made.colorbar(drawn, cax=bar, extend="both")
    unit = round_ticks(bar.yaxis, max(abs(low), abs(high)), f"{intensity_unit}s")
    bar.set_ylabel(f"intensity ({unit})", fontsize=9, color=INK)
    bar.tick_params(labelsize=8, width=0.6, length=2.5)
    return made


def show(axes: Axes, section: Section, **colours: Any) -> AxesImage:
    """The pixels of a slice, in lengths."""
    height, width = section.size
    smooth = max(section.pixels.shape) > _PIXELS
    return axes.imshow(
        section.pixels,
        extent=(0, width, height, 0),
        aspect="auto",
        interpolation="antialiased" if smooth else "nearest",
        **colours,
    )


def frame(axes: Axes, section: Section, volume: Volume, scale: float) -> None:
    """What stands around a slice: its place, the names of its sides, and a scale bar."""
    height, width = section.size
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    down, across = _NAMES[section.axis]
    name = "zyx"[section.axis]
    title(axes, f"{name} = {section.place} of {volume.shape[section.axis]}")
    axes.set_xlabel(f"{across} →", fontsize=9, labelpad=3, loc="left")
    axes.set_ylabel(f"← {down}", fontsize=9, labelpad=2, loc="top")
    if height * scale > 3 * _BAR_INCHES and width * scale > 3 * _BAR_INCHES:
        scale_bar(axes, width, height, volume.unit)


Box = tuple[float, float, float, float]


def layout(sizes: list[tuple[float, float]], rows: int = 1) -> tuple[Figure, list[Box], float]:
    """A figure in which all slices have one scale, side by side; the scale in inches per length.

    With more `rows` the same boxes again, row below row.
    """
    widths = [width for _, width in sizes]
    tallest = max(height for height, _ in sizes)
    gap, left, right, below, above = 0.28, 0.22, 0.95, 0.27, 0.3
    scale = min((11.0 - left - right - 2 * gap) / sum(widths), _TALLEST / tallest)
    # The colour bar and the titles need room even beside thin slices.
    wides = [max(width * scale, 1.0) for width in widths]
    total = left + sum(wides) + 2 * gap + right
    each = max(tallest * scale, 1.8) + below + above
    height = rows * each
    made = figure(total, height)
    boxes: list[Box] = []
    for row in range(rows):
        at = left
        for (tall, width), wide in zip(sizes, wides, strict=True):
            low = height - row * each - above - tall * scale
            size = (width * scale / total, tall * scale / height)
            boxes.append((at / total, low / height, *size))
            at += wide + gap
    return made, boxes, scale


_NAMES = (("y", "x"), ("z", "x"), ("z", "y"))


def middle_section(volume: Volume, axis: int) -> Section:
    """The middle slice across an axis, thinned to what a screen shows and reading allows."""
    index = volume.shape[axis] // 2
    rows, columns = (a for a in range(3) if a != axis)
    # In the order of reading: along the chunks of the slower of the two axes.
    step = _row_step(volume, axis, rows, columns)
    if step == 1:
        pixels = _read(volume, axis, index, rows, slice(0, volume.shape[rows]))
    else:
        places = range(step // 2, volume.shape[rows], step)
        read = [_read(volume, axis, index, rows, slice(p, p + 1)) for p in places]
        pixels = np.concatenate(read, axis=0)
    thin = [max(1, math.ceil(n / (2 * _PIXELS))) for n in pixels.shape]
    size = tuple(volume.shape[a] * volume.spacing[a] for a in (rows, columns))
    return Section(
        pixels[:: thin[0], :: thin[1]].astype(np.float32), (size[0], size[1]), axis, index
    )


def _row_step(volume: Volume, axis: int, rows: int, columns: int) -> int:
    chunk = [min(c, n) for c, n in zip(volume.chunks, volume.shape, strict=True)]
    layers = math.ceil(volume.shape[rows] / chunk[rows])
    width = math.ceil(volume.shape[columns] / chunk[columns]) * chunk[columns]
    cost_of_layer = chunk[rows] * chunk[axis] * width
    if layers * cost_of_layer <= _BUDGET:
        return 1
    affordable = max(_BUDGET // cost_of_layer, 16)
    return max(math.ceil(layers / affordable) * chunk[rows], 1)


def _read(volume: Volume, axis: int, index: int, rows: int, part: slice) -> np.ndarray:
    box = [slice(None)] * 3
    box[axis] = slice(index, index + 1)
    box[rows] = part
    return np.squeeze(volume.read(box[0], box[1], box[2]), axis)


def scale_bar(axes: Axes, width: float, height: float, unit: str) -> None:
    """A bar of a round length, about a quarter of the picture, on a plate of its own."""
    from matplotlib.font_manager import FontProperties
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

    length = _round_length(width / 3.5)
    bar = AnchoredSizeBar(
        axes.transData,
        length,
        f"{length:g} {length_name(unit)}",
        "lower right",
        pad=0.35,
        borderpad=0.5,
        sep=3,
        color="white",
        label_top=True,
        size_vertical=0.012 * height,  # type: ignore[arg-type]
        fontproperties=FontProperties(size=9),
        fill_bar=True,
    )
    bar.patch.set(facecolor="black", alpha=0.6, linewidth=0)
    axes.add_artist(bar)


def _round_length(about: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above `about`.

    Examples
    --------
    >>> _round_length(36.0), _round_length(0.19)
    (20.0, 0.1)
    """
    power = 10.0 ** math.floor(math.log10(about))
    best = max(step * power for step in _BARS if step * power <= about * (1 + 1e-9))
    return float(f"{best:.12g}")
