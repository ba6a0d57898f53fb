"""`bimmjax describe` and `bimmjax evaluate`: what they leave, tell and refuse."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from bimmjax import describe, open_volume

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    body = np.indices((24, 26, 28)).sum(0) // 5 % 3
    return body.astype(np.uint8)


@pytest.fixture
def tiff_of_labels(labels: np.ndarray, here: Path) -> Path:
    tifffile.imwrite(here / "labels.tif", labels)
    return here / "labels.tif"


def test_describe_leaves_numbers_curves_and_a_picture(
    tiff_of_labels: Path, run: Run, here: Path, labels: np.ndarray
):
    ended = run("describe", tiff_of_labels, "--spacing", "0.5", "--unit", "um")
    assert ended.status == 0
    folder = here / "labels-describe"
    assert {p.name for p in folder.iterdir()} == {
        "describe.json",
        "curves.csv",
        "correlations.png",
    }
    found = json.loads((folder / "describe.json").read_text("utf-8"))
    share = float(np.mean(labels == 1))
    assert found["volume_fractions"][1] == share
    for curves in (found["two_point"]["1"], found["lineal_path"]["1"]):
        assert curves["z"][0] == curves["y"][0] == curves["x"][0] == share
    assert [len(found["two_point"]["1"][a]) for a in ("z", "y", "x")] == [12, 13, 14]
    assert found["two_point"]["1"]["radial"][0] == found["two_point"]["1"]["plane_z"][0] == share
    assert set(found["interface_areas"]["crofton"]) == {"0-1", "0-2", "1-2"}
    assert set(found["ligament_diameter"]["2"]) == {"z", "y", "x"}
    assert set(found["anisotropy"]["0"]) == {"e_tpcf", "e_lpf", "e_d"}
    assert found["percolates"]["0"] == {"z": True, "y": True, "x": True}
    assert found["components"]["0"]["count"] == len(found["components"]["0"]["largest"])
    with (folder / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    row = next(r for r in rows if (r["phase"], r["direction"], r["lag_um"]) == ("1", "x", "1.0"))
    assert float(row["two_point"]) == found["two_point"]["1"]["x"][2]
    assert "Interface area 0-1" in ended.out
    plain = describe(labels, spacing=0.5, unit="um").to_dict()
    assert plain["interface_areas"] == found["interface_areas"]


def test_evaluate_leaves_scores_and_where_it_is_wrong(
    tiff_of_labels: Path, run: Run, here: Path, labels: np.ndarray
):
    wrong = labels.copy()
    wrong[:2] = 0
    np.save(here / "told.npy", wrong)
    ended = run("evaluate", "told.npy", tiff_of_labels, "--solid", "1", "--error-volume", "--json")
    assert ended.status == 0
    found = json.loads(ended.out)
    assert found == json.loads((here / "told-evaluate" / "evaluate.json").read_text("utf-8"))
    off = float(np.mean(wrong != labels))
    assert found["mp"] == pytest.approx(100 * off)
    assert found["mgp"] == pytest.approx(100 * np.mean(wrong[labels == 1] != 1))
    assert found["support"] == np.bincount(labels.ravel()).tolist()
    for name in ("mean_dice", "dice", "iou", "mean_iou", "precision", "recall", "f1", "confusion"):
        assert name in found
    errors = open_volume(here / "told-evaluate" / "errors.zarr")
    everything = (slice(None),) * 3
    np.testing.assert_array_equal(errors.read(*everything), wrong != labels)
    assert "MGP" in run("evaluate", "told.npy", tiff_of_labels, "--overwrite").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["describe", "floats.npy"], "labels: got dtype float64, wants whole numbers"),
        (
            ["describe", "labels.tif", "--phases", "2"],
            "labels: got values from 0 to 2, wants 0 to 1",
        ),
        (["describe", "labels.tif", "--mask", "floats.npy"], "mask: got shape (4, 4, 4)"),
        (["evaluate", "labels.tif", "small.npy"], "labels: got shape (24, 26, 28), wants"),
        (["evaluate", "labels.tif", "labels.tif", "--solid", "7"], "solid: got 7, wants a label"),
        (["evaluate", "floats.npy", "small.npy"], "labels: got dtype float64"),
    ],
)
def test_bad_input_is_told_in_one_line(
    words: list[str], said: str, tiff_of_labels: Path, run: Run, here: Path
):
    np.save(here / "floats.npy", np.zeros((4, 4, 4)))
    np.save(here / "small.npy", np.zeros((4, 4, 4), int))
    ended = run(*words, "--out", "result")
    assert ended.status == 2
    assert ended.error.startswith(f"bimmjax: error: {said}")
    assert ended.error.count("\n") == 1
    assert not (here / "result").exists()
