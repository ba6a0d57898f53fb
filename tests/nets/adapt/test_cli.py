"""`bimmjax adapt` from volumes to a translated one and its pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bimmjax import nets, open_volume
from bimmjax.cli import _adapt, main
from bimmjax.cli._progress import Progress


@pytest.fixture
def run(here, kinds, capsys):
    tifffile.imwrite("simulated.tif", kinds.simulated)
    tifffile.imwrite("real.tif", kinds.real)
    tifffile.imwrite("labels.tif", kinds.labels)

    def run(*words):
        capsys.readouterr()
        status = main(["adapt", *map(str, words)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_unpaired_then_apply(run, unpaired, kinds, monkeypatch):
    stages: dict[str, tuple[float, float | None]] = {}

    def update(self, name, done, total, counted=""):
        stages[name] = done, total

    monkeypatch.setattr(Progress, "update", update)
    monkeypatch.setattr(_adapt, "_SIDE", 24)
    # The command of the run that is there, which has nothing left to learn.
    shutil.copytree(unpaired.folder, "run")
    words = ["--out", "run", "--labels", "labels.tif", "--width", 2, "--blocks", 0]
    words += ["--critic-width", 4, "--buffer", 2, "--patch", 16, "--epochs", 2, "--steps", 3]
    status, said, error = run("unpaired", "simulated.tif", "real.tif", *words)
    assert (status, error) == (0, "")
    assert "Edges kept (correlation of gradients): " in said
    assert "Dice of a threshold, before and after: " in said
    assert stages["Learning"] == (6, 6)
    # The part of a slice that is looked at, however large slices are.
    assert stages["Looking"] == (5 * 24 * 24, 5 * 24 * 24)
    for name in ("losses.png", "examples.png"):
        assert Path("run", name).stat().st_size > 10_000
    told = json.loads(Path("run/adapt.json").read_text("utf-8"))
    assert 0.9 < told["shapes"]["gradient_correlation"] <= 1.0
    status, said, error = run("apply", unpaired.folder, "real.tif", "--back")
    assert (status, error) == (0, "")
    assert "Written: real-adapted.zarr" in said
    assert Path("real-adapted.zarr/examples.png").stat().st_size > 10_000
    wanted = np.asarray(nets.translate(unpaired.folder, kinds.real, back=True))
    np.testing.assert_array_equal(np.asarray(open_volume("real-adapted.zarr")), wanted)


def test_paired_takes_labels_and_depth(run):
    words = ["--channel", "labels.tif", "--below", 3]
    how = ["--width", 4, "--depth", 1, "--patch", 16, "--batch", 4, "--epochs", 1, "--steps", 2]
    how += ["--quiet", "--no-pictures"]
    assert run("paired", "simulated.tif", "real.tif", "--out", "run", *words, *how) == (0, "", "")
    assert json.loads(Path("run/recipe.json").read_text("utf-8"))["channels"] == 3
    assert not Path("run/examples.png").exists()
    out = ["--out", "a.zarr", "--quiet"]
    assert run("apply", "run", "simulated.tif", *words, *out) == (0, "", "")
    assert open_volume("a.zarr").shape == (5, 40, 44)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("unpaired", "absent.tif", "real.tif", "--out", "a"), "simulated: got absent.tif"),
        (("unpaired", "simulated.tif", "real.tif"), "Missing option '--out'"),
        (("unpaired", "simulated.tif", "real.tif", "--out", "a", "--patch", 7), "patch: got 7"),
        (("unpaired", "simulated.tif", "real.tif", "--out", "."), "out: got ., which is no run"),
        (("paired", "simulated.tif", "real.tif", "--out", "a", "--below", 2), "below: got it"),
        (("apply", "absent", "simulated.tif"), "run: got absent, which is no run of adapt"),
        (("apply", "absent", "simulated.tif", "--tile", "8"), "tile: got '8', wants two sizes"),
    ],
)
def test_bad_input_is_told_in_one_line(words, message, run):
    status, said, error = run(*words)
    assert (status, said, error.count("\n")) == (2, "", 1)
    assert error.startswith(f"bimmjax: error: {message}")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "labels: got labels.tif, "),
        (np.ones((5, 40, 43), np.uint8), "labels: got shape (5, 40, 43), wants that of"),
        (np.ones((5, 40, 44), np.float32), "labels: got dtype float32, wants whole numbers"),
        (np.zeros((5, 40, 44), np.uint8), "labels: got no voxel of label 1 in the 5 slices"),
    ],
)
def test_bad_labels_are_told_before_learning(labels, message, run):
    Path("labels.tif").unlink()
    if labels is not None:
        tifffile.imwrite("labels.tif", labels)
    words = ["simulated.tif", "real.tif", "--out", "run", "--labels", "labels.tif"]
    status, said, error = run("unpaired", *words)
    assert (status, said, error.count("\n")) == (2, "", 1)
    assert error.startswith(f"bimmjax: error: {message}")
    assert not Path("run").exists()


def test_a_critic_of_pairs_has_a_width(run):
    words = ["paired", "simulated.tif", "real.tif", "--out", "run", "--critic-width", 8]
    status, _, error = run(*words)
    assert (status, error.count("\n")) == (2, 1)
    assert "critic_width: got 8, which has no effect here; wants an adversarial weight" in error
    # It is taken beside a critic: what is refused next is the patch.
    assert "patch: got 9" in run(*words, "--adversarial", 0.1, "--patch", 9)[2]


@pytest.mark.parametrize("verb", ["unpaired", "paired", "apply"])
def test_help_shows_an_example(verb, run):
    status, said, _ = run(verb, "--help")
    assert status == 0
    assert f"Example: bimmjax adapt {verb} " in " ".join(said.split())
