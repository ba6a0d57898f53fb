"""Learn a translation: from unpaired images, or from pairs."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.nets._adapt.patches import Entry, Patches, kept, normalisations, opened
from bimmjax.nets._adapt.recipe import (
    RECIPE,
    AdaptRecipe,
    difference,
    read_recipe,
    recipe_for,
    translator,
    write_recipe,
)
from bimmjax.nets._adapt.steps import LOSSES, State, learner
from bimmjax.nets._blocks.convolution import count_parameters
from bimmjax.nets._data.ahead import made_ahead
from bimmjax.nets._data.specimen import check_same
from bimmjax.nets._train import checkpoint
from bimmjax.nets._train.data import sampled
from bimmjax.nets._train.folder import LOG, read_log, write_log
from bimmjax.nets._train.keeper import Keeper
from bimmjax.nets._train.train import Diverged

SUMMARY = "adapt.json"
Progress = Callable[[int, int], object]


class Adapted(NamedTuple):
    """What learning a translation leaves."""

    folder: Path
    recipe: AdaptRecipe
    history: list[dict[str, Any]]
    """The rows of log.csv, one an epoch: mean losses."""


def train_unpaired(
    simulated: Any,
    real: Any,
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Adapted:
    """Learn to make simulated slices look like real ones, and back, without pairs: CycleGAN.

    Two generators and two critics of patches; least-squares losses, the way there and back, and
    images that are already of the wanted kind. A CycleGAN is free to move, add or remove what
    critics do not miss, and labels of simulated slices would be wrong then. Against that, networks
    here learn a change that begins at zero, and a loss (`shape`) keeps edges where they are;
    `shapes_kept` measures it.

    Parameters
    ----------
    simulated, real : volume, or list of volumes
        Anything `open_volume` takes, (z, y, x); slices are alike in pixel size.
    out : path
        Folder for recipe.json, log.csv, checkpoints and adapt.json. A run that was interrupted
        there goes on after its last epoch and ends, on one CPU device, with the same bits.
    overwrite : bool
        Begin anew where a run is.
    progress : callable, optional
        `progress(done, steps)`, after each step.
    settings
        Of `AdaptRecipe`: width, blocks, patch, epochs, steps, shape, seed ...

    Returns
    -------
    Adapted

    Raises
    ------
    InputError
        Bad settings or volumes, slices smaller than a patch, a folder with another run.
    Diverged
        A loss or a slope that is no number. The checkpoint before it stays.

    Examples
    --------
    >>> from bimmjax.nets import train_unpaired, translate
    >>> train_unpaired("bse.zarr", "stack.tif", "adapted", width=16)  # doctest: +SKIP
    >>> translate("adapted", "bse.zarr", "real-looking.zarr")  # doctest: +SKIP

    Source: Zhu et al. 2017, arXiv:1703.10593; FIB thesis, §6.1.
    """
    recipe = recipe_for("unpaired", settings)
    there, here = opened("simulated", simulated, False), opened("real", real, False)
    how = *normalisations(there, recipe.normalise), *normalisations(here, recipe.normalise)
    recipe = replace(recipe, normalisations=how)
    _prepare(Path(out), recipe, overwrite)
    drawn = [
        Patches(name, kept(entries), [one], recipe.patch, recipe.symmetries, recipe.seed, stream)
        for stream, (name, entries, one) in enumerate(
            (("simulated", there, how[0]), ("real", here, how[1]))
        )
    ]

    def batch(number: int) -> tuple[np.ndarray, ...]:
        return tuple(one.batch(number, recipe.batch) for one in drawn)

    return _Run(recipe, batch, Path(out), [*there, *here]).to_the_end(progress)


def train_paired(
    inputs: Any,
    targets: Any,
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Adapted:
    """Learn to make one image of another of the same slice: a learned BSE simulator.

    From the analytic image of shine-through to that of Monte Carlo, say. What is learned is the
    change of the first channel; others (the labels, `depth_below`) tell what the physics knows.
    The loss is the mean absolute difference, beside that of a critic if it has a weight (pix2pix).

    Parameters
    ----------
    inputs : volume, or sequence of volumes
        Several are the channels of one input. Where `targets` is a list, as many such entries.
    targets : volume, or list of volumes
        Of the same grids.
    out, overwrite, progress, settings
        As for `train_unpaired`.

    Returns
    -------
    Adapted

    Raises
    ------
    InputError, Diverged
        As for `train_unpaired`, and grids that differ.

    Examples
    --------
    >>> from bimmjax.nets import depth_below, train_paired
    >>> inputs = ["analytic.zarr", "labels.zarr", depth_below("labels.zarr", 16)]  # doctest: +SKIP
    >>> train_paired(inputs, "montecarlo.zarr", "simulator")  # doctest: +SKIP

    Source: Isola et al. 2017, arXiv:1611.07004; FIB thesis, §6.2.
    """
    recipe = recipe_for("paired", settings)
    if not isinstance(targets, list | tuple):
        inputs, targets = [inputs], [targets]
    given, wanted = opened("inputs", inputs, True), opened("targets", targets, False)
    if len(given) != len(wanted):
        raise InputError(f"inputs: got {len(given)} for {len(wanted)} targets, wants as many")
    for entry, (target,) in zip(given, wanted, strict=True):
        check_same("targets", target, entry[0])
    pairs = [(*entry, target) for entry, (target,) in zip(given, wanted, strict=True)]
    how = normalisations(pairs, recipe.normalise)
    recipe = replace(recipe, channels=len(given[0]), normalisations=how)
    _prepare(Path(out), recipe, overwrite)
    drawn = Patches(
        "inputs", kept(pairs), how, recipe.patch, recipe.symmetries, recipe.seed, stream=0
    )

    def batch(number: int) -> tuple[np.ndarray, ...]:
        found = drawn.batch(number, recipe.batch)
        return found[..., :-1], found[..., -1:]

    return _Run(recipe, batch, Path(out), pairs).to_the_end(progress)


def _prepare(out: Path, recipe: AdaptRecipe, overwrite: bool) -> None:
    """A folder with the recipe in it, and with nothing of another recipe."""
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
    try:
        if overwrite:
            for name in (LOG, SUMMARY):
                (out / name).unlink(missing_ok=True)
            shutil.rmtree(out / "checkpoints", ignore_errors=True)
        out.mkdir(parents=True, exist_ok=True)
        checkpoint.tidy(out)
        with checkpoint.new_file(earlier) as partial:
            write_recipe(partial, recipe)
    except OSError as error:
        raise checkpoint.unwritable(out, error) from error


class _Run:
    """A run on its way, from its last checkpoint on."""

    def __init__(
        self,
        recipe: AdaptRecipe,
        batch: Callable[[int], tuple[np.ndarray, ...]],
        out: Path,
        entries: Sequence[Entry],
    ) -> None:
        self._recipe, self._batch, self._out = recipe, batch, out
        self._identity = [[sampled(volume) for volume in entry] for entry in entries]
        self._state, self._learn = learner(recipe)
        self._history: list[dict[str, Any]] = []
        there = checkpoint.checkpoints(out)
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


def load_translator(run: str | os.PathLike[str], back: bool = False) -> tuple[Any, AdaptRecipe]:
    """The network there (or back) that a run has learned by now, in eval mode, and its recipe.

    Instance norms have no statistics yet: see `measured`.

    Raises
    ------
    InputError
        No run, nothing learned yet, or no way back.
    """
    from flax import nnx

    from bimmjax.nets._train.step import divided

    out = Path(run)
    recipe = read_recipe(out)
    if back and recipe.kind == "paired":
        raise InputError(f"back: got it for {out}, whose images are paired; wants an unpaired run")
    epochs = checkpoint.checkpoints(out)
    if not epochs:
        raise InputError(f"run: got {out}, where nothing has been learned yet; wants a run")
    arrays, _ = checkpoint.read(out, epochs[-1])
    net, name = translator(recipe, back), "back" if back else "there"
    _, params, rest = divided(net)
    wanted = State({name: params}, {name: rest}, {}, {})
    own = {
        key: value
        for key, value in arrays.items()
        if key.startswith((f"params/{name}/", f"rest/{name}/"))
    }
    found = checkpoint.restored(wanted, own, checkpoint.place(out, epochs[-1]))
    nnx.update(net, found.params[name], found.rest[name])
    net.eval()
    return net, recipe
