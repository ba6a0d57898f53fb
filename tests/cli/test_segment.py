"""`bimmjax segment`: labels on disk, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bimmjax import open_volume

Run = Callable[..., Any]


def test_labels_and_probabilities_on_disk(tiff: Path, run: Run, here: Path):
    options = ("--no-pictures", "--no-intervals", "--no-correct", "--quiet")
    assert run("fit", tiff, "--out", "f", *options).status == 0
    ended = run("segment", tiff, "--fit", "f/fit.json", "--spacing", "0.5", "--unit", "um")
    assert ended.status == 0
    labels = open_volume(here / "rock-labels.zarr")
    assert labels.spacing == (0.5, 0.5, 0.5)
    told = json.loads((here / "rock-labels.zarr" / "segment.json").read_text("utf-8"))
    everything = (slice(None),) * 3
    share = float(np.mean(labels.read(*everything) == 0))
    assert told["volume_fractions"] == pytest.approx([share, 1.0 - share])
    assert share == pytest.approx(0.4, abs=0.03)
    assert "Share of phase 0" in ended.out
    ended = run("segment", tiff, "--fit", "f/fit.json", "--probability", "1", "--out", "p.zarr")
    assert ended.status == 0
    chance = open_volume(here / "p.zarr").read(*everything)
    assert 0.0 <= chance.min() < 0.01 < 0.99 < chance.max() <= 1.0
    ended = run("segment", tiff, "--fit", "f/fit.json")
    assert (ended.status, ended.error.count("\n")) == (2, 1)
    assert run("segment", tiff, "--fit", "f/fit.json", "--overwrite", "--quiet").out == ""
    ended = run("segment", tiff, "--fit", "none.json", "--out", "q.zarr")
    assert ended.status == 2
    assert ended.error.startswith("bimmjax: error: fit: got none.json, wants a fit.json")
    assert not (here / "q.zarr").exists()
