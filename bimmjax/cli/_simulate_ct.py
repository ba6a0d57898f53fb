"""`bimmjax simulate ct`: the image that a scan would make of labels, with what went into it."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bimmjax._core.checks import InputError, choice, real_number, whole_number
from bimmjax.cli import _options
from bimmjax.cli._simulate_output import label_counts, versions, zarr_name

if TYPE_CHECKING:
    import numpy as np

    from bimmjax.sim import Scan
    from bimmjax.volumes import Volume

EXAMPLE = "bimmjax simulate ct wave.zarr --blur 1.2 --noise 0.1 --out scan.zarr"
# Grey values of the first and the last phase: room for noise on either side.
_ENDS = {"float32": (0.0, 1.0), "uint8": (64.0, 192.0), "uint16": (16384.0, 49152.0)}
_TOP = {"uint8": 255.0, "uint16": 65535.0}


def ct(
    structure: Annotated[
        str,
        typer.Argument(metavar="STRUCTURE", help="Labels 0, 1, 2 ..., see simulate wave."),
    ],
    blur: Annotated[
        float, typer.Option(metavar="SIGMA", help="Std of the Gaussian blur, voxels.")
    ] = 1.0,
    noise: Annotated[
        float | None,
        typer.Option(
            metavar="STD",
            help="Of the Gaussian noise, grey values. Default: a tenth of the smallest step "
            "between intensities.",
            show_default=False,
        ),
    ] = None,
    intensities: Annotated[
        str | None,
        typer.Option(
            metavar="I0 I1 ...",
            help="Grey value of each phase. Default: evenly from 0 to 1, 64 to 192 (uint8) or "
            "16384 to 49152 (uint16).",
            show_default=False,
        ),
    ] = None,
    noise_length: Annotated[
        float, typer.Option(metavar="VOXELS", help="Std of the filter that correlates the noise.")
    ] = 0.0,
    rings: Annotated[
        float, typer.Option(metavar="STD", help="Of ring artefacts, grey values.")
    ] = 0.0,
    cupping: Annotated[
        float, typer.Option(metavar="SHARE", help="What beam hardening takes at the axis.")
    ] = 0.0,
    fringes: Annotated[
        str | None,
        typer.Option(
            metavar="FRESNEL RATIO",
            help="Phase fringes: wavelength x distance / voxel^2, then delta / beta.",
            show_default=False,
        ),
    ] = None,
    air: Annotated[
        float | None,
        typer.Option(
            metavar="GREY",
            help="Where nothing absorbs, for cupping. Default: the lowest intensity.",
            show_default=False,
        ),
    ] = None,
    centre: Annotated[
        str | None,
        typer.Option(
            metavar="Y X",
            help="Axis of rings and cupping, voxels of the image. Default: the middle.",
            show_default=False,
        ),
    ] = None,
    supersample: Annotated[
        int,
        typer.Option(metavar="S", help="One voxel averages S x S x S labels; S times fewer."),
    ] = 1,
    periodic: Annotated[
        bool, typer.Option("--periodic", help="The labels repeat; else mirrored at their edges.")
    ] = False,
    dtype: Annotated[
        str, typer.Option(metavar="|".join(_ENDS), help="Of the image; integers are rounded.")
    ] = "float32",
    seed: Annotated[int, typer.Option(help="The same seed gives the same image.")] = 0,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="OUT.zarr", help="Default: the labels' name and -ct.zarr.", show_default=False
        ),
    ] = None,
    spacing: _options.Spacing = None,
    unit: _options.Unit = None,
    dataset: _options.Dataset = None,
    overwrite: _options.Overwrite = False,
    pictures: Annotated[bool, typer.Option(help="Draw the image beside its labels.")] = True,
    quiet: _options.Quiet = False,
) -> None:
    """A scan of labels as a CT would make it: partial volumes, blur, noise and artefacts.

    Of any size, in bounded memory. Writes an OME-Zarr, then simulate.json (every setting, true
    fractions) and simulate.png into it.
    """
    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._fit import default_folder
    from bimmjax.cli._numbers import numbers_of, spacing_of
    from bimmjax.cli._output import writing_to
    from bimmjax.cli._progress import progress_bars
    from bimmjax.cli._text import strict_json

    choice("dtype", dtype, tuple(_ENDS))
    whole_number("seed", seed, 0, 2**31 - 1)
    grey = numbers_of("intensities", intensities)
    fresnel, delta_beta = numbers_of("fringes", fringes, 2) or (0.0, 0.0)
    real_number("blur", blur, 0.0, 16.0)
    real_number("fringes", fresnel, 0.0, 16.0)
    real_number("fringes", delta_beta, 0.0, 1e30)
    axis = numbers_of("centre", centre, 2)
    if noise is not None:
        real_number("noise", noise, 0.0, 1e30)

    from bimmjax import sim
    from bimmjax.volumes import convert, open_volume

    keep_compiled_code()
    scan = sim.Scan(
        blur, 0.0, noise_length, rings, cupping, fresnel, delta_beta,
        None if axis is None else (axis[0], axis[1]), supersample,
        "wrap" if periodic else "mirror", air,
    )  # fmt: skip
    labels = open_volume(structure, spacing=spacing_of(spacing), unit=unit, dataset=dataset)
    target = zarr_name(default_folder(structure, "-ct.zarr") if out is None else out)
    if target.exists() and not overwrite:
        raise InputError(f"out: got {target}, which exists; wants a new name, or --overwrite")
    with progress_bars(quiet) as bars:
        counts = label_counts(labels, lambda done: bars.update("Counting", done, labels.voxels))
        grey = _intensities(grey, counts.size, _ENDS[dtype])
        noise = _least_step(grey) / 10.0 if noise is None else noise
        scan = scan._replace(noise_std=noise)
        image = _image(labels, grey, scan, seed, dtype)
        path = convert(
            image,
            target,
            overwrite=overwrite,
            progress=lambda done, total: bars.update("Scanning", done, total),
        )
    written = open_volume(path)
    told = _told(structure, written, grey, scan, counts, dtype, seed)
    with writing_to(path):
        text = json.dumps(strict_json(told), indent=2, allow_nan=False)
        (path / "simulate.json").write_text(text + "\n", encoding="utf-8")
        if pictures:
            from bimmjax import plot

            plot.scan(written, labels, grey, supersample).savefig(path / "simulate.png")
    if not quiet:
        for warning in told["warnings"]:
            typer.echo(f"Warning: {warning}")
        typer.echo(f"Written: {path}")


def _intensities(given: list[float] | None, phases: int, ends: tuple[float, float]) -> list[float]:
    if given is None:
        # A single phase 0 is no reason to divide by nothing.
        steps = max(phases - 1, 1)
        return [ends[0] + (ends[1] - ends[0]) * k / steps for k in range(phases)]
    if len(given) < phases:
        numbers = f"{len(given)} number{'s' if len(given) > 1 else ''}"
        raise InputError(f"intensities: got {numbers}, wants {phases}, one per label")
    return given


def _least_step(grey: list[float]) -> float:
    ordered = sorted(set(grey))
    steps = [b - a for a, b in itertools.pairwise(ordered)]
    return min(steps, default=1.0)


def _image(labels: Volume, grey: list[float], scan: Scan, seed: int, dtype: str) -> Volume:
    import jax
    import numpy as np

    from bimmjax import sim

    image = sim.ct_volume(jax.random.key(seed), labels, grey, scan)
    if dtype == "float32":
        return image

    rows = image.chunks[1]

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        out = np.empty((z.stop - z.start, y.stop - y.start, x.stop - x.start), dtype)
        # Tile by tile: floats of the whole box would take four times as much memory.
        for low in range(y.start // rows * rows, y.stop, rows):
            part = slice(max(low, y.start), min(low + rows, y.stop))
            levels = image.read(z, part, x)
            np.clip(np.rint(levels, out=levels), 0, _TOP[dtype], out=levels)
            out[:, part.start - y.start : part.stop - y.start] = levels
        return out

    return replace(image, dtype=np.dtype(dtype), reader=read)


def _told(
    structure: str,
    image: Volume,
    grey: list[float],
    scan: Scan,
    counts: np.ndarray,
    dtype: str,
    seed: int,
) -> dict[str, Any]:
    from bimmjax import sim

    beside = Path(structure) / "simulate.json"
    origin = json.loads(beside.read_text("utf-8")) if beside.is_file() else None
    warnings = []
    around = math.hypot(scan.noise_std, scan.rings)
    spread = 4.0 * around
    if dtype in _TOP and (min(grey) - spread < 0 or max(grey) + spread > _TOP[dtype]):
        warnings.append(
            f"intensities from {min(grey):g} to {max(grey):g} with noise and rings of "
            f"{around:.4g} leave the range of {dtype}: what does is clipped"
        )
    for name, std in (("noise", scan.noise_std), ("rings", scan.rings)):
        if dtype in _TOP and 0.0 < std < 1.0:
            warnings.append(
                f"{name} of {std:g} {'is' if name == 'noise' else 'are'} below one grey value of "
                f"{dtype}, whose intensities are {' '.join(f'{g:g}' for g in grey)}: rounding "
                "hides what it adds"
            )
    correlation = sim.noise_correlation(scan.noise_length, 2)
    return {
        "kind": "ct",
        "structure": structure,
        "settings": {"intensities": grey, **scan._asdict(), "dtype": dtype},
        "seed": seed,
        "shape": image.shape,
        "spacing": image.spacing,
        "units": {"length": image.unit, "intensity": "grey value"},
        "truth": {
            "volume_fractions": counts / counts.sum(),
            "noise_correlation": correlation,
            "structure": origin,
        },
        "warnings": warnings,
        "versions": versions(),
    }
