"""`bimmjax cross-check`: a fit's fractions and areas beside those of labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bimmjax._core.checks import InputError
from bimmjax.cli import _options
from bimmjax.cli._fit import default_folder

if TYPE_CHECKING:
    from bimmjax.segmentation import CrossCheck

OWN_FILES = ("cross_check.json", "cross_check.png", "report.html")


def cross_check(
    labels: Annotated[
        list[str],
        typer.Argument(
            metavar="LABELS...",
            help="Volumes of labels 0 ... N - 1 in order of intensity, from any method.",
            show_default=False,
        ),
    ],
    fit: Annotated[
        str, typer.Option("--fit", metavar="FIT.json", help="The fit of the same volume.")
    ],
    mask: _options.Mask = None,
    dataset: _options.Dataset = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Default: the first labels' name and -cross-check.",
            show_default=False,
        ),
    ] = None,
    overwrite: _options.Overwrite = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print cross_check.json, and no table.")
    ] = False,
    quiet: _options.Quiet = False,
) -> None:
    """Hold labels against a fit: do they agree on fractions and interface areas?

    Writes cross_check.json, a picture and report.html to a folder that appears whole or not at all.
    """
    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._compiler import compile_sooner
    from bimmjax.cli._output import output_folder, writing_to
    from bimmjax.report import write_cross_check_report
    from bimmjax.segmentation import cross_check as checked

    compile_sooner()
    keep_compiled_code()
    target = default_folder(labels[0], "-cross-check") if out is None else out
    with output_folder(target, own=OWN_FILES, overwrite=overwrite) as folder:
        found = {}
        for name in labels:
            try:
                found[name] = checked(name, fit, mask=mask, dataset=dataset)
            except InputError as error:
                text = str(error).replace("labels: got", f"labels: {name}: got", 1)
                raise InputError(text) from None
        told = {"fit": fit, "labels": {name: check.to_dict() for name, check in found.items()}}
        with writing_to(target):
            text = json.dumps(told, indent=2, allow_nan=False)
            (folder / "cross_check.json").write_text(text + "\n", encoding="utf-8")
            short = [Path(name).name for name in found]
            names = short if len(set(short)) == len(short) else list(found)
            checks = dict(zip(names, found.values(), strict=True))
            write_cross_check_report(checks, folder, fit=fit)
    if as_json:
        typer.echo(text)
    elif not quiet:
        _print(found, Path(target))


def _print(found: dict[str, CrossCheck], out: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from bimmjax.report._cross_check_page import HEADS, told

    console = Console(highlight=False)
    first = next(iter(found.values()))
    for text in first.warnings:
        console.print(f"[yellow]Warning of the fit:[/] {escape(text)}", soft_wrap=True)
    for name, check in found.items():
        table = Table(
            box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title=escape(name),
            title_justify="left",
        )  # fmt: skip
        for head in HEADS:
            table.add_column(head, justify="right" if head else "left")
        for row in check.rows:
            table.add_row(*map(escape, told(row, check.length_unit)))
        console.print(table)
        if check.left_out:
            console.print(_options.left_out(check.left_out))
    console.print(f"Written: {escape(str(out / 'report.html'))}", soft_wrap=True)
