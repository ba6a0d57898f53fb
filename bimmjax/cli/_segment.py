"""`bimmjax segment`: labels from a fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bimmjax.cli import _options
from bimmjax.cli._fit import default_folder


def segment(
    volume: _options.VolumePath,
    fit: Annotated[
        str,
        typer.Option("--fit", metavar="FIT.json", help="The fit of this very volume."),
    ],
    weighted: Annotated[
        bool,
        typer.Option(
            "--weighted", help="Times the fitted weights: maximum a posteriori, not likelihood."
        ),
    ] = False,
    probability: Annotated[
        int | None,
        typer.Option(
            metavar="PHASE",
            help="Write the probability of this phase (float32) instead of labels.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="LABELS.zarr",
            help="Default: the volume's name and -labels.zarr.",
            show_default=False,
        ),
    ] = None,
    spacing: _options.Spacing = None,
    unit: _options.Unit = None,
    dataset: _options.Dataset = None,
    dtype: _options.Dtype = None,
    overwrite: _options.Overwrite = False,
    quiet: _options.Quiet = False,
) -> None:
    """Label each voxel with the phase that a fitted model finds likeliest there.

    Writes an OME-Zarr of labels 0 ... N - 1 in order of intensity (255: no number), and into it
    segment.json. It appears when it is complete.
    """
    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._compiler import compile_sooner
    from bimmjax.cli._numbers import spacing_of
    from bimmjax.cli._output import writing_to
    from bimmjax.cli._progress import progress_bars
    from bimmjax.segmentation import phase_probability
    from bimmjax.segmentation import segment as labelled
    from bimmjax.volumes import convert, open_volume

    compile_sooner()
    keep_compiled_code()
    opened = open_volume(
        volume, spacing=spacing_of(spacing), unit=unit, dataset=dataset, dtype=dtype
    )
    if probability is None:
        found = labelled(opened, fit, weighted=weighted)
    else:
        found = phase_probability(opened, fit, probability, weighted=weighted)
    target = default_folder(volume, "-labels.zarr") if out is None else out
    with progress_bars(quiet) as bars:
        path = convert(
            found,
            target,
            overwrite=overwrite,
            progress=lambda done, total: bars.update("Labelling", done, total),
        )
    told: dict[str, Any] = {"volume": volume, "fit": fit, "weighted": weighted}
    shares = _shares(path) if probability is None else []
    told |= {"volume_fractions": shares} if shares else {"probability": probability}
    with writing_to(path):
        text = json.dumps(told, indent=2, allow_nan=False)
        (Path(path) / "segment.json").write_text(text + "\n", encoding="utf-8")
    if not quiet:
        for phase, share in enumerate(shares):
            typer.echo(f"Share of phase {phase}: {100.0 * share:.3f} %")
        typer.echo(f"Written: {path}")


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
