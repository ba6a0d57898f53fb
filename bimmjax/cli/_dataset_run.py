"""Training sets on disk: volume by volume, each whole or not at all, and gone on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bimmjax._core.checks import InputError
from bimmjax.cli._interrupted import Interrupted, heeding_ctrl_c
from bimmjax.cli._progress import Progress, progress_bars

if TYPE_CHECKING:
    from bimmjax.sim import TrainingSettings
    from bimmjax.volumes import Volume

_LIST, _PICTURE = "dataset.json", "dataset.png"
_KEPT = "interrupted; finished volumes are kept, the same command {}goes on"


def write_dataset(
    folder: Path,
    settings: TrainingSettings,
    seed: int,
    volumes: int,
    *,
    overwrite: bool = False,
    pictures: bool = True,
    quiet: bool = False,
) -> None:
    """Write the volumes 0 ... `volumes` - 1 of a set that are not there yet.

    Volume n comes from the seed and n alone. What an interruption leaves is a hidden folder, which
    the next run removes; one run at a time may write into a folder.
    """
    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._output import writing_to
    from bimmjax.sim._training.settings import checked_settings

    keep_compiled_code()
    settings = checked_settings(settings)
    told = _described(settings, seed)
    with writing_to(folder):
        _prepare(folder, told, overwrite)
    try:
        with heeding_ctrl_c() as check, progress_bars(quiet) as bars:
            new = _write_missing(folder, settings, seed, volumes, bars, check)
            with writing_to(folder):
                _finish(folder, told, settings, pictures and new > 0, bars)
    except KeyboardInterrupt:
        text = _KEPT.format("without --overwrite " if overwrite else "")
        raise Interrupted(text) from None
    if not quiet:
        kept = volumes - new
        before = f", {kept} of which {'was' if kept == 1 else 'were'} there" if kept else ""
        typer.echo(f"Written: {folder} ({volumes} volume{'s' * (volumes != 1)}{before})")


def volume_name(number: int) -> str:
    """The folder of a volume within the set."""
    return f"volume-{number:04}.zarr"


def _described(settings: TrainingSettings, seed: int) -> dict[str, Any]:
    """Settings as they are written; the same settings give the same text."""
    from bimmjax.cli._simulate_output import versions
    from bimmjax.cli._text import strict_json
    from bimmjax.sim._shine.calibration import shine_through_model
    from bimmjax.sim._training.settings import levels, sizes

    used = [settings.pore, settings.solid]
    models = settings.models or [shine_through_model(used, e) for e in settings.energies]
    told = settings._asdict() | {
        name: given if isinstance(given, str) else given._asdict()
        for name, given in (("solid", settings.solid), ("pore", settings.pore))
    }
    told["instrument"] = None if settings.instrument is None else settings.instrument._asdict()
    told["levels"] = [levels(settings, energy) for energy in settings.energies]
    told["models"] = [model._asdict() for model in models]
    return strict_json(
        {
            "kind": "dataset",
            "settings": told,
            "seed": seed,
            "structure_shape": sizes(settings).box,
            "units": {"length": "nm", "shift": "pixel"},
            "phases": {"0": "pore", "1": "solid"},
            "versions": versions(),
        }
    )


def _prepare(folder: Path, told: dict[str, Any], overwrite: bool) -> None:
    """A folder with the settings in it, and with nothing of other settings."""
    from bimmjax.maps._folder import new_file

    earlier = folder / _LIST
    if folder.exists() and not folder.is_dir():
        raise InputError(f"out: got {folder}, which is a file; wants a folder to make")
    if folder.is_dir() and not earlier.is_file() and any(folder.iterdir()):
        raise InputError(f"out: got {folder}, which is no training set; wants a new folder")
    if earlier.is_file():
        _check_same(folder, earlier, told, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    for left in (*folder.glob(".volume-*.partial"), *folder.glob(".volume-*.old")):
        shutil.rmtree(left)
    if earlier.is_file() and overwrite:
        # The settings last: whatever is left in between belongs to them.
        for path in folder.glob("volume-*.zarr"):
            shutil.rmtree(path)
    if overwrite or not earlier.is_file():
        with new_file(earlier) as partial:
            partial.write_text(_text(told), encoding="utf-8")


def _check_same(folder: Path, earlier: Path, told: dict[str, Any], overwrite: bool) -> None:
    """Refuse to mix sets; versions that differ are only told."""
    try:
        before = json.loads(earlier.read_text("utf-8"))
        same_kind = before["kind"] == "dataset"
    except (ValueError, KeyError, TypeError):
        same_kind = False
        before = {}
    if not same_kind:
        raise InputError(f"out: got {folder}, whose {_LIST} is none of ours; wants a new folder")
    if overwrite:
        return
    for name in ("seed", "settings"):
        if before.get(name) != told[name]:
            what = _difference(before.get(name), told[name], name)
            raise InputError(
                f"out: got {folder}, a set with another {what}; wants a new folder, or --overwrite"
            )
    if before.get("versions") != told["versions"]:
        what = _difference(before.get("versions"), told["versions"], "version")
        typer.echo(f"Warning: volumes there were made with another {what}", err=True)


def _difference(before: Any, now: Any, name: str) -> str:
    """The first setting that differs, in words."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in now:
            if before.get(key) != now[key]:
                return _difference(before.get(key), now[key], key)
    return f"{name.replace('_', ' ')} ({_short(before)}, not {_short(now)})"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else "..."


def _write_missing(
    folder: Path,
    settings: TrainingSettings,
    seed: int,
    volumes: int,
    bars: Progress,
    check: Callable[[], None],
) -> int:
    """How many volumes were missing."""
    deep, high, wide = settings.shape
    each = deep * high * wide * (len(settings.energies) + 1)
    missing = [n for n in range(volumes) if not (folder / volume_name(n)).exists()]
    done = each * (volumes - len(missing))
    if missing:
        bars.update("Simulating", done, each * volumes, "voxels")
    for number in missing:
        before = done

        def progress(voxels: int, before: int = before) -> None:
            check()
            bars.update("Simulating", before + voxels, each * volumes, "voxels")

        _write_volume(folder / volume_name(number), settings, seed, number, progress)
        done += each
    return len(missing)


def _write_volume(
    target: Path,
    settings: TrainingSettings,
    seed: int,
    number: int,
    progress: Callable[[int], None],
) -> None:
    import jax

    from bimmjax import sim
    from bimmjax.cli._simulate_bse_run import name_of, planes
    from bimmjax.cli._simulate_output import versions
    from bimmjax.cli._text import strict_json
    from bimmjax.volumes import convert, new_collection, open_volume

    key = jax.random.fold_in(jax.random.key(seed), number)
    names = [name_of(energy) for energy in settings.energies]
    parts = [*(f"image/{name}" for name in names), "truth"]
    # Where slices are uneven there is something between them, too.
    between = [] if settings.thickness is None else ["layers"]
    with new_collection(target, [*parts, *between]) as folder:
        made = sim.training_volumes(key, settings)
        for at, (part, volume) in enumerate(zip(parts, (*made.images, made.truth), strict=True)):
            before = at * volume.voxels
            convert(
                volume,
                folder / part,
                **planes(volume.shape),
                progress=lambda done, _, before=before: progress(before + done),
            )
        for part in between:
            convert(made.layers, folder / part, **planes(made.layers.shape))
        told = {
            "kind": "training pair",
            "seed": seed,
            "number": number,
            "positions": made.positions,
            "truth": {
                "solid_fraction": _share(open_volume(folder / "truth")),
                "solid_fraction_of_structure": made.solid_fraction,
            },
            "images": {
                name: {
                    "energy": energy, "shifts": made.shifts[at], "gains": made.gains[at],
                    "offsets": made.offsets[at],
                }
                for at, (name, energy) in enumerate(zip(names, settings.energies, strict=True))
            },
            "units": {"positions": "nm", "shifts": "pixel, along y and x"},
            "versions": versions(),
        }  # fmt: skip
        (folder / "simulate.json").write_text(_text(strict_json(told)), encoding="utf-8")


def _share(truth: Volume) -> float:
    """Of the solid."""
    from bimmjax.volumes import stream

    solid = sum(int(block.data.sum()) for block in stream(truth, (64, 512, 512), halo=0))
    return solid / truth.voxels


def _finish(
    folder: Path, told: dict[str, Any], settings: TrainingSettings, pictures: bool, bars: Progress
) -> None:
    """The list of volumes, and a picture of the first."""
    from bimmjax.cli._simulate_bse_run import grey_unit, name_of
    from bimmjax.maps._folder import new_file
    from bimmjax.volumes import open_volume

    paths = sorted(folder.glob("volume-*.zarr"))
    shares = {
        path.name: json.loads((path / "simulate.json").read_text("utf-8"))["truth"]
        for path in paths
    }
    with new_file(folder / _LIST) as partial:
        partial.write_text(_text(told | {"volumes": shares}), encoding="utf-8")
    if not pictures:
        return
    from bimmjax import plot

    bars.stage("Drawing")
    truth = open_volume(paths[0], dataset="truth")
    images = {
        f"{energy:g} kV": open_volume(paths[0], dataset=f"image/{name_of(energy)}")
        for energy in settings.energies
    }
    with new_file(folder / _PICTURE) as partial:
        unit = grey_unit(settings.instrument)
        drawn = plot.backscatter(truth, images, ("pore", "solid"), unit=unit)
        drawn.savefig(partial, format="png")


def _text(content: Any) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
