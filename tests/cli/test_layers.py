"""From nothing to a structure on the command line: simulate, learn every layer, reconstruct."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bimmjax import open_volume

Run = Callable[..., Any]
SIMULATE = (
    "simulate", "dataset", "--kind", "wave", "--shape", "10", "40", "40", "--kv", "1", "2",
    "--wavelength", "14", "--solid-fraction", "0.4", "--quiet",
)  # fmt: skip


def test_layers_are_simulated_learned_and_labelled(run: Run, here: Path):
    ended = run(*SIMULATE, "--volumes", "1", "--thickness", "12", "3", "--seed", "1", "--out", "a")
    assert ended.status == 0, ended.error
    layers = open_volume(here / "a" / "volume-0000.zarr", dataset="layers")
    truth = open_volume(here / "a" / "volume-0000.zarr", dataset="truth")
    assert layers.shape[0] > truth.shape[0]
    np.testing.assert_array_equal(np.asarray(layers)[-1], np.asarray(truth)[-1])
    few = ("--patch", "16", "16", "--batch", "2", "--epochs", "1", "--steps", "2")
    size = ("--network", "unet", "--set", "width=2", "--set", "depth=1")
    ended = run("train", "a", "--layers", *size, *few, "--out", "net", "--quiet")
    assert ended.status == 0, ended.error
    ended = run(
        "reconstruct", "1=a/volume-0000.zarr::image/1kV", "2=a/volume-0000.zarr::image/2kV",
        "--order", "layers", "--network", "net", "--thickness", "images", "--no-register",
        "--out", "made", "--until", "label",
    )  # fmt: skip
    assert ended.status == 0, ended.error
    assert (here / "made" / "label" / "labels.png").exists()
    found = open_volume(here / "made" / "label" / "labels.zarr")
    assert found.spacing[0] == found.spacing[2]


def test_even_slices_have_no_layers(run: Run, here: Path):
    ended = run(*SIMULATE, "--volumes", "1", "--seed", "1", "--out", "b", "--no-pictures")
    assert ended.status == 0, ended.error
    ended = run("train", "b", "--layers", "--out", "net")
    assert ended.status == 2
    assert "layers: got b/volume-0000.zarr, which has none" in ended.error
    ended = run("train", "--layers", "--out", "net")
    assert "layers: got no IMAGE" in ended.error
