"""`bimmjax simulate dataset`: sets that are the same however often the work was interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bimmjax import open_volume, sim
from bimmjax.cli import _dataset_run

Run = Callable[..., Any]
EVERYTHING = (slice(None),) * 3
SET = (
    "simulate", "dataset", "--shape", "16", "24", "24", "--spacing", "2", "--kv", "0.8", "1",
    "--kind", "wave", "--wavelength", "8", "--solid-fraction", "0.2", "0.4", "--no-pictures",
    "--drift", "0", "0",
)  # fmt: skip
PARTS = ("image/0.8kV", "image/1kV", "truth")


def _bits(folder: Path) -> dict[str, bytes]:
    """Of all voxels of all volumes, and what is told of them."""
    found = {"dataset.json": (folder / "dataset.json").read_bytes()}
    for path in sorted(folder.glob("volume-*.zarr")):
        found[path.name] = (path / "simulate.json").read_bytes()
        for part in PARTS:
            found[f"{path.name}/{part}"] = (
                open_volume(path, dataset=part).read(*EVERYTHING).tobytes()
            )
    return found


@pytest.fixture
def whole(run: Run, here: Path) -> Path:
    assert run(*SET, "--volumes", "3", "--out", "whole", "--quiet").status == 0
    return here / "whole"


def test_interrupted_work_goes_on_bit_by_bit(
    whole: Path, run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
):
    write = _dataset_run._write_volume

    def killed(target: Path, *rest: Any) -> None:
        if target.name == "volume-0001.zarr":
            # As after kill -9: part of a volume, under its hidden name.
            left = target.with_name(f".{target.name}.0123abcd.partial") / "image"
            left.mkdir(parents=True)
            raise KeyboardInterrupt
        write(target, *rest)

    monkeypatch.setattr(_dataset_run, "_write_volume", killed)
    words = (*SET, "--volumes", "3", "--out", "parts")
    ended = run(*words)
    assert ended.status == 130
    assert ended.error.endswith(
        "bimmjax: interrupted; finished volumes are kept, the same command goes on\n"
    )
    monkeypatch.undo()
    monkeypatch.chdir(here)
    first = (here / "parts" / "volume-0000.zarr").stat().st_ino
    ended = run(*words)
    assert (ended.status, ended.out) == (0, "Written: parts (3 volumes, 1 of which was there)\n")
    assert (here / "parts" / "volume-0000.zarr").stat().st_ino == first
    assert _bits(here / "parts") == _bits(whole)
    assert not list((here / "parts").glob(".*"))
    assert [path.name for path in sorted((here / "parts").iterdir())] == [
        "dataset.json", "volume-0000.zarr", "volume-0001.zarr", "volume-0002.zarr",
    ]  # fmt: skip


def test_a_set_grows_is_not_mixed_and_is_replaced(whole: Path, run: Run, here: Path):
    before = _bits(whole)
    words = (*SET, "--out", "whole")
    for more, what in (
        (("--seed", "1"), "another seed (0, not 1)"),
        (("--tilt", "5"), "another tilt (0.0, not 5.0)"),
        (("--curtains", "0.1"), "another curtain strength (0.05, not 0.1)"),
    ):
        ended = run(*words, "--volumes", "3", *more)
        assert (ended.status, ended.error.count("\n")) == (2, 1)
        assert what in ended.error
    assert _bits(whole) == before
    assert run(*words, "--volumes", "4").out.endswith("(4 volumes, 3 of which were there)\n")
    grown = _bits(whole)
    del before["dataset.json"]
    assert before.items() <= grown.items()
    ended = run(*words, "--volumes", "1", "--seed", "1", "--overwrite", "--quiet")
    assert (ended.status, ended.out, ended.error) == (0, "", "")
    assert [path.name for path in whole.glob("volume-*")] == ["volume-0000.zarr"]
    assert open_volume(whole / "volume-0000.zarr/truth").spacing == (2.0, 2.0, 2.0)


def test_what_is_written_is_what_is_told(whole: Path):
    told = json.loads((whole / "dataset.json").read_text("utf-8"))
    assert told["settings"]["lengths"] == [16.0]
    assert set(told["volumes"]) == {f"volume-000{n}.zarr" for n in range(3)}
    shares = []
    for name, shown in told["volumes"].items():
        truth = open_volume(whole / name, dataset="truth").read(*EVERYTHING)
        assert shown["solid_fraction"] == pytest.approx(truth.mean())
        shares.append(shown["solid_fraction_of_structure"])
        assert 0.2 <= shares[-1] <= 0.4
        of_volume = json.loads((whole / name / "simulate.json").read_text("utf-8"))
        assert of_volume["positions"] == [2.0 * k for k in range(16)]
        assert np.shape(of_volume["images"]["1kV"]["gains"]) == (16,)
        image = open_volume(whole / name, dataset="image/1kV").read(*EVERYTHING)
        assert image[truth == 1].mean() > 1.3 * image[truth == 0].mean()
    assert len(set(shares)) == 3


def test_a_picture_of_the_first_pair(run: Run, here: Path):
    words = [word for word in SET if word != "--no-pictures"]
    assert run(*words, "--volumes", "1", "--no-instrument").status == 0
    assert (here / "dataset" / "dataset.png").stat().st_size > 10_000
    told = json.loads((here / "dataset" / "dataset.json").read_text("utf-8"))
    assert told["settings"]["instrument"]["curtain_strength"] == 0.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--volumes 0", "volumes: got 0"),
        ("--kind foam", "kind: got 'foam', wants one of wave, hierarchical, pores"),
        ("--kv 99", "kv: got 99"),
        ("--solid-fraction 0.4 0.2", "solid_fraction: got 0.4 0.2"),
        ("--solid-fraction 1.2", "solid_fraction: got 1.2 1.2"),
        ("--radius 9", "radius: got it with --kind wave, wants ligament or wavelength"),
        ("--ligament 9 --wavelength 9", "ligament: got it beside --wavelength"),
        ("--wavelength 9 5", "wavelength: got 2, wants 1 with --kind wave"),
        ("--kind hierarchical --wavelength 9", "wavelength: got 1, wants 2 with --kind hier"),
        ("--wavelength 400", "lengths: got a wavelength of 400 voxels"),
        ("--thickness 5", "thickness: got '5', wants 2 numbers"),
        ("--thickness 5 6", "thickness: got (5.0, 6.0)"),
        ("--pore stone", "pore: got 'stone', wants one of"),
        ("--solid vacuum", "solid: got"),
        ("--spacing 0", "spacing: got 0"),
        ("--shape 0 8 8", "shape: got"),
    ],
)
def test_refusals(words: str, message: str, run: Run, here: Path):
    ended = run("simulate", "dataset", "--kind", "wave", *words.split())
    assert (ended.status, ended.error.count("\n")) == (2, 1)
    assert ended.error.startswith(f"bimmjax: error: {message}")
    assert not list(here.iterdir())


def test_folders_of_others_are_left_alone(run: Run, here: Path):
    (here / "mine").mkdir()
    (here / "mine" / "thesis.txt").write_text("dear", "utf-8")
    ended = run(*SET, "--out", "mine", "--overwrite")
    assert "out: got mine, which is no training set" in ended.error
    (here / "mine" / "dataset.json").write_text("{}", "utf-8")
    ended = run(*SET, "--out", "mine", "--overwrite")
    assert "whose dataset.json is none of ours" in ended.error
    ended = run(*SET, "--out", "mine/thesis.txt")
    assert "which is a file" in ended.error
    assert (here / "mine" / "thesis.txt").read_text("utf-8") == "dear"


def test_python_gives_the_same(whole: Path):
    import jax

    from bimmjax.sim._training.settings import REGISTERED

    settings = sim.TrainingSettings(
        (16, 24, 24), 2.0, (0.8, 1.0), "wave", (16.0,), "wavelength", (0.2, 0.4),
        instrument=REGISTERED._replace(drift_jitter=0.0),
    )  # fmt: skip
    pair = sim.training_pair(jax.random.fold_in(jax.random.key(0), 2), settings)
    for part, image in zip(PARTS, (*pair.images, pair.truth), strict=True):
        found = open_volume(whole / "volume-0002.zarr", dataset=part).read(*EVERYTHING)
        np.testing.assert_array_equal(found, image)
