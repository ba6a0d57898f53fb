"""`bimmjax reconstruct`: from raw FIB-SEM stacks to labels on an even grid, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bimmjax.cli import _options
from bimmjax.cli._reconstruct_options import by_options, settings_of

if TYPE_CHECKING:
    from bimmjax.fib import Reconstruction

EXAMPLE = (
    "bimmjax reconstruct 1=1kV.tif 2=2kV.tif 4=4kV.tif --pixel 5 --unit nm --thickness 10 "
    "--network net --out made"
)
_KEPT = "interrupted; finished steps are kept, the same command goes on"


def reconstruct(
    stacks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]STACK...",
            help="A stack for each voltage, in rising order: 1=1kV.tif 2=2kV.zarr. Default: the "
            "plan's.",
            show_default=False,
        ),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(metavar="PLAN.toml", help="Settings; options beat it.", show_default=False),
    ] = None,
    out: Annotated[
        str, typer.Option(metavar="FOLDER", help="New, or of an earlier run, to go on.")
    ] = "reconstruction",
    pixel: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="Edge of a pixel. Default: as files tell.", show_default=False
        ),
    ] = None,
    unit: _options.Unit = None,
    order: Annotated[
        str | None,
        typer.Option(
            metavar="labels|grey|layers",
            help="What is put in place and filled: labels of slices (the default), or their grey "
            "values; layers: a network of train --layers labels all at once.",
            show_default=False,
        ),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="Y0 Y1 X0 X1",
            help="Pixels that show the specimen. Default: all, or all below the ruler.",
            show_default=False,
        ),
    ] = None,
    register: Annotated[
        bool | None,
        typer.Option("--register/--no-register", help="Default: register.", show_default=False),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Stack to register onto. Default: the middle one.",
            show_default=False,
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            metavar="Y0 Y1 X0 X1",
            help="Pixels of a fiducial mark (up to Y1 and X1), to register by.",
            show_default=False,
        ),
    ] = None,
    reach: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            help="Largest shift of two slices that are compared. Default: 16.",
            show_default=False,
        ),
    ] = None,
    drop: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Leave out the first N slices (curtains).", show_default=False
        ),
    ] = None,
    tilt: Annotated[
        float | None,
        typer.Option(
            metavar="DEGREES",
            help="Between beam and milled face: 52 on most instruments. Default: 90, corrected.",
            show_default=False,
        ),
    ] = None,
    brightness: Annotated[
        bool | None,
        typer.Option(
            "--brightness/--no-brightness",
            help="Equalise slices. Default: yes.",
            show_default=False,
        ),
    ] = None,
    curtains: Annotated[
        bool | None,
        typer.Option(
            "--curtains/--no-curtains", help="Take stripes out. Default: no.", show_default=False
        ),
    ] = None,
    denoise: Annotated[
        str | None,
        typer.Option(metavar="nlm|gaussian|median|tv", help="Default: none.", show_default=False),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]RUN",
            help="Run of train that takes all stacks, or NAME=RUN for each: their probabilities "
            "are averaged.",
            show_default=False,
        ),
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="FIT.json|MODEL",
            help="Label by a fit, or fit gmm, pvmm, bimm1d or bimm2d.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="otsu|kmeans|...", help="Label by a classical method.", show_default=False
        ),
    ] = None,
    phases: Annotated[
        int | None,
        typer.Option(metavar="N", help="Of a model or method. Default: 2.", show_default=False),
    ] = None,
    stack: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Stack that a fit or method labels. Default: the first.",
            show_default=False,
        ),
    ] = None,
    thickness: Annotated[
        str | None,
        typer.Option(
            metavar="T|FILE|ruler|images",
            help="Of all slices; or a file; or by a ruler's marks; or by the images alone.",
            show_default=False,
        ),
    ] = None,
    ruler: Annotated[
        str | None,
        typer.Option(
            metavar="Y0 Y1 X0 X1",
            help="Pixels that show the ruler's four marks.",
            show_default=False,
        ),
    ] = None,
    ruler_angle: Annotated[
        float | None,
        typer.Option(
            metavar="DEGREES",
            help="Of inclined marks to the milling direction.",
            show_default=False,
        ),
    ] = None,
    grid: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="Spacing of the grid along z. Default: the pixel's.",
            show_default=False,
        ),
    ] = None,
    fill: Annotated[
        str | None,
        typer.Option(
            metavar="nearest|spline|distance|learned",
            help="Default: learned for two phases.",
            show_default=False,
        ),
    ] = None,
    inpainting: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS",
            help="Of train-inpainting. Default: the package's.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="STEP",
            help="Stop after register, clean, label, thickness, place, fill or describe.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Take a folder that holds other things, too.")
    ] = False,
    pictures: Annotated[bool, typer.Option(help="Draw each step, and write the report.")] = True,
    quiet: _options.Quiet = False,
) -> None:
    """From raw FIB-SEM stacks to labels on an even grid, and what they tell.

    Registers, cleans, labels, measures thickness, repositions, fills the gaps, describes. Each step
    leaves OME-Zarr volumes and a picture in a folder of its own; only what has changed is done
    again. Writes reconstruct.json and report.html.
    """
    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._fit import typed
    from bimmjax.cli._interrupted import Interrupted, heeding_ctrl_c, with_notes
    from bimmjax.cli._output import writing_to
    from bimmjax.cli._progress import progress_bars
    from bimmjax.cli._train import warnings_in_a_line
    from bimmjax.fib import plan_of
    from bimmjax.fib import reconstruct as reconstructed

    given = settings_of(locals())
    with by_options():
        told = given.onto(plan_of(plan))
    keep_compiled_code()

    from bimmjax import report
    from bimmjax.volumes import open_volume

    sources = given.stacks or told.stacks
    raw: dict[str, Any] = {}
    with progress_bars(quiet) as bars:
        try:
            with by_options(), warnings_in_a_line(), heeding_ctrl_c() as check:

                def progress(what: str, done: int, total: int) -> None:
                    check()
                    bars.update(what[0].upper() + what[1:], done, total)

                def draw(made: Reconstruction, done: Any) -> None:
                    if not pictures:
                        return
                    if not raw:
                        raw.update({
                            name: open_volume(
                                source, spacing=told.pixel or None, unit=told.unit or None
                            )
                            for name, source in sources.items()
                        })  # fmt: skip
                    bars.stage(f"Drawing {done.name}")
                    with writing_to(out):
                        report.draw_step(made, done, raw)
                        # After each: what there is tells the truth, whenever the work ends.
                        report.write_reconstruction_report(made, command=typed())

                made = reconstructed(
                    sources, out, told, until=until, overwrite=overwrite, progress=progress,
                    on_step=draw,
                )  # fmt: skip
        except KeyboardInterrupt as error:
            raise Interrupted(with_notes(_KEPT, error)) from None
    if not quiet:
        for done in made.steps.values():
            state = "" if done.fresh else " (as before)"
            typer.echo(f"{done.name}{state}: {report.reconstruction_words(made, done)}")
        page = "report.html" if pictures else "reconstruct.json"
        typer.echo(f"Written: {Path(out) / page}")
