"""`bimmjax simulate`: each kind of structure on disk, its truth beside it, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from bimmjax import open_volume, sim
from bimmjax.cli import _simulate_bse, _simulate_ct, _simulate_objects, _simulate_structures

Run = Callable[..., Any]
EVERYTHING = (slice(None),) * 3
SMALL = ("--shape", "40", "44", "48")
KINDS = {
    "wave": ("--wavelength", "16"),
    "hierarchical": ("--wavelength", "30", "8"),
    "noise": ("--wavelength", "16"),
    "pores": ("--radius", "6", "--radius-std", "1"),
    "spheres": ("--diameter", "10", "12"),
    "fibres": ("--radius", "3", "--fibre-fraction", "0.25", "--direction", "1", "0", "0"),
}


@pytest.mark.parametrize("kind", [*KINDS, "selfsimilar"])
def test_every_kind_shows_an_example(kind: str, run: Run):
    ended = run("simulate", kind, "--help")
    assert (ended.status, ended.error) == (0, "")
    assert f"Example: bimmjax simulate {kind}" in ended.out


def test_examples_work_one_after_the_other(run: Run, here: Path):
    examples = [f"bimmjax simulate {_simulate_structures.EXAMPLES[_simulate_structures.wave]}"]
    examples += [_simulate_ct.EXAMPLE, _simulate_bse.EXAMPLE]
    similar = _simulate_objects.EXAMPLES[_simulate_objects.selfsimilar]
    examples.append(f"bimmjax simulate {similar}")
    for example in examples:
        words = example.replace("256 256 256", "24 24 24").replace("--kv 1 2 4", "--kv 1").split()
        ended = run(*words[1:], "--no-pictures")
        assert ended.status == 0, ended.error
    made = {"wave.zarr", "scan.zarr", "bse.zarr", "similar.zarr"}
    assert {path.name for path in here.iterdir()} == made


@pytest.mark.parametrize("kind", KINDS)
def test_labels_truth_and_picture(kind: str, run: Run, here: Path):
    share = 0.9 if kind == "fibres" else 0.3
    words = ("simulate", kind, *SMALL, "--solid-fraction", share, *KINDS[kind], "--seed", "3")
    ended = run(*words, "--quiet", "--no-pictures")
    assert (ended.status, ended.out, ended.error) == (0, "", "")
    labels = open_volume(here / f"{kind}.zarr").read(*EVERYTHING)
    told = json.loads((here / f"{kind}.zarr" / "simulate.json").read_text("utf-8"))
    assert (labels.shape, labels.dtype) == ((40, 44, 48), np.uint8)
    counts = np.bincount(labels.ravel(), minlength=len(told["phases"]))
    assert counts[1:].sum() == round(share * labels.size)
    assert told["truth"]["volume_fractions"] == pytest.approx(counts / labels.size)
    assert all(area > 0 for area in told["truth"]["interface_areas"].values())
    assert (told["kind"], told["seed"], told["shape"]) == (kind, 3, [40, 44, 48])
    assert told["settings"]["solid_fraction"] == share
    assert "jax" in told["versions"]


def test_a_seed_gives_it_again_with_lengths_in_the_unit(run: Run, here: Path):
    plain = ("simulate", "pores", *SMALL, "--quiet", "--no-pictures")
    assert run(*plain, "--radius", "6", "--radius-std", "1", "--out", "a.zarr").status == 0
    scaled = (*plain, "--radius", "15", "--radius-std", "2.5", "--spacing", "2.5", "--unit", "nm")
    assert run(*scaled, "--out", "b.zarr").status == 0
    first, again = open_volume(here / "a.zarr"), open_volume(here / "b.zarr")
    np.testing.assert_array_equal(first.read(*EVERYTHING), again.read(*EVERYTHING))
    assert (again.spacing, again.unit) == ((2.5, 2.5, 2.5), "nm")
    a, b = (json.loads((here / f"{n}.zarr/simulate.json").read_text("utf-8")) for n in "ab")
    area = a["truth"]["interface_areas"]["0-1"]
    assert b["truth"]["interface_areas"]["0-1"] == pytest.approx(area / 2.5)
    assert run(*plain, "--seed", "1", "--out", "c.zarr").status == 0
    assert (open_volume(here / "c.zarr").read(*EVERYTHING) != first.read(*EVERYTHING)).any()


def test_ligaments_are_told_in_the_unit(run: Run, here: Path):
    words = ("simulate", "wave", *SMALL, "--ligament", "24", "--spacing", "2.5", "--unit", "nm")
    ended = run(*words)
    assert ended.status == 0
    assert "Share of solid (phase 1): 30.0" in ended.out
    assert (here / "wave.zarr" / "simulate.png").stat().st_size > 10_000
    told = json.loads((here / "wave.zarr" / "simulate.json").read_text("utf-8"))
    wavelength = sim.ligament_wavelength(24.0 / 2.5, 0.3)
    assert told["settings"]["wavelength"] == pytest.approx(wavelength)
    labels = open_volume(here / "wave.zarr").read(*EVERYTHING)
    made = sim.levelled_wave_volume(jax.random.key(0), (40, 44, 48), 0.3, wavelength)
    np.testing.assert_array_equal(labels, made.volume.read(*EVERYTHING))
    ended = run(*words)
    assert (ended.status, ended.error.count("\n")) == (2, 1)
    assert "out: got wave.zarr, which exists" in ended.error
    assert run(*words, "--overwrite", "--quiet", "--no-pictures").status == 0
    similar = ("simulate", "selfsimilar", "wave.zarr", "--solid-fraction", "0.15")
    assert run(*similar, "--scales", "1", "0.5").status == 0
    masked = open_volume(here / "selfsimilar.zarr")
    assert (masked.shape, masked.spacing, masked.unit) == ((40, 44, 48), (2.5,) * 3, "nm")
    told = json.loads((here / "selfsimilar.zarr" / "simulate.json").read_text("utf-8"))
    assert told["settings"]["scales"] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("wave", "--solid-fraction", "1.2"), "solid_fraction: got 1.2"),
        (("wave", "--solid-fraction", "nan"), "solid_fraction: got nan"),
        (("wave", "--wavelength", "1.9"), "wavelength: got 1.9, wants at least 2 voxels"),
        (("wave", "--wavelength", "49"), "wavelength: got 49, wants at most the shortest edge, 40"),
        (("wave", "--wavelength", "8", "9"), "wavelength: got '8 9', wants 1 number"),
        (("wave", "--ligament", "5"), "ligament: got it without --spacing"),
        (("wave", "--ligament", "5", "--wavelength", "9"), "ligament: got it beside"),
        (("wave", "--shape", "40", "40"), "shape: got '40 40'"),
        (("wave", "--waves", "0"), "waves: got 0, wants a whole number"),
        (("wave", "--out", "a.tif"), "out: got a.tif, wants a name that ends in .zarr"),
        (("wave", "--seed", "-1"), "seed: got -1"),
        (("wave", "--spacing", "1", "2", "2"), "spacing: got 1,2,2, wants one number"),
        (("wave", "--unit", "parsec"), "unit: got 'parsec'"),
        (("hierarchical", "--wavelength", "20"), "wavelength: got '20', wants 2 numbers"),
        (("hierarchical", "--wavelength", "8", "20"), "wavelengths: got"),
        (("hierarchical", "--upper-fraction", "0", "--wavelength", "30", "8"), "upper_fraction: "),
        (("noise", "--solid-fraction", "0"), "fractions: got"),
        (("noise", "--wavelength", "0"), "wavelength: got 0"),
        (("pores", "--radius", "0"), "radius: got 0"),
        (("spheres", "--solid-fraction", "0.9"), "solid_fraction: got 0.9, wants at most 0.74"),
        (("spheres", "--diameter", "big"), "diameter: got 'big'"),
        (("fibres", "--direction", "1", "0"), "direction: got '1 0', wants 3 numbers"),
        (("fibres", "--solid-fraction", "1"), "solid_fraction: got 1"),
        (("selfsimilar", "none.tif"), "none.tif"),
    ],
)
def test_bad_input_takes_one_line(words: tuple[str, ...], message: str, run: Run, here: Path):
    shape = () if words[0] == "selfsimilar" or "--shape" in words else SMALL
    out = () if "--out" in words else ("--out", "no.zarr")
    ended = run("simulate", *words, *shape, *out)
    assert (ended.status, ended.out, ended.error.count("\n")) == (2, "", 1)
    assert message in ended.error
    assert list(here.iterdir()) == []


def test_volumes_that_are_not_binary_are_refused(run: Run, here: Path):
    np.save(here / "grey.npy", np.random.default_rng(0).normal(size=(8, 8, 8)))
    ended = run("simulate", "selfsimilar", "grey.npy")
    assert ended.status == 2
    assert "volume: got an array of shape (8, 8, 8) and dtype float64" in ended.error
