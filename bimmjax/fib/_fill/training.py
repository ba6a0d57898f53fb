"""Training of the networks that fill gaps, on simulated structures."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from bimmjax._core.checks import InputError, choice, real_number, whole_number
from bimmjax.fib._fill import examples, trained
from bimmjax.fib._fill.examples import Batch
from bimmjax.fib._fill.step import Found, Stepper
from bimmjax.nets._train import checkpoint
from bimmjax.nets._train.recipe import Recipe
from bimmjax.nets._train.schedule import Course, rate

Progress = Callable[[dict[str, Any]], Any]

_SLICE_PATCH, _PLANE_PATCH = 48, 64
# Batches drawn from one structure: there are many kinds, and a network that has seen few of each
# takes all for the same wavelength.
_FROM_EACH = 50
_KINDS = 2
# Structures that validate, and batches of each.
_CHECKED, _CHECKS = 8, 2
_VALIDATION = 2**20
"""Numbers of the structures that validate begin here."""


class Settings(NamedTuple):
    """How a network is trained: all that tells its result."""

    network: str
    epochs: int
    steps: int
    batch: int
    learning_rate: float
    schedule: str
    stop: int
    seed: int
    start: str


_DEFAULTS = {
    "slices": Settings("slices", 60, 100, 8, 2e-3, "linear", 0, 2026, ""),
    "article": Settings("article", 500, 100, 64, 1e-3, "plateau", 25, 2026, ""),
}


def train_inpainting(
    out: str | os.PathLike[str],
    *,
    network: str = "slices",
    epochs: int | None = None,
    steps: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    minutes: float = 0.0,
    seed: int = 2026,
    start: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train a network that fills gaps between slices; a run that was ended goes on.

    Structures are made as they are learned from (see Notes), none of them twice. After each epoch
    all is kept in `out`: calling this again with the same settings continues as if nothing had
    happened, to the same result on the same machine.

    Source: FIB thesis, Article II, supplement §§1-3.

    Parameters
    ----------
    out : path
        A folder; `inpainting-NETWORK.safetensors` is written there at the end.
    network : str
        "slices": `SliceNetwork`, which ships as the default of `fill`; learned by cross-entropy
        with a learning rate that falls to a hundredth. "article": `InpaintNetwork`, as in Article
        II: mean squared error, patches of 64 pixels, Adam with 1e-3, divided by ten where ten
        epochs have brought nothing, ended after 25 that have brought nothing.
    epochs, steps, batch : int, optional
        Epochs at most, batches in each, and examples in each of those.
    learning_rate : float, optional
        At first.
    minutes : float
        Ends after the epoch that passes so many; 0: no limit. The learning rate falls in time
        for it.
    seed : int
    start : path, optional
        Weights to begin with; "slices" or "article": those that ship. Default: random ones.
    progress : callable, optional
        Called after each epoch with what has been reached.

    Returns
    -------
    Path
        The file of the weights that validated best, for `load_inpainting`.

    Raises
    ------
    InputError
        Settings that are impossible, or other ones than those a run in `out` has begun with.

    Notes
    -----
    Half of the structures are those of Article II (levelled waves, ligaments of 110 and 15 nm,
    solid fractions of 0.10 to 0.14, voxels of 2.5 nm, slices of 10.16 ± 3.12 nm); the others have
    one or two levels, fractions from 0.1 to 0.9, voxels up to 5 nm, slices of 1.5 to 6 voxels.

    Examples
    --------
    >>> from bimmjax.fib import train_inpainting
    >>> train_inpainting("inpainting", minutes=25.0)  # doctest: +SKIP
    PosixPath('inpainting/inpainting-slices.safetensors')
    """
    usual = _DEFAULTS[choice("network", network, tuple(_DEFAULTS))]
    told = usual._replace(
        epochs=usual.epochs if epochs is None else whole_number("epochs", epochs, 1, 10**6),
        steps=usual.steps if steps is None else whole_number("steps", steps, 1, 10**6),
        batch=usual.batch if batch is None else whole_number("batch", batch, 1, 4096),
        learning_rate=usual.learning_rate
        if learning_rate is None
        else real_number("learning_rate", learning_rate, 1e-9, 1.0),
        seed=whole_number("seed", seed, 0, 2**31 - 1),
        start="" if start is None else os.fspath(start),
    )
    real_number("minutes", minutes, 0.0, 1e6)
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _Run(folder, told, minutes).finish(progress)
    except OSError as error:
        raise checkpoint.unwritable(out, error) from error


class _Run:
    """A run in a folder: begun, or found there."""

    def __init__(self, folder: Path, told: Settings, minutes: float) -> None:
        self.folder, self.told = folder, told
        self.recipe = Recipe(
            told.network, 2, schedule=told.schedule, stop=told.stop, epochs=told.epochs,
            steps=told.steps, learning_rate=told.learning_rate, minutes=minutes, hold=0.0,
            final_rate=0.01,
        )  # fmt: skip
        self.net = _begun(told)
        self.stepper = Stepper(self.net, told.network)
        self.best = checkpoint.named_arrays(self.stepper.params)
        self.course = Course()
        self.history: list[dict[str, float]] = []
        self._sources: dict[int, Any] = {}
        self._resume()

    def finish(self, progress: Progress | None) -> Path:
        """Learn to the end."""
        shown = self._validation()
        while not self.course.over(self.recipe):
            self._epoch(shown)
            if progress is not None:
                progress(self.history[-1])
        target = self.folder / f"inpainting-{self.told.network}.safetensors"
        best = min(self.history, key=lambda told: told["loss"])
        trained.save(target, self.best, {**self.told._asdict(), **best})
        return target

    def _epoch(self, shown: list[Batch]) -> None:
        before = time.perf_counter()
        seen = []
        for step in range(self.told.steps):
            speed = rate(self.recipe, self.course, step)
            batch = self._batch(self.course.epoch * self.told.steps + step)
            seen.append(self.stepper.learn(batch, speed))
        found = Found(*np.mean([self.stepper.look(batch) for batch in shown], 0))
        if not np.isfinite(found.loss):
            raise InputError("network: got values that are not finite; wants another seed")
        self.course = self.course.after(
            float(found.loss), self.recipe, time.perf_counter() - before
        )
        now = {
            "epoch": self.course.epoch,
            "learned": float(np.mean(seen)),
            "loss": float(found.loss),
            "wrong": float(found.wrong),
            "spline_wrong": float(found.spline_wrong),
            "seconds": self.course.seconds,
        }
        self.history.append(now)
        if self.course.best_epoch == self.course.epoch:
            self.best = checkpoint.named_arrays(self.stepper.params)
        self._keep()

    def _keep(self) -> None:
        arrays = {
            **{f"best/{name}": value for name, value in self.best.items()},
            **{
                f"last/{name}": v for name, v in checkpoint.named_arrays(self.stepper.state).items()
            },
        }
        told = {
            "settings": self.told._asdict(),
            "course": self.course._asdict(),
            "history": self.history,
        }
        checkpoint.save(self.folder, self.course.epoch, arrays, told)
        checkpoint.tidy(self.folder, {self.course.epoch})

    def _resume(self) -> None:
        checkpoint.tidy(self.folder)
        kept = checkpoint.checkpoints(self.folder)
        if not kept:
            return
        arrays, told = checkpoint.read(self.folder, kept[-1])
        if told["settings"] != self.told._asdict():
            raise InputError(
                f"out: got {self.folder} with a run of {json.dumps(told['settings'])}, wants the "
                "same settings, or another folder"
            )
        last = {n.removeprefix("last/"): v for n, v in arrays.items() if n.startswith("last/")}
        self.stepper.state = checkpoint.restored(self.stepper.state, last, self.folder)
        self.best = {n.removeprefix("best/"): v for n, v in arrays.items() if n.startswith("best/")}
        self.course = Course(**told["course"])
        self.history = told["history"]

    def _batch(self, number: int) -> Batch:
        """The same batch for the same number, whatever was drawn before."""
        rng = np.random.default_rng((self.told.seed, 3, number))
        # Some of each kind: a step after one alone would forget the other.
        each = []
        for kind in range(_KINDS):
            source = self._source(number // _FROM_EACH * _KINDS + kind)
            count = (self.told.batch + _KINDS - 1 - kind) // _KINDS
            each += [source.draw(rng, count)] if count else []
        return tuple(np.concatenate(parts) for parts in zip(*each, strict=True))

    def _validation(self) -> list[Batch]:
        found = []
        for number in range(_CHECKED):
            source = self._source(_VALIDATION + number)
            rng = np.random.default_rng((self.told.seed, 4, number))
            found += [source.draw(rng, self.told.batch) for _ in range(_CHECKS)]
        return found

    def _source(self, number: int) -> Any:
        if number not in self._sources:
            while len(self._sources) >= _KINDS:
                self._sources.pop(next(iter(self._sources)))
            of = examples.body(self.told.seed, number, article=number % _KINDS == 0)
            if self.told.network == "slices":
                source: Any = examples.SliceExamples(of, self.net.reach, _SLICE_PATCH)
            else:
                rng = np.random.default_rng((self.told.seed, 5, number))
                source = examples.PlaneExamples(of, rng, _PLANE_PATCH)
            self._sources[number] = source
        return self._sources[number]


def _begun(told: Settings) -> Any:
    """The network as it is before it learns."""
    if not told.start:
        return trained.build(told.network, seed=told.seed)
    net = trained.load_inpainting(told.start)
    if not isinstance(net, trained.NETWORKS[told.network]):
        raise InputError(f"start: got {told.start}, wants weights of the network {told.network}")
    # What ships is shared by all who ask for it.
    return nnx.clone(net)
