"""`bimmjax compare`: files, options, going on, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tifffile

from bimmjax import nets
from bimmjax.cli import main

SMALL = (
    "--network", "tiny", "--set", "width=2", "--set", "norm=false", "--patch", "8", "8",
    "--batch", "2", "--steps", "2", "--split", "0.6", "0.2", "0.2", "--margin", "1",
    "--epochs", "2",
)  # fmt: skip
DATA = ("--image", "grey.tif", "--labels", "labels.tif")


@pytest.fixture
def run(tiny, tmp_path, monkeypatch, capsys, pair):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIMMJAX_CACHE", str(tmp_path / "cache"))
    for name, array in zip(("grey", "labels"), pair, strict=True):
        tifffile.imwrite(f"{name}.tif", array)

    def run(*words):
        capsys.readouterr()
        status = main(["compare", *map(str, words)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_compare_writes_tables_and_pictures(run):
    words = (*SMALL, *DATA, "--classical", "zeror,otsu", "--slices", 1, "--ablate", "noise=0.5",
             "--sweep", "batch=2,4", "--names", "matrix,fibre,pore", "--out", "out")  # fmt: skip
    status, said, error = run(*words)
    assert (status, error) == (0, "")
    assert "Written: out/compare.md" in said
    assert "Best of the sweep: tiny" in said
    assert {path.name for path in Path("out").iterdir()} == {
        "compare.json", "compare.csv", "compare.md", "predictions.png", "confusion.png",
        "curves.png", "learning_curve.png", "tiny", "tiny-slices=1", "tiny-noise=0.5", "zeror",
        "otsu", "tiny-batch=4", "sweep.png",
    }  # fmt: skip
    told = json.loads(Path("out/compare.json").read_text("utf-8"))
    assert told["classes"] == ["matrix", "fibre", "pore"]
    assert [row["name"] for row in told["rows"]] == [
        "tiny", "zeror", "otsu", "tiny-slices=1", "tiny-noise=0.5", "tiny-batch=4",
    ]  # fmt: skip
    recipe = nets.load("out/tiny")[1]
    assert (recipe.epochs, recipe.settings, recipe.classes) == (
        2, {"width": 2, "norm": False}, 3,
    )  # fmt: skip
    assert recipe.images == ((str(Path("grey.tif").absolute()),),)
    again = Path("out/compare.json").read_bytes()
    # By files instead of options: the same runs, found again.
    status, said, _ = run(
        "out/tiny/recipe.toml", "--classical", "zeror", "--out", "out", "--quiet", "--no-pictures",
        "--names", "matrix,fibre,pore",
    )  # fmt: skip
    assert (status, said) == (0, "")
    rows = json.loads(Path("out/compare.json").read_text("utf-8"))["rows"]
    assert rows[0].pop("swept") is None
    before = json.loads(again)["rows"][:2]
    assert before[0].pop("swept") == {"batch": 2}
    assert rows == before


def test_settings_of_one_network_and_of_all(run, monkeypatch):
    seen = []

    def compare(recipes, *_, **__):
        seen.append(recipes)
        raise KeyboardInterrupt

    monkeypatch.setattr(nets, "compare", compare)
    status, _, error = run(
        "--network", "tiny", "--network", "unet", "--network", "tiny", *DATA, "--set", "width=3",
        "--set", "unet:depth=1", "--minutes", 0.5, "--classes", 3,
    )  # fmt: skip
    assert status == 130
    assert error == "bimmjax: interrupted; finished epochs are kept, the same command goes on\n"
    (recipes,) = seen
    assert {name: recipe.settings for name, recipe in recipes.items()} == {
        "tiny": {"width": 3}, "unet": {"width": 3, "depth": 1}, "tiny-2": {"width": 3},
    }  # fmt: skip
    assert {recipe.minutes for recipe in recipes.values()} == {0.5}


def test_refusals_take_one_line(run):
    cases = {
        "recipes: got none": DATA,
        "image: got none, wants --image": ("--network", "tiny"),
        "labels: got them alone": ("--network", "tiny", "--labels", "labels.tif"),
        "labels: got none for grey.tif": ("--network", "tiny", "--image", "grey.tif"),
        "set: got a setting of vnet": (*SMALL, *DATA, "--set", "vnet:width=3"),
        "set: got 'depth'": (*SMALL, *DATA, "--set", "tiny:depth"),
        "slices: got 1.5": (*SMALL, *DATA, "--slices", 1.5),
        "sweep: got 'batch', wants NAME=": (*SMALL, *DATA, "--sweep", "batch"),
        "classical: got 'magic'": (*SMALL, *DATA, "--classical", "magic"),
        "recipe: got none.toml": ("none.toml", *DATA),
        "names: got a, wants one for each of 3": (*SMALL, *DATA, "--names", "a"),
    }
    for text, words in cases.items():
        status, said, error = run(*words, "--out", "out")
        assert (status, said) == (2, "")
        assert error.startswith(f"bimmjax: error: {text}"), error
        assert error.count("\n") == 1
    assert not Path("out").exists()


def test_help_has_the_options_of_train(run):
    status, said, _ = run("--help")
    assert status == 0
    assert "Example: bimmjax compare --network unet" in said
    assert all(option in said for option in ("--learning-rate", "--minutes", "--ablate", "--sweep"))
