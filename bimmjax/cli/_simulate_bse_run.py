"""From labels to images at several voltages on disk, with what is told beside them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bimmjax._core.checks import InputError
from bimmjax.cli._progress import Progress, progress_bars

if TYPE_CHECKING:
    import numpy as np

    from bimmjax.sim import Instrument, Material
    from bimmjax.volumes import Volume

_PLANE, _CHUNK = 512, 128


@dataclass(frozen=True)
class BseRun:
    """Images as ordered on the command line; the options of the verb."""

    structure: str
    energies: list[float]
    materials: list[Material]
    method: str
    tilt: float
    calibration: str | None
    electrons: int
    slices: list[float] | None
    every: int | None
    instrument: Instrument | None
    levels: tuple[float, float] | None
    seed: int
    out: Path
    spacing: tuple[float, ...] | None
    unit: str | None
    dataset: str | None
    overwrite: bool
    pictures: bool
    quiet: bool


@dataclass
class _Told:
    """What is told of the images as they are made, by voltage where it depends on that."""

    warnings: list[str] = field(default_factory=list)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        typer.echo(f"Warning: {text}", err=True)


def image_and_tell(run: BseRun) -> None:
    """Make the images of a run, write them whole, and tell of them."""
    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._simulate_followed import follow_slices
    from bimmjax.cli._simulate_output import label_counts
    from bimmjax.volumes import convert, new_collection, open_volume

    keep_compiled_code()
    labels = open_volume(run.structure, spacing=run.spacing, unit=run.unit, dataset=run.dataset)
    voxel = _nanometres(labels)
    models = _models(run)
    places = _places(run, labels.shape[0])
    names = [name_of(energy) for energy in run.energies]
    told = _Told()
    with (
        new_collection(run.out, names, overwrite=run.overwrite) as folder,
        progress_bars(run.quiet) as bars,
    ):
        counts = label_counts(labels, lambda done: bars.update("Counting", done, labels.voxels))
        _check_labels(labels, counts, run.materials)
        _check_depth(run, labels, voxel, places, counts, told)
        seen = _cut(labels, places)
        for number, (energy, name) in enumerate(zip(run.energies, names, strict=True)):
            stage = f"Imaging at {energy:g} kV"
            if run.method == "montecarlo":
                telling = _telling(bars, stage, "electrons")
                found, fates = follow_slices(run, labels, voxel, energy, places, telling, told.warn)
                told.images[name]["montecarlo"] = fates
                clean = replace(open_volume(found), spacing=seen.spacing, unit=seen.unit)
            else:
                clean = _modelled(run, labels, voxel, energy, models[number])
            image = _recorded(run, clean, energy, told)
            convert(
                image,
                folder / name,
                **planes(image.shape),
                progress=None if run.method == "montecarlo" else _telling(bars, stage, "voxels"),
            )
        text = _text(run, seen, counts, places, told)
        (folder / "simulate.json").write_text(text + "\n", encoding="utf-8")
        if run.pictures:
            from bimmjax import plot

            bars.stage("Drawing")
            images = {
                f"{energy:g} kV": open_volume(folder / name)
                for energy, name in zip(run.energies, names, strict=True)
            }
            phases = [m.name for m in run.materials]
            drawn = plot.backscatter(
                seen, images, phases, unit=grey_unit(run.instrument),
                places=places if places != list(range(len(places))) else None,
            )  # fmt: skip
            drawn.savefig(folder / "simulate.png")
    if not run.quiet:
        typer.echo(f"Written: {run.out} ({', '.join(names)})")


def name_of(energy: float) -> str:
    """What the image at a voltage is called: "2kV"."""
    return f"{energy:g}kV"


def grey_unit(instrument: Instrument | None) -> str:
    """What the numbers of an image are."""
    if instrument is None:
        return "electrons seen per electron sent"
    return "0 to 1, as the instrument records it"


def planes(shape: Sequence[int]) -> dict[str, Any]:
    """Shards of whole slices for `convert`: those who make images make whole ones."""
    deep = 64 if max(shape[1:]) <= _PLANE else 16
    high, wide = (-(-n // _CHUNK) * _CHUNK for n in shape[1:])
    return {"chunk": (16, _CHUNK, _CHUNK), "shard": (deep, high, wide)}


def _telling(bars: Progress, stage: str, counted: str) -> Any:
    return lambda done, total: bars.update(stage, done, total, counted)


def _nanometres(labels: Volume) -> list[float]:
    from bimmjax.volumes._units import convert_length

    if labels.unit in ("voxel", "unit"):
        raise InputError(
            f"spacing: got {labels.name}, which tells no voxel size with a unit; wants --spacing "
            "with --unit, such as --spacing 5 --unit nm"
        )
    return [convert_length(s, labels.unit, "nm") for s in labels.spacing]


def _models(run: BseRun) -> list[Any]:
    """One for each voltage; None where it is the shipped one."""
    if run.calibration is None:
        return [None] * len(run.energies)
    return calibrated_models(run.calibration, run.materials, run.energies)


def calibrated_models(
    path: str, materials: Sequence[Material], energies: Sequence[float]
) -> list[Any]:
    """One for each voltage, of what `simulate calibrate` has written."""
    from bimmjax.sim import calibrated_model

    told = read_calibration(path)
    try:
        return [calibrated_model(told, materials, energy) for energy in energies]
    except InputError as error:
        what = str(error).removeprefix("calibration: got ")
        raise InputError(f"calibration: got {path} with {what}") from None


def read_calibration(path: str) -> dict[str, Any]:
    """What `simulate calibrate` has written."""
    try:
        told = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no JSON"
        raise InputError(
            f"calibration: got {path}, which cannot be read ({reason}); wants what simulate "
            "calibrate writes"
        ) from None
    if not isinstance(told, dict):
        raise InputError(f"calibration: got {path}, wants what simulate calibrate writes")
    return told


def _places(run: BseRun, deep: int) -> list[int]:
    """The slices that are imaged."""
    if run.slices is None:
        return list(range(0, deep, run.every or 1))
    found = sorted(set(run.slices))
    wrong = [z for z in found if z != int(z) or not 0 <= z < deep]
    if wrong:
        raise InputError(f"slices: got {wrong[0]:g}, wants whole numbers from 0 to {deep - 1}")
    return [int(z) for z in found]


def _check_labels(labels: Volume, counts: np.ndarray, materials: Sequence[Material]) -> None:
    if counts.size > len(materials):
        raise InputError(
            f"materials: got {len(materials)} for {labels.name} with labels up to "
            f"{counts.size - 1}, wants one for each label from 0 on (--materials M0 M1 M2 ...)"
        )
    if not any(material.elements for material in materials):
        raise InputError("materials: got vacuum only, wants something that scatters")


def _check_depth(
    run: BseRun, labels: Volume, voxel: list[float], places: list[int], counts: np.ndarray,
    told: _Told,
) -> None:  # fmt: skip
    from bimmjax.sim import escape_depth

    scatters = [bool(material.elements) for material in run.materials]
    share = max(float(counts[scatters[: counts.size]].sum() / counts.sum()), 0.01)
    for energy in run.energies:
        # Through empty pores one sees that deep into the solid alone.
        depth = escape_depth(run.materials, energy) / share
        short = sum((labels.shape[0] - z) * voxel[0] < depth for z in places)
        told.images[name_of(energy)] = {
            "energy": energy, "escape_depth": depth, "slices_too_near_the_bottom": short,
        }  # fmt: skip
        if short == len(places):
            told.warn(
                f"{labels.name} is {(labels.shape[0] - places[0]) * voxel[0]:.4g} nm deep from "
                f"its first image on, and at {energy:g} kV electrons come back from "
                f"{depth:.4g} nm: what lies deeper is made up as the mirror image"
            )


def _cut(labels: Volume, places: list[int]) -> Volume:
    """The slices that are imaged."""
    import numpy as np

    if len(places) == labels.shape[0]:
        return labels
    apart = float(np.diff(places).mean()) if len(places) > 1 else 1.0

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        return np.concatenate([labels.read(slice(p, p + 1), y, x) for p in places[z]])

    return replace(
        labels, shape=(len(places), *labels.shape[1:]), reader=read,
        spacing=(labels.spacing[0] * apart, *labels.spacing[1:]),
    )  # fmt: skip


def _modelled(run: BseRun, labels: Volume, voxel: list[float], energy: float, model: Any) -> Volume:
    from bimmjax import sim

    with warnings.catch_warnings():
        # Told already, in words of the command line.
        warnings.simplefilter("ignore", UserWarning)
        return sim.backscatter_volume(
            labels, run.materials, energy, spacing=voxel, tilt=run.tilt, model=model
        )


def _recorded(run: BseRun, image: Volume, energy: float, told: _Told) -> Volume:
    """The image after the instrument, if one is wanted; clean yields else."""
    if run.instrument is None:
        return image
    import jax

    from bimmjax import sim
    from bimmjax.cli._simulate_followed import key_of
    from bimmjax.sim._instrument.image import per_slice

    black, white = run.levels or sim.detector_levels(run.materials, energy, run.tilt)
    settings = run.instrument._replace(black=black, white=white)
    own = jax.random.fold_in(key_of(run.seed, energy), 2**31 - 1)
    surface = jax.random.fold_in(jax.random.key(run.seed), 2**31 - 1)
    shifts, gains, offsets = per_slice(own, image.shape[0], settings)
    told.images[name_of(energy)] |= {
        "black": black, "white": white, "shifts": shifts, "gains": gains, "offsets": offsets,
    }  # fmt: skip
    return sim.instrument_volume(own, image, settings, surface=surface)


def _text(run: BseRun, seen: Volume, counts: np.ndarray, places: list[int], told: _Told) -> str:
    from bimmjax.cli._simulate_output import versions
    from bimmjax.cli._text import strict_json

    beside = Path(run.structure) / "simulate.json"
    origin = json.loads(beside.read_text("utf-8")) if beside.is_file() else None
    montecarlo = run.method == "montecarlo"
    calibration: Any = None
    if not montecarlo:
        calibration = "shipped" if run.calibration is None else read_calibration(run.calibration)
    content = {
        "kind": "bse",
        "structure": run.structure,
        "settings": {
            "method": run.method,
            "energies": run.energies,
            "materials": [material._asdict() for material in run.materials],
            "tilt": run.tilt,
            "electrons": run.electrons if montecarlo else None,
            "calibration": calibration,
            "instrument": None if run.instrument is None else run.instrument._asdict(),
        },
        "seed": run.seed,
        "shape": seen.shape,
        "slices": places,
        "spacing": seen.spacing,
        "units": {
            "length": seen.unit,
            "escape_depth": "nm",
            "intensity": "electrons seen per electron sent" if run.instrument is None else "0 to 1",
        },
        "phases": {str(label): m.name for label, m in enumerate(run.materials)},
        "images": told.images,
        "truth": {"volume_fractions": counts / counts.sum(), "structure": origin},
        "warnings": told.warnings,
        "versions": versions(),
    }
    return json.dumps(strict_json(content), indent=2, allow_nan=False)
