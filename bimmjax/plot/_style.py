"""Colours, sizes and small parts that all pictures share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from bimmjax.plot._labels import power, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

DPI = 130
INK = "#222222"
QUIET = "#8a8a8a"
DATA = "#c9c9c9"

# Okabe and Ito's colours, told apart with any kind of colour vision; interiors, then interfaces.
_PHASES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#555555")
_INTERFACES = ("#D55E00", "#56B4E9", "#CC79A7")
_DASHES: tuple[Any, ...] = ((0, (4, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))


def phase_colour(phase: int) -> str:
    """Colour of a phase."""
    return _PHASES[phase % len(_PHASES)]


def interface_line(number: int) -> dict[str, Any]:
    """Colour and dashes of the interface that stands `number`th in `phase_pairs`."""
    colours = len(_INTERFACES)
    return {
        "color": _INTERFACES[number % colours],
        "linestyle": _DASHES[number // colours % len(_DASHES)],
    }


def figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, tied to no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(made)
    return made


def tidy(axes: Axes) -> None:
    """Thin frame, open to the top and right; small ticks."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(QUIET)
        axes.spines[side].set_linewidth(0.8)
    axes.tick_params(labelsize=9, colors=INK, color=QUIET, width=0.8, length=3)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_fontsize(10)


def round_ticks(axis: Axis, largest: float, unit: str) -> str:
    """Ticks in a power of ten that keeps them short; the unit with that power, for the label."""
    exponent = 0
    if largest > 0 and not 1e-2 <= largest < 1e5:
        exponent = math.floor(math.log10(largest))
    if exponent == 0:
        return unit
    from matplotlib.ticker import FuncFormatter

    scale = 10.0**-exponent
    axis.set_major_formatter(FuncFormatter(lambda x, _: signed(f"{x * scale:.6g}")))
    return f"{power(exponent).removeprefix('× ')} {unit}"


def title(axes: Axes, text: str) -> None:
    """A small title at the left."""
    axes.set_title(text, loc="left", fontsize=10, color=INK, pad=6)
