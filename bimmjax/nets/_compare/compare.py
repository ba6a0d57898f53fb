"""Train several recipes on one data set, score them on one test block, write the tables."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bimmjax._core.checks import InputError, real_number
from bimmjax.nets._compare.classical import check_classical
from bimmjax.nets._compare.common import Common, prepared
from bimmjax.nets._compare.entry import ABLATION, CURVE, RIVAL, SWEEP, Entry, entries
from bimmjax.nets._compare.result import Comparison, Example, Row, best_of_sweep
from bimmjax.nets._compare.score import SCORE, classical_scored, counting, network_scored
from bimmjax.nets._compare.tables import csv_of, markdown_of
from bimmjax.nets._train.checkpoint import checkpoints, new_file, unwritable
from bimmjax.nets._train.folder import SUMMARY, prepare, read_log
from bimmjax.nets._train.train import Diverged, train
from bimmjax.volumes import Volume

JSON, CSV, MARKDOWN = "compare.json", "compare.csv", "compare.md"
# Drawn by whoever asks for them (`plot.comparison`); known here to be removed with the tables.
PICTURES = ("predictions", "confusion", "curves", "learning_curve", "sweep")
CLASSICAL_ROLE = "classical"
_ORDER = (RIVAL, CLASSICAL_ROLE, CURVE, ABLATION, SWEEP)

Progress = Callable[[str, int, int], object]


def compare(
    recipes: Any,
    images: Any = None,
    labels: Any = None,
    out: str | os.PathLike[str] = "comparison",
    *,
    weight: Any = None,
    names: Sequence[str] = (),
    minutes: float | None = None,
    classical: Sequence[str] = (),
    slices: Sequence[int] = (),
    each: bool = False,
    ablate: Sequence[str] | Mapping[str, Any] = (),
    sweep: Sequence[str] | Mapping[str, Any] = (),
    devices: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Train and score several recipes on one data set, under the same conditions.

    All are trained on the same blocks with the same seed, and scored on the whole test block, by
    the parameters of their best epoch, over the voxels that have a label.

    Source: TXM paper, Table II and Fig. 6; Modular U-Net paper, Figs. 5 and 6, Tables D.4 and D.5.

    Parameters
    ----------
    recipes : recipe, sequence of recipes, or mapping of names to recipes
        Each anything that `train` takes. They have the same classes, split, margin, `every`,
        `slices` and seed. Without names: those of their files, or of the networks.
    images, labels, weight : volumes
        As for `train`. By default the paths in the recipes, the same in all.
    out : path
        Folder for compare.json, compare.csv, compare.md and a folder of each run. What was
        interrupted goes on with the same call; what is finished is not done again.
    names : sequence of str
        Of the classes, for the tables. By default their numbers.
    minutes : float, optional
        Each run stops after the epoch that passes so many minutes. By default the recipes say.
    classical : sequence of str
        Rivals that need no training: "otsu", "kmeans", "bimm" (maximum likelihood labels by the
        fitted model), "zeror" and "bin-zeror" (the most frequent class, of all voxels or of those
        of one grey level). Their labels, in order of intensity, are matched to the classes in
        order of their mean grey values in the annotated slices of the training block.
    slices : sequence of int
        Points of a learning curve: the first recipe with so many annotated slices of the training
        block alone, evenly spread. The validation block keeps its annotations.
    each : bool
        A learning curve for each recipe.
    ablate : sequence of "NAME=VALUE", or mapping
        Each is a change of one setting of the first recipe or of its network; "settings.noise=0"
        is the network's where both have a setting of that name.
    sweep : mapping of names to values, or sequence of "NAME=A,B,..."
        All combinations, 100 at most, are runs of the first recipe with these settings:
        {"learning_rate": [1e-4, 1e-3], "batch": [2, 4]}. Not "patch", "dims" and "tiles": all are
        judged on the same tiles of the validation block. The best alone is scored on the test
        block, once it is chosen; scores of the others there are in no table.
    devices
        As for `train`, for each run.
    overwrite : bool
        Begin anew: what there is of these runs is removed before the first of them. Interrupted,
        the same call without it goes on.
    progress : callable, optional
        `progress(what, done, total)`.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        What `train` refuses, and all that makes a comparison impossible: before any training.

    Notes
    -----
    A run that diverges is told as such in the tables; the others go on. Time per image is that of
    the network for one slice on one device, from normalised grey values to labels (to
    probabilities where tiles are blended), on tiles as `predict` takes them (halo and overlap
    count), the median of five; of rivals without training, the median of up to five slices of each
    test block, from grey values. Neither has reading, writing or compiling in it. Nor has the time
    per epoch compiling: it is the median of all but the first, with validating. The minutes of the
    budget have.

    Examples
    --------
    >>> from bimmjax.nets import compare
    >>> recipes = [{"network": name, "classes": 3} for name in ("unet", "unet++")]
    >>> found = compare(recipes, "scan.tif", "labels.tif", "out", minutes=10.0, classical=["otsu"])
    ... # doctest: +SKIP
    >>> print(found.tables["rivals"].markdown())  # doctest: +SKIP
    """
    methods = check_classical(classical)
    if minutes is not None:
        real_number("minutes", minutes, 0.0, 1e6)
    folder = Path(out)
    made = entries(
        recipes, given=images is not None, minutes=minutes, slices=slices, each=each,
        ablate=ablate, sweep=sweep,
    )  # fmt: skip
    classes = made[0].recipe.classes
    called = _names(names, classes)
    _check_names(made, methods)
    _check_out(folder)
    made, common = prepared(
        made, images, labels, weight, folder, devices=devices, overwrite=overwrite
    )
    if not overwrite:
        _check_same(folder, common)
    tell = progress or (lambda what, done, total: None)
    run = _Run(folder, common, made, called, devices)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        run.write(finished=False)
        if overwrite:
            _emptied(folder, made, methods)
        for number, method in enumerate(methods):
            tell("Classical", number, len(methods))
            run.classical(method, classes, made[0].recipe.seed)
        for entry in made:
            run.network(entry, (images, labels, weight), tell)
            run.write(finished=False)
        run.best_of_sweep(tell)
        found = run.write(finished=True)
    except OSError as error:
        raise unwritable(out, error) from error
    return found


class _Run:
    """A comparison on its way."""

    def __init__(
        self,
        out: Path,
        common: Common,
        made: Sequence[Entry],
        names: tuple[str, ...],
        devices: int | None,
    ) -> None:
        self._out, self._common, self._names, self._devices = out, common, names, devices
        self._rows: list[Row] = []
        self._place = _telling_slice(common)
        self._seen: dict[str, np.ndarray] = {}
        minutes = {one.recipe.minutes for one in made}
        self._budget = {"minutes": minutes.pop() if len(minutes) == 1 else 0.0}
        self._budget |= _machine(devices)

    def classical(self, method: str, classes: int, seed: int) -> None:
        """A rival that needs no training."""
        found = classical_scored(method, self._out / method, self._common, classes, seed)
        self._rows.append(
            Row(
                method,
                CLASSICAL_ROLE,
                minutes=found.minutes,
                seconds_per_image=found.seconds_per_image,
                training_slices=sum(held.size for held in self._common.slices),
                scores=found.scores,
            )
        )
        self._look(method, found.labels)

    def network(self, entry: Entry, data: Any, tell: Progress) -> None:
        """Train, or go on with what is there, and score all but a sweep."""
        folder = self._out / entry.name
        images, labels, weight = data
        row = Row(
            entry.name,
            entry.role,
            entry.of,
            entry.change,
            entry.recipe,
            training_slices=entry.slices,
            swept=entry.swept,
        )
        try:
            train(
                entry.recipe, images, labels, folder, weight=weight, devices=self._devices,
                progress=lambda done, total: tell(f"Training {entry.name}", done, total),
            )  # fmt: skip
        except Diverged as error:
            kept = read_log(folder) if checkpoints(folder) else []
            self._rows.append(row._replace(error=str(error), history=tuple(kept)))
            return
        if entry.role != SWEEP:
            row = self._scored(row, tell)
        told = json.loads((folder / SUMMARY).read_text("utf-8"))
        history = read_log(folder)
        # The first one compiles.
        seconds = [line["seconds"] for line in history[1:]]
        self._rows.append(
            row._replace(
                parameters=told["parameters"],
                epochs=told["epochs"],
                best_epoch=told["best_epoch"],
                minutes=told["minutes_spent"],
                seconds_per_epoch=float(np.median(seconds)) if seconds else None,
                history=tuple(history),
            )
        )

    def best_of_sweep(self, tell: Progress) -> None:
        """Score that one, too, now that it is chosen."""
        best = best_of_sweep(self._rows)
        if best is not None and best.scores is None:
            scored = self._scored(best, tell)
            self._rows = [scored if row is best else row for row in self._rows]

    def _scored(self, row: Row, tell: Progress) -> Row:
        """The row with the scores of its network on the test block."""
        found = network_scored(
            self._out / row.name, self._common, self._devices,
            lambda done, total: tell(f"Predicting {row.name}", done, total),
        )  # fmt: skip
        if row.role == RIVAL:
            self._look(row.name, found.labels)
        return row._replace(seconds_per_image=found.seconds_per_image, scores=found.scores)

    def write(self, *, finished: bool) -> Comparison:
        """All there is so far as compare.json, compare.csv and compare.md."""
        rows = sorted(self._rows, key=lambda row: _ORDER.index(row.role))
        found = Comparison(rows, self._names, self._test(), self._budget, self._example(rows))
        told = {"finished": finished, "data": self._common.data, **found.to_dict()}
        files = {JSON: json.dumps(told, indent=2, allow_nan=False) + "\n"}
        if rows:
            files |= {CSV: csv_of(found), MARKDOWN: markdown_of(found, finished=finished)}
        else:
            # Those of an earlier call would look finished.
            _without(self._out, CSV, MARKDOWN, *(f"{picture}.png" for picture in PICTURES))
        for name, text in files.items():
            with new_file(self._out / name) as partial:
                partial.write_text(text, encoding="utf-8")
        return found

    def _test(self) -> dict[str, Any]:
        common = self._common
        scores = next((row.scores for row in self._rows if row.scores is not None), None)
        return {
            "blocks": [[one.test.start, one.test.stop] for one in common.splits],
            "slices": common.test_slices,
            "voxels": 0 if scores is None else int(scores.support.sum()),
            "training_blocks": [[one.train.start, one.train.stop] for one in common.splits],
            "training_slices": sum(held.size for held in common.slices),
            "training_voxels": common.training.tolist(),
        }

    def _look(self, name: str, labels: Sequence[Volume]) -> None:
        """Keep the slice that pictures show."""
        number, z = self._place
        start = self._common.splits[number].test.start
        self._seen[name] = _slice(labels[number], z - start)

    def _example(self, rows: Sequence[Row]) -> Example:
        number, z = self._place
        one = self._common.specimens[number]
        seen = {row.name: self._seen[row.name] for row in rows if row.name in self._seen}
        return Example(
            _slice(one.images[0], z), _slice(one.labels, z), _slice(counting(one), z) > 0, seen, z,
            one.images[0].spacing[1:], one.images[0].unit,
        )  # fmt: skip


def _telling_slice(common: Common) -> tuple[int, int]:
    """Specimen and z of a test slice: of those with most classes that count the middle one."""
    found = []
    for number, (specimen, blocks) in enumerate(zip(common.specimens, common.splits, strict=True)):
        for z in blocks.test:
            truth, counts = _slice(specimen.labels, z), _slice(counting(specimen), z) > 0
            found.append((np.unique(truth[counts]).size, number, z))
    most = max(classes for classes, _, _ in found)
    best = [(number, z) for classes, number, z in found if classes == most]
    return best[len(best) // 2]


def _slice(volume: Volume, z: int) -> np.ndarray:
    return volume.read(slice(z, z + 1), slice(None), slice(None))[0]


def _names(names: Sequence[str], classes: int) -> tuple[str, ...]:
    if not names:
        return tuple(str(k) for k in range(classes))
    found = tuple(str(name).strip() for name in names)
    if len(found) != classes or len(set(found)) < classes or not all(found):
        raise InputError(f"names: got {', '.join(found)}, wants one for each of {classes} classes")
    return found


def _check_names(made: Sequence[Entry], methods: Sequence[str]) -> None:
    for entry in made:
        if entry.name in methods or entry.name in (JSON, CSV, MARKDOWN):
            raise InputError(f"recipes: got the name {entry.name}, wants one not in use already")


def _check_out(out: Path) -> None:
    """Refuse a folder of something else."""
    if out.exists() and not out.is_dir():
        raise InputError(f"out: got {out}, which is a file; wants a folder to make")
    if out.is_dir() and not (out / JSON).is_file() and any(out.iterdir()):
        raise InputError(f"out: got {out}, which is no comparison; wants a new folder")


def _check_same(out: Path, common: Common) -> None:
    """Refuse a comparison of other volumes, before anything is trained."""
    try:
        before = json.loads((out / JSON).read_text("utf-8")).get("data", common.data)
    except (OSError, ValueError, AttributeError):
        return
    if before != common.data:
        raise InputError(
            f"images: got other volumes than those of {out}; wants them, or a new folder"
        )


def _emptied(out: Path, made: Sequence[Entry], methods: Sequence[str]) -> None:
    """Leave nothing of earlier runs: whoever goes on cannot tell what is old from what is done."""
    for entry in made:
        prepare(out / entry.name, entry.recipe, overwrite=True)
    for name in (*(entry.name for entry in made), *methods):
        _without(out / name, SCORE)


def _without(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _machine(devices: int | None) -> dict[str, Any]:
    from bimmjax import __version__

    there = jax.local_devices()
    count = devices or (len(there) if there[0].platform != "cpu" else 1)
    return {
        "device": f"{count} x {there[0].device_kind}",
        "versions": {"bimmjax": __version__, "jax": jax.__version__},
    }
