"""`bimmjax example`: the file that is saved, or one line and nothing."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from bimmjax.cli import _examples
from bimmjax.cli._cache import cache_folder

Run = Callable[..., Any]


@pytest.fixture
def registry(here: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """No checkout beside, and a pip that gives a wheel of noise; its calls."""
    calls: list[list[str]] = []
    noise = np.random.default_rng(0).integers(0, 255, (150, 150, 150), dtype=np.uint8)

    def pip(words: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        calls.append(words)
        folder = Path(words[words.index("--dest") + 1])
        tifffile.imwrite(folder / "fibers.tif", noise)
        with zipfile.ZipFile(folder / "qim3d.whl", "w") as wheel:
            wheel.write(folder / "fibers.tif", "qim3d/examples/fibers_150x150x150.tif")
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(_examples, "beside_checkout", lambda _: None)
    monkeypatch.setattr(subprocess, "run", pip)
    return calls


@pytest.mark.parametrize("name", _examples.EXAMPLES)
def test_the_files_of_the_shared_data_are_the_examples(
    name: str, shared_data: Path, run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
):
    (here / "shared").mkdir()
    (here / "shared" / "data").symlink_to(shared_data)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was called"))
    ended = run("example", name)
    assert (ended.status, ended.error) == (0, "")
    assert ended.out.startswith(f"{name}.tif: ")
    assert "qim3d 1.6.0 (MIT licence)" in ended.out
    wanted = shared_data / _examples.EXAMPLES[name].file
    assert (here / f"{name}.tif").read_bytes() == wanted.read_bytes()


def test_fetched_once_and_kept(run: Run, here: Path, registry: list[list[str]]):
    first = run("example", "fibers")
    assert (first.status, "fetched and kept in" in first.out) == (0, True)
    assert "MIT licence" in first.error
    second = run("example", "fibers", "--out", "again.tif", "--quiet")
    assert tuple(second) == (0, "", "")
    assert len(registry) == 1
    assert (here / "fibers.tif").read_bytes() == (here / "again.tif").read_bytes()
    assert sorted(path.name for path in here.iterdir()) == ["again.tif", "fibers.tif"]


def test_without_a_cache_it_goes_where_it_is_wanted(
    run: Run, here: Path, registry: list[list[str]]
):
    cache_folder().write_text("in the way of the folder")
    ended = run("example", "fibers")
    assert (ended.status, ended.out.endswith("; fetched.\n")) == (0, True)
    assert [path.name for path in here.iterdir()] == ["fibers.tif"]


def test_what_cannot_be_had_leaves_nothing(run: Run, here: Path, registry: list[list[str]]):
    ended = run("example", "bone", "--out", "mine.tif")
    assert (ended.status, ended.out) == (2, "")
    assert ended.error.splitlines()[1:] == [
        "bimmjax: error: name: got bone, which cannot be had (the downloaded package does not hold "
        "it); wants a package registry that pip reaches"
    ]
    assert list(here.iterdir()) == []


def test_a_file_that_exists_is_replaced_only_when_told(
    run: Run, here: Path, registry: list[list[str]]
):
    (here / "fibers.tif").write_text("mine")
    ended = run("example", "fibers")
    assert ended.status == 2
    assert "out: got fibers.tif, which exists; wants a new file, or --overwrite" in ended.error
    assert (registry, (here / "fibers.tif").read_text()) == ([], "mine")
    assert run("example", "bone", "--out", "fibers.tif", "--overwrite").status == 2
    assert (here / "fibers.tif").read_text() == "mine"
    assert run("example", "fibers", "--overwrite").status == 0
    assert tifffile.imread(here / "fibers.tif").shape == (150, 150, 150)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("granite",), "name: got 'granite', wants one of cement, bone, fibers"),
        (("bone", "--out", "bone.raw"), "out: got bone.raw, wants a name that ends in .tif"),
        (("bone", "--out", "no/bone.tif"), "out: got no/bone.tif, whose folder does not exist"),
        (("bone", "--out", "made.tif"), "out: got made.tif, which is a folder"),
    ],
)
def test_bad_input_takes_one_line(words: tuple[str, ...], said: str, run: Run, here: Path):
    (here / "made.tif").mkdir()
    ended = run("example", *words)
    assert (ended.status, ended.out, ended.error.count("\n")) == (2, "", 1)
    assert said in ended.error
