"""`bimmjax train`: a segmentation network from volumes and their labels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bimmjax._core.checks import InputError
from bimmjax.cli import _options

if TYPE_CHECKING:
    from bimmjax.nets import Trained

EXAMPLE = "bimmjax train scan.tif labels.tif --network modular-unet --out net"
# More classes than anyone trains by accident.
_MANY = 32
KEPT = "interrupted; finished epochs are kept, the same command {}goes on"


def train(
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="[IMAGE]",
            help="Volume, or a folder of simulate dataset (then no LABELS).",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Argument(
            metavar="[LABELS]", help="Its labels, 0, 1, ...; 255: none.", show_default=False
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="modular-unet (the default), unet, unet3d, resunet3d, xy-unet3d, unet++, pspnet, "
            "deeplabv3+, vnet, fusion-early, fusion-intermediate, fusion-late.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Of the network; may be repeated: depth=3.",
            show_default=False,
        ),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Weights of resnet152 or xception71 (safetensors) to begin with.",
            show_default=False,
        ),
    ] = None,
    frozen_norms: Annotated[
        bool | None,
        typer.Option(
            "--frozen-norms/--no-frozen-norms",
            help="Keep the running averages of batch normalisations (of the backbone, if any).",
            show_default=False,
        ),
    ] = None,
    branch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER",
            help="Of fusion-late, one for each channel: a network trained on that alone, which is "
            "kept; may be repeated.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers",
            help="Every layer between uneven slices, for reconstruct --order layers; IMAGE is a "
            "folder of simulate dataset --thickness.",
        ),
    ] = False,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IMAGE",
            help="Another volume of the same specimen; may be repeated.",
            show_default=False,
        ),
    ] = None,
    weight: Annotated[
        str | None,
        typer.Option(metavar="VOLUME", help="How much voxels count.", show_default=False),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE.toml",
            help="Of an earlier run; options given here go before it.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(metavar="N", help="Default: the largest label + 1.", show_default=False),
    ] = None,
    normalise: Annotated[
        str | None,
        typer.Option(
            metavar="std|range|none", help="Grey values, volume by volume.", show_default=False
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="TRAIN VALIDATION TEST",
            help="Shares of blocks along z. Default: 0.7 0.2 0.1.",
            show_default=False,
        ),
    ] = None,
    margin: Annotated[
        int | None,
        typer.Option(
            metavar="SLICES", help="Left out between blocks. Default: 4.", show_default=False
        ),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(metavar="N", help="Use each Nth labelled slice only.", show_default=False),
    ] = None,
    slices: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Use so many of them only, evenly spread.", show_default=False
        ),
    ] = None,
    patch: Annotated[
        str | None,
        typer.Option(
            metavar="[Z] Y X", help="Default: up to 160 in 2D, 32 in 3D.", show_default=False
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(metavar="N", help="Patches. Default: 10.", show_default=False)
    ] = None,
    foreground: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Of patches around a voxel of a rarer class.", show_default=False
        ),
    ] = None,
    symmetries: Annotated[
        str | None,
        typer.Option(
            metavar="all|plane|none",
            help="How patches may be turned; plane: up and down differ.",
            show_default=False,
        ),
    ] = None,
    stretch: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="0.1: by up to 10 %.", show_default=False),
    ] = None,
    brightness: Annotated[
        float | None,
        typer.Option(metavar="B", help="Shift of normalised grey values.", show_default=False),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(metavar="STD", help="Of normalised grey values.", show_default=False),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="mse, cross-entropy, dice, squared-dice, jaccard2, or a sum: "
            "cross-entropy+dice. Default: jaccard2.",
            show_default=False,
        ),
    ] = None,
    class_weights: Annotated[
        str | None,
        typer.Option(metavar="W ...", help="One for each class.", show_default=False),
    ] = None,
    optimiser: Annotated[
        str | None, typer.Option(metavar="adam|adabelief", show_default=False)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(metavar="R", help="Default: 0.001.", show_default=False)
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="constant|linear|plateau",
            help="Of the learning rate. Default: linear from half of the epochs on.",
            show_default=False,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(metavar="EPOCHS", help="Of a plateau. Default: 10.", show_default=False),
    ] = None,
    stop: Annotated[
        int | None,
        typer.Option(
            metavar="EPOCHS", help="Stop after so many without a better one.", show_default=False
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Default: 200.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Of an epoch. Default: 10.", show_default=False)
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="M", help="Stop after the epoch that passes them.", show_default=False
        ),
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(metavar="N", help="Batches of a step.", show_default=False)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="float32|bfloat16", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Default: 0.", show_default=False)] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Default: all accelerators, or one CPU.", show_default=False
        ),
    ] = None,
    out: Annotated[str, typer.Option(metavar="FOLDER", help="The folder to make.")] = "net",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew where a run is.")
    ] = False,
    pictures: Annotated[bool, typer.Option(help="Draw the curves.")] = True,
    quiet: _options.Quiet = False,
) -> None:
    """Train a segmentation network.

    Writes recipe.toml, log.csv, checkpoints, curves.png and train.json (scores on the test
    block). Interrupted, the same command goes on after the last epoch that was kept, and ends, on
    one CPU device, with the same bits, unless --minutes limits it.
    """
    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._interrupted import Interrupted, heeding_ctrl_c, with_notes
    from bimmjax.cli._output import writing_to
    from bimmjax.cli._progress import progress_bars

    told = settings_of(
        network=network, settings=settings, classes=classes, normalise=normalise, split=split,
        margin=margin, every=every, slices=slices, patch=patch, batch=batch,
        foreground=foreground, symmetries=symmetries, stretch=stretch, brightness=brightness,
        noise=noise, loss=loss, class_weights=class_weights, optimiser=optimiser,
        learning_rate=learning_rate, schedule=schedule, patience=patience, stop=stop,
        epochs=epochs, steps=steps, minutes=minutes, accumulate=accumulate, precision=precision,
        seed=seed, pretrained=pretrained, frozen_norms=frozen_norms, branches=branch or None,
    )  # fmt: skip
    if layers:
        from bimmjax.cli._train_layers import layers_of

        if labels is not None or channel or weight is not None:
            raise InputError("layers: got more than IMAGE, wants a folder of simulate dataset")
        images, right, weights = *layers_of(image), None
        told |= {"normalise": "none"} | told
    else:
        images, right, weights = volumes_of(image, labels, channel or [], weight)
    if images is None and recipe is None:
        raise InputError("image: got none, wants IMAGE and LABELS, or --recipe")

    keep_compiled_code()

    from bimmjax import nets

    with progress_bars(quiet) as bars:
        bars.stage("Reading")
        if recipe is not None:
            before = nets.recipe_of(recipe)
            if "settings" in told and told.get("network", before.network) == before.network:
                told["settings"] = before.settings | told["settings"]
            told = {name: getattr(before, name) for name in before.__dataclass_fields__} | told
            if pretrained is not None:
                told["pretrained_hash"] = ""
            if branch:
                told["branches_hash"] = ()
        else:
            told = {"network": "modular-unet"} | told
        if "classes" not in told:
            told["classes"] = classes_in(right)
        steps, seen = nets.recipe_of(told).steps, []
        try:
            with warnings_in_a_line(), heeding_ctrl_c() as check:

                def progress(done: int, total: int) -> None:
                    check()
                    if len(seen) < 2:
                        seen.append(done)
                        if len(seen) == 2 and seen[0] and not quiet:
                            typer.echo(f"Going on after epoch {seen[0] // steps}")
                    bars.update("Training", done, total, "steps")

                found = nets.train(
                    told, images, right, out, weight=weights, devices=devices, overwrite=overwrite,
                    progress=progress,
                )  # fmt: skip
        except KeyboardInterrupt as error:
            text = KEPT.format("without --overwrite " if overwrite else "")
            raise Interrupted(with_notes(text, error)) from None
        if pictures:
            from bimmjax import plot

            bars.stage("Drawing")
            with writing_to(out):
                plot.training(found.history).savefig(Path(out) / "curves.png")
    if not quiet:
        if len(seen) == 1:
            typer.echo("Finished before: nothing was trained")
        _tell(found, Path(out))


def settings_of(**given: Any) -> dict[str, Any]:
    """Those of a recipe that were given as options, the words among them as numbers."""
    from bimmjax.cli._numbers import numbers_of, sizes_of

    read = {
        "settings": lambda words: named_values("set", words),
        "split": lambda text: numbers_of("split", text, 3),
        "patch": lambda text: sizes_of("patch", text),
        "class_weights": lambda text: numbers_of("class_weights", text),
    }
    told = {name: read.get(name, lambda value: value)(value) for name, value in given.items()}
    return {name: value for name, value in told.items() if value is not None}


@contextmanager
def warnings_in_a_line() -> Iterator[None]:
    """Warnings as errors are told."""
    shown = warnings.showwarning
    warnings.showwarning = lambda message, *_, **__: typer.echo(f"Warning: {message}", err=True)
    try:
        yield
    finally:
        warnings.showwarning = shown


def named_values(option: str, words: list[str] | None) -> dict[str, Any] | None:
    """Numbers, true and false, lists and words from NAME=VALUE."""
    import tomllib

    if not words:
        return None
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.strip().isidentifier():
            raise InputError(f"{option}: got {word!r}, wants NAME=VALUE")
        if value.strip() in ("True", "False"):
            value = value.lower()
        try:
            found[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name.strip()] = value.strip()
    return found


def volumes_of(image: str | None, labels: str | None, more: list[str], weight: str | None) -> Any:
    """Images, labels and weight by specimen, or nothing where the recipe has them."""
    if image is None:
        if more or weight is not None:
            raise InputError("image: got --channel or --weight alone, wants IMAGE and LABELS")
        return None, None, None
    if labels is not None:
        return [[image, *more]], [labels], None if weight is None else [weight]
    pairs = sorted(Path(image).glob("volume-*.zarr"))
    if not (Path(image) / "dataset.json").is_file() or not pairs or more or weight is not None:
        raise InputError(
            f"labels: got none for {image}, wants a volume of labels, or a folder of simulate "
            "dataset as IMAGE"
        )
    # In order of voltage, not of the alphabet.
    images = [
        sorted((pair / "image").glob("*kV"), key=lambda path: float(path.name.removesuffix("kV")))
        for pair in pairs
    ]
    return (
        [
            [f"{pair}::image/{one.name}" for one in of]
            for pair, of in zip(pairs, images, strict=True)
        ],
        [f"{pair}::truth" for pair in pairs],
        None,
    )


def classes_in(labels: list[str]) -> int:
    """The largest label and one."""
    from bimmjax.nets._data.specimen import open_named
    from bimmjax.nets.losses import IGNORED
    from bimmjax.volumes import stream

    largest, none = 0, False
    for path in labels:
        volume = open_named("labels", path)
        if volume.dtype.kind not in "iu":
            raise InputError(f"labels: got dtype {volume.dtype}, wants whole numbers")
        _, y, x = volume.shape
        for block in stream(volume, (max(2**24 // (y * x), 1), y, x), halo=0):
            known = block.data[block.data != IGNORED]
            none = none or known.size < block.data.size
            largest = max(largest, int(known.max(initial=0)))
    if largest > IGNORED:
        raise InputError(f"labels: got {largest}, wants 0 to 254, and 255 where there is none")
    if largest == 0 and none:
        raise InputError(
            "labels: got 0 and 255 only, and 255 says that there is no label; wants 0 and 1 (of a "
            "mask: (mask > 0).astype('uint8'))"
        )
    if largest >= _MANY:
        raise InputError(
            f"labels: got {largest}, which makes {largest + 1} classes; wants fewer than {_MANY}, "
            "or --classes where it is meant so (or are these grey values?)"
        )
    return max(largest + 1, 2)


def _tell(found: Trained, out: Path) -> None:
    import json

    told = json.loads((out / "train.json").read_text("utf-8"))
    last = found.history[-1]
    typer.echo(
        f"{told['parameters']:,} parameters, {told['epochs']} epochs of "
        f"{told['seconds_per_epoch']:.3g} s on {told['device']}"
    )
    if last["validation_mean_iou"] is not None:
        iou = told["validation"]["validation_mean_iou"]
        typer.echo(f"Best epoch: {told['best_epoch']}, mean IoU {100.0 * iou:.2f} % (validation)")
    if told["test"] is not None:
        for label, (iou, voxels) in enumerate(
            zip(told["test"]["iou"], told["test"]["support"], strict=True)
        ):
            said = f"{100.0 * iou:.2f} %" if voxels else "none there"
            typer.echo(f"IoU of class {label}: {said} (test)")
    typer.echo(f"Written: {out}")
