"""A run of learning a translation: its folder, its loop, what it goes on from."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.nets._adapt.patches import Entry
from bimmjax.nets._adapt.recipe import (
    RECIPE,
    AdaptRecipe,
    difference,
    read_recipe,
    translator,
    write_recipe,
)
from bimmjax.nets._adapt.steps import LOSSES, learner
from bimmjax.nets._blocks.convolution import count_parameters
from bimmjax.nets._data.ahead import made_ahead
from bimmjax.nets._train import checkpoint
from bimmjax.nets._train.data import sampled
from bimmjax.nets._train.folder import LOG, read_log, write_log
from bimmjax.nets._train.keeper import Keeper
from bimmjax.nets._train.train import Diverged

SUMMARY = "adapt.json"
Progress = Callable[[int, int], object]


class Adapted(NamedTuple):
    """What learning a translation leaves.

    Attributes
    ----------
    folder : Path
    recipe : AdaptRecipe
    history : list[dict[str, Any]]
        The rows of log.csv, one an epoch: mean losses.
    """

    folder: Path
    recipe: AdaptRecipe
    history: list[dict[str, Any]]


def check_folder(out: Path, recipe: AdaptRecipe, overwrite: bool) -> None:
    """Refuse a folder in which this run can neither begin nor go on; nothing is written.

    Raises
    ------
    InputError
        A file, a folder of something else, or of a run by another recipe.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"out: got {out}, which is a file; wants a folder to make")
    earlier = out / RECIPE
    if out.is_dir() and not earlier.is_file() and any(out.iterdir()):
        raise InputError(f"out: got {out}, which is no run of adapt; wants a new folder")
    if earlier.is_file() and not overwrite and checkpoint.checkpoints(out):
        differs = difference(recipe, read_recipe(out))
        if differs is not None:
            raise InputError(
                f"out: got {out}, a run by another recipe ({differs}); wants a new folder, or "
                "overwrite=True (--overwrite)"
            )


def _begin(out: Path, recipe: AdaptRecipe, overwrite: bool) -> None:
    """A folder with the recipe in it; one with checkpoints of this run keeps the one it has."""
    try:
        if overwrite:
            for name in (LOG, SUMMARY):
                (out / name).unlink(missing_ok=True)
            shutil.rmtree(out / "checkpoints", ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
        checkpoint.tidy(out)
        if not checkpoint.checkpoints(out):
            with checkpoint.new_file(out / RECIPE) as partial:
                write_recipe(partial, recipe)
    except OSError as error:
        raise checkpoint.unwritable(out, error) from error


class Run:
    """A run on its way, from its last checkpoint on, or anew with `overwrite`.

    Making one refuses what cannot be gone on with; the folder is changed by `to_the_end` alone.
    """

    def __init__(
        self,
        recipe: AdaptRecipe,
        batch: Callable[[int], tuple[np.ndarray, ...]],
        out: Path,
        entries: Sequence[Entry],
        overwrite: bool,
    ) -> None:
        self._recipe, self._batch, self._out = recipe, batch, out
        self._overwrite = overwrite
        self._identity = [[sampled(volume) for volume in entry] for entry in entries]
        self._state, self._learn = learner(recipe)
        self._history: list[dict[str, Any]] = []
        there = [] if overwrite else checkpoint.checkpoints(out)
        if not there:
            return
        arrays, told = checkpoint.read(out, there[-1])
        if told["data"] != self._identity:
            raise InputError(
                f"out: got {out}, which was trained on other volumes; wants those, or a new folder"
            )
        where = checkpoint.place(out, there[-1])
        self._state = checkpoint.restored(self._state, arrays, where)
        self._history = read_log(out)[: there[-1]]
        if len(self._history) < there[-1]:
            raise InputError(
                f"out: got {out}, whose log has {len(self._history)} epochs and its checkpoint "
                f"{there[-1]}; wants an undamaged one, or a new folder"
            )

    def to_the_end(self, progress: Progress | None) -> Adapted:
        """All epochs that are left."""
        recipe, tell = self._recipe, progress or (lambda done, total: None)
        _begin(self._out, recipe, self._overwrite)
        total = recipe.epochs * recipe.steps
        first = len(self._history) * recipe.steps
        tell(first, total)
        try:
            ahead = made_ahead(self._batch, range(first, total))
            with closing(ahead) as batches, Keeper(self._out) as keeper:
                for epoch in range(len(self._history), recipe.epochs):
                    self._history.append(self._epoch(epoch, batches, tell))
                    keeper.wait()
                    # The log first: a row without a checkpoint is dropped.
                    write_log(self._out, self._history)
                    keeper.keep(epoch + 1, self._state, {"data": self._identity}, {epoch + 1})
            if first < total or not (self._out / SUMMARY).is_file():
                self._summarise()
        except OSError as error:
            raise checkpoint.unwritable(self._out, error) from error
        return Adapted(self._out, recipe, self._history)

    def _epoch(self, epoch: int, batches: Any, tell: Progress) -> dict[str, Any]:
        recipe, began = self._recipe, time.perf_counter()
        found: list[dict[str, float]] = []
        waiting: list[dict[str, jax.Array]] = []
        for number in range(epoch * recipe.steps, (epoch + 1) * recipe.steps):
            self._state, losses = self._learn(
                self._state, next(batches), number, recipe.rate(number)
            )
            waiting.append(losses)
            # Those of the step before: waiting for this one would leave the device idle.
            if len(waiting) > 1:
                found.append(self._finite(waiting.pop(0), number - 1))
            tell(number + 1, recipe.epochs * recipe.steps)
        found.append(self._finite(waiting.pop(), (epoch + 1) * recipe.steps - 1))
        names = ("generators", *(n for n in LOSSES[recipe.kind] if n in found[0]))
        means = {name: math.fsum(one[name] for one in found) / len(found) for name in names}
        rate = recipe.rate((epoch + 1) * recipe.steps - 1)
        row = {"epoch": epoch + 1, "learning_rate": rate, **means}
        return row | {"seconds": round(time.perf_counter() - began, 3)}

    def _finite(self, losses: dict[str, jax.Array], step: int) -> dict[str, float]:
        found = {name: float(value) for name, value in losses.items()}
        if all(map(math.isfinite, found.values())):
            return found
        raise Diverged(
            f"loss: got {found['generators']}, or a slope that is no number, at step {step + 1} "
            f"with learning rate {self._recipe.rate(step):g}; wants a lower rate, perhaps; "
            "finished epochs are kept"
        )

    def _summarise(self) -> None:
        from bimmjax import __version__

        recipe = self._recipe
        last = self._history[-1]
        told = {
            "kind": recipe.kind,
            "epochs": len(self._history),
            "parameters": count_parameters(translator(recipe)),
            "losses": {n: v for n, v in last.items() if n in ("generators", *LOSSES[recipe.kind])},
            "seconds_per_epoch": float(np.median([row["seconds"] for row in self._history])),
            "device": jax.devices()[0].device_kind,
            "versions": {"bimmjax": __version__, "jax": jax.__version__},
            "recipe": asdict(recipe),
        }
        with checkpoint.new_file(self._out / SUMMARY) as partial:
            text = json.dumps(told, indent=2, allow_nan=False)
            partial.write_text(text + "\n", encoding="utf-8")
