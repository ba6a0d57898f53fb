"""The result of a fit as a compact table on standard output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bimmjax.fitting import Fit
from bimmjax.report import property_rows, verdict
from bimmjax.report._rows import tried_phases
from bimmjax.volumes import Volume

_FILE_WIDTH = 100
COLOURS = {"good": "green", "fair": "yellow", "poor": "red"}


def print_summary(fit: Fit, volume: Volume, out: Path) -> None:
    """Tell fractions, areas, resolution and noise; the verdict; warnings; where the files lie."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    shape = " x ".join(map(str, volume.shape))
    phases = f"{fit.phases} phase{'s' if fit.phases > 1 else ''}"
    console.print(f"[bold]{escape(volume.name)}[/]  {shape}, {phases}, {fit.model}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("95 % intervals:" if fit.confidence or fit.sampling else "", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    if fit.confidence:
        table.add_column("this volume")
    if fit.sampling:
        table.add_column("the material")
    for row in property_rows(fit):
        cells = [escape(row.name), f"[bold]{row.value}[/]", row.unit]
        if fit.confidence:
            cells.append(row.confidence or "")
        if fit.sampling:
            cells.append(row.sampling or "")
        table.add_row(*cells)
    console.print(table)
    if fit.bic is not None:
        console.print(tried_phases(fit))
    if fit.announced is not None:
        console.print(_corrected(fit))
    elif fit.model == "bimm2d" and fit.phases > 1 and not fit.refusals:
        console.print("The model's own values: no bias is taken off.")
    said = verdict(fit)
    # Where it is poor the warnings say why.
    words = "" if said.level == "poor" and fit.warnings else said.words
    console.print(f"[{COLOURS[said.level]}]{escape(said.headline)}.[/] {escape(words)}")
    for text in fit.warnings:
        console.print(f"[yellow]Warning:[/] {escape(text)}")
    if fit.two_scales is not None:
        console.print(_two_scales(fit.two_scales, fit.length_unit))
    report = out / "report.html"
    where = report if report.exists() else out / "fit.json"
    console.print(f"Written: {escape(str(where))}", soft_wrap=True)


def _corrected(fit: Fit) -> str:
    """How far off the corrected areas may be, in a line."""
    assert fit.announced is not None
    areas = fit.to_dict()["properties"]["interface_areas"]
    told = {p: e for p, e in fit.announced["interface_areas"].items() if e is not None}
    listed = ", ".join(
        # What may be off by all of itself may be nothing at all.
        (f"{100.0 * error / areas[pair]:.2g} %" if error < areas[pair] else f"{error:.2g}")
        + (f" ({pair})" if len(areas) > 1 else "")
        for pair, error in told.items()
    )
    return (
        "Corrected for the model's own bias; of areas like these nine in ten are off by less than "
        f"{listed}."
    )


def _two_scales(found: dict[str, Any], unit: str) -> str:
    """Area, resolution and curvature by two scales in a line."""
    if found["reason"] is not None:
        return f"[yellow]By two scales: nothing[/] ({found['reason']})."
    area, width = found["interface_areas"]["0-1"], found["resolution_10_90"]
    return (
        f"By two scales: interface area [bold]{area:.4g}[/] 1/{unit}, resolution "
        f"[bold]{width:.4g}[/] {unit}, curvature ⟨3S + 2K⟩ {found['curvature']:.3g} 1/{unit}²."
    )
