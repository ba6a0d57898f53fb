"""`bimmjax map`: parameter maps of a volume, or of a series of volumes."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from bimmjax._core.checks import InputError, choice, whole_number
from bimmjax.cli import _options
from bimmjax.cli._fit import GRADIENTS, INTERFACES, NOISES, default_folder, typed

FREE = ("weights", "weights,blur,noise", "all")


def map_(
    volumes: Annotated[
        list[str],
        typer.Argument(
            metavar="VOLUME",
            help="Any volume that bimmjax reads; several are a time series.",
            show_default=False,
        ),
    ],
    phases: Annotated[int, typer.Option(metavar="N", help="Number of phases, 2 to 8.")] = 2,
    block: Annotated[
        str,
        typer.Option(metavar="B", help="Edge of the blocks, voxels: one number, or three (z y x)."),
    ] = "64",
    stride: Annotated[
        str | None,
        typer.Option(
            metavar="S", help="From block to block, voxels. Default: the block.", show_default=False
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="MAPS.zarr",
            help="Default: the volume's name and -maps.zarr.",
            show_default=False,
        ),
    ] = None,
    free: Annotated[
        str,
        typer.Option(
            metavar="WHAT",
            help="What may differ between blocks: weights (fractions and areas), "
            "weights,blur,noise, or all.",
        ),
    ] = "all",
    noise: Annotated[
        str, typer.Option(metavar="NAME", help="shared by the phases, or per_phase.")
    ] = "shared",
    gradient: Annotated[
        str,
        typer.Option(metavar="NAME", help="Gradient law: central_difference, or plain."),
    ] = "central_difference",
    interface: Annotated[str, typer.Option(metavar="NAME", help="curved, or flat.")] = "curved",
    correct: Annotated[
        bool,
        typer.Option(
            help="Take off the bias that thin or curved structures cause, as found on the whole."
        ),
    ] = True,
    blur: _options.Blur = None,
    mask: _options.Mask = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="FIT.json",
            help="A fit of the whole (bimmjax fit), instead of making one.",
            show_default=False,
        ),
    ] = None,
    times: Annotated[
        str | None,
        typer.Option(
            metavar="T1 T2 ...",
            help="When the volumes of a series were taken. Default: 0 1 2 ...",
            show_default=False,
        ),
    ] = None,
    errors: Annotated[
        bool,
        typer.Option(help="Calibrate the standard errors on a volume of known truth."),
    ] = True,
    spacing: _options.Spacing = None,
    unit: _options.Unit = None,
    dataset: _options.Dataset = None,
    dtype: _options.Dtype = None,
    fill_missing: Annotated[
        bool,
        typer.Option(
            "--fill-missing",
            help="Chunks that do not exist are empty, not lost: the writer left them out.",
        ),
    ] = False,
    retry: Annotated[
        bool,
        typer.Option("--retry", help="Fit blocks anew of which voxels could not be read."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of whatever is random; the same gives the same.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew where --out holds maps already.")
    ] = False,
    pictures: Annotated[bool, typer.Option(help="Draw pictures and write maps.html.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print map.json on standard output, and no table.")
    ] = False,
    quiet: _options.Quiet = False,
    devices: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="CPU devices to use. Default: one per core.", show_default=False
        ),
    ] = None,
    distributed: Annotated[
        bool,
        typer.Option(
            "--distributed", help="One of many processes, as Slurm, MPI or the cloud tells."
        ),
    ] = False,
    coordinator: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Of process 0, where nobody tells.", show_default=False
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(metavar="N", help="How many processes there are.", show_default=False),
    ] = None,
    process: Annotated[
        int | None,
        typer.Option(metavar="I", help="Which of them this is, from 0.", show_default=False),
    ] = None,
) -> None:
    """Map porosity, interface areas, resolution and noise: one fit for each block of a volume.

    Writes an OME-Zarr group with a map of each quantity, its standard errors and flags, and into
    it blocks.csv, map.json and maps.html. The same command goes on where one was interrupted.
    """
    from bimmjax.cli._numbers import box_of, spacing_of, times_of

    free = "".join(free.split())
    choice("free", free, FREE)
    choice("noise", noise, NOISES)
    choice("gradient", gradient, GRADIENTS)
    choice("interface", interface, INTERFACES)
    whole_number("phases", phases, 2, 8)
    whole_number("seed", seed, 0, 2**31 - 1)
    options = {
        "phases": phases,
        "block": box_of("block", block),
        "stride": box_of("stride", stride),
        "free": free,
        "noise": noise,
        "gradient": gradient,
        "interface": interface,
        "correct": correct,
        "blur_std": blur,
        "mask": mask,
        "start": start,
        "errors": errors,
        "times": times_of(times),
        "spacing": spacing_of(spacing),
        "unit": unit,
        "dataset": dataset,
        "dtype": dtype,
        "fill_missing": fill_missing,
        "retry": retry,
        "seed": seed,
    }
    told = coordinator, processes, process
    one_of_many = distributed or any(value is not None for value in told)
    if one_of_many and not distributed:
        _check_all_told(*told)

    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._compiler import compile_sooner
    from bimmjax.cli._devices import use_cores
    from bimmjax.cli._map_run import MapRun, map_and_report

    compile_sooner()
    keep_compiled_code()
    use_cores(devices)
    map_and_report(
        volumes,
        MapRun(
            out=default_folder(volumes[0], "-maps.zarr") if out is None else out,
            options=options,
            overwrite=overwrite,
            pictures=pictures,
            as_json=as_json,
            quiet=quiet,
            command=typed(),
            team=told if one_of_many else None,
        ),
    )


def _check_all_told(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """All three, so that nobody searches a cluster for what was only forgotten."""
    if coordinator is None:
        coordinator = os.environ.get("JAX_COORDINATOR_ADDRESS")
    wants = "wants --coordinator HOST:PORT, --processes N and --process I (or --distributed)"
    told = {"coordinator": coordinator, "processes": processes, "process": process}
    for name, value in told.items():
        if value is None:
            raise InputError(f"{name}: got none, {wants}")
