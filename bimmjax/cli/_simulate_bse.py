"""`bimmjax simulate bse`: images of backscattered electrons, as a FIB-SEM would take of labels."""

from __future__ import annotations

from typing import Annotated

import typer

from bimmjax._core.checks import InputError, choice, real_number, whole_number
from bimmjax.cli import _options
from bimmjax.cli import _simulate_instrument as _instrument

EXAMPLE = (
    "bimmjax simulate bse wave.zarr --spacing 5 --unit nm --kv 1 2 4 --solid gold --pore epoxy "
    "--out bse.zarr"
)
_METHODS = ("analytic", "montecarlo")


def bse(
    structure: Annotated[
        str,
        typer.Argument(
            metavar="STRUCTURE", help="Labels, 0 pore and 1 solid, see simulate hierarchical."
        ),
    ],
    kv: Annotated[
        str, typer.Option(metavar="KV ...", help="Voltages of the beam, 0.5 to 30 kV.")
    ] = "1,2,4",
    solid: Annotated[
        str,
        typer.Option(
            metavar="NAME|FORMULA@DENSITY", help="Of label 1: gold, zirconia, Al2O3@3.95 ..."
        ),
    ] = "gold",
    pore: Annotated[
        str,
        typer.Option(
            metavar="NAME|FORMULA@DENSITY", help="Of label 0: epoxy, or vacuum if it is empty."
        ),
    ] = "epoxy",
    materials: Annotated[
        str | None,
        typer.Option(
            metavar="M0 M1 ...",
            help="One for each label, in place of --pore and --solid.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="|".join(_METHODS), help="A model of shine-through, or electron by electron."
        ),
    ] = "analytic",
    tilt: Annotated[float, typer.Option(metavar="DEGREES", help="Of the beam, 0 to 52.")] = 0.0,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.json",
            help="Of the model, from simulate calibrate. Default: the one shipped.",
            show_default=False,
        ),
    ] = None,
    electrons: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Of montecarlo, per pixel. Default: 1000.", show_default=False
        ),
    ] = None,
    slices: Annotated[
        str | None,
        typer.Option(
            metavar="Z ...", help="Of montecarlo: those imaged. Default: all.", show_default=False
        ),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(metavar="K", help="Of montecarlo: every Kth slice.", show_default=False),
    ] = None,
    instrument: Annotated[
        bool,
        typer.Option(
            "--instrument",
            help="All that an instrument adds, as strong as usual. Options of it by themselves "
            "add what they say, and counted electrons; without any the yields stay clean.",
        ),
    ] = False,
    dose_current: _instrument.Current = None,
    dwell: _instrument.Dwell = None,
    gaussian: _instrument.Gaussian = None,
    edge_blur: _instrument.EdgeBlur = None,
    drift: _instrument.Drift = None,
    brightness: _instrument.Brightness = None,
    curtains: _instrument.Curtains = None,
    levels: _instrument.Levels = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 0,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="OUT.zarr",
            help="Default: the labels' name and -bse.zarr.",
            show_default=False,
        ),
    ] = None,
    spacing: _options.Spacing = None,
    unit: _options.Unit = None,
    dataset: _options.Dataset = None,
    overwrite: _options.Overwrite = False,
    pictures: Annotated[bool, typer.Option(help="Draw the images beside the labels.")] = True,
    quiet: _options.Quiet = False,
) -> None:
    """Every slice of labels as a FIB-SEM images it, with what shines through from below.

    Of any size, in bounded memory, but for montecarlo. Writes one zarr with an OME-Zarr image for
    each voltage (OUT.zarr/2kV: electrons seen per electron sent, or grey values from 0 to 1 of an
    instrument), simulate.json (every setting, shifts of the slices) and simulate.png.
    """
    from bimmjax.cli._fit import default_folder
    from bimmjax.cli._numbers import numbers_of, spacing_of
    from bimmjax.cli._simulate_bse_run import BseRun, image_and_tell
    from bimmjax.cli._simulate_output import zarr_name

    choice("method", method, _METHODS)
    whole_number("seed", seed, 0, 2**31 - 1)
    real_number("tilt", tilt, 0.0, 52.0)
    energies = numbers_of("kv", kv) or []
    for energy in energies:
        real_number("kv", energy, 0.5, 30.0)
    if len({f"{energy:g}" for energy in energies}) < len(energies):
        raise InputError(f"kv: got {kv.replace(',', ' ')}, wants different voltages")
    of_montecarlo = {"electrons": electrons, "slices": slices, "every": every}
    for name, value in of_montecarlo.items():
        if value is not None and method != "montecarlo":
            raise InputError(f"{name}: got it with --method {method}, wants montecarlo")
    if slices is not None and every is not None:
        raise InputError("every: got it beside --slices, wants one of them")
    if calibration is not None and method != "analytic":
        raise InputError(f"calibration: got it with --method {method}, wants analytic")
    told = _instrument.Told(
        dose_current, dwell, gaussian, edge_blur, drift, brightness, curtains, levels
    )
    within = _instrument.levels_of(levels)

    from bimmjax import sim

    given = [pore, solid] if materials is None else materials.replace(",", " ").split()
    names = ("pore", "solid") if materials is None else ("materials",) * len(given)
    used = [sim.known_material(n, m) for n, m in zip(names, given, strict=True)]
    image_and_tell(
        BseRun(
            structure=structure,
            energies=energies,
            materials=used,
            method=method,
            tilt=tilt,
            calibration=calibration,
            electrons=whole_number("electrons", 1000 if electrons is None else electrons, 1, 2**24),
            slices=numbers_of("slices", slices),
            every=None if every is None else whole_number("every", every, 1, 2**31 - 1),
            instrument=_instrument.instrument_of(told, sim.Instrument() if instrument else None),
            levels=within,
            seed=seed,
            out=zarr_name(default_folder(structure, "-bse.zarr") if out is None else out),
            spacing=spacing_of(spacing),
            unit=unit,
            dataset=dataset,
            overwrite=overwrite,
            pictures=pictures,
            quiet=quiet,
        )
    )
