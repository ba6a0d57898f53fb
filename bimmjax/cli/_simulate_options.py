"""Options that the kinds of `bimmjax simulate` share."""

from __future__ import annotations

from typing import Annotated

import typer

Shape = Annotated[str, typer.Option(metavar="Z Y X", help="Voxels; one number for a cube.")]
Solid = Annotated[float, typer.Option(metavar="F", help="Share of the solid, met to the voxel.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same structure.")]
Out = Annotated[
    str | None,
    typer.Option(
        metavar="OUT.zarr", help="Default: the kind's name and .zarr.", show_default=False
    ),
]
Spacing = Annotated[
    str | None,
    typer.Option(metavar="S", help="Edge of a voxel, one number.", show_default=False),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace --out if it is a zarr.")]
Pictures = Annotated[bool, typer.Option(help="Draw three slices into the zarr.")]
