"""`bimmjax convert`: any readable volume to OME-Zarr 0.5."""

from __future__ import annotations

from typing import Annotated

import typer

from bimmjax.cli import _options


def convert(
    volume: Annotated[
        str,
        typer.Argument(metavar="IN", help="Any volume that bimmjax reads.", show_default=False),
    ],
    out: Annotated[
        str,
        typer.Argument(metavar="OUT.zarr", help="The OME-Zarr to make.", show_default=False),
    ],
    spacing: _options.Spacing = None,
    unit: _options.Unit = None,
    dataset: _options.Dataset = None,
    dtype: _options.Dtype = None,
    chunk: Annotated[
        str,
        typer.Option(metavar="N", help="Voxels compressed together: one number, or three (z y x)."),
    ] = "64",
    levels: Annotated[
        int, typer.Option(help="Levels of the image pyramid, each half as fine as the last.")
    ] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT.zarr if it is one.")
    ] = False,
    quiet: _options.Quiet = False,
) -> None:
    """Convert any readable volume to chunked, compressed OME-Zarr 0.5.

    Works block by block, whatever the size. OUT.zarr appears when it is complete.
    """
    from bimmjax.cli._numbers import box_of, spacing_of
    from bimmjax.cli._progress import progress_bars
    from bimmjax.volumes import convert as write
    from bimmjax.volumes import open_volume

    inner = box_of("chunk", chunk)
    assert inner is not None
    size = spacing_of(spacing)
    opened = open_volume(volume, spacing=size, unit=unit, dataset=dataset, dtype=dtype)
    with progress_bars(quiet) as bars:
        path = write(
            opened,
            out,
            chunk=inner,
            shard=_shard(inner),
            levels=levels,
            overwrite=overwrite,
            progress=lambda done, total: bars.update("Writing", done, total),
        )
    if not quiet:
        shape = " x ".join(map(str, opened.shape))
        typer.echo(f"{path}: {shape} {opened.dtype}")


def _shard(chunk: tuple[int, int, int]) -> tuple[int, int, int]:
    """About 64 x 512 x 512 voxels in whole chunks: a file that no disk minds."""
    z, y, x = (
        max(round(most / edge), 1) * edge for most, edge in zip((64, 512, 512), chunk, strict=True)
    )
    return z, y, x
