"""`bimmjax compare`: several recipes, trained and scored on one data set."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bimmjax._core.checks import InputError
from bimmjax.cli import _options
from bimmjax.cli._compare_options import with_options_of_train
from bimmjax.cli._train import KEPT, classes_in, named_values, settings_of, volumes_of

if TYPE_CHECKING:
    from bimmjax.nets import Comparison, Recipe

EXAMPLE = (
    "bimmjax compare --network unet --network unet++ --image scan.tif --labels labels.tif "
    "--minutes 10 --classical otsu"
)

# By the first word of a stage what its numbers are of.
_COUNTED = {"Training": "steps", "Predicting": "voxels"}


@with_options_of_train
def compare(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE.toml ...]", help="Of earlier runs, or --network.", show_default=False
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            help="Volume, or a folder of simulate dataset. Default: those in the recipes.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="LABELS", help="Its labels; 255: none.", show_default=False),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IMAGE",
            help="Another volume of the same specimen; may be repeated.",
            show_default=False,
        ),
    ] = None,
    weight: Annotated[
        str | None,
        typer.Option(metavar="VOLUME", help="How much voxels count.", show_default=False),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="Of the classes, for the tables.", show_default=False),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A rival by name; may be repeated.", show_default=False),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="[NETWORK:]NAME=VALUE",
            help="Of all networks, or of one; may be repeated: unet:depth=3.",
            show_default=False,
        ),
    ] = None,
    classical: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD",
            help="A rival without training: otsu, kmeans, bimm, zeror, bin-zeror; may be repeated.",
            show_default=False,
        ),
    ] = None,
    slices: Annotated[
        str | None,
        typer.Option(
            metavar="N ...",
            help="Learning curve: the first rival with so many annotated slices.",
            show_default=False,
        ),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="A learning curve for each rival.")] = False,
    ablate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A change of the first rival; may be repeated: dropout=0.0.",
            show_default=False,
        ),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=A,B,...",
            help="Values of a setting of the first rival; repeated: all combinations are trained, "
            "judged by the validation block, and the best is scored.",
            show_default=False,
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Default: all accelerators, or one CPU.", show_default=False
        ),
    ] = None,
    out: Annotated[str, typer.Option(metavar="FOLDER", help="The folder to make.")] = "comparison",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew where runs are.")
    ] = False,
    pictures: Annotated[bool, typer.Option(help="Draw predictions, matrices and curves.")] = True,
    quiet: _options.Quiet = False,
    **common: Any,
) -> None:
    """Train and score several networks on one data set, under the same conditions.

    Writes compare.json, compare.csv, compare.md (tables), pictures, and a folder of each run.
    Interrupted, the same command goes on; what is finished is not done again.
    """
    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._interrupted import Interrupted, heeding_ctrl_c
    from bimmjax.cli._numbers import numbers_of
    from bimmjax.cli._progress import progress_bars
    from bimmjax.cli._train import warnings_in_a_line

    shared = settings_of(**common)
    changes = _settings(settings or [])
    numbers = [_whole(n) for n in numbers_of("slices", slices) or []]
    if image is None and labels is not None:
        raise InputError("labels: got them alone, wants --image, too")
    images, right, weights = volumes_of(image, labels, channel or [], weight)
    if not recipes and not network:
        raise InputError("recipes: got none, wants RECIPE.toml, or --network")
    if images is None and network:
        raise InputError("image: got none, wants --image and --labels")

    keep_compiled_code()

    from bimmjax import nets

    with progress_bars(quiet) as bars:
        bars.stage("Reading")
        if network and "classes" not in shared:
            shared["classes"] = classes_in(right)
        given = _given(recipes or [], network or [], changes, shared)
        try:
            with warnings_in_a_line(), heeding_ctrl_c() as check:

                def progress(what: str, done: int, total: int) -> None:
                    check()
                    bars.update(what, done, total, _COUNTED.get(what.partition(" ")[0], ""))

                found = nets.compare(
                    given, images, right, out, weight=weights,
                    names=[] if names is None else names.split(","),
                    classical=[one for word in classical or [] for one in word.split(",")],
                    slices=numbers, each=each, ablate=ablate or (), sweep=sweep or (),
                    devices=devices, overwrite=overwrite, progress=progress,
                )  # fmt: skip
        except KeyboardInterrupt:
            text = KEPT.format("without --overwrite " if overwrite else "")
            raise Interrupted(text) from None
        if pictures:
            bars.stage("Drawing")
            _draw(found, Path(out))
    if not quiet:
        _tell(found, Path(out))


def _given(
    recipes: list[str],
    networks: list[str],
    changes: dict[str, dict[str, Any]],
    shared: dict[str, Any],
) -> dict[str, Recipe]:
    """Recipes by files and by names of networks, with what options say."""
    from bimmjax.nets import recipe_of
    from bimmjax.nets._compare.entry import named

    found: list[tuple[str | None, dict[str, Any]]] = []
    for path in recipes:
        recipe = recipe_of(path)
        own = _of(changes, recipe.network)
        found.append((path, asdict(recipe) | shared | {"settings": recipe.settings | own}))
    for name in networks:
        found.append((None, {"network": name, "settings": _of(changes, name), **shared}))
    unknown = set(changes) - {""} - {told["network"] for _, told in found}
    if unknown:
        raise InputError(f"set: got a setting of {min(unknown)}, which is not compared")
    return named(found)


def _of(changes: dict[str, dict[str, Any]], network: str) -> dict[str, Any]:
    return changes.get("", {}) | changes.get(network, {})


def _settings(words: list[str]) -> dict[str, dict[str, Any]]:
    """Settings by the network that they are of; by "" those of all."""
    found: dict[str, dict[str, Any]] = {}
    for word in words:
        head, colon, tail = word.partition(":")
        apart = bool(colon) and "=" not in head
        name = head.strip() if apart else ""
        found.setdefault(name, {}).update(named_values("set", [tail if apart else word]) or {})
    return found


def _whole(number: float) -> int:
    if number != int(number):
        raise InputError(f"slices: got {number:g}, wants whole numbers")
    return int(number)


def _draw(found: Comparison, out: Path) -> None:
    from bimmjax import plot
    from bimmjax.cli._output import writing_to

    with writing_to(out):
        for name, drawn in plot.comparison(found).items():
            drawn.savefig(out / f"{name}.png")


def _tell(found: Comparison, out: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    columns = ("IoU in %", "parameters", "s/epoch", "s/image", *found.names, "mean")
    for number, name in enumerate(columns):
        # Names of rivals and classes are as long as they are; numbers must be seen whole.
        shown = name if number < 4 else name[:8]
        table.add_column(escape(shown), justify="right" if number else "left", no_wrap=number > 0,
                         overflow="fold")  # fmt: skip
    for row in found.rows:
        if row.role == "sweep":
            continue
        ious = [] if row.scores is None else [*row.by_class("iou"), row.mean("iou")]
        times = (row.seconds_per_epoch, row.seconds_per_image)
        table.add_row(
            escape(row.name),
            "" if row.parameters is None else f"{row.parameters:,}",
            *("" if one is None else f"{one:.2g}" for one in times),
            *("–" if one is None else f"{100.0 * one:.2f}" for one in ious),
        )
    console.print(table)
    for row in found.rows:
        if row.error:
            console.print(f"{escape(row.name)} has no scores: {escape(row.error)}", soft_wrap=True)
    best = found.best_of_sweep
    if best is not None:
        chosen, tested = (
            100.0 * (share or 0.0) for share in (best.validation("mean_iou"), best.mean("iou"))
        )
        told = f"{escape(best.name)} (mean IoU: validation {chosen:.2f} %, test {tested:.2f} %)"
        console.print(f"Best of the sweep: {told}", soft_wrap=True)
    console.print(f"Written: {escape(str(out / 'compare.md'))}", soft_wrap=True)
