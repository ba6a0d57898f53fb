"""`bimmjax adapt`: images of one kind made to look like another."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bimmjax.cli import _options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bimmjax.cli._progress import Progress
    from bimmjax.nets import Adapted
    from bimmjax.volumes import Volume

    _Counting = Callable[[str, str], Callable[[int, int], None]]

_UNPAIRED = "bimmjax adapt unpaired simulated.zarr stack.tif --out adapted"
_PAIRED = "bimmjax adapt paired analytic.zarr montecarlo.zarr --channel labels.zarr --out simulator"
_APPLY = "bimmjax adapt apply adapted simulated.zarr --out real-looking.zarr"
_KEPT = "interrupted; what was finished is kept, the same command goes on"
# Slices in the middle of a volume, and pixels a side of them: pictures and shapes are of these.
_SLICES, _SIDE = 8, 1024

adapt = typer.Typer(name="adapt", no_args_is_help=True, rich_markup_mode="rich")


@adapt.callback(epilog=f"Example: {_UNPAIRED}")
def _root() -> None:
    """Make simulated images look like real ones, or analytic ones like Monte Carlo's.

    Every kind explains itself, for example: bimmjax adapt unpaired --help
    """


Out = Annotated[str, typer.Option(metavar="RUN", help="The folder to make.", show_default=False)]
Width = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Features of the network; 64 is the paper's of unpaired, 12 to 16 suit CPUs.",
        show_default=False,
    ),
]
Blocks = Annotated[
    int | None,
    typer.Option(metavar="N", help="Residual blocks of a resnet. Default: 6.", show_default=False),
]
Generator = Annotated[str | None, typer.Option(metavar="resnet|unet", show_default=False)]
Normalise = Annotated[
    str | None, typer.Option(metavar="std|range|none", help="Grey values.", show_default=False)
]
CriticWidth = Annotated[
    int | None, typer.Option(metavar="N", help="Default: 64.", show_default=False)
]
Patch = Annotated[
    int | None, typer.Option(metavar="PIXELS", help="Side. Default: 128.", show_default=False)
]
Batch = Annotated[int | None, typer.Option(metavar="N", help="Patches.", show_default=False)]
Symmetries = Annotated[
    str | None,
    typer.Option(metavar="all|none", help="none: stripes have a direction.", show_default=False),
]
Rate = Annotated[float | None, typer.Option(metavar="R", show_default=False)]
Epochs = Annotated[int | None, typer.Option(metavar="N", help="Default: 100.", show_default=False)]
Steps = Annotated[
    int | None, typer.Option(metavar="N", help="Of an epoch. Default: 100.", show_default=False)
]
Seed = Annotated[int | None, typer.Option(help="Default: 0.", show_default=False)]
Anew = Annotated[bool, typer.Option("--overwrite", help="Begin anew where a run is.")]
Pictures = Annotated[bool, typer.Option(help="Draw examples and losses.")]


@adapt.command(epilog=f"Example: {_UNPAIRED}")
def unpaired(
    simulated: Annotated[
        str, typer.Argument(metavar="SIMULATED", help="A volume of slices.", show_default=False)
    ],
    real: Annotated[
        str, typer.Argument(metavar="REAL", help="Another, of other bodies.", show_default=False)
    ],
    out: Out,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="LABELS",
            help="The truth of SIMULATED: tells how well shapes are kept.",
            show_default=False,
        ),
    ] = None,
    cycle: Annotated[
        float | None,
        typer.Option(
            metavar="W", help="Of the way there and back. Default: 10.", show_default=False
        ),
    ] = None,
    identity: Annotated[
        float | None,
        typer.Option(
            metavar="W", help="Of leaving what looks right. Default: 5.", show_default=False
        ),
    ] = None,
    shape: Annotated[
        float | None,
        typer.Option(
            metavar="W", help="Of keeping edges where they are. Default: 1.", show_default=False
        ),
    ] = None,
    buffer: Annotated[
        int | None,
        typer.Option(metavar="N", help="Earlier images. Default: 50.", show_default=False),
    ] = None,
    width: Width = None,
    blocks: Blocks = None,
    critic_width: CriticWidth = None,
    normalise: Normalise = None,
    patch: Patch = None,
    batch: Batch = None,
    symmetries: Symmetries = None,
    learning_rate: Rate = None,
    epochs: Epochs = None,
    steps: Steps = None,
    seed: Seed = None,
    overwrite: Anew = False,
    pictures: Pictures = True,
    quiet: _options.Quiet = False,
) -> None:
    """Learn to make SIMULATED look like REAL, and back, without pairs: CycleGAN.

    Writes recipe.json, log.csv, checkpoints, losses.png, examples.png (look at it!), and
    adapt.json. Interrupted, the same command goes on after its last epoch.
    """
    told = _told(
        cycle=cycle, identity=identity, shape=shape, buffer=buffer, width=width,
        blocks=blocks, critic_width=critic_width, normalise=normalise, patch=patch, batch=batch,
        symmetries=symmetries, learning_rate=learning_rate, epochs=epochs, steps=steps, seed=seed,
    )  # fmt: skip
    with _working(quiet) as (bars, counting):
        from bimmjax import nets

        truth = None if labels is None else _truth(labels, simulated)
        found = nets.train_unpaired(
            simulated, real, out, overwrite=overwrite, progress=counting("Learning", "steps"),
            **told,
        )  # fmt: skip
        _examples(found, bars, counting, [simulated], real, truth, pictures, quiet)


@adapt.command(epilog=f"Example: {_PAIRED}")
def paired(
    given: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="Slices, analytic images say.", show_default=False),
    ],
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="The same by Monte Carlo, say.", show_default=False),
    ],
    out: Out,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VOLUME",
            help="What else the network is given, labels say; may be repeated.",
            show_default=False,
        ),
    ] = None,
    below: Annotated[
        int | None,
        typer.Option(
            metavar="SLICES",
            help="Take the last --channel for labels and give the network the depth of solid (1) "
            "below each face, too, up to so many slices.",
            show_default=False,
        ),
    ] = None,
    pixel: Annotated[
        float | None,
        typer.Option(
            metavar="W", help="Of the mean absolute difference. Default: 1.", show_default=False
        ),
    ] = None,
    adversarial: Annotated[
        float | None,
        typer.Option(metavar="W", help="Of a critic. Default: 0, none.", show_default=False),
    ] = None,
    critic_width: CriticWidth = None,
    generator: Generator = None,
    width: Width = None,
    depth: Annotated[
        int | None,
        typer.Option(metavar="N", help="Levels of a unet. Default: 3.", show_default=False),
    ] = None,
    blocks: Blocks = None,
    normalise: Normalise = None,
    patch: Patch = None,
    batch: Batch = None,
    symmetries: Symmetries = None,
    learning_rate: Rate = None,
    epochs: Epochs = None,
    steps: Steps = None,
    seed: Seed = None,
    overwrite: Anew = False,
    pictures: Pictures = True,
    quiet: _options.Quiet = False,
) -> None:
    """Learn to make TARGET of INPUT, slice by slice, from pairs: a learned simulator.

    Writes as unpaired does.
    """
    told = _told(
        pixel=pixel, adversarial=adversarial, critic_width=critic_width, generator=generator,
        width=width, depth=depth, blocks=blocks, normalise=normalise, patch=patch, batch=batch,
        symmetries=symmetries, learning_rate=learning_rate, epochs=epochs, steps=steps, seed=seed,
    )  # fmt: skip
    with _working(quiet) as (bars, counting):
        from bimmjax import nets

        inputs = _inputs(given, channel, below)
        found = nets.train_paired(
            inputs, target, out, overwrite=overwrite, progress=counting("Learning", "steps"),
            **told,
        )  # fmt: skip
        _examples(found, bars, counting, inputs, target, None, pictures, quiet)


@adapt.command(epilog=f"Example: {_APPLY}")
def apply(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="The folder of unpaired or paired.", show_default=False),
    ],
    volume: Annotated[
        str, typer.Argument(metavar="VOLUME", help="Of any size.", show_default=False)
    ],
    out: Annotated[
        str | None,
        typer.Option(
            metavar="X.zarr",
            help="Default: the volume's name and -adapted.zarr.",
            show_default=False,
        ),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="VOLUME", help="As in training; may be repeated.", show_default=False),
    ] = None,
    below: Annotated[
        int | None, typer.Option(metavar="SLICES", help="As in training.", show_default=False)
    ] = None,
    back: Annotated[
        bool, typer.Option("--back", help="From real to simulated (unpaired).")
    ] = False,
    tile: Annotated[
        str | None,
        typer.Option(
            metavar="Y X",
            help="Pixels at once, with halo. Default: by memory.",
            show_default=False,
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Default: all accelerators, or one CPU.", show_default=False
        ),
    ] = None,
    overwrite: _options.Overwrite = False,
    pictures: Annotated[bool, typer.Option(help="Draw a slice before and after.")] = True,
    quiet: _options.Quiet = False,
) -> None:
    """Translate VOLUME by what RUN has learned, streamed, without seams.

    Writes an OME-Zarr that appears when it is complete; in it adapt.json and examples.png.
    """
    from bimmjax.cli._fit import default_folder
    from bimmjax.cli._numbers import sizes_of
    from bimmjax.cli._output import writing_to

    sizes = sizes_of("tile", tile)
    target = Path(default_folder(volume, "-adapted.zarr") if out is None else out)
    with _working(quiet) as (bars, counting):
        from bimmjax import nets
        from bimmjax.volumes import open_volume

        inputs = _inputs(volume, channel, below)
        after = nets.translate(
            run, inputs, target, back=back, tile=sizes, devices=devices, overwrite=overwrite,
            progress=counting("Translating", ""),
        )  # fmt: skip
        if pictures:
            from bimmjax import plot

            bars.stage("Drawing")
            with writing_to(target):
                plot.adaptation(open_volume(inputs[0]), after).savefig(target / "examples.png")
    if not quiet:
        typer.echo(f"Written: {target}")


def _told(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _inputs(volume: str, channels: list[str] | None, below: int | None) -> list[Any]:
    """The channels, and the depth of solid below the last of them."""
    from bimmjax._core.checks import InputError
    from bimmjax.nets import depth_below

    found: list[Any] = [volume, *(channels or [])]
    if below is None:
        return found
    if not channels:
        raise InputError("below: got it without --channel, wants the labels there")
    return [*found, depth_below(channels[-1], below)]


@contextmanager
def _working(quiet: bool) -> Iterator[tuple[Progress, _Counting]]:
    """Bars, what counts a stage in them, warnings in a line, and Ctrl-C told as it should be."""
    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._interrupted import Interrupted, heeding_ctrl_c, with_notes
    from bimmjax.cli._progress import progress_bars
    from bimmjax.cli._train import warnings_in_a_line

    keep_compiled_code()
    with progress_bars(quiet) as bars:
        bars.stage("Reading")
        try:
            with warnings_in_a_line(), heeding_ctrl_c() as check:

                def counting(stage: str, counted: str) -> Callable[[int, int], None]:
                    def progress(done: int, total: int) -> None:
                        check()
                        bars.update(stage, done, total, counted)

                    return progress

                yield bars, counting
        except KeyboardInterrupt as error:
            raise Interrupted(with_notes(_KEPT, error)) from None


def _truth(labels: str, simulated: str) -> Volume:
    """What shapes will be judged by, refused before hours of training rather than after."""
    from bimmjax._core.checks import InputError
    from bimmjax.nets._adapt.shapes import middle, truth_of
    from bimmjax.nets._data.specimen import open_named

    truth = middle(truth_of(labels, open_named("simulated", simulated)), _SLICES, _SIDE)
    if not any((truth.read(slice(z, z + 1), slice(None), slice(None)) == 1).any()
               for z in range(truth.shape[0])):  # fmt: skip
        raise InputError(
            f"labels: got no voxel of label 1 in the {truth.shape[0]} slices in the middle of "
            f"{labels}, wants some"
        )
    return truth


def _examples(
    found: Adapted,
    bars: Progress,
    counting: _Counting,
    inputs: list[Any],
    target: str,
    truth: Volume | None,
    pictures: bool,
    quiet: bool,
) -> None:
    """Translate some slices: to be looked at, and to measure shapes by."""
    from bimmjax import nets, plot
    from bimmjax.cli._output import writing_to
    from bimmjax.nets._adapt.shapes import middle
    from bimmjax.volumes import open_volume

    bars.stage("Looking")
    out = found.folder
    some: list[Volume] = [middle(open_volume(one), _SLICES, _SIDE) for one in inputs]
    made = nets.translate(out, some, progress=counting("Looking", ""))
    kept = nets.shapes_kept(some[0], made, truth)
    with writing_to(out):
        _add(out / "adapt.json", kept._asdict())
        if pictures:
            plot.adapted(found.history).savefig(out / "losses.png")
            shown = middle(open_volume(target), _SLICES, _SIDE)
            plot.adaptation(some[0], made, shown).savefig(out / "examples.png")
    if not quiet:
        typer.echo(f"Edges kept (correlation of gradients): {kept.gradient_correlation:.3f}")
        if kept.dice_before is not None and kept.dice_after is not None:
            typer.echo(
                f"Dice of a threshold, before and after: {kept.dice_before:.3f}, "
                f"{kept.dice_after:.3f}"
            )
        typer.echo(f"Written: {out}")


def _add(path: Path, shapes: dict[str, Any]) -> None:
    import json

    from bimmjax.nets._train.checkpoint import new_file

    told = json.loads(path.read_text("utf-8")) | {"shapes": shapes}
    with new_file(path) as partial:
        partial.write_text(json.dumps(told, indent=2, allow_nan=False) + "\n", encoding="utf-8")
