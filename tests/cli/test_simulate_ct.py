"""`bimmjax simulate ct`: images on disk, what is told beside them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from bimmjax import convert, open_volume, sim

Run = Callable[..., Any]
EVERYTHING = (slice(None),) * 3


@pytest.fixture
def labels(here: Path) -> np.ndarray:
    body = sim.gaussian_structure(jax.random.key(0), (20, 24, 28), (0.3, 0.3, 0.4), 4.0)
    made = np.asarray(sim.structure_labels(body))
    convert(made, here / "body.zarr", spacing=5.0, unit="nm")
    (here / "body.zarr" / "simulate.json").write_text('{"kind": "body"}', "utf-8")
    return made


def _told(path: Path) -> dict[str, Any]:
    return json.loads((path / "simulate.json").read_text("utf-8"))


def test_a_scan_with_every_artefact(labels: np.ndarray, run: Run, here: Path):
    words = (
        "simulate", "ct", "body.zarr", "--blur", "1.2", "--noise", "0.05", "--noise-length", "0.7",
        "--rings", "0.02", "--cupping", "0.1", "--fringes", "0.5", "20", "--centre", "8", "12",
        "--intensities", "0.1", "0.5", "0.9", "--seed", "4",
    )  # fmt: skip
    ended = run(*words)
    assert (ended.status, ended.out) == (0, "Written: body-ct.zarr\n")
    image = open_volume(here / "body-ct.zarr")
    assert (image.spacing, image.unit) == ((5.0,) * 3, "nm")
    settings = {
        "blur_std": 1.2, "noise_std": 0.05, "noise_length": 0.7, "rings": 0.02, "cupping": 0.1,
        "fresnel": 0.5, "delta_beta": 20.0, "centre": (8.0, 12.0),
    }  # fmt: skip
    wanted = sim.ct_image(jax.random.key(4), labels, (0.1, 0.5, 0.9), **settings)
    np.testing.assert_allclose(image.read(*EVERYTHING), wanted, atol=1e-4)
    told = _told(here / "body-ct.zarr")
    assert told["settings"]["intensities"] == [0.1, 0.5, 0.9]
    for name, value in settings.items():
        assert told["settings"][name] == pytest.approx(value)
    assert told["truth"]["volume_fractions"] == pytest.approx([0.3, 0.3, 0.4], abs=1e-3)
    assert told["truth"]["structure"] == {"kind": "body"}
    assert (told["seed"], told["warnings"]) == (4, [])
    assert (here / "body-ct.zarr" / "simulate.png").stat().st_size > 10_000


@pytest.mark.parametrize(("dtype", "ends"), [("uint8", (64, 192)), ("uint16", (16384, 49152))])
def test_integers_and_coarser_voxels(
    dtype: str, ends: tuple[int, int], labels: np.ndarray, run: Run, here: Path
):
    words = ("simulate", "ct", "body.zarr", "--dtype", dtype, "--supersample", "2", "--noise", "0")
    ended = run(*words, "--blur", "0", "--out", "a.zarr", "--no-pictures", "--quiet")
    assert (ended.status, ended.out, ended.error) == (0, "", "")
    image = open_volume(here / "a.zarr")
    assert (image.shape, image.dtype, image.spacing[0]) == ((10, 12, 14), dtype, 10.0)
    grey = np.linspace(*ends, 3)
    wanted = grey[labels].reshape(10, 2, 12, 2, 14, 2).mean((1, 3, 5))
    assert np.abs(image.read(*EVERYTHING) - wanted).max() <= 0.51
    assert not (here / "a.zarr" / "simulate.png").exists()


def test_clipping_is_told(labels: np.ndarray, run: Run):
    ended = run("simulate", "ct", "body.zarr", "--dtype", "uint8", "--noise", "40", "--no-pictures")
    assert ended.status == 0
    assert ended.out.startswith("Warning: intensities from 64 to 192 with noise")


@pytest.mark.parametrize("name", ["noise", "rings"])
def test_what_rounding_hides_is_told(name: str, labels: np.ndarray, run: Run):
    plain = ("simulate", "ct", "body.zarr", "--no-pictures", f"--{name}", "0.1")
    ended = run(*plain, "--dtype", "uint16")
    told = [line for line in ended.out.splitlines() if line.startswith("Warning: ")]
    assert len(told) == 1
    assert told[0].startswith(f"Warning: {name} of 0.1")
    assert "below one grey value of uint16, whose intensities are 16384 32768 49152" in told[0]
    assert "Warning" not in run(*plain, "--overwrite").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--blur -1", "blur: got -1.0, wants a number from 0 to 16"),
        ("--fringes 17 20", "fringes: got 17.0, wants a number from 0 to 16"),
        ("--intensities 0", "intensities: got 1 number, wants 3, one per label"),
        ("--out a.tif", "out: got a.tif, wants a name that ends in .zarr"),
        ("--noise nan", "noise: got nan, wants a number"),
        ("--intensities 1 2", "intensities: got 2 numbers, wants 3, one per label"),
        ("--dtype int8", "dtype: got 'int8', wants one of float32, uint8, uint16"),
        ("--fringes 1", "fringes: got '1', wants 2 numbers"),
        ("--cupping 2", "cupping: got 2, wants a number from 0 to 1"),
        ("--supersample 99", "supersample: got 99, wants a whole number"),
        ("--seed -1", "seed: got -1, wants a whole number"),
        ("--out body.zarr", "out: got body.zarr, which exists; wants a new name"),
    ],
)
def test_refusals(words: str, message: str, labels: np.ndarray, run: Run, here: Path):
    ended = run("simulate", "ct", "body.zarr", *words.split(), "--no-pictures")
    assert (ended.status, ended.error.count("\n")) == (2, 1)
    assert ended.error.startswith(f"bimmjax: error: {message}")
    assert not (here / "body-ct.zarr").exists()


def test_grey_values_are_no_labels(run: Run, here: Path):
    convert(np.random.default_rng(0).random((8, 8, 8)), here / "grey.zarr")
    ended = run("simulate", "ct", "grey.zarr")
    assert ended.error == (
        "bimmjax: error: structure: got grey.zarr of float64, wants integer labels\n"
    )
