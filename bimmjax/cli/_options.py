"""Arguments and options that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

VolumePath = Annotated[
    str,
    typer.Argument(
        metavar="VOLUME",
        help="TIFF, folder of TIFF slices, OME-Zarr, HDF5 (file.h5::/dataset), npy, raw ...",
        show_default=False,
    ),
]
Spacing = Annotated[
    str | None,
    typer.Option(
        metavar="S",
        help="Voxel size: one number, or three (z y x).",
        show_default=False,
    ),
]
Unit = Annotated[
    str | None,
    typer.Option(metavar="UNIT", help="Its unit: nm, um, mm.", show_default=False),
]
Blur = Annotated[
    float | None,
    typer.Option(
        metavar="SIGMA",
        help="Known blur of the scan (standard deviation, voxels), held instead of fitted.",
        show_default=False,
    ),
]
Mask = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Volume of the same shape: only voxels where it is not 0 count.",
        show_default=False,
    ),
]
Ignore = Annotated[
    int | None,
    typer.Option(
        metavar="LABEL",
        help="A label of voxels that do not count: 255 in those of segment, but not in a mask of 0 "
        "and 255, which is two phases.",
        show_default=False,
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        metavar="PATH", help="Array within an HDF5 file or a zarr group.", show_default=False
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE",
        help="Type of the numbers of a raw file: uint16, float32 ...",
        show_default=False,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what an earlier run left in --out.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no table.")]


def left_out(share: float) -> str:
    """What a mask and a label to ignore leave out, in a line."""
    return (
        f"Left out (by a mask, or a label to ignore): [bold]{100.0 * share:.3f} %[/] of all voxels"
    )
