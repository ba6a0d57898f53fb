"""`bimmjax demo`: a complete first run."""

from __future__ import annotations

from typing import Annotated

import typer

from bimmjax.cli import _options


def demo(
    out: Annotated[str, typer.Option(metavar="FOLDER", help="The folder to make.")] = "demo",
    overwrite: _options.Overwrite = False,
    intervals: Annotated[bool, typer.Option(help="Work out 95 % intervals.")] = True,
    quiet: _options.Quiet = False,
) -> None:
    """Fit a real CT volume of cement with round pores, and write pictures and a report.

    The volume is an example of the package qim3d, fetched once and kept; where it cannot be had
    a volume is simulated. Which of them it is will be told.
    """
    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._compiler import compile_sooner
    from bimmjax.cli._demo_volume import demo_volume
    from bimmjax.cli._run import Run, fit_and_report
    from bimmjax.volumes import Volume

    compile_sooner()
    keep_compiled_code()

    def open_it() -> Volume:
        found = demo_volume()
        if not quiet:
            typer.echo(found.story)
        return found.volume

    run = Run(
        out=out,
        # Empty pores, pores filled to unequal degrees (hence a noise for each phase), matrix.
        options={"phases": 3, "noise": "per_phase", "intervals": intervals},
        overwrite=overwrite,
        quiet=quiet,
        command="bimmjax demo (as bimmjax fit VOLUME --phases 3 --noise per_phase)",
    )
    fit_and_report(open_it, run)
