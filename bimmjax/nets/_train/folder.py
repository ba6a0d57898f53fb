"""The folder of a run: its recipe, its log, its checkpoints; gone on with, or refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bimmjax._core.checks import InputError
from bimmjax.nets._train.checkpoint import checkpoints, new_file, tidy
from bimmjax.nets._train.recipe import Recipe, difference, recipe_of, recipe_text

RECIPE, LOG, SUMMARY = "recipe.toml", "log.csv", "train.json"
_OWN = (RECIPE, LOG, SUMMARY, "curves.png")


def prepare(out: Path, recipe: Recipe, overwrite: bool) -> None:
    """A folder with the recipe in it, and with nothing of another recipe (`check_folder`)."""
    check_folder(out, recipe, overwrite)
    earlier = out / RECIPE
    if earlier.is_file() and overwrite:
        for name in _OWN[1:]:
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    tidy(out)
    for path in out.glob(".*.partial"):
        # Folders are labels that a comparison has begun: `predict` goes on with them.
        if not path.is_dir():
            path.unlink()
    with new_file(earlier) as partial:
        partial.write_text(recipe_text(recipe), encoding="utf-8")


def check_folder(out: Path, recipe: Recipe, overwrite: bool) -> None:
    """Refuse a folder in which this run can neither begin nor go on.

    A run whose rate does not depend on the number of epochs, or on minutes, may be given more of
    them.

    Raises
    ------
    InputError
        A folder of something else, or of a run by another recipe.
    """
    earlier = out / RECIPE
    if out.exists() and not out.is_dir():
        raise InputError(f"out: got {out}, which is a file; wants a folder to make")
    if out.is_dir() and not earlier.is_file() and any(out.iterdir()):
        raise InputError(f"out: got {out}, which is no run of training; wants a new folder")
    if earlier.is_file() and not overwrite:
        before = recipe_of(earlier)
        if recipe.schedule != "linear":
            before = _as_long(before, recipe)
        apart = difference(recipe, before)
        if apart is not None and checkpoints(out):
            raise InputError(
                f"out: got {out}, a run by another recipe ({apart}); wants a new folder, or "
                "overwrite=True (--overwrite)"
            )


def _as_long(before: Recipe, recipe: Recipe) -> Recipe:
    """The earlier recipe with the length of this one where this one is longer."""
    more_time = before.minutes > 0.0 and (recipe.minutes == 0.0 or before.minutes < recipe.minutes)
    return replace(
        before,
        epochs=max(before.epochs, recipe.epochs),
        minutes=recipe.minutes if more_time else before.minutes,
    )


def write_log(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    """All epochs so far, as CSV."""
    with new_file(out / LOG) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The rows of a log, numbers as numbers, None where there is none.

    Raises
    ------
    InputError
        No log, or a damaged one.
    """
    try:
        with (folder / LOG).open(encoding="utf-8", newline="") as file:
            return [
                {name: _number(value) for name, value in row.items()}
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"folder: got {folder}, whose {LOG} cannot be read ({error})") from None


def write_summary(out: Path, told: dict[str, Any]) -> None:
    """train.json."""
    with new_file(out / SUMMARY) as partial:
        text = json.dumps(told, indent=2, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")


def summary_epochs(out: Path) -> int | None:
    """The epochs that train.json tells of; None without a sound one."""
    try:
        return json.loads((out / SUMMARY).read_text("utf-8"))["epochs"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def unfinished(out: Path, recipe: Recipe) -> str | None:
    """How far a run has come that goes on if it may, "5 of 6 epochs"; None if it has ended."""
    epoch = max(checkpoints(out), default=0)
    try:
        told = json.loads((out / SUMMARY).read_text("utf-8"))
        ended = told["epochs"] == epoch and told["ended_by"] != "epochs"
    except (OSError, ValueError, KeyError, TypeError):
        ended = False
    return None if ended or epoch >= recipe.epochs else f"{epoch} of {recipe.epochs} epochs"


def _number(value: str | None) -> float | int | None:
    if not isinstance(value, str):
        raise ValueError("a row of another length")
    if value == "":
        return None
    return int(value) if value.isdecimal() else float(value)
