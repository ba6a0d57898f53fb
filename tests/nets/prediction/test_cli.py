"""`bimmjax predict` from a folder of training to labels and a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bimmjax import nets, open_volume
from bimmjax.cli import main
from bimmjax.nets import predict


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, blobs):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIMMJAX_CACHE", str(tmp_path / "cache"))
    tifffile.imwrite("scan.tif", blobs)

    def run(*words):
        capsys.readouterr()
        status = main(["predict", *map(str, words)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_predict_writes_labels_and_tells_of_them(run, run_folder, blobs):
    status, said, error = run(run_folder, "scan.tif", "--spacing", 2, "--unit", "um")
    assert (status, error) == (0, "")
    labels = open_volume("scan-labels.zarr")
    assert (labels.spacing, labels.unit) == ((2.0, 2.0, 2.0), "um")
    assert (
        labels.read(*[slice(None)] * 3) == predict(run_folder, blobs).read(*[slice(None)] * 3)
    ).all()
    told = json.loads(Path("scan-labels.zarr/predict.json").read_text("utf-8"))
    assert f"Share of class 1: {100 * told['volume_fractions'][1]:.3f} %" in said
    assert "Mvoxel/s on 1 x cpu" in said
    assert "Written: scan-labels.zarr" in said
    assert Path("scan-labels.zarr/labels.png").stat().st_size > 10_000
    # Once more: it is there.
    assert run(run_folder, "scan.tif", "--spacing", 2, "--unit", "um", "--quiet") == (0, "", "")


def test_predict_takes_options(run, run_folder):
    words = ("--out", "a.zarr", "--uncertainty", "--consensus", "--tile", 36, 42, "--quiet")
    assert run(run_folder, "scan.tif", *words) == (0, "", "")
    assert open_volume("a.zarr", dataset="uncertainty").shape == (11, 37, 42)
    assert open_volume("a.zarr::uncertainty").shape == (11, 37, 42)
    told = json.loads(Path("a.zarr/predict.json").read_text("utf-8"))
    assert told["identity"]["consensus"] is True
    assert told["tiles"] == [[36, 42], [12, 42], [12, 38]]  # no more than there is
    assert Path("a.zarr/labels.png").stat().st_size > 10_000
    status, said, error = run(run_folder, "scan.tif", *words[:2])
    assert (status, said, error.count("\n")) == (2, "", 1)
    assert error.startswith("bimmjax: error: out: got a.zarr, made with another uncertainty")
    assert (
        run(run_folder, "scan.tif", *words[:2], "--overwrite", "--no-pictures", "--quiet")[0] == 0
    )
    assert not Path("a.zarr/labels.png").exists()
    assert not Path("a.zarr/uncertainty").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("absent", "scan.tif"), "folder: got absent, which is no run of training; wants one"),
        (("NET", "absent.tif"), "image: got absent.tif, which does not exist"),
        (("NET", "scan.tif", "--channel", "scan.tif"), "image: got 2 channels, wants 1"),
        (("NET", "scan.tif", "--tile", "8"), "tile: got '8', wants two sizes or three"),
        (("NET", "scan.tif", "--tile", "8", "8"), "tile: got (8, 8), wants at least (24, 24)"),
        (("NET", "scan.tif", "--which", "first"), "which: got 'first'"),
        (("NET", "scan.tif", "--prune", "2"), "prune: got 2 for a ModularUNet, wants a UNet++"),
    ],
)
def test_bad_input_is_told_in_one_line(words, message, run, run_folder):
    status, said, error = run(*[run_folder if word == "NET" else word for word in words])
    assert (status, said, error.count("\n")) == (2, "", 1)
    assert message in error
    assert [path.name for path in Path().glob("*.zarr")] == []


def test_interrupted_it_tells_how_it_goes_on(run, run_folder, monkeypatch):
    def stopped(*told, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(nets, "predict", stopped)
    status, said, error = run(run_folder, "scan.tif", "--overwrite")
    assert (status, said) == (130, "")
    assert error.endswith("interrupted; the same command goes on\n")


def test_a_repeated_command_tells_that_all_was_there(run, run_folder):
    words = (run_folder, "scan.tif", "--no-pictures")
    assert "Finished before" not in run(*words)[1]
    said = run(*words)[1]
    assert "Finished before: nothing was labelled" in said
    assert "Mvoxel/s" not in said


def test_a_constant_volume_is_refused(run, run_folder):
    np.save("flat.npy", np.zeros((4, 16, 16), np.uint8))
    status, _, error = run(run_folder, "flat.npy")
    assert (status, error.count("\n")) == (2, 1)
    assert "flat" in error
