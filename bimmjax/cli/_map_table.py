"""The maps as a compact table on standard output."""

from __future__ import annotations

import math
from pathlib import Path

from bimmjax.cli._map_summary import fits_per_second, fitting_block, left_over
from bimmjax.cli._summary import COLOURS
from bimmjax.fitting._fit import MAX_PHASES
from bimmjax.maps import Maps
from bimmjax.maps._windows import Windows
from bimmjax.plot._maps_view import View
from bimmjax.report._maps_rows import (
    MOSTLY_POOR,
    flag_rows,
    percent,
    quantity_row,
    time_row,
    usable_words,
)
from bimmjax.report._maps_slopes import bent_words, gradient_words, slope_curves
from bimmjax.report._maps_verdict import verdict_of_whole, warnings_of_whole

_FILE_WIDTH = 100
_MOMENTS = 5
_MUCH = 0.1  # of the voxels in no block
_HEADS = ("mean", "spread", "error of one")


def print_map_table(maps: Maps, folder: Path) -> None:
    """Tell mean and spread of the main quantities, flagged blocks, speed, and where it all lies."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    view = View(maps)
    console.print(f"[bold]{escape(folder.name)}[/]  {_facts(view)}")
    whole = verdict_of_whole(view)
    if whole is not None:
        console.print(f"[{COLOURS[whole.level]}]{escape(whole.headline)}.[/] {escape(whole.words)}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    moments = _some_moments(view)
    heads = [f"at {view.times[i]:g}" for i in moments] if view.series else list(_HEADS)
    over = "that can be used" if view.whole_at_rest else "that pass their own checks"
    over = "at rest" if view.mostly_poor else over
    table.add_column(f"over the blocks {over}:", no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for quantity in view.drawn:
        if view.series:
            name, numbers, unit = time_row(view, quantity, moments)
        else:
            row = quantity_row(view, quantity)
            name, numbers, unit = (
                row.name,
                [f"[bold]{row.mean}[/]", row.between, row.error],
                row.unit,
            )
        table.add_row(escape(name), *numbers, escape(unit))
    console.print(table)
    console.print(_usable(view))
    for flag in flag_rows(view):
        used = "" if flag.used else ", left out"
        console.print(
            f"  {flag.blocks:,} ({flag.share}{used}) [yellow]{flag.name}[/]: {escape(flag.meaning)}"
        )
    if view.mostly_poor:
        console.print(
            f"[yellow]{MOSTLY_POOR}[/]{_advice(maps)}",
        )
    for warning in warnings_of_whole(view):
        console.print(f"[yellow]Fit of the whole:[/] {escape(warning)}")
    found = slope_curves(view) if view.whole_at_rest else []
    gradients = (gradient_words(view, found), bent_words(view, found))
    for line in (*gradients, _bias_taken_off(maps), _in_no_block(view), _speed(maps)):
        if line:
            console.print(line)
    page = folder / "maps.html"
    where = page if page.exists() else folder / "blocks.csv"
    console.print(f"Written: {escape(str(where))}", soft_wrap=True)


def _advice(maps: Maps) -> str:
    """Options that may help where most blocks fit poorly."""
    more = f"--phases {maps.phases + 1}" if maps.phases < MAX_PHASES else ""
    other = "" if maps.store.identity.get("noise") == "per_phase" else "--noise per_phase"
    told = ", ".join(filter(None, (more, other)))
    return f" Try {told}." if told else ""


def _some_moments(view: View) -> list[int]:
    """Times to tell of: first and last, and as many between as a line has room for."""
    count = len(view.times)
    return sorted({round(i * (count - 1) / (_MOMENTS - 1)) for i in range(_MOMENTS)})


def _bias_taken_off(maps: Maps) -> str:
    """By how much areas and resolution are corrected, in a line."""
    factors = (maps.attributes.get("correction") or {}).get("factors", {})
    listed = ", ".join(
        f"{name.replace('interface_', '').replace('_', ' ')} × {factor:.3f}"
        for name, factor in factors.items()
        if name.startswith("interface_area")
    )
    return f"Corrected in all blocks by the bias of the whole: {listed}." if listed else ""


def _facts(view: View) -> str:
    windows = view.maps.windows
    count = " x ".join(map(str, windows.shape))
    block = " x ".join(map(str, windows.block))
    times = f"{len(view.times)} volumes, each " if view.series else ""
    return f"{times}{count} blocks of {block} voxels, {view.maps.phases} phases"


def _usable(view: View) -> str:
    total, usable = view.flags.size, int(view.usable.sum())
    flagged = int((view.flags != 0).sum())
    colour = "green" if usable == total and view.whole_at_rest else "yellow"
    told = f"[{colour if usable else 'red'}]{usable_words(view)}[/]"
    if not flagged:
        return f"{told}; no flags."
    return f"{told}; {flagged:,} flagged:"


def _in_no_block(view: View) -> str:
    windows = view.maps.windows
    rest = left_over(windows)
    if not rest:
        return ""
    where = "between the blocks or beyond the last" if _apart(view) else "beyond the last"
    share = percent(rest, math.prod(windows.volume_shape))
    return f"{share} of the voxels belong to no block: they lie {where}.{_better_block(windows)}"


def _better_block(windows: Windows) -> str:
    """An option that leaves out less, where much is left out and not by the stride."""
    whole, rest = math.prod(windows.volume_shape), left_over(windows)
    if rest <= _MUCH * whole or windows.stride != windows.block:
        return ""
    block = fitting_block(windows)
    better = left_over(Windows(windows.volume_shape, block, block))
    if better > 0.5 * rest:
        return ""
    told = f"leaves out {percent(better, whole)}" if better else "leaves out none"
    return f" --block {' '.join(map(str, block))} {told}."


def _apart(view: View) -> bool:
    windows = view.maps.windows
    return any(
        s > b and n > 1
        for b, s, n in zip(windows.block, windows.stride, windows.shape, strict=True)
    )


def _speed(maps: Maps) -> str:
    speed = fits_per_second(maps)
    if speed is None:
        return ""
    seconds = maps.attributes["seconds"]
    told = f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
    whole = f"{seconds['setup']:.1f} s for the fit of the whole and the errors, "
    return (
        f"{whole if seconds['setup'] >= 0.1 else ''}{seconds['blocks']:.1f} s for the blocks: "
        f"{told} fits per second, compilation included."
    )
