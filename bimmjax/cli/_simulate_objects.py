"""`bimmjax simulate pores` and its like: structures of objects, and of copies of a volume."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bimmjax._core.checks import InputError
from bimmjax.cli import _options as _shared
from bimmjax.cli import _simulate_options as _options
from bimmjax.cli._simulate_output import Order, write_structure

_POROUS = ("pore", "solid")


def selfsimilar(
    volume: _shared.VolumePath,
    solid_fraction: _options.Solid = 0.3,
    scales: Annotated[
        str, typer.Option(metavar="S ...", help="Sizes of the copies, relative to the volume.")
    ] = "1,0.25",
    shape: Annotated[
        str | None,
        typer.Option(metavar="Z Y X", help="Voxels. Default: as VOLUME.", show_default=False),
    ] = None,
    seed: _options.Seed = 0,
    spacing: _options.Spacing = None,
    unit: _shared.Unit = None,
    dataset: _shared.Dataset = None,
    dtype: _shared.Dtype = None,
    out: _options.Out = None,
    overwrite: _options.Overwrite = False,
    pictures: _options.Pictures = True,
    quiet: _shared.Quiet = False,
) -> None:
    """Smaller, turned copies of a binary VOLUME (0: pore) as masks on it.

    Writes what `wave` writes; the voxel size is that of VOLUME unless told.
    """
    from bimmjax import sim
    from bimmjax.cli._numbers import numbers_of
    from bimmjax.volumes import open_volume

    given = open_volume(volume, dataset=dataset, dtype=dtype)
    if spacing is None and unit is None and len(set(given.spacing)) == 1:
        spacing, unit = str(given.spacing[0]), None if given.unit == "unit" else given.unit
    wide = ",".join(map(str, given.shape)) if shape is None else shape
    order = Order("selfsimilar", wide, seed, spacing, unit, out, overwrite, pictures, quiet)
    sizes = numbers_of("scales", scales)
    assert sizes is not None
    settings = {"volume": volume, "solid_fraction": solid_fraction, "scales": sizes}

    def make(_: Any) -> sim.Labelled:
        whole = given.read(slice(None), slice(None), slice(None))
        return sim.self_similar(order.key(), whole, solid_fraction, scales=sizes, shape=order.box)

    write_structure(order, make, _POROUS, settings)


def pores(
    shape: _options.Shape = "128",
    solid_fraction: _options.Solid = 0.3,
    radius: Annotated[
        float | None,
        typer.Option(
            metavar="LENGTH",
            help="Mean radius, in the unit of --spacing. Default: 8 voxels.",
            show_default=False,
        ),
    ] = None,
    radius_std: Annotated[
        float | None,
        typer.Option(
            metavar="LENGTH",
            help="Standard deviation of the radii. Default: a quarter of --radius.",
            show_default=False,
        ),
    ] = None,
    seed: _options.Seed = 0,
    spacing: _options.Spacing = None,
    unit: _shared.Unit = None,
    out: _options.Out = None,
    overwrite: _options.Overwrite = False,
    pictures: _options.Pictures = True,
    quiet: _shared.Quiet = False,
) -> None:
    """Spherical pores at random places in a solid, which may overlap. The volume is periodic.

    Writes what `wave` writes.
    """
    from bimmjax import sim

    order = Order("pores", shape, seed, spacing, unit, out, overwrite, pictures, quiet)
    radius = order.lengths(8.0)[0] if radius is None else radius
    radius_std = 0.25 * radius if radius_std is None else radius_std
    settings = {"solid_fraction": solid_fraction, "radius": radius, "radius_std": radius_std}
    write_structure(
        order,
        lambda _: sim.random_pores(
            order.key(), order.box, solid_fraction, order.voxels(radius), order.voxels(radius_std)
        ),
        _POROUS,
        settings,
    )


def spheres(
    shape: _options.Shape = "128",
    solid_fraction: Annotated[
        float, typer.Option(metavar="F", help="Share of the spheres, met to the voxel.")
    ] = 0.3,
    diameter: Annotated[
        str,
        typer.Option(
            metavar="LOW HIGH",
            help="Between which diameters are drawn, in the unit of --spacing. "
            "Default: 12 to 15 voxels.",
            show_default=False,
        ),
    ] = "",
    gap: Annotated[
        float, typer.Option(metavar="VOXELS", help="Least distance between two surfaces.")
    ] = 0.5,
    seed: _options.Seed = 0,
    spacing: _options.Spacing = None,
    unit: _shared.Unit = None,
    out: _options.Out = None,
    overwrite: _options.Overwrite = False,
    pictures: _options.Pictures = True,
    quiet: _shared.Quiet = False,
) -> None:
    """Spheres (1) that do not overlap, in a matrix (0). The volume is periodic.

    Writes what `wave` writes.
    """
    from bimmjax import sim
    from bimmjax.cli._numbers import numbers_of

    order = Order("spheres", shape, seed, spacing, unit, out, overwrite, pictures, quiet)
    ends = numbers_of("diameter", diameter) if diameter else order.lengths(12.0, 15.0)
    assert ends is not None
    settings = {"solid_fraction": solid_fraction, "diameter": ends, "gap": gap}
    write_structure(
        order,
        lambda _: sim.packed_spheres(
            order.key(), order.box, solid_fraction, [order.voxels(end) for end in ends], gap=gap
        ),
        ("matrix", "sphere"),
        settings,
    )


def fibres(
    shape: _options.Shape = "128",
    solid_fraction: Annotated[
        float, typer.Option(metavar="F", help="Share of matrix and fibres, met to the voxel.")
    ] = 0.95,
    fibre_fraction: Annotated[
        float, typer.Option(metavar="F", help="Share of the fibres, met to the voxel.")
    ] = 0.3,
    radius: Annotated[
        float | None,
        typer.Option(
            metavar="LENGTH",
            help="Of the fibres, in the unit of --spacing. Default: 5 voxels.",
            show_default=False,
        ),
    ] = None,
    direction: Annotated[
        str, typer.Option(metavar="Z Y X", help="The fibres' mean direction.")
    ] = "0,0,1",
    spread: Annotated[
        float, typer.Option(metavar="DEGREES", help="Standard deviation of their tilts.")
    ] = 10.0,
    pore_radius: Annotated[
        float | None,
        typer.Option(metavar="LENGTH", help="Mean. Default: as --radius.", show_default=False),
    ] = None,
    pore_radius_std: Annotated[
        float, typer.Option(metavar="LENGTH", help="Standard deviation of the pores' radii.")
    ] = 0.0,
    seed: _options.Seed = 0,
    spacing: _options.Spacing = None,
    unit: _shared.Unit = None,
    out: _options.Out = None,
    overwrite: _options.Overwrite = False,
    pictures: _options.Pictures = True,
    quiet: _shared.Quiet = False,
) -> None:
    """Straight fibres (2) in a matrix (1) with spherical pores (0).

    Writes what `wave` writes.
    """
    from bimmjax import sim
    from bimmjax.cli._numbers import numbers_of

    order = Order("fibres", shape, seed, spacing, unit, out, overwrite, pictures, quiet)
    if not 0.0 < solid_fraction < 1.0:
        raise InputError(f"solid_fraction: got {solid_fraction:g}, wants a share between 0 and 1")
    mean = numbers_of("direction", direction, 3)
    assert mean is not None
    radius = order.lengths(5.0)[0] if radius is None else radius
    hole = radius if pore_radius is None else pore_radius
    settings = {
        "solid_fraction": solid_fraction, "fibre_fraction": fibre_fraction, "radius": radius,
        "direction": mean, "spread": spread, "pore_radius": hole,
        "pore_radius_std": pore_radius_std,
    }  # fmt: skip
    write_structure(
        order,
        lambda _: sim.fibre_composite(
            order.key(), order.box, fibre_fraction, 1.0 - solid_fraction, order.voxels(radius),
            direction=mean, spread=spread, pore_radius=order.voxels(hole),
            pore_radius_std=order.voxels(pore_radius_std),
        ),
        ("pore", "matrix", "fibre"),
        settings,
    )  # fmt: skip


EXAMPLES = {
    selfsimilar: "selfsimilar wave.zarr --scales 1 0.2 --out similar.zarr",
    pores: "pores --shape 128 --solid-fraction 0.3 --radius 8 --radius-std 2",
    spheres: "spheres --shape 128 --diameter 38 45 --spacing 2.6 --unit um",
    fibres: "fibres --shape 128 --fibre-fraction 0.3 --direction 0 0 1 --spread 10",
}
