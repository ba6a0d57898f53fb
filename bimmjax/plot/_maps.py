"""Middle slices of the maps, and where the flagged blocks are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bimmjax.maps._flags import Flag
from bimmjax.plot._labels import length_name
from bimmjax.plot._maps_grid import (
    BORROWED,
    PENDING,
    UNUSABLE,
    Cell,
    Frame,
    Mark,
    Section,
    grid,
    planes,
)
from bimmjax.plot._maps_view import Estimates, Quantity, View, apart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bimmjax.maps._maps import Maps


def map_slices(maps: Maps) -> Figure:
    """Middle slices (xy, and xz if there is more than one layer) of each main quantity.

    Between them these two show all three axes. A series shows its first and its last volume on one
    colour scale. Blocks that cannot be used are grey and hatched.

    Parameters
    ----------
    maps : Maps

    Returns
    -------
    matplotlib.figure.Figure
    """
    view, frame = View(maps), Frame.of(maps)
    used: dict[str, Mark] = {}
    cells = [_slices_of(view, quantity, used) for quantity in view.drawn]
    order = [mark for mark in (BORROWED, UNUSABLE, PENDING) if mark.name in used]
    poor = "; most blocks fit poorly, do not trust them" if view.mostly_poor else ""
    return grid(frame, cells, f"Middle slices: {_places(view, frame)}{poor}", order)


def map_flags(maps: Maps) -> Figure | None:
    """Where the flagged blocks are: for each flag, their share along the line of sight.

    Parameters
    ----------
    maps : Maps

    Returns
    -------
    matplotlib.figure.Figure or None
        None if no block is flagged.
    """
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    view = View(maps)
    cells: list[Cell] = []
    thick = view.series or maps.windows.shape[0] > 1
    paint = colormaps["cividis_r"].with_extremes(under="#ffffff")
    for flag in Flag:
        set_here = (view.flags & int(flag)) != 0
        count = int(set_here.sum())
        if not count:
            continue
        # Any block shows, however many stand in its line.
        norm = Normalize(1e-6, 100.0)
        sections = []
        for plane in planes(maps):
            away = (0, 1) if plane == "xy" else (0, 2)
            sections.append(Section(plane, 100.0 * set_here.mean(away)))
        name = str(flag.name).replace("_", " ").lower()
        told = f"{name}: {count:,} block{'s' if count > 1 else ''}"
        cells.append(
            Cell(
                told,
                "",
                [("", sections)],
                norm,
                paint,
                largest=100.0,
                bar=thick,
                scale_bar=False,
            )
        )
    if not cells:
        return None
    along = "z" if len(planes(maps)) == 1 else "z (upper) and along y (lower)"
    times = " and over all times" if view.series else ""
    heading = f"Share of the blocks with each flag, %, along {along}{times}; white: none"
    if not thick:
        heading = "Blocks with each flag"
    return grid(Frame.of(maps), cells, heading)


def _places(view: View, frame: Frame) -> str:
    unit = length_name(frame.unit)
    shape = view.maps.windows.shape
    z = frame.centre(0, shape[0] // 2, shape[0])
    told = f"xy at z = {z:.4g} {unit}"
    if len(planes(view.maps)) > 1:
        y = frame.centre(1, shape[1] // 2, shape[1])
        told += f" (upper), xz at y = {y:.4g} {unit} (lower)"
    return told


def _slices_of(view: View, quantity: Quantity, used: dict[str, Mark]) -> Cell:
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    read = view.read(quantity)
    low, high, extend = _range(read.value)
    shape = view.maps.windows.shape
    moments = [0, view.flags.shape[0] - 1] if view.series else [0]
    stacks = []
    for moment in moments:
        sections = []
        for plane in planes(view.maps):
            here = (
                (moment, shape[0] // 2) if plane == "xy" else (moment, slice(None), shape[1] // 2)
            )
            marks = _marks(view, read, here)
            used |= {mark.name: mark for mark, where in marks if where.any()}
            sections.append(Section(plane, read.value[here], marks))
        name = f"time {view.times[moment]:g}" if view.series else ""
        stacks.append((name, sections))
    return Cell(
        quantity.name,
        quantity.unit,
        stacks,
        Normalize(low, high),
        colormaps["viridis"],
        extend,
        max(abs(low), abs(high)),
        bar=bool(np.isfinite(read.value).any()),
    )


def _marks(view: View, read: Estimates, here: tuple) -> list[tuple[Mark, np.ndarray]]:
    pending = view.pending[here]
    return [
        (BORROWED, read.borrowed[here]),
        (UNUSABLE, ~np.isfinite(read.value[here]) & ~pending),
        (PENDING, pending),
    ]


def _range(values: np.ndarray) -> tuple[float, float, str]:
    """Colours from the 1st to the 99th percentile, and which ends are cut."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return 0.0, 1.0, "neither"
    low, high = (float(v) for v in np.quantile(known.astype(float), (0.01, 0.99)))
    least, most = float(known.min()), float(known.max())
    if known.size < 200:  # too few for tails
        low, high = least, most
    low, high = apart(low, high)
    ends = {(True, True): "both", (True, False): "min", (False, True): "max"}
    return low, high, ends.get((least < low, most > high), "neither")
