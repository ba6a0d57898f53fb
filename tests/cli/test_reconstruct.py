"""`bimmjax reconstruct`: a folder with steps, pictures and a page, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tifffile

from bimmjax import open_volume, sim
from bimmjax.cli._reconstruct_options import settings_of

Run = Callable[..., Any]
FEW = ("--thickness", "15", "--pixel", "5", "--unit", "nm", "--method", "otsu", "--fill", "spline")


@pytest.fixture
def stack(here: Path) -> str:
    wave = sim.levelled_wave(jax.random.key(0), (37, 48, 48), 0.5, 16.0)
    slices = np.asarray(sim.structure_labels(wave))[::3]
    noise = np.random.default_rng(0).normal(0, 6, slices.shape)
    tifffile.imwrite(here / "s.tif", (40 + 150.0 * slices + noise).astype(np.uint8))
    return "s.tif"


def test_a_stack_becomes_labels_a_page_and_pictures(
    stack: str, run: Run, here: Path, look_at: Callable[..., None]
):
    ended = run("reconstruct", f"2={stack}", *FEW, "--out", "made")
    assert ended.status == 0, ended.error
    assert "Written: made/report.html" in ended.out
    assert "label: Labelled by otsu" in ended.out
    labels = open_volume(here / "made" / "fill" / "labels.zarr")
    assert labels.shape[0] == 37
    assert (labels.spacing[0], labels.unit) == (5.0, "nm")
    pictures = {f"{p.parent.name}/{p.stem}" for p in (here / "made").glob("*/*.png")}
    assert pictures == {
        "register/drift", "register/registered", "clean/cleaned", "label/labels",
        "thickness/thickness", "place/placed", "fill/filled", "describe/isotropy",
    }  # fmt: skip
    page = (here / "made" / "report.html").read_text("utf-8")
    assert page.count("<img ") == len(pictures)
    assert "http" not in page.replace("http-equiv", "")
    look_at(here / "made" / "report.html")
    told = json.loads((here / "made" / "reconstruct.json").read_text("utf-8"))
    assert told["plan"]["label"]["method"] == "otsu"
    before = {p: p.stat().st_mtime_ns for p in (here / "made").glob("*/*.png")}
    again = run("reconstruct", f"2={stack}", *FEW, "--out", "made")
    assert "label (as before)" in again.out
    assert before == {p: p.stat().st_mtime_ns for p in (here / "made").glob("*/*.png")}


def test_grey_values_first(stack: str, run: Run, here: Path):
    ended = run("reconstruct", stack, *FEW, "--order", "grey", "--no-register", "--out", "made")
    assert ended.status == 0, ended.error
    assert (here / "made" / "label" / "labels.png").exists()
    assert "not registered" in ended.out


def test_a_plan_in_a_file_is_beaten_by_options(stack: str, run: Run, here: Path):
    (here / "plan.toml").write_text(
        'pixel = 5\nunit = "nm"\n[stacks]\n2 = "s.tif"\n[depth]\nsource = "even"\nmean = 15\n'
        '[label]\nfit = "gmm"\n[fill]\nmethod = "nearest"\n[register]\nskip = true\n'
    )
    ended = run("reconstruct", "--plan", "plan.toml", "--method", "otsu", "--out", "made",
                "--no-pictures", "--until", "fill")  # fmt: skip
    assert ended.status == 0, ended.error
    told = json.loads((here / "made" / "reconstruct.json").read_text("utf-8"))
    assert told["plan"]["label"]["fit"] == ""
    assert told["steps"]["label"]["method"] == "otsu"
    assert told["steps"]["fill"]["method"] == "nearest"
    assert "describe" not in told["steps"]
    assert not list((here / "made").glob("*/*.png"))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["s.tif", "--pixel", "5", "--unit", "nm", "--method", "otsu"], "thickness (depth.mean): "),
        (["s.tif", *FEW, "--thickness", "0"], "thickness: got 0, wants one above 0"),
        (["s.tif", *FEW, "--thickness", "1e9"], "thickness (depth): got slices 1e+09 thick"),
        (["s.tif", "--thickness", "15", "--method", "otsu"], "pixel: got none"),
        (["s.tif", *FEW[:6]], "network (label): got none"),
        (["s.tif", *FEW, "--grid", "50"], "grid (fill.spacing): got 50"),
        (["1=s.tif", "1=s.tif", *FEW], "stacks: got 1 twice"),
        (["none.tif", *FEW], "stacks: got none.tif"),
        (["s.tif", *FEW, "--crop", "1", "2"], "crop: got '1,2', wants 4 whole numbers"),
        (["s.tif", *FEW, "--thickness", "none.csv"], "thickness (depth.file): got none.csv"),
        (["s.tif", *FEW, "--network", "a", "--network", "b"], "network: got several"),
        (["s.tif", *FEW, "--until", "dinner"], "until: got 'dinner'"),
        (["s.tif", "--plan", "none.toml"], "plan: got none.toml"),
    ],
)
def test_bad_input_is_told_in_a_line(
    stack: str, run: Run, here: Path, words: list[str], error: str
):
    ended = run("reconstruct", *words, "--out", "made")
    assert ended.status == 2
    assert ended.error.count("\n") == 1
    assert error in ended.error
    assert not (here / "made").exists()


def test_networks_by_name_and_thickness_by_kind():
    found = settings_of({"network": ["1=a", "2=b"], "stacks": ["x.tif", "4=y.tif"], "plan": None})
    assert found.sections["label"]["networks"] == {"1": "a", "2": "b"}
    assert found.stacks == {"1": "x.tif", "4": "y.tif"}
    assert settings_of({"thickness": "ruler"}).sections["depth"] == {"source": "ruler"}
    assert settings_of({"thickness": "t.csv"}).sections["depth"]["file"] == "t.csv"
    assert settings_of({"thickness": "10"}).sections["depth"]["mean"] == 10.0


def test_options_beat_what_a_plan_says_of_another_way():
    from bimmjax.fib import plan_of

    plan = plan_of({"fill": {"method": "learned", "network": "slices"},
                    "label": {"fit": "gmm", "stack": "2"}})  # fmt: skip
    layers = settings_of({"order": "layers", "network": ["net"]}).onto(plan)
    assert (layers.fill.method, layers.fill.network, layers.label.stack) == ("", "", "")
    assert settings_of({"fill": "spline"}).onto(plan).fill.network == ""
