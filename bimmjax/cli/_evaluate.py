"""`bimmjax evaluate`: labels against the truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bimmjax._core.checks import InputError
from bimmjax.cli import _options
from bimmjax.cli._fit import default_folder

if TYPE_CHECKING:
    import numpy as np

    from bimmjax.descriptors import Scores

OWN_FILES = ("evaluate.json", "confusion.png", "errors.zarr")


def evaluate(
    labels: Annotated[str, typer.Argument(metavar="LABELS", help="Volume of labels.")],
    truth: Annotated[str, typer.Argument(metavar="TRUTH", help="Volume of true labels.")],
    solid: Annotated[
        int | None,
        typer.Option(
            metavar="LABEL",
            help="The phase of MGP. Default: the truth's last.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Their number. Default: the largest label + 1.", show_default=False
        ),
    ] = None,
    mask: _options.Mask = None,
    ignore: _options.Ignore = None,
    volume: Annotated[
        bool,
        typer.Option("--error-volume", help="Write where labels are wrong, too (errors.zarr)."),
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Default: the labels' name and -evaluate.", show_default=False
        ),
    ] = None,
    overwrite: _options.Overwrite = False,
    pictures: Annotated[bool, typer.Option(help="Draw the confusion matrix.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print evaluate.json, and no table.")
    ] = False,
    quiet: _options.Quiet = False,
) -> None:
    """Compare labels with the truth: misplaced voxels, Dice, IoU, precision, recall.

    Writes evaluate.json and a picture to a folder that appears whole or not at all.
    """
    from bimmjax.cli._output import output_folder, writing_to
    from bimmjax.descriptors import evaluate as evaluated

    target = default_folder(labels, "-evaluate") if out is None else out
    with output_folder(target, own=OWN_FILES, overwrite=overwrite) as folder:
        found = evaluated(labels, truth, classes=classes, mask=mask, ignore=ignore)
        if solid is not None and not 0 <= solid < len(found.support):
            raise InputError(
                f"solid: got {solid}, wants a label from 0 to {len(found.support) - 1}"
            )
        text = json.dumps(found.to_dict(solid), indent=2, allow_nan=False)
        with writing_to(target):
            (folder / "evaluate.json").write_text(text + "\n", encoding="utf-8")
            if pictures:
                from bimmjax import plot

                plot.confusion(found.confusion).savefig(folder / "confusion.png")
            if volume:
                _write_errors(labels, truth, classes, mask, ignore, folder / "errors.zarr")
    if as_json:
        typer.echo(text)
    elif not quiet:
        from math import prod

        from bimmjax.volumes import open_volume

        counted = int(found.support.sum()) / prod(open_volume(truth).shape)
        _print(found, solid, Path(target), 1.0 - counted)


def _write_errors(
    labels: str,
    truth: str,
    classes: int | None,
    mask: str | None,
    ignore: int | None,
    path: Path,
) -> None:
    """1 where the labels are wrong, 0 elsewhere, and where nothing counts."""
    from bimmjax.descriptors._labels import open_mask, open_phases
    from bimmjax.volumes import convert

    told = open_phases(labels, ignore=ignore, classes=classes)
    right = open_phases(truth, "truth", ignore=ignore, classes=classes)
    covered = open_mask(mask, told, ignore)

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        true = right.read(z, y, x)
        wrong = told.read(z, y, x) != true
        if ignore is not None:
            wrong &= true != ignore
        if covered is not None:
            wrong &= covered.read(z, y, x) != 0
        return wrong.astype("uint8")

    import numpy

    convert(replace(told, reader=read, dtype=numpy.dtype("uint8"), name="errors"), path)


def _print(found: Scores, solid: int | None, out: Path, left_out: float) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    names = ("accuracy_by_class", "precision", "recall", "f1", "iou")
    for name in ("class", "accuracy", "precision", "recall", "Dice", "IoU", "voxels"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for label, voxels in enumerate(found.support):
        shares = [f"{100.0 * getattr(found, name)[label]:.2f} %" for name in names]
        table.add_row(str(label), *shares, f"{voxels:,}")
    means = [f"{100.0 * found.macro(name):.2f} %" for name in names]
    table.add_row("mean", *means, f"{found.support.sum():,}")
    console.print(table)
    if left_out:
        console.print(_options.left_out(left_out))
    last = found.last if solid is None else solid
    console.print(
        f"Misplaced: [bold]{found.misplaced:.3f} %[/] of all voxels (MP), "
        f"[bold]{found.misplaced_of(last):.3f} %[/] of phase {last} (MGP)"
    )
    console.print(f"Written: {escape(str(out / 'evaluate.json'))}", soft_wrap=True)
