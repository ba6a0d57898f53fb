"""`bimmjax simulate dataset`: sets of FIB-SEM images with their truth, to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bimmjax._core.checks import InputError, choice, real_number, whole_number
from bimmjax.cli import _options
from bimmjax.cli import _simulate_instrument as _instrument

EXAMPLE = (
    "bimmjax simulate dataset --volumes 20 --shape 64 256 256 --spacing 5 --kv 1 2 4 "
    "--solid-fraction 0.1 0.4 --out training"
)
_KINDS = ("wave", "hierarchical", "pores")


def dataset(
    volumes: Annotated[int, typer.Option(metavar="N", help="How many pairs.")] = 10,
    shape: Annotated[
        str, typer.Option(metavar="Z Y X", help="Slices, rows and columns of each image.")
    ] = "64,256,256",
    spacing: Annotated[float, typer.Option(metavar="NM", help="Edge of a voxel, nm.")] = 5.0,
    kv: Annotated[
        str, typer.Option(metavar="KV ...", help="Voltages of the beam, 0.5 to 30 kV.")
    ] = "1,2,4",
    kind: Annotated[
        str, typer.Option(metavar="|".join(_KINDS), help="Of the structures.")
    ] = "hierarchical",
    solid_fraction: Annotated[
        str, typer.Option(metavar="LOW HIGH", help="Drawn between these, for each volume.")
    ] = "0.1,0.4",
    ligament: Annotated[
        str | None,
        typer.Option(
            metavar="NM ...",
            help="Mean ligament diameter of waves. Default: 30, hierarchical 110 15.",
            show_default=False,
        ),
    ] = None,
    wavelength: Annotated[
        str | None,
        typer.Option(
            metavar="VOXELS ...", help="Of waves, instead of ligaments.", show_default=False
        ),
    ] = None,
    radius: Annotated[
        float | None,
        typer.Option(metavar="NM", help="Of pores, mean. Default: 40.", show_default=False),
    ] = None,
    radius_std: Annotated[
        float | None,
        typer.Option(
            metavar="NM",
            help="Standard deviation of pores' radii. Default: a quarter of the mean.",
            show_default=False,
        ),
    ] = None,
    solid: Annotated[
        str, typer.Option(metavar="NAME|FORMULA@DENSITY", help="Gold, zirconia, Al2O3@3.95 ...")
    ] = "gold",
    pore: Annotated[
        str,
        typer.Option(metavar="NAME|FORMULA@DENSITY", help="epoxy, or vacuum if pores are empty."),
    ] = "epoxy",
    tilt: Annotated[float, typer.Option(metavar="DEGREES", help="Of the beam, 0 to 52.")] = 0.0,
    thickness: Annotated[
        str | None,
        typer.Option(
            metavar="MEAN STD",
            help="Slices of uneven thickness, nm: gamma distributed, in whole voxels.",
            show_default=False,
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.json", help="Of the model, from simulate calibrate.", show_default=False
        ),
    ] = None,
    instrument: Annotated[
        bool,
        typer.Option(
            help="What an instrument adds, as strong as usual but for drift that adds up (images "
            "are taken to be registered). Without it only what options of it say.",
        ),
    ] = True,
    dose_current: _instrument.Current = None,
    dwell: _instrument.Dwell = None,
    gaussian: _instrument.Gaussian = None,
    edge_blur: _instrument.EdgeBlur = None,
    drift: _instrument.Drift = None,
    brightness: _instrument.Brightness = None,
    curtains: _instrument.Curtains = None,
    levels: _instrument.Levels = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same set.")] = 0,
    out: Annotated[str, typer.Option(metavar="FOLDER", help="The folder to make.")] = "dataset",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove the set in --out and begin anew.")
    ] = False,
    pictures: Annotated[bool, typer.Option(help="Draw the first pair.")] = True,
    quiet: _options.Quiet = False,
) -> None:
    """Pairs to train on: images of simulated structures at each voltage, and their truth.

    Writes volume-0000.zarr, volume-0001.zarr, ... (image/1kV, ..., truth; simulate.json with
    positions, shifts and gains of the slices), each of which appears when it is complete, and
    dataset.json with every setting. Interrupted, the same command goes on; more --volumes add to
    the set.
    """
    from bimmjax.cli._dataset_run import write_dataset
    from bimmjax.cli._numbers import box_of, numbers_of

    whole_number("volumes", volumes, 1, 10_000)
    whole_number("seed", seed, 0, 2**31 - 1)
    choice("kind", kind, _KINDS)
    energies = numbers_of("kv", kv) or []
    for energy in energies:
        real_number("kv", energy, 0.5, 30.0)
    real_number("spacing", spacing, 1e-3, 1e6)
    box, uneven = box_of("shape", shape), numbers_of("thickness", thickness, 2)
    assert box is not None
    lengths = _lengths(
        kind, spacing, numbers_of("ligament", ligament), numbers_of("wavelength", wavelength),
        radius, radius_std,
    )  # fmt: skip
    fractions = numbers_of("solid_fraction", solid_fraction) or []
    if len(fractions) > 2:
        raise InputError(f"solid_fraction: got {solid_fraction}, wants one number or two")

    told = _instrument.Told(
        dose_current, dwell, gaussian, edge_blur, drift, brightness, curtains, levels
    )

    from bimmjax import sim
    from bimmjax.cli._simulate_bse_run import calibrated_models
    from bimmjax.sim._training.settings import REGISTERED

    used = [sim.known_material(name, m) for name, m in (("pore", pore), ("solid", solid))]
    settings = sim.TrainingSettings(
        shape=box,
        spacing=spacing,
        energies=tuple(energies),
        kind=kind,
        solid_fraction=(fractions[0], fractions[-1]),
        solid=used[1],
        pore=used[0],
        tilt=tilt,
        thickness=None if uneven is None else (uneven[0], uneven[1]),
        instrument=_instrument.instrument_of(told, REGISTERED if instrument else None),
        levels=_instrument.levels_of(levels),
        models=None
        if calibration is None
        else tuple(calibrated_models(calibration, used, energies)),
        **lengths,
    )
    write_dataset(
        Path(out), settings, seed, volumes, overwrite=overwrite, pictures=pictures, quiet=quiet
    )


def _lengths(
    kind: str,
    spacing: float,
    ligament: list[float] | None,
    wavelength: list[float] | None,
    radius: float | None,
    radius_std: float | None,
) -> dict[str, Any]:
    """`lengths` and `measure` of the settings, where they are told."""
    given = {
        "ligament": ligament, "wavelength": wavelength, "radius": radius, "radius_std": radius_std
    }  # fmt: skip
    fitting = ("radius", "radius_std") if kind == "pores" else ("ligament", "wavelength")
    for name, value in given.items():
        if value is not None and name not in fitting:
            raise InputError(f"{name}: got it with --kind {kind}, wants {' or '.join(fitting)}")
    if ligament is not None and wavelength is not None:
        raise InputError("ligament: got it beside --wavelength, wants one of them")
    count = {"wave": 1, "hierarchical": 2}.get(kind, 0)
    for name, value in (("ligament", ligament), ("wavelength", wavelength)):
        if value is None:
            continue
        if len(value) != count:
            raise InputError(f"{name}: got {len(value)}, wants {count} with --kind {kind}")
        size = 1.0 if name == "ligament" else spacing
        return {"lengths": tuple(length * size for length in value), "measure": name}
    if radius is None and radius_std is None:
        return {}
    mean = 40.0 if radius is None else radius
    return {"lengths": (mean, 0.25 * mean if radius_std is None else radius_std)}
