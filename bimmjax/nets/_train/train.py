"""The loop: draw, learn, validate, keep."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from bimmjax._core.checks import InputError
from bimmjax.descriptors import Scores
from bimmjax.descriptors._confusion import scores
from bimmjax.nets._blocks.convolution import count_parameters
from bimmjax.nets._data.ahead import made_ahead
from bimmjax.nets._data.tiles import Tiles
from bimmjax.nets._train import checkpoint
from bimmjax.nets._train.branches import take_branches, with_branches
from bimmjax.nets._train.data import Data, data_of, opened, with_patch
from bimmjax.nets._train.devices import everywhere, mesh_for
from bimmjax.nets._train.folder import (
    check_folder,
    prepare,
    read_log,
    summary_epochs,
    write_log,
    write_summary,
)
from bimmjax.nets._train.keeper import Keeper
from bimmjax.nets._train.load import built, put_back, with_pretrained
from bimmjax.nets._train.recipe import Recipe, recipe_of
from bimmjax.nets._train.schedule import Course, rate
from bimmjax.nets._train.step import Stepper, divided


class Diverged(InputError):
    """The loss, or a parameter, became infinite or no number; told with where that was."""


class Trained(NamedTuple):
    """What training leaves.

    Attributes
    ----------
    net : nnx.Module
        With the parameters of the best epoch, in eval mode.
    recipe : Recipe
        With all that was chosen for it: channels, patch.
    history : list[dict[str, Any]]
        The rows of log.csv, one an epoch.
    """

    net: nnx.Module
    recipe: Recipe
    history: list[dict[str, Any]]


def train(
    recipe: Recipe | Mapping[str, Any] | str | os.PathLike[str],
    images: Any = None,
    labels: Any = None,
    out: str | os.PathLike[str] = "net",
    *,
    weight: Any = None,
    devices: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Trained:
    """Train a network on volumes and their labels; go on with what is there of the same run.

    Parameters
    ----------
    recipe : Recipe, mapping or path
        Settings, or a recipe.toml.
    images : volume, or sequence of volumes
        Anything `open_volume` takes, (z, y, x); several are the channels of one specimen. Where
        `labels` is a sequence, as many such entries. By default the paths in the recipe.
    labels : volume, or sequence of volumes
        Whole numbers 0 ... classes - 1, and 255 where there is no label.
    out : path
        Folder for recipe.toml, log.csv, checkpoints and train.json. A run that was interrupted
        there goes on after the last epoch that was kept and ends, on one CPU device, with the same
        bits as one that was not; unless it is limited by `minutes`, which a clock counts.
    weight : volume, or sequence of volumes
        How much voxels count, 0 or more; all alike if not given.
    devices : int, optional
        Devices that share a batch. Default: all accelerators, or one CPU device.
    overwrite : bool
        Begin anew where a run is.
    progress : callable, optional
        `progress(done, steps)`, after each step.

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        Bad settings or data, a folder with another run.
    Diverged
        A loss that is infinite or no number. The checkpoints before it stay.

    Warns
    -----
    UserWarning
        Batch normalisation with batches of one, unless it is frozen; a class that is not learned
        from; a margin narrower than half the network's context.

    Notes
    -----
    The network is validated after every epoch, on tiles that cover the validation block, and kept
    by a thread while the next epoch is learned.

    The validation loss is the mean of the losses of batches of tiles, by the voxels in them that
    count.

    The best epoch is that of the lowest validation loss; where there is no such block, of the
    lowest training loss.

    The same bits are tested on CPUs alone. On NVIDIA GPUs sums may be taken in another order each
    time; XLA_FLAGS=--xla_gpu_deterministic_ops=true is meant to forbid that (untested here).

    Examples
    --------
    >>> from bimmjax.nets import train
    >>> train({"network": "modular-unet", "classes": 3}, "scan.tif", "labels.tif", "out/net")
    ... # doctest: +SKIP
    """
    told, specimens = opened(recipe_of(recipe), images, labels, weight)
    folder = Path(out)
    told, branches = with_branches(told, folder, overwrite)
    net = built(told)
    take_branches(net, branches)
    told = with_patch(told, net, specimens)
    _warn_of_one(net, told)
    told = with_pretrained(net, told, folder, overwrite)
    # Before what takes long.
    try:
        check_folder(folder, told, overwrite)
    except OSError as error:
        raise checkpoint.unwritable(out, error) from error
    mesh = mesh_for(told.batch, told.patch, net.multiple[0], devices)
    data = data_of(told, specimens, net.context)
    try:
        prepare(folder, told, overwrite)
        run = _Run(net, told, data, folder, Stepper(net, told, mesh))
        run.resume(everywhere(mesh))
        run.to_the_end(progress or (lambda done, total: None))
        # Another one: what was trained may compute in half precision.
        net = built(told)
        put_back(net, folder, run.course.best_epoch)
        # Also that of a run which was killed after its last epoch.
        if run.new or summary_epochs(folder) != run.course.epoch:
            write_summary(folder, run.summary(net, mesh.size))
    except OSError as error:
        raise checkpoint.unwritable(out, error) from error
    return Trained(net, told, run.history)


class _Run:
    """A run on its way."""

    def __init__(
        self, net: nnx.Module, recipe: Recipe, data: Data, out: Path, stepper: Stepper
    ) -> None:
        self._recipe, self._data, self._out, self._stepper = recipe, data, out, stepper
        self._keeper = Keeper(out)
        self.course = Course()
        self.history: list[dict[str, Any]] = []
        self.new = False

    def resume(self, sharding: jax.sharding.Sharding) -> None:
        """Go back to the latest checkpoint, if there is one."""
        there = checkpoint.checkpoints(self._out)
        if not there:
            return
        arrays, told = checkpoint.read(self._out, there[-1])
        if told["data"] != self._data.identity:
            raise InputError(
                f"images: got other volumes than {self._out} was trained on; wants those, or a new "
                "folder"
            )
        where = checkpoint.place(self._out, there[-1])
        state = checkpoint.restored(self._stepper.state, arrays, where)
        self._stepper.state = jax.device_put(state, sharding)
        self.course = Course(**told["course"])
        # An epoch that was logged and not kept is done again.
        self.history = read_log(self._out)[: self.course.epoch]
        if len(self.history) < self.course.epoch:
            raise InputError(
                f"out: got {self._out}, whose log has {len(self.history)} epochs and its "
                f"checkpoint {self.course.epoch}; wants an undamaged one, or a new folder"
            )

    def to_the_end(self, progress: Callable[[int, int], object]) -> None:
        """All epochs that are left."""
        recipe = self._recipe
        batches = recipe.steps * recipe.accumulate
        left = range(self.course.epoch * batches, recipe.epochs * batches)
        drawn = made_ahead(lambda step: self._data.sampler.batch(step, recipe.batch), left)
        progress(self.course.epoch * recipe.steps, recipe.epochs * recipe.steps)
        with closing(drawn), self._keeper:
            while not self.course.over(recipe):
                began = time.perf_counter()
                loss = self._epoch(drawn, progress)
                seen = self._validated(self._data.validation)
                lowest = loss if seen is None else seen[0]
                if not self._stepper.sound() or not math.isfinite(lowest):
                    self._diverged("parameters", self.course.epoch * batches + batches - 1)
                row = self._row(loss, seen, time.perf_counter() - began)
                self.course = self.course.after(lowest, recipe, row["seconds"])
                self.history.append(row)
                self._keep()
                self.new = True

    def summary(self, net: nnx.Module, devices: int) -> dict[str, Any]:
        """The content of train.json, with scores on the test block by the best epoch."""
        from bimmjax import __version__

        # The stepper validates with what it holds: give it the best.
        _, params, rest = divided(net)
        placed = self._stepper.state._replace(params=params, rest=rest)
        self._stepper.state = jax.device_put(placed, everywhere(self._stepper.mesh))
        test = self._validated(self._data.test)
        best = self.history[self.course.best_epoch - 1]
        sampler = self._data.sampler
        return {
            "network": self._recipe.network,
            "parameters": count_parameters(net),
            "epochs": self.course.epoch,
            "minutes": self._recipe.minutes,
            "minutes_spent": self.course.seconds / 60.0,
            "ended_by": self.course.why(self._recipe),
            "best_epoch": self.course.best_epoch,
            "validation": {k: v for k, v in best.items() if k.startswith("validation")},
            "test": None if test is None else {"loss": test[0], **test[1].to_dict()},
            "blocks": [
                {name: [b.start, b.stop] for name, b in one._asdict().items()}
                for one in self._data.splits
            ],
            "training_voxels": sampler.counts.tolist(),
            "seconds_per_epoch": float(np.median([row["seconds"] for row in self.history])),
            "device": f"{devices} x {jax.devices()[0].device_kind}",
            "versions": {"bimmjax": __version__, "jax": jax.__version__},
        }

    def _epoch(self, drawn: Any, progress: Callable[[int, int], object]) -> float:
        recipe = self._recipe
        first = self.course.epoch * recipe.steps
        losses: list[float] = []
        waiting = []
        for number in range(recipe.steps * recipe.accumulate):
            step = number // recipe.accumulate
            waiting.append(self._stepper.learn(next(drawn), rate(recipe, self.course, step)))
            # The loss of the step before: waiting for this one would leave the device idle.
            if len(waiting) > 1:
                losses.append(self._finite(waiting.pop(0), first * recipe.accumulate + number - 1))
            if (number + 1) % recipe.accumulate == 0:
                progress(first + step + 1, recipe.epochs * recipe.steps)
        last = (first + recipe.steps) * recipe.accumulate - 1
        losses.append(self._finite(waiting.pop(), last))
        return math.fsum(losses) / len(losses)

    def _finite(self, loss: jax.Array, batch: int) -> float:
        found = float(loss)
        if not math.isfinite(found):
            self._diverged(f"loss: got {found}, or a slope that is no number,", batch)
        return found

    def _diverged(self, what: str, batch: int) -> None:
        recipe, course = self._recipe, self.course
        step = batch // recipe.accumulate % recipe.steps
        if not what.startswith("loss"):
            what = "loss: got parameters or a validation loss that are no numbers"
        self._keeper.wait()
        there = checkpoint.checkpoints(self._out)
        kept = f"{checkpoint.place(self._out, there[-1])} is kept" if there else "nothing is kept"
        places = self._data.sampler.places(batch, recipe.batch)
        raise Diverged(
            f"{what} at epoch {course.epoch + 1}, step {step + 1}, with learning rate "
            f"{rate(recipe, course, step):g} and the first patch at {places[0].start} of specimen "
            f"{places[0].specimen}; wants a lower rate, perhaps; {kept}"
        )

    def _validated(self, tiles: Tiles) -> tuple[float, Scores] | None:
        """Mean loss of batches, by their voxels that count, and scores; None without any.

        Not the loss of all tiles at once where that is no mean over voxels (Dice, Jaccard).
        """
        if not len(tiles):
            return None
        size = self._recipe.batch
        numbers = range(tiles.batches(size))
        with closing(made_ahead(lambda n: tiles.batch(n, size), numbers)) as batches:
            found = [self._stepper.look(batch) for batch in batches]
        voxels = [int(one.voxels) for one in found]
        if not sum(voxels):
            return None
        total = math.fsum(float(one.loss) * n for one, n in zip(found, voxels, strict=True))
        confusion = np.sum([np.asarray(one.confusion, np.int64) for one in found], 0)
        return total / sum(voxels), scores(confusion)

    def _row(
        self, loss: float, seen: tuple[float, Scores] | None, seconds: float
    ) -> dict[str, Any]:
        recipe = self._recipe
        row: dict[str, Any] = {
            "epoch": self.course.epoch + 1,
            "learning_rate": rate(recipe, self.course, recipe.steps - 1),
            "training_loss": loss,
            "validation_loss": None if seen is None else seen[0],
            "validation_mean_iou": None if seen is None else seen[1].macro("iou"),
        }
        for label in range(recipe.classes):
            known = seen is not None and bool(seen[1].present[label])
            row[f"validation_iou_{label}"] = float(seen[1].iou[label]) if seen and known else None
        return row | {"seconds": round(seconds, 3)}

    def _keep(self) -> None:
        """Log first: a row without a checkpoint is dropped, a checkpoint needs its row."""
        self._keeper.wait()
        write_log(self._out, self.history)
        epoch = self.course.epoch
        told = {"course": self.course._asdict(), "data": self._data.identity}
        self._keeper.keep(epoch, self._stepper.state, told, {epoch, self.course.best_epoch})


def _warn_of_one(net: nnx.Module, recipe: Recipe) -> None:
    normed = any(
        isinstance(module, nnx.BatchNorm) and not getattr(module, "frozen", False)
        for _, module in nnx.iter_modules(net)
    )
    if normed and recipe.batch == 1:
        warnings.warn(
            "batch: got 1 with batch normalisation, whose statistics are then those of one patch; "
            "a larger batch or another normalisation may learn better",
            stacklevel=3,
        )
