"""`bimmjax fit`: a whole run, what it refuses, and that nothing half-written is left."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
import pytest
import tifffile

import bimmjax.report
from bimmjax.cli import main

Run = Callable[..., Any]
OWN = {"fit.json", "report.html", "slices.png", "intensity.png", "joint.png", "edge.png"}


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _strict(text: str) -> dict[str, Any]:
    def refuse(word: str) -> NoReturn:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def fitted(tiff: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One fit by the command line, for several tests."""
    out = tmp_path_factory.mktemp("fits") / "deep" / "result"
    words = ["fit", str(tiff), "--spacing", "0.5", "--unit", "um", "--out", str(out), "--quiet"]
    assert main(words) == 0
    return out


def test_a_fit_leaves_numbers_pictures_and_report(fitted: Path, grey: np.ndarray):
    assert _names(fitted) == OWN
    assert _names(fitted.parent) == {"result"}
    found = _strict((fitted / "fit.json").read_text("utf-8"))
    assert found["units"] == {"length": "um", "intensity": "grey value"}
    assert found["phases"] == 2
    assert found["voxels"] == 46**3
    assert found["properties"]["volume_fractions"][0] == pytest.approx(0.4, abs=0.02)
    assert set(found["properties"]["interface_areas"]) == {"0-1"}
    low, high = found["confidence"]["volume_fractions"][0]
    assert low < found["properties"]["volume_fractions"][0] < high
    for name in OWN - {"fit.json", "report.html"}:
        assert (fitted / name).stat().st_size > 10_000
    assert "rock.tif: 2 phases" in (fitted / "report.html").read_text("utf-8")


def test_the_report_reads_well_in_a_browser(fitted: Path, look_at: Callable[..., None]):
    look_at(fitted / "report.html")


def test_an_existing_result_is_replaced_only_when_told(
    fitted: Path, tiff: Path, run: Run, here: Path
):
    out = here / "result"
    out.mkdir()
    for name in ("fit.json", "edge.png"):
        (out / name).write_text("old")
    ended = run("fit", tiff, "--out", out)
    assert ended.status == 2
    assert ended.error == (
        f"bimmjax: error: out: got {out}, which exists and is not empty; wants a new folder, or "
        "--overwrite\n"
    )
    assert (out / "fit.json").read_text() == "old"
    options = ("--overwrite", "--no-pictures", "--no-intervals")
    ended = run("fit", tiff, "--out", out, *options)
    assert (ended.status, ended.error) == (0, "")
    assert _names(out) == {"fit.json"}
    assert _names(here) == {"result"}
    assert "Share of phase 0" in ended.out
    assert str(out / "fit.json") in ended.out


def test_what_is_not_ours_is_never_overwritten(tiff: Path, run: Run, here: Path):
    out = here / "thesis"
    out.mkdir()
    (out / "chapter.tex").write_text("years of work")
    (out / "fit.json").write_text("{}")
    ended = run("fit", tiff, "--out", out, "--overwrite")
    assert ended.status == 2
    assert "which holds chapter.tex" in ended.error
    assert (out / "chapter.tex").read_text() == "years of work"
    ended = run("fit", tiff, "--out", ".", "--overwrite")
    assert ended.status == 2
    assert "holds the folder you are in" in ended.error


def test_json_goes_to_standard_output_alone(tiff: Path, run: Run, here: Path):
    ended = run("fit", tiff, "--model", "gmm", "--no-pictures", "--no-intervals", "--json")
    assert ended.status == 0
    told = _strict(ended.out)
    assert told["properties"]["interface_areas"] is None
    assert told == _strict((here / "rock-fit" / "fit.json").read_text("utf-8"))


def test_three_spacings_are_told_one_by_one(tiff: Path, run: Run):
    ended = run("fit", tiff, "--spacing", "2", "1", "1", "--unit", "nm")
    assert ended.status == 2
    assert "wants cubic voxels for bimm2d" in ended.error
    options = ("--model", "gmm", "--no-pictures", "--no-intervals", "--json")
    ended = run("fit", "--spacing", "2", "1", "1", "--unit", "nm", tiff, *options)
    assert ended.status == 0
    assert json.loads(ended.out)["spacing"] == [2.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("nope.tif",), "volume: got nope.tif, which does not exist; wants a file or a folder"),
        (("V", "--phases", "0"), "phases: got 0, wants a whole number from 1 to 8"),
        (("V", "--phases", "two"), "phases: got 'two', wants a whole number from 1 to 8, or auto"),
        (("V", "--model", "x"), "model: got 'x', wants one of bimm2d, bimm1d, pvmm, gmm"),
        (("V", "--method", "x"), "method: got 'x', wants one of histogram, minibatch"),
        (("V", "--gradient", "x"), "gradient: got 'x', wants one of central_difference, plain"),
        (("V", "--noise", "x"), "noise: got 'x', wants one of shared, per_phase"),
        (("V", "--interface", "x"), "interface: got 'x', wants one of curved, flat"),
        (("V", "--seed", "-1"), "seed: got -1, wants a whole number from 0 to 2147483647"),
        (("V", "--spacing", "1", "2"), "spacing: got '1 2', wants one number or three (z y x)"),
        (("V", "--spacing", "a"), "spacing: got 'a', wants one number or three (z y x)"),
        (("V", "--out", "V"), "out: got V, which is a file; wants a folder to make"),
    ],
)
def test_bad_input_is_told_in_one_line(
    words: tuple[str, ...], line: str, tiff: Path, run: Run, here: Path
):
    ended = run("fit", *(str(tiff) if word == "V" else word for word in words))
    assert ended.status == 2
    assert ended.error == f"bimmjax: error: {line}\n".replace("got V,", f"got {tiff},")
    assert ended.out == ""
    assert _names(here) == set()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("flat.tif", np.zeros((8, 9), np.uint8), "3D volume"),
        ("constant.tif", np.zeros((8, 9, 10), np.uint8), "at least two grey values"),
        ("thin.tif", np.eye(20, dtype=np.uint8)[None].repeat(2, 0), "at least 3 voxels"),
        ("nan.tif", np.full((8, 9, 10), np.nan, np.float32), "finite"),
    ],
)
def test_unsuitable_volumes_leave_nothing(
    name: str, content: np.ndarray, says: str, run: Run, here: Path
):
    tifffile.imwrite(here / name, content, photometric="minisblack")
    ended = run("fit", name, "--out", "a/b")
    assert ended.status == 2
    assert ended.error.startswith("bimmjax: error: volume: got ")
    assert ended.error.count("\n") == 1
    assert says in ended.error
    assert _names(here) == {name}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a place that nobody can write")
def test_a_place_that_cannot_be_written_is_refused_first(
    tiff: Path, run: Run, monkeypatch: pytest.MonkeyPatch
):
    def fit(*_: object, **__: object) -> NoReturn:
        raise AssertionError("computed before looking")

    monkeypatch.setattr(bimmjax, "fit", fit)
    ended = run("fit", tiff, "--out", "/proc/nowhere/out")
    assert ended.status == 2
    assert "out: got /proc/nowhere/out, which cannot be written" in ended.error


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (ZeroDivisionError("a bug"), 1, "internal error, ZeroDivisionError: a bug (--debug"),
        (OSError(28, "No space left on device"), 2, "cannot be written (No space left on device)"),
        (KeyboardInterrupt(), 130, "bimmjax: interrupted"),
    ],
)
def test_a_failure_midway_leaves_the_old_result(
    error: BaseException,
    status: int,
    says: str,
    tiff: Path,
    run: Run,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(bimmjax.report, "write_report", fail)
    out = here / "result"
    out.mkdir()
    (out / "fit.json").write_text("old")
    words = ("fit", tiff, "--model", "gmm", "--no-intervals", "--out", out, "--overwrite")
    ended = run(*words)
    assert ended.status == status
    assert says in ended.error
    assert ended.error.count("\n") == 1
    assert _names(here) == {"result"}
    assert _names(out) == {"fit.json"}
    assert (out / "fit.json").read_text() == "old"


def test_debug_shows_the_traceback(tiff: Path, run: Run, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> NoReturn:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(bimmjax, "fit", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run("fit", tiff, "--debug")


def test_a_cache_that_cannot_be_written_does_not_matter(
    tiff: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("BIMMJAX_CACHE", os.fspath(blocked / "cache"))
    given = getattr(jax.config, "jax_compilation_cache_dir")  # noqa: B009 (not in its types)
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        ended = run("fit", tiff, "--model", "gmm", "--no-intervals", "--no-pictures", "--quiet")
    finally:
        jax.config.update("jax_compilation_cache_dir", given)
    assert tuple(ended) == (0, "", "")


def test_a_known_blur_by_the_command_line(tiff: Path, run: Run, here: Path):
    assert run("fit", tiff, "--blur", "1.1", "--out", "held", "--quiet").status == 0
    found = _strict((here / "held" / "fit.json").read_text("utf-8"))
    assert found["known_blur"]
    assert found["params"]["blur_std"] == pytest.approx(1.1, rel=1e-3)
    assert found["confidence"]["blur_std"] is None
    assert "Given, not fitted." in (here / "held" / "report.html").read_text("utf-8")
    ended = run("fit", tiff, "--blur", "-1", "--out", "bad")
    assert ended.status == 2
    assert ended.error == "bimmjax: error: blur_std: got -1.0, wants a number of voxels above 0\n"
    assert not (here / "bad").exists()


def test_the_models_own_values_are_labelled(tiff: Path, run: Run, here: Path):
    ended = run("fit", tiff, "--no-correct", "--no-intervals", "--no-pictures")
    assert "The model's own values: no bias is taken off." in ended.out
