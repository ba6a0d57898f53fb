"""`bimmjax predict`: labels of a volume by a trained network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bimmjax.cli import _options
from bimmjax.cli._fit import default_folder

EXAMPLE = "bimmjax predict net scan.tif --out labels.zarr"
_KEPT = "interrupted; the same command goes on"


def predict(
    net: Annotated[
        str, typer.Argument(metavar="NET", help="The folder of train.", show_default=False)
    ],
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE",
            help="TIFF, folder of TIFF slices, OME-Zarr, HDF5 (file.h5::/dataset), npy, raw ...",
            show_default=False,
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            metavar="LABELS.zarr",
            help="Default: the image's name and -labels.zarr.",
            show_default=False,
        ),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IMAGE",
            help="The next channel, in the order of training; may be repeated.",
            show_default=False,
        ),
    ] = None,
    which: Annotated[
        str, typer.Option(metavar="best|last", help="The epoch to take the network of.")
    ] = "best",
    normalise: Annotated[
        str | None,
        typer.Option(metavar="std|range|none", help="Default: as in training.", show_default=False),
    ] = None,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty", help="Write it beside the labels: 0 is sure, 255 is no idea."
        ),
    ] = False,
    consensus: Annotated[
        bool,
        typer.Option(
            "--consensus", help="Of slices across all three axes; for 2D networks, cubic voxels."
        ),
    ] = False,
    prune: Annotated[
        int | None,
        typer.Option(
            metavar="LEVEL",
            help="Of a UNet++: its first levels only, which is faster. Default: all.",
            show_default=False,
        ),
    ] = None,
    tile: Annotated[
        str | None,
        typer.Option(
            metavar="[Z] Y X",
            help="What the network is given at once, its halo included. Default: by memory.",
            show_default=False,
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Default: all accelerators, or one CPU.", show_default=False
        ),
    ] = None,
    spacing: _options.Spacing = None,
    unit: _options.Unit = None,
    overwrite: _options.Overwrite = False,
    pictures: Annotated[bool, typer.Option(help="Draw slices beside their labels.")] = True,
    quiet: _options.Quiet = False,
) -> None:
    """Label each voxel by a trained network, whatever the volume's size.

    Writes an OME-Zarr of labels (255: no number), which appears when it is complete; in it
    predict.json and labels.png. Interrupted, the same command goes on after the last whole block.
    """
    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._interrupted import Interrupted, heeding_ctrl_c, with_notes
    from bimmjax.cli._numbers import sizes_of, spacing_of
    from bimmjax.cli._output import writing_to
    from bimmjax.cli._progress import progress_bars
    from bimmjax.cli._train import warnings_in_a_line
    from bimmjax.volumes import open_volume

    sizes = sizes_of("tile", tile)
    images = [
        open_volume(one, spacing=spacing_of(spacing), unit=unit)
        for one in [image, *(channel or [])]
    ]
    target = Path(default_folder(image, "-labels.zarr") if out is None else out)
    keep_compiled_code()

    from bimmjax import nets

    with progress_bars(quiet) as bars:
        bars.stage("Reading")
        anything = False
        try:
            with warnings_in_a_line(), heeding_ctrl_c() as check:

                def progress(done: int, total: int) -> None:
                    nonlocal anything
                    check()
                    anything |= done < total
                    bars.update("Labelling", done, total)

                labels = nets.predict(
                    net, images, target, which=which, normalise=normalise, uncertainty=uncertainty,
                    consensus=consensus, prune=prune, tile=sizes, devices=devices,
                    overwrite=overwrite, progress=progress,
                )  # fmt: skip
        except KeyboardInterrupt as error:
            raise Interrupted(with_notes(_KEPT, error)) from None
        told = json.loads((target / "predict.json").read_text("utf-8"))
        if pictures:
            from bimmjax import plot

            bars.stage("Drawing")
            doubts = open_volume(target, dataset="uncertainty") if uncertainty else None
            with writing_to(target):
                drawn = plot.segments(
                    images[0], labels, told["classes"], uncertainty=doubts, name="class"
                )
                drawn.savefig(target / "labels.png")
    if not quiet:
        for label, share in enumerate(told["volume_fractions"]):
            typer.echo(f"Share of class {label}: {100.0 * share:.3f} %")
        if not anything:
            typer.echo("Finished before: nothing was labelled")
        elif told["megavoxels_per_second"] is not None:
            typer.echo(f"{told['megavoxels_per_second']:.3g} Mvoxel/s on {told['device']}")
        typer.echo(f"Written: {target}")
