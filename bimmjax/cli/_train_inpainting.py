"""`bimmjax train-inpainting`: a network that fills the gaps between slices, from simulation."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bimmjax.cli import _options

EXAMPLE = "bimmjax train-inpainting --minutes 25 --out inpainting"
_KEPT = "interrupted; finished epochs are kept, the same command goes on"


def train_inpainting(
    out: Annotated[
        str, typer.Option(metavar="FOLDER", help="New, or of an earlier run, to go on.")
    ] = "inpainting",
    network: Annotated[
        str,
        typer.Option(
            metavar="slices|article",
            help="The one that ships, or FIB Article II's network of zx and zy planes.",
        ),
    ] = "slices",
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", help="At most. Default: 60, article 500.", show_default=False),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", help="Batches in each. Default: 100.", show_default=False),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(metavar="N", help="Default: 8, article 64.", show_default=False),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS", help="To begin with, of an earlier training.", show_default=False
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(metavar="M", help="End after so many; 0: no limit.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of structures and weights.")] = 2026,
    quiet: _options.Quiet = False,
) -> None:
    """Train a network that fills the gaps between slices, on simulated structures.

    Writes inpainting-NETWORK.safetensors, for reconstruct --inpainting. The package ships one.
    """
    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._interrupted import Interrupted, heeding_ctrl_c, with_notes
    from bimmjax.cli._progress import progress_bars
    from bimmjax.fib import train_inpainting as trained

    keep_compiled_code()
    last: dict[str, Any] = {}
    with progress_bars(quiet) as bars:
        bars.stage("Compiling")
        try:
            with heeding_ctrl_c() as check:

                def progress(told: dict[str, Any]) -> None:
                    check()
                    last.update(told)
                    bars.update("Epochs", told["epoch"], epochs)

                path = trained(
                    out, network=network, epochs=epochs, steps=steps, batch=batch,
                    minutes=minutes, seed=seed, start=start, progress=progress,
                )  # fmt: skip
        except KeyboardInterrupt as error:
            raise Interrupted(with_notes(_KEPT, error)) from None
    if not quiet:
        if last:
            wrong, spline = (100.0 * last[name] for name in ("wrong", "spline_wrong"))
            if wrong > spline:
                typer.echo("Worse than splines: it has not learned enough to be of use")
            typer.echo(f"Wrong in gaps: {wrong:.2f} % of voxels, cubic splines {spline:.2f} %")
        typer.echo(f"Written: {path}")
