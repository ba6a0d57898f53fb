"""`bimmjax fit`: one fit of a volume, with pictures and report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from bimmjax._core.checks import InputError, choice, whole_number
from bimmjax.cli import _options

MODELS = ("bimm2d", "bimm1d", "pvmm", "gmm")
METHODS = ("histogram", "minibatch")
GRADIENTS = ("central_difference", "plain")
NOISES = ("shared", "per_phase")
INTERFACES = ("curved", "flat")


def fit(
    volume: _options.VolumePath,
    phases: Annotated[
        str, typer.Option(metavar="N", help="Number of phases, or auto: chosen by BIC.")
    ] = "2",
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="bimm2d, bimm1d, pvmm or gmm. Only bimm2d, which needs cubic voxels, knows blur "
            "and areas.",
        ),
    ] = "bimm2d",
    method: Annotated[
        str,
        typer.Option(metavar="NAME", help="histogram (all voxels), or minibatch (the paper's)."),
    ] = "histogram",
    gradient: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Gradient law of bimm2d: central_difference, or plain (the paper's).",
        ),
    ] = "central_difference",
    noise: Annotated[
        str, typer.Option(metavar="NAME", help="shared by the phases, or per_phase.")
    ] = "shared",
    interface: Annotated[
        str, typer.Option(metavar="NAME", help="curved, or flat (the paper's): for bimm2d.")
    ] = "curved",
    blur: _options.Blur = None,
    spacing: _options.Spacing = None,
    unit: _options.Unit = None,
    dataset: _options.Dataset = None,
    dtype: _options.Dtype = None,
    ignore_nan: Annotated[
        bool, typer.Option("--ignore-nan", help="Leave out voxels that are NaN or infinite.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of whatever is random; the same gives the same.")] = 0,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Default: the volume's name and -fit.", show_default=False
        ),
    ] = None,
    overwrite: _options.Overwrite = False,
    pictures: Annotated[bool, typer.Option(help="Draw pictures and write the report.")] = True,
    correct: Annotated[
        bool,
        typer.Option(
            help="Take off the bias that thin or curved structures cause, where it can be found; "
            "without it properties are the model's own."
        ),
    ] = True,
    intervals: Annotated[bool, typer.Option(help="Work out 95 % intervals.")] = True,
    two_scales: Annotated[
        bool,
        typer.Option(
            "--two-scales",
            help="Two phases: area, resolution and curvature once more, by moments of the volume "
            "and of the volume blurred again.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print fit.json on standard output, and no table.")
    ] = False,
    quiet: _options.Quiet = False,
) -> None:
    """Fit a model to a volume: fractions, areas, resolution and noise, with error bars.

    Writes fit.json, four pictures and report.html to a folder that appears whole or not at all.
    """
    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._compiler import compile_sooner
    from bimmjax.cli._numbers import spacing_of

    wanted = phases_of(phases)
    choice("model", model, MODELS)
    choice("method", method, METHODS)
    choice("gradient", gradient, GRADIENTS)
    choice("noise", noise, NOISES)
    choice("interface", interface, INTERFACES)
    whole_number("seed", seed, 0, 2**31 - 1)
    size = spacing_of(spacing)

    from bimmjax.cli._run import Run, fit_and_report
    from bimmjax.volumes import open_volume

    compile_sooner()
    keep_compiled_code()
    fit_and_report(
        lambda: open_volume(volume, spacing=size, unit=unit, dataset=dataset, dtype=dtype),
        Run(
            out=default_folder(volume) if out is None else out,
            options={
                "phases": wanted,
                "model": model,
                "method": method,
                "gradient": gradient,
                "noise": noise,
                "interface": interface,
                "correct": correct,
                "intervals": intervals,
                "two_scales": two_scales,
                "blur_std": blur,
                "ignore_nan": ignore_nan,
                "seed": seed,
            },
            overwrite=overwrite,
            pictures=pictures,
            as_json=as_json,
            quiet=quiet,
            command=typed(),
        ),
    )


def phases_of(text: str) -> int | str:
    """Number of phases, or "auto"."""
    if text == "auto":
        return text
    if not text.lstrip("+-").isdecimal():
        raise InputError(f"phases: got {text!r}, wants a whole number from 1 to 8, or auto")
    return whole_number("phases", int(text), 1, 8)


def default_folder(volume: str, ending: str = "-fit") -> str:
    """`<stem>-fit` in the working folder.

    Examples
    --------
    >>> default_folder("scans/rock.ome.zarr"), default_folder("a/b.h5::/entry/data")
    ('rock-fit', 'b-fit')
    """
    name = Path(volume.partition("::")[0].rstrip("/")).name
    for _ in range(2):
        stem, _, suffix = name.rpartition(".")
        if stem and suffix.isalnum() and suffix[0].isalpha() and len(suffix) <= 4:
            name = stem
    return f"{name or 'volume'}{ending}"


def typed() -> str:
    """What the user typed, ready to be typed again."""
    import sys

    return shlex.join(["bimmjax", *sys.argv[1:]])
