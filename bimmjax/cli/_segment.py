"""`bimmjax segment`: labels from a fit, or by a classical method."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bimmjax._core.checks import InputError, choice, real_number, whole_number
from bimmjax.cli import _options
from bimmjax.cli._fit import default_folder

if TYPE_CHECKING:
    from bimmjax.volumes import Volume

CLASSICAL = ("otsu", "kmeans", "spatial-kmeans", "clahe-otsu")
# What a method has no use for.
_USELESS = {
    "otsu": ("--threshold", "--seed"),
    "clahe-otsu": ("--threshold", "--seed"),
    "kmeans": ("--threshold",),
}
_DEPARTED = 0.02  # of all voxels
# Thick for a field, which needs to know much around what it labels.
_FIELD_SHARD = (128, 512, 512)


def segment(
    volume: _options.VolumePath,
    fit: Annotated[
        str | None,
        typer.Option(
            "--fit", metavar="FIT.json", help="The fit of this very volume.", show_default=False
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(CLASSICAL),
            help="A classical method, without a fit.",
            show_default=False,
        ),
    ] = None,
    phases: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Classes of a classical method. Default: 2, k-means 3.",
            show_default=False,
        ),
    ] = None,
    weighted: Annotated[
        bool | None,
        typer.Option(
            "--weighted/--unweighted",
            help="Times the fitted weights: maximum a posteriori, not likelihood. "
            "Default: for probabilities only.",
            show_default=False,
        ),
    ] = None,
    mrf: Annotated[
        bool,
        typer.Option("--mrf", help="Smooth by a Markov random field; its weight from the volume."),
    ] = False,
    mrf_weight: Annotated[
        float | None,
        typer.Option(
            metavar="W",
            help="The field's weight, nats per voxel face (implies --mrf).",
            show_default=False,
        ),
    ] = None,
    probability: Annotated[
        int | None,
        typer.Option(
            metavar="PHASE",
            help="Write the probability of this phase (float32) instead of labels.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="GREY", help="Of spatial-kmeans. Default: Otsu's.", show_default=False
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of k-means. Default: 0.", show_default=False)
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="LABELS.zarr",
            help="Default: the volume's name and -labels.zarr, or -phase0.zarr.",
            show_default=False,
        ),
    ] = None,
    spacing: _options.Spacing = None,
    unit: _options.Unit = None,
    dataset: _options.Dataset = None,
    dtype: _options.Dtype = None,
    overwrite: _options.Overwrite = False,
    pictures: Annotated[bool, typer.Option(help="Draw slices beside their labels.")] = True,
    quiet: _options.Quiet = False,
) -> None:
    """Label each voxel with the phase that a fitted model finds likeliest there.

    Or by a classical method. Writes an OME-Zarr of labels 0 ... N - 1 in order of intensity (255:
    no number) or of probabilities, which appears when it is complete; then segment.json into it,
    and with labels segment.png.
    """
    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._compiler import compile_sooner
    from bimmjax.cli._numbers import spacing_of
    from bimmjax.cli._output import writing_to
    from bimmjax.cli._progress import progress_bars
    from bimmjax.segmentation._given_fit import given_fit, sized_like
    from bimmjax.volumes import convert, open_volume

    given = {"--phases": phases, "--threshold": threshold, "--seed": seed}
    _check(fit, method, given, {"--weighted": weighted, "--mrf": mrf, "--mrf-weight": mrf_weight,
                         "--probability": probability})  # fmt: skip
    compile_sooner()
    keep_compiled_code()
    opened = open_volume(
        volume, spacing=spacing_of(spacing), unit=unit, dataset=dataset, dtype=dtype
    )
    known: Mapping[str, Any] = {}
    if fit is not None:
        known = given_fit(fit)
        opened = sized_like(opened, known)
    told: dict[str, Any] = {"volume": volume}
    what = "labels" if probability is None else f"phase{probability}"
    target = default_folder(volume, f"-{what}.zarr") if out is None else out
    with progress_bars(quiet) as bars:

        def count(done: int, total: int) -> None:
            bars.update("Labelling", done, total)

        if method is not None:
            bars.stage("Choosing thresholds")
            found, told["method"] = _classical(opened, method, phases, threshold, seed), method
        else:
            bars.stage("Preparing")
            found, settings = _fitted(
                opened, fit, weighted, mrf, mrf_weight, probability, _added_up(count, opened)
            )
            told |= {"method": "fit", "fit": fit, **settings}
        if told.get("mrf_weight") is None:
            path = convert(found, target, overwrite=overwrite, progress=count)
        else:  # which tells its progress itself, tile by tile
            path = convert(found, target, overwrite=overwrite, shard=_FIELD_SHARD)
    shares = _shares(path) if probability is None else []
    told |= {"volume_fractions": shares} if shares else {"probability": probability}
    with writing_to(path):
        text = json.dumps(told, indent=2, allow_nan=False)
        (Path(path) / "segment.json").write_text(text + "\n", encoding="utf-8")
        if pictures and shares:
            from bimmjax import plot

            drawn = plot.segments(opened, open_volume(path), len(shares))
            drawn.savefig(Path(path) / "segment.png")
    if not quiet:
        if told.get("mrf_weight") is not None:
            typer.echo(f"Weight of the field: {told['mrf_weight']:.3g} nats per voxel face")
        for phase, share in enumerate(shares):
            typer.echo(f"Share of phase {phase}: {100.0 * share:.3f} %")
        for warning in _departed(shares, (known.get("properties") or {}).get("volume_fractions")):
            typer.echo(f"Warning: {warning}", err=True)
        typer.echo(f"Written: {path}")
        if shares and fit is not None:
            typer.echo(f"Hold it against the fit: bimmjax cross-check {path} --fit {fit}")


def _departed(shares: list[float], fitted: Sequence[float] | None) -> list[str]:
    """A warning where the labels have other fractions than the fit that they were made by."""
    if not shares or fitted is None or len(shares) > len(fitted):
        return []
    padded = [*shares, *[0.0] * (len(fitted) - len(shares))]
    apart = [abs(one - other) for one, other in zip(padded, fitted, strict=True)]
    phase = apart.index(max(apart))
    if apart[phase] < _DEPARTED:
        return []
    return [
        f"The labels have {100.0 * padded[phase]:.3g} % of phase {phase} where the fit has "
        f"{100.0 * fitted[phase]:.3g} %: take fractions from the fit, and with a field try a lower "
        "--mrf-weight."
    ]


def _added_up(progress: Callable[[int, int], object], volume: Volume) -> Callable[[int], None]:
    """Told of parts, from several threads, where progress is told of all so far."""
    lock, done = Lock(), [0]

    def add(voxels: int) -> None:
        with lock:
            done[0] += voxels
            progress(done[0], volume.voxels)

    return add


def _check(
    fit: str | None, method: str | None, of_methods: dict[str, Any], of_fits: dict[str, Any]
) -> None:
    """One of the two, and no option of the other."""
    if method is not None:
        choice("method", method, CLASSICAL)
    if (fit is None) == (method is None):
        got = "neither --fit nor --method" if fit is None else "both --fit and --method"
        raise InputError(f"method: got {got}, wants one of them")
    for name, value in of_fits.items():
        if method is not None and value is not None and value is not False:
            raise InputError(f"{name}: got it with --method {method}, wants --fit")
    for name, value in of_methods.items():
        if value is None:
            continue
        if method is None:
            raise InputError(f"{name}: got it with --fit, wants --method")
        if name in _USELESS.get(method, ()):
            raise InputError(f"{name}: got it with --method {method}, which has no use for it")


def _classical(
    volume: Volume, method: str, phases: int | None, threshold: float | None, seed: int | None
) -> Volume:
    from bimmjax import segmentation

    if phases is not None:
        whole_number("phases", phases, 2, 64 if "kmeans" in method else 5)
    seed = 0 if seed is None else whole_number("seed", seed, 0, 2**32 - 1)
    if method == "otsu":
        return segmentation.otsu(volume, 2 if phases is None else phases)
    if method == "clahe-otsu":
        return segmentation.clahe_otsu(volume, 2 if phases is None else phases)
    count = 3 if phases is None else phases
    if method == "kmeans":
        return segmentation.kmeans(volume, count, seed=seed)
    return segmentation.spatial_kmeans(volume, count, threshold=threshold, seed=seed)


def _fitted(
    volume: Volume,
    fit: str | None,
    weighted: bool | None,
    mrf: bool,
    weight: float | None,
    probability: int | None,
    progress: Callable[[int], object],
) -> tuple[Volume, dict[str, Any]]:
    from bimmjax import segmentation

    if weight is not None:
        weight = real_number("mrf-weight", weight, 0.0, 1e6)
    weighted = probability is not None if weighted is None else weighted
    if mrf and weight is None:
        weight = segmentation.mrf_weight(volume, fit, weighted=weighted)
    field = False if weight is None else weight
    settings = {"weighted": weighted, "mrf_weight": weight}
    how: dict[str, Any] = {
        "weighted": weighted, "mrf": field, "keep": False, "progress": progress
    }  # fmt: skip
    if probability is None:
        return segmentation.segment(volume, fit, **how), settings
    return segmentation.phase_probability(volume, fit, probability, **how), settings


def _shares(path: Path) -> list[float]:
    """Of the labels, those without a number left out."""
    import numpy as np

    from bimmjax.segmentation import NO_LABEL
    from bimmjax.volumes import open_volume, stream

    counts = np.zeros(256, np.int64)
    for block in stream(open_volume(path), (64, 512, 512), halo=0):
        counts += np.bincount(block.data.ravel(), minlength=256)
    counts = counts[:NO_LABEL]
    held = np.flatnonzero(counts)
    last = int(held[-1]) + 1 if held.size else 1
    return (counts[:last] / max(int(counts.sum()), 1)).tolist()
