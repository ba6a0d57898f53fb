"""`bimmjax describe`: the geometry of a labelled volume."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bimmjax.cli import _options
from bimmjax.cli._fit import default_folder

if TYPE_CHECKING:
    from bimmjax.descriptors import Description

OWN_FILES = ("describe.json", "curves.csv", "correlations.png")


def describe(
    labels: Annotated[
        str,
        typer.Argument(
            metavar="LABELS", help="Volume of whole numbers, one per phase.", show_default=False
        ),
    ],
    phases: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Their number. Default: the largest label + 1.", show_default=False
        ),
    ] = None,
    spacing: _options.Spacing = None,
    unit: _options.Unit = None,
    dataset: _options.Dataset = None,
    mask: _options.Mask = None,
    ignore: _options.Ignore = None,
    periodic: Annotated[bool, typer.Option("--periodic", help="The volume repeats.")] = False,
    planes: Annotated[bool, typer.Option(help="Correlations in planes.")] = True,
    radial: Annotated[bool, typer.Option(help="Correlations over all directions.")] = True,
    marching: Annotated[bool, typer.Option(help="Areas by marching cubes, too.")] = True,
    parts: Annotated[bool, typer.Option(help="Connected parts, in memory.")] = True,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Default: the volume's name and -describe.", show_default=False
        ),
    ] = None,
    overwrite: _options.Overwrite = False,
    pictures: Annotated[bool, typer.Option(help="Draw the curves.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print describe.json, and no table.")
    ] = False,
    quiet: _options.Quiet = False,
) -> None:
    """Describe the geometry of labels: fractions, correlations, chords, areas, connected parts.

    Writes describe.json, curves.csv and a picture to a folder that appears whole or not at all.
    """
    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._compiler import compile_sooner
    from bimmjax.cli._numbers import spacing_of
    from bimmjax.cli._output import output_folder, writing_to
    from bimmjax.cli._progress import progress_bars
    from bimmjax.descriptors import describe as described

    compile_sooner()
    keep_compiled_code()
    target = default_folder(labels, "-describe") if out is None else out
    with output_folder(target, own=OWN_FILES, overwrite=overwrite) as folder:
        with progress_bars(quiet) as bars:
            found = described(
                labels,
                phases,
                periodic=periodic,
                mask=mask,
                ignore=ignore,
                planes=planes,
                radial=radial,
                marching=marching,
                parts=parts,
                spacing=spacing_of(spacing),
                unit=unit,
                dataset=dataset,
                progress=bars.stage,
            )
        told = found.to_dict()
        with writing_to(target):
            text = json.dumps(told, indent=2, allow_nan=False)
            (folder / "describe.json").write_text(text + "\n", encoding="utf-8")
            _write_curves(found, folder / "curves.csv")
            if pictures:
                from bimmjax import plot

                plot.correlations(found).savefig(folder / "correlations.png")
    if as_json:
        typer.echo(text)
    elif not quiet:
        _print(found, Path(target))


def _write_curves(found: Description, path: Path) -> None:
    """A row for each phase, direction and lag."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(
            ["phase", "direction", f"lag_{found.length_unit}", "two_point", "lineal_path"]
        )
        for (phase, axis), counts in found.lines.items():
            lags = found.lags(axis)
            for lag, both, way in zip(lags, counts.two_point, counts.lineal_path, strict=False):
                rows.writerow([phase, axis, lag, *map(_known, (both, way))])
        finest = min(found.spacing)
        others = {(p, f"plane_{a}"): curve for (p, a), curve in found.planes.items()}
        others |= {(p, "radial"): curve for p, curve in found.radial.items()}
        for (phase, direction), curve in others.items():
            for lag, both in enumerate(curve):
                rows.writerow([phase, direction, lag * finest, _known(both), ""])


def _known(value: float) -> float | str:
    """Nothing for what no two voxels tell."""
    return value if math.isfinite(value) else ""


def _told(value: float, digits: str) -> str:
    return f"{value:{digits}}" if math.isfinite(value) else "-"


def _print(found: Description, out: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from bimmjax.models import phase_pairs

    console = Console(highlight=False)
    unit = escape(found.length_unit)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("phase", "share", f"chord z, y, x ({unit})", "e_TPCF", "e_LPF", "e_D", "parts",
                 "Euler", "percolates"):  # fmt: skip
        table.add_column(name, justify="left" if name == "phase" else "right")
    for phase in range(found.phases):
        errors = found.anisotropy(phase)
        part = None if found.parts is None else found.parts[phase]
        through = "" if part is None else "".join(a for a, yes in part.percolates.items() if yes)
        table.add_row(
            str(phase),
            f"{100.0 * found.volume_fractions[phase]:.3f} %",
            ", ".join(_told(d, ".4g") for d in found.diameters(phase).values()),
            *(_told(errors[name], ".3f") for name in ("e_tpcf", "e_lpf", "e_d")),
            "" if part is None else f"{part.sizes.size:,}",
            "" if part is None else f"{part.euler:,}",
            through or ("" if part is None else "no axis"),
        )
    console.print(table)
    if found.left_out:
        console.print(_options.left_out(found.left_out))
    for (i, j), area in zip(phase_pairs(found.phases), found.crofton, strict=True):
        console.print(f"Interface area {i}-{j}: [bold]{area:.4g}[/] 1/{unit}")
    console.print(f"Written: {escape(str(out / 'describe.json'))}", soft_wrap=True)
