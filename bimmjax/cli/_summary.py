"""The result of a fit as a compact table on standard output."""

from __future__ import annotations

from pathlib import Path

from bimmjax.fitting import Fit
from bimmjax.report import property_rows, verdict
from bimmjax.volumes import Volume

_FILE_WIDTH = 100
_COLOURS = {"good": "green", "fair": "yellow", "poor": "red"}


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
    said = verdict(fit)
    # Where it is poor the warnings say why.
    words = "" if said.level == "poor" and fit.warnings else said.words
    console.print(f"[{_COLOURS[said.level]}]{escape(said.headline)}.[/] {escape(words)}")
    for text in fit.warnings:
        console.print(f"[yellow]Warning:[/] {escape(text)}")
    report = out / "report.html"
    where = report if report.exists() else out / "fit.json"
    console.print(f"Written: {escape(str(where))}", soft_wrap=True)
