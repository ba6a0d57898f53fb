"""From a volume to a folder with numbers, pictures and report: what `fit` and `demo` share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bimmjax.cli._output import output_folder, writing_to
from bimmjax.cli._progress import Progress, progress_bars
from bimmjax.cli._text import strict_json

if TYPE_CHECKING:
    from bimmjax.fitting import Fit
    from bimmjax.volumes import Volume

# All that a fit leaves in its folder: `--overwrite` gives up these, and refuses anything else.
OWN_FILES = (
    "fit.json",
    "report.html",
    "slices.png",
    "intensity.png",
    "joint.png",
    "edge.png",
)


@dataclass(frozen=True)
class Run:
    """One fit as ordered on the command line: where to, how, and what to tell of it.

    options : keyword arguments of `bimmjax.fit`. The rest are the options of the verb.
    """

    out: str
    options: dict[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    pictures: bool = True
    as_json: bool = False
    quiet: bool = False
    command: str = "bimmjax fit"


def fit_and_report(open_it: Callable[[], Volume], run: Run) -> None:
    """Fit the volume that `open_it` opens; fill `run.out`; tell the result on standard output."""
    with output_folder(run.out, own=OWN_FILES, overwrite=run.overwrite) as folder:
        volume = open_it()
        with progress_bars(run.quiet) as bars:
            result = _fit(volume, run, bars)
            content = strict_json(result.to_dict())
            text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
            with writing_to(run.out):
                (folder / "fit.json").write_text(text + "\n", encoding="utf-8")
                if run.pictures:
                    bars.stage("Drawing")
                    _report(result, volume, folder, run)
    if run.as_json:
        print(text)
    elif not run.quiet:
        from bimmjax.cli._summary import print_summary

        print_summary(result, volume, Path(run.out))


def _fit(volume: Volume, run: Run, bars: Progress) -> Fit:
    import bimmjax

    def progress(done: int, total: int) -> None:
        bars.update("Counting voxels", done, total)
        if done >= total:
            bars.stage("Fitting")

    return bimmjax.fit(volume, progress=progress, **run.options)


def _report(result: Fit, volume: Volume, folder: Path, run: Run) -> None:
    from bimmjax.report import write_report

    write_report(result, volume, folder, command=run.command)
