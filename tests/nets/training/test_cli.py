"""`bimmjax train`: folders, refusals, going on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bimmjax import InputError, nets, plot
from bimmjax.cli import main

SMALL = (
    "--network", "tiny", "--set", "width=3", "--patch", "8", "8", "--batch", "2", "--steps", "2",
    "--split", "0.6", "0.2", "0.2", "--margin", "1", "--schedule", "constant",
)  # fmt: skip


@pytest.fixture
def run(tiny, tmp_path, monkeypatch, capsys, pair):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIMMJAX_CACHE", str(tmp_path / "cache"))
    for name, array in zip(("grey", "labels"), pair, strict=True):
        tifffile.imwrite(f"{name}.tif", array)

    def run(*words):
        capsys.readouterr()
        status = main(["train", *map(str, words)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_train_goes_on_and_repeats(run, tmp_path):
    status, said, error = run("grey.tif", "labels.tif", *SMALL, "--epochs", 1, "--out", "net")
    assert (status, error) == (0, "")
    assert "IoU of class 0: " in said
    assert "Written: net" in said
    assert {path.name for path in Path("net").iterdir()} == {
        "recipe.toml", "log.csv", "checkpoints", "curves.png", "train.json",
    }  # fmt: skip
    net, recipe = nets.load("net")
    assert recipe.classes == 3  # as found in the labels
    assert recipe.images == ((str(tmp_path / "grey.tif"),),)
    assert recipe.settings == {"width": 3}
    assert recipe.patch == (8, 8)
    assert net.first.kernel.shape == (3, 3, 1, 3)
    status, said, _ = run("grey.tif", "labels.tif", *SMALL, "--epochs", 2, "--out", "net")
    assert (status, "2 epochs" in said) == (0, True)
    assert said.startswith("Going on after epoch 1\n")
    said = run("grey.tif", "labels.tif", *SMALL, "--epochs", 2, "--out", "net")[1]
    assert said.startswith("Finished before: nothing was trained\n")
    assert json.loads(Path("net/train.json").read_text("utf-8"))["epochs"] == 2
    status, said, _ = run("--recipe", "net/recipe.toml", "--out", "again", "--quiet")
    assert (status, said) == (0, "")
    again = run("--recipe", "net/recipe.toml", "--out", "net", "--frozen-norms")
    assert "frozen_norms = true, not false" in again[2]
    one, other = (nets.read_log(Path(name)) for name in ("net", "again"))
    assert [row["training_loss"] for row in one] == [row["training_loss"] for row in other]
    assert Path("net/curves.png").stat().st_size > 10_000
    status, said, error = run("--recipe", "net/recipe.toml", "--batch", 3, "--out", "net")
    assert (status, error.count("\n")) == (2, 1)
    assert "batch = 3, not 2" in error
    # A setting beside those of the recipe, not in their place; a word that Python would write.
    words = ("--recipe", "net/recipe.toml", "--set", "norm=False", "--epochs", 1, "--out", "set")
    assert run(*words)[0] == 0
    assert nets.load("set")[1].settings == {"width": 3, "norm": False}


def test_a_simulated_data_set(run, tmp_path, pair):
    from bimmjax.volumes import convert

    grey, labels = pair
    for number in range(2):
        folder = tmp_path / "set" / f"volume-{number:04}.zarr"
        for part, array in (("image/2kV", grey), ("image/10kV", 2 * grey), ("truth", labels)):
            convert(array, folder / part)
        (folder / "image" / "zarr.json").write_text("{}")  # as a data set has it
    (tmp_path / "set" / "dataset.json").write_text("{}")
    status, _, error = run("set", *SMALL, "--epochs", 1, "--out", "net", "--no-pictures")
    assert (status, error) == (0, "")
    assert not Path("net/curves.png").exists()
    recipe = nets.load("net")[1]
    assert recipe.channels == 2
    assert recipe.labels[1] == f"{tmp_path}/set/volume-0001.zarr::truth"
    assert [path.split("/")[-1] for path in recipe.images[0]] == ["2kV", "10kV"]


def test_refusals_take_one_line(run):
    tifffile.imwrite("many.tif", np.full((24, 24, 24), 40, np.uint8))
    cases = {
        "labels: got 40, which makes 41 classes": ("grey.tif", "many.tif", *SMALL),
        "image: got none": ("--network", "tiny"),
        "labels: got none for grey.tif": ("grey.tif", "--network", "tiny"),
        "set: got 'width'": ("grey.tif", "labels.tif", "--network", "tiny", "--set", "width"),
        "patch: got '8', wants two": ("grey.tif", "labels.tif", "--network", "tiny", "--patch", 8),
        "labels: got dtype float32": ("labels.tif", "grey.tif", *SMALL),
        "image: got none.tif": ("none.tif", "labels.tif", *SMALL),
        "labels: got none.tif, which does not exist": ("grey.tif", "none.tif", *SMALL),
        "recipe: got none.toml": ("--recipe", "none.toml"),
    }
    for text, words in cases.items():
        status, said, error = run(*words)
        assert (status, said) == (2, "")
        assert error.startswith(f"bimmjax: error: {text}"), error
        assert error.count("\n") == 1
    assert not Path("net").exists()


def test_ctrl_c_tells_that_epochs_are_kept(run, monkeypatch):
    one = KeyboardInterrupt()

    def interrupted(*_, **__):
        raise one

    monkeypatch.setattr(nets, "train", interrupted)
    said = "bimmjax: interrupted; finished epochs are kept, the same command goes on"
    status, _, error = run("grey.tif", "labels.tif", *SMALL)
    assert (status, error) == (130, f"{said}\n")
    one.add_note("but the last")
    assert run("grey.tif", "labels.tif", *SMALL)[2] == f"{said}; but the last\n"


@pytest.mark.filterwarnings("always:batch")
def test_a_warning_takes_one_line(run):
    words = ["8" if word == "8" else word for word in SMALL]
    words[words.index("--batch") + 1] = "1"
    status, _, error = run("grey.tif", "labels.tif", *words, "--epochs", 1, "--quiet")
    assert status == 0
    assert error.startswith("Warning: batch: got 1 with batch normalisation")
    assert error.count("\n") == 1


def test_help_shows_an_example(run):
    status, said, _ = run("--help")
    assert status == 0
    assert "Example: bimmjax train scan.tif labels.tif --network modular-unet" in said


def test_curves_of_one_epoch_without_validation():
    row = {"epoch": 1, "learning_rate": 0.1, "training_loss": 0.5, "validation_loss": None,
           "validation_mean_iou": None, "validation_iou_0": None, "seconds": 1.0}  # fmt: skip
    made = plot.training([row])
    assert [axes.get_title(loc="left") for axes in made.axes] == [
        "Best: epoch 1",
        "No validation block",
    ]
    with pytest.raises(InputError, match="history: got no epoch"):
        plot.training([])


def test_curves_show_what_the_log_says():
    rows = [
        {"epoch": n + 1, "learning_rate": 0.1 if n < 2 else 0.01, "training_loss": 1.0 / (n + 1),
         "validation_loss": abs(n - 2.0), "validation_mean_iou": 0.5, "validation_iou_0": 0.4,
         "validation_iou_1": None, "seconds": 1.0}
        for n in range(4)
    ]  # fmt: skip
    losses, scores = plot.training(rows).axes
    np.testing.assert_array_equal(losses.lines[1].get_ydata(), [2.0, 1.0, 0.0, 1.0])
    assert losses.get_title(loc="left") == "Best: epoch 3"
    assert [line.get_label() for line in scores.lines[:2]] == ["0", "mean"]
    assert [line.get_xdata()[0] for line in losses.lines[2:]] == [3, 3]
