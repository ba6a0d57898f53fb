"""`bimmjax simulate wave` and its like: structures cut from random fields."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from bimmjax._core.checks import InputError, whole_number
from bimmjax.cli import _options as _shared
from bimmjax.cli import _simulate_options as _options
from bimmjax.cli._simulate_output import Order, write_structure

Waves = Annotated[int, typer.Option(metavar="N", help="Number of waves.")]
Periodic = Annotated[bool, typer.Option("--periodic", help="The volume repeats.")]
_POROUS = ("pore", "solid")


def wave(
    shape: _options.Shape = "128",
    solid_fraction: _options.Solid = 0.3,
    wavelength: Annotated[
        str | None, typer.Option(metavar="VOXELS", help="Default: 20.", show_default=False)
    ] = None,
    ligament: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH",
            help="Mean ligament diameter (4 x solid fraction / area), in the unit of --spacing, "
            "instead of a wavelength.",
            show_default=False,
        ),
    ] = None,
    waves: Waves = 200,
    periodic: Periodic = False,
    seed: _options.Seed = 0,
    spacing: _options.Spacing = None,
    unit: _shared.Unit = None,
    out: _options.Out = None,
    overwrite: _options.Overwrite = False,
    pictures: _options.Pictures = True,
    quiet: _shared.Quiet = False,
) -> None:
    """A levelled wave: pores and ligaments of one size, as in nanoporous gold.

    Of any size, in bounded memory. Writes an OME-Zarr of labels (0 pore, 1 solid), then
    simulate.json (settings, seed, true fractions and areas) and simulate.png into it.
    """
    from bimmjax import sim

    order = Order("wave", shape, seed, spacing, unit, out, overwrite, pictures, quiet)
    whole_number("waves", waves, 1, 2**20)
    (length,) = _wavelengths(order, wavelength, ligament, (20.0,), (solid_fraction,))
    settings = {
        "solid_fraction": solid_fraction, "wavelength": length, "waves": waves,
        "periodic": periodic,
    }  # fmt: skip
    write_structure(
        order,
        lambda progress: sim.levelled_wave_volume(
            order.key(), order.box, solid_fraction, length, count=waves, periodic=periodic,
            progress=progress,
        ),
        _POROUS,
        settings,
    )  # fmt: skip


def hierarchical(
    shape: _options.Shape = "128",
    solid_fraction: _options.Solid = 0.3,
    upper_fraction: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="Share of the upper level's own solid. Default: the root of --solid-fraction.",
            show_default=False,
        ),
    ] = None,
    wavelength: Annotated[
        str | None,
        typer.Option(metavar="LONG SHORT", help="Voxels. Default: 80 12.", show_default=False),
    ] = None,
    ligament: Annotated[
        str | None,
        typer.Option(
            metavar="LONG SHORT",
            help="Mean ligament diameters of both levels by themselves, in the unit of "
            "--spacing, instead of wavelengths.",
            show_default=False,
        ),
    ] = None,
    waves: Waves = 200,
    periodic: Periodic = False,
    seed: _options.Seed = 0,
    spacing: _options.Spacing = None,
    unit: _shared.Unit = None,
    out: _options.Out = None,
    overwrite: _options.Overwrite = False,
    pictures: _options.Pictures = True,
    quiet: _shared.Quiet = False,
) -> None:
    """A levelled wave within a levelled wave: hierarchical nanoporous gold (110 and 15 nm).

    Of any size, in bounded memory. Writes what `wave` writes.
    """
    from bimmjax import sim

    order = Order("hierarchical", shape, seed, spacing, unit, out, overwrite, pictures, quiet)
    whole_number("waves", waves, 1, 2**20)
    upper = math.sqrt(max(solid_fraction, 0.0)) if upper_fraction is None else upper_fraction
    own = (upper, solid_fraction / upper if upper > 0.0 else 0.0)
    lengths = _wavelengths(order, wavelength, ligament, (80.0, 12.0), own)
    settings = {
        "solid_fraction": solid_fraction, "upper_fraction": upper, "wavelengths": lengths,
        "waves": waves, "periodic": periodic,
    }  # fmt: skip
    write_structure(
        order,
        lambda progress: sim.hierarchical_wave_volume(
            order.key(), order.box, solid_fraction, lengths, upper_fraction=upper_fraction,
            count=waves, periodic=periodic, progress=progress,
        ),
        _POROUS,
        settings,
    )  # fmt: skip


def noise(
    shape: _options.Shape = "128",
    solid_fraction: _options.Solid = 0.3,
    wavelength: Annotated[
        float,
        typer.Option(
            metavar="VOXELS",
            help="Of the levelled wave with the same area; the filter's standard deviation is "
            "0.195 of it.",
        ),
    ] = 20.0,
    seed: _options.Seed = 0,
    spacing: _options.Spacing = None,
    unit: _shared.Unit = None,
    out: _options.Out = None,
    overwrite: _options.Overwrite = False,
    pictures: _options.Pictures = True,
    quiet: _shared.Quiet = False,
) -> None:
    """White noise blurred and cut: features of many sizes. The volume is periodic.

    Writes what `wave` writes.
    """
    from bimmjax import sim

    order = Order("noise", shape, seed, spacing, unit, out, overwrite, pictures, quiet)
    (length,) = _wavelengths(order, str(wavelength), None, (), (solid_fraction,))
    # Both fields have the same slope then, and by Rice's formula the same area.
    blur = math.sqrt(1.5) / (2.0 * math.pi) * length
    settings = {"solid_fraction": solid_fraction, "wavelength": length, "filter_std": blur}

    def make(_: Any) -> sim.Labelled:
        fractions = (1.0 - solid_fraction, solid_fraction)
        body = sim.gaussian_structure(order.key(), order.box, fractions, blur)
        return sim.label_structure(body, periodic=True)

    write_structure(order, make, _POROUS, settings)


def _wavelengths(
    order: Order,
    wavelength: str | None,
    ligament: str | None,
    usual: tuple[float, ...],
    fractions: tuple[float, ...],
) -> list[float]:
    """Wavelengths in voxels, one per level: as told, or of ligaments."""
    from bimmjax.cli._numbers import numbers_of
    from bimmjax.sim import ligament_wavelength

    count = len(fractions)
    if ligament is None:
        found = numbers_of("wavelength", wavelength, count) or list(usual)
        if not all(math.isfinite(length) and length >= 2.0 for length in found):
            told = " ".join(f"{length:g}" for length in found)
            raise InputError(f"wavelength: got {told}, wants at least 2 voxels")
        return found
    if wavelength is not None:
        raise InputError("ligament: got it beside --wavelength, wants one of them")
    if order.voxel is None:
        raise InputError("ligament: got it without --spacing, wants the voxel size")
    sizes = numbers_of("ligament", ligament, count)
    assert sizes is not None
    return [
        ligament_wavelength(order.voxels(size), share)
        for size, share in zip(sizes, fractions, strict=True)
    ]


EXAMPLES = {
    wave: "wave --shape 256 256 256 --solid-fraction 0.3 --wavelength 20 --out wave.zarr",
    hierarchical: "hierarchical --shape 256 --ligament 110 15 --spacing 2.5 --unit nm",
    noise: "noise --shape 128 --solid-fraction 0.4 --wavelength 30",
}
