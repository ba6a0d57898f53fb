"""One way for all network benchmarks to train, to label a fresh volume, and to score."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import bimmjax
from benchmarks._report import Table, say
from bimmjax import nets
from bimmjax.descriptors import Scores, evaluate
from bimmjax.volumes import open_volume

_EVERYTHING = (slice(None),) * 3


class Run(NamedTuple):
    """A network that was trained, and what that took."""

    folder: Path
    parameters: int
    minutes: float
    """Of its epochs, added up."""


def trained(
    name: str, recipe: dict[str, Any], images: Sequence[Any], labels: Sequence[Any], out: Path
) -> Run:
    """Train in `out`/`name`, or go on there; volumes are given one a specimen."""
    folder = out / name
    say(f"training {name}")
    nets.train(recipe, list(images), list(labels), folder)
    told = json.loads((folder / "train.json").read_text("utf-8"))
    seconds = sum(row["seconds"] for row in nets.read_log(folder))
    return Run(folder, told["parameters"], seconds / 60.0)


def labelled(run: Run, images: Any) -> tuple[np.ndarray, float]:
    """Labels (z, y, x) uint8 of a volume or of several channels, and the seconds they took."""
    before = time.perf_counter()
    found = nets.predict(run.folder, images).read(*_EVERYTHING)
    return found, time.perf_counter() - before


def anisotropies(labels: np.ndarray, phase: int = 1) -> list[float]:
    """e_TPCF, e_LPF and e_D of a phase."""
    found = bimmjax.describe(open_volume(labels.astype(np.uint8))).anisotropy(phase)
    return [found["e_tpcf"], found["e_lpf"], found["e_d"]]


def compared(labels: np.ndarray, truth: np.ndarray) -> Scores:
    """All scores of labels."""
    return evaluate(labels.astype(np.uint8), truth)


def compared_tables(found: nets.Comparison) -> list[Table]:
    """The tables of a comparison, as benchmarks print them."""
    return [
        Table(f"{name}: {one.title}", one.columns, one.rows) for name, one in found.tables.items()
    ]
