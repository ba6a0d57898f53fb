"""`bimmjax segment`: labels on disk, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bimmjax import open_volume
from bimmjax.cli._segment import _departed

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


def test_a_field_classical_methods_and_the_cross_check(
    tiff: Path, run: Run, here: Path, look_at: Callable[..., None]
):
    options = ("--no-pictures", "--no-correct", "--quiet")
    assert run("fit", tiff, "--out", "f", *options).status == 0
    ended = run("segment", tiff, "--fit", "f/fit.json", "--mrf", "--out", "field.zarr")
    assert ended.status == 0
    assert "Weight of the field" in ended.out
    assert "bimmjax cross-check field.zarr --fit f/fit.json" in ended.out
    told = json.loads((here / "field.zarr" / "segment.json").read_text("utf-8"))
    assert told["mrf_weight"] > 0
    assert (here / "field.zarr" / "segment.png").stat().st_size > 10_000
    weight = ("--mrf-weight", told["mrf_weight"])
    again = run("segment", tiff, "--fit", "f/fit.json", *weight, "--out", "again.zarr")
    assert again.status == 0
    everything = (slice(None),) * 3
    labels = open_volume(here / "field.zarr").read(*everything)
    np.testing.assert_array_equal(open_volume(here / "again.zarr").read(*everything), labels)
    for method in ("otsu", "kmeans", "spatial-kmeans", "clahe-otsu"):
        out = f"{method}.zarr"
        ended = run("segment", tiff, "--method", method, "--out", out, "--no-pictures")
        assert ended.status == 0, ended.error
        assert json.loads((here / out / "segment.json").read_text("utf-8"))["method"] == method
    ended = run("cross-check", "field.zarr", "otsu.zarr", "--fit", "f/fit.json")
    assert ended.status == 0
    assert "Area 0-1" in ended.out
    folder = here / "field-cross-check"
    assert {p.name for p in folder.iterdir()} == {
        "cross_check.json",
        "cross_check.png",
        "report.html",
    }
    checked = json.loads((folder / "cross_check.json").read_text("utf-8"))
    assert list(checked["labels"]) == ["field.zarr", "otsu.zarr"]
    page = (folder / "report.html").read_text("utf-8")
    assert "field.zarr" in page
    assert 'src="http' not in page
    look_at(folder / "report.html")
    ended = run("evaluate", "field.zarr", "otsu.zarr", "--ignore", "255", "--json")
    assert json.loads(ended.out)["kappa"] > 0.9


def test_labels_with_other_fractions_than_their_fit_are_warned_of():
    assert _departed([0.30, 0.70], [0.31, 0.69]) == []
    assert _departed([0.3, 0.7], None) == []
    (said,) = _departed([0.26, 0.74], [0.32, 0.68])
    assert said.startswith("The labels have 26 % of phase 0 where the fit has 32 %")
    # A phase that no voxel has is not among the shares.
    assert len(_departed([0.5, 0.5], [0.45, 0.5, 0.05])) == 1


def test_segment_refuses_what_does_not_fit_together(tiff: Path, run: Run, here: Path):
    for words, message in (
        ((), "method: got neither --fit nor --method"),
        (("--fit", "f.json", "--method", "otsu"), "method: got both --fit and --method"),
        (("--method", "magic"), "method: got 'magic', wants one of otsu"),
        (("--method", "otsu", "--mrf"), "--mrf: got it with --method otsu, wants --fit"),
        (("--method", "otsu", "--phases", "9"), "phases: got 9"),
        (("--method", "otsu", "--probability", "0"), "--probability: got it with --method otsu"),
        (("--method", "otsu", "--threshold", "1"), "--threshold: got it with --method otsu"),
        (("--fit", "f.json", "--seed", "0"), "--seed: got it with --fit, wants --method"),
    ):
        ended = run("segment", tiff, *words, "--out", "no.zarr")
        assert (ended.status, ended.error.count("\n")) == (2, 1)
        assert message in ended.error
        assert not (here / "no.zarr").exists()
