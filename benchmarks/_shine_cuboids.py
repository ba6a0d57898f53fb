"""The thesis's Fig. 1.1 again: gold cuboids under a surface of epoxy, and what they look like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks._report import Table
from benchmarks._shine_cases import Case, Fresh, analytic, counted
from bimmjax.plot._slices import scale_bar
from bimmjax.plot._style import INK, QUIET, figure, phase_colour, tidy, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SPACING = 2.0  # nm
_ENERGY = 2.0
_DEEP = 200.0
_SIDE, _PITCH = 40.0, 80.0
_DEPTHS = (0.0, 10.0, 20.0, 30.0, 44.0, 60.0)  # of the upper faces, nm
_THICK = (40.0, 4.0, 2.0)  # one row of cuboids each
_MARKS = ("o", "s", "^")
_SECTION = 136.0  # nm, the height of the section that is drawn


class Cuboid(NamedTuple):
    """Yields of the middle of one cuboid."""

    thick: float
    depth: float
    counted: float
    error: float
    analytic: float


def run(per_pixel: int, kept: Path, out: Path) -> tuple[Table, list[str], Path]:
    """Yields by depth and thickness; which cuboids look alike; a picture."""
    volume = Fresh("cuboids", arranged(), _SPACING)
    case = Case(volume, "epoxy", _ENERGY)
    # Many small pixels, whose means are taken.
    found = counted(case, max(per_pixel // 5, 2), kept)
    image = analytic(case)
    cuboids = _measured(found.image, image, found.per_pixel)
    rows = [[f"{c.thick:g}", f"{c.depth:g}", f"{c.counted:.3f} ± {c.error:.3f}",
             f"{c.analytic:.3f}"] for c in cuboids]  # fmt: skip
    columns = ["thickness, nm", "depth, nm", "Monte Carlo", "analytic"]
    table = Table(
        f"Gold cuboids in epoxy, {_ENERGY:g} kV: yields over their middles", columns, rows
    )
    pairs = alike(cuboids)
    notes = [
        "cuboids: by Monte Carlo "
        + ("none look alike" if not pairs else "; ".join(
            f"{a.thick:g} nm of gold at {a.depth:g} nm and {b.thick:g} nm at {b.depth:g} nm look "
            f"alike ({a.counted:.3f}, {b.counted:.3f})" for a, b in pairs
        ))
    ]  # fmt: skip
    path = out / "cuboids.png"
    _drawn(volume, found.image, image, cuboids, pairs).savefig(path)
    return table, notes, path


def arranged() -> np.ndarray:
    """Rows (y) by thickness, columns (x) by depth."""
    shape = [round(n / _SPACING) for n in (_DEEP, len(_THICK) * _PITCH, len(_DEPTHS) * _PITCH)]
    labels = np.zeros(shape, np.uint8)
    for row, thick in enumerate(_THICK):
        for column, depth in enumerate(_DEPTHS):
            at = (depth, *((k + 0.5) * _PITCH - _SIDE / 2 for k in (row, column)))
            box = [
                slice(round(a / _SPACING), round((a + n) / _SPACING))
                for a, n in zip(at, (thick, _SIDE, _SIDE), strict=True)
            ]
            labels[tuple(box)] = 1
    return labels


def _measured(seen: np.ndarray, image: np.ndarray, per_pixel: int) -> list[Cuboid]:
    """Over the middle quarter of each."""
    made = []
    for row, thick in enumerate(_THICK):
        for column, depth in enumerate(_DEPTHS):
            box = tuple(
                slice(round(((k + 0.5) * _PITCH - _SIDE / 4) / _SPACING),
                      round(((k + 0.5) * _PITCH + _SIDE / 4) / _SPACING))
                for k in (row, column)
            )  # fmt: skip
            part = seen[box]
            mean = float(part.mean())
            error = np.sqrt(mean * (1.0 - mean) / (part.size * per_pixel))
            made.append(Cuboid(thick, depth, mean, float(error), float(image[box].mean())))
    return made


def alike(cuboids: list[Cuboid]) -> list[tuple[Cuboid, Cuboid]]:
    """The thick cuboid that is most like the uppermost one of each thinner kind, if within 10 %."""
    pairs = []
    thickest = [c for c in cuboids if c.thick == max(_THICK)]
    for thin in (c for c in cuboids if c.depth == 0.0 and c.thick < max(_THICK)):
        like = min(thickest, key=lambda c: abs(c.counted - thin.counted))
        if like.depth > 0.0 and abs(like.counted - thin.counted) < 0.1 * thin.counted:
            pairs.append((thin, like))
    return pairs


def _drawn(
    volume: Fresh,
    seen: np.ndarray,
    image: np.ndarray,
    cuboids: list[Cuboid],
    pairs: list[tuple[Cuboid, Cuboid]],
) -> Any:
    # All three on the left have one scale: inches from the left, the top, and per nm.
    wide, tall, left, side = 10.6, 6.8, 0.75, 4.3
    drawn = figure(wide, tall)
    scale = side / (len(_DEPTHS) * _PITCH)

    def box(top: float, height: float) -> Axes:
        size = (left / wide, 1.0 - (top + height) / tall, side / wide, height / tall)
        return drawn.add_axes(size)

    _arrangement(box(0.35, _SECTION * scale))
    high = float(np.quantile(seen, 0.998))
    height = len(_THICK) * _PITCH * scale
    tops = (0.35 + _SECTION * scale + 0.4, 0.35 + _SECTION * scale + 0.75 + height)
    for top, name, pixels in zip(
        tops, ("(b) Monte Carlo", "(c) Model"), (seen, image), strict=True
    ):
        axes = box(top, height)
        shape = tuple(n * volume.spacing for n in pixels.shape)
        shown = axes.imshow(
            pixels, cmap="gray", vmin=0.0, vmax=high, interpolation="nearest", aspect="auto",
            extent=(0, shape[1], shape[0], 0),
        )  # fmt: skip
        title(axes, f"{name}, {_ENERGY:g} kV")
        rows = [(k + 0.5) * _PITCH for k in range(len(_THICK))]
        axes.set_xticks([])
        axes.set_yticks(rows, [f"{thick:g} nm" for thick in _THICK])
        axes.tick_params(labelsize=8, length=0)
        if top == tops[0]:
            scale_bar(axes, shape[1], shape[0], "nm")
        size = ((left + side + 0.1) / wide, 1.0 - (top + height) / tall, 0.1 / wide, height / tall)
        bar = drawn.colorbar(shown, cax=drawn.add_axes(size))
        bar.set_label("yield", fontsize=8, color=INK)
        bar.ax.tick_params(labelsize=8, width=0.6, length=2.5)
    start = left + side + 1.35
    place = (start / wide, 0.55 / tall, (wide - start - 0.15) / wide, (tall - 0.9) / tall)
    _curves(drawn.add_axes(place), cuboids, pairs)
    return drawn


def _arrangement(axes: Axes) -> None:
    """A section through the rows, each thickness beside the others in its own column."""
    from matplotlib.patches import Rectangle

    width = len(_DEPTHS) * _PITCH
    axes.add_patch(Rectangle((0, 0), width, _SECTION, facecolor="#eef1f4", linewidth=0))
    for row, thick in enumerate(_THICK):
        for column, depth in enumerate(_DEPTHS):
            left = (column + 0.5) * _PITCH - _SIDE / 2
            axes.add_patch(
                Rectangle((left, depth), _SIDE, thick, facecolor=phase_colour(row), linewidth=0)
            )
    for column, depth in enumerate(_DEPTHS):
        axes.text((column + 0.5) * _PITCH, -6, f"{depth:g} nm", ha="center", va="bottom",
                  fontsize=8, color=INK)  # fmt: skip
    axes.plot([0, width], [0, 0], color=INK, linewidth=1.2)
    axes.set(xlim=(0, width), ylim=(_SECTION - 24, -24), xticks=[], yticks=[0, 50, 100])
    axes.set_ylabel("Depth (nm)")
    title(axes, "(a) Section; colours: rows of cuboids 40, 4 and 2 nm thick")
    tidy(axes)
    axes.spines["bottom"].set_visible(False)


def _curves(axes: Axes, cuboids: list[Cuboid], pairs: list[tuple[Cuboid, Cuboid]]) -> None:
    for row, (thick, mark) in enumerate(zip(_THICK, _MARKS, strict=True)):
        own = [c for c in cuboids if c.thick == thick]
        depths = [c.depth for c in own]
        axes.errorbar(
            depths, [c.counted for c in own], [2.0 * c.error for c in own], linestyle="none",
            marker=mark, markersize=5.5, color=phase_colour(row), capsize=2,
            label=f"{thick:g} nm thick",
        )  # fmt: skip
        axes.plot(depths, [c.analytic for c in own], color=phase_colour(row), linewidth=1.5)
    for thin, like in pairs:
        level = 0.5 * (thin.counted + like.counted)
        axes.plot([thin.depth, like.depth], [level, level], color=QUIET, linewidth=1.0,
                  linestyle=(0, (4, 2)), zorder=0)  # fmt: skip
        axes.annotate("alike", (0.5 * (thin.depth + like.depth), level), (0, 3),
                      textcoords="offset points", ha="center", fontsize=8, color=QUIET)  # fmt: skip
    axes.set(xlabel="Depth of the upper face (nm)", ylabel="Yield over the middle", ylim=(0, None))
    title(axes, "(d) Marks: Monte Carlo, ± 2 s.e.; lines: model")
    axes.legend(frameon=False, fontsize=9)
    tidy(axes)
