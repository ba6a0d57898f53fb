"""The command line as a whole: help, versions, usage errors, speed of starting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import bimmjax
from bimmjax.cli import _compiler
from bimmjax.cli._cache import cache_folder, keep_compiled_code
from bimmjax.cli._compiler import compile_sooner
from bimmjax.cli._fit import default_folder
from bimmjax.cli._numbers import join_numbers, spacing_of

Run = Callable[..., Any]
VERBS = ("fit", "map", "info", "convert", "train", "predict", "compare", "adapt", "example", "demo")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_shows_an_example(verb: str, run: Run):
    ended = run(verb, "--help")
    assert (ended.status, ended.error) == (0, "")
    assert f"Example: bimmjax {verb}" in ended.out


def test_help_and_version(run: Run):
    ended = run("--help")
    assert ended.status == 0
    assert all(verb in ended.out for verb in VERBS)
    assert run("--version").out == f"bimmjax {bimmjax.__version__}\n"
    ended = run()
    assert (ended.status, ended.error) == (2, "")
    assert "Usage" in ended.out


@pytest.mark.parametrize("words", [("bogus",), ("fit",), ("fit", "--bogus"), ("info", "a", "b")])
def test_usage_errors_take_one_line(words: tuple[str, ...], run: Run):
    ended = run(*words)
    assert (ended.status, ended.out) == (2, "")
    assert ended.error.startswith("bimmjax: error: ")
    assert ended.error.count("\n") == 1
    assert "--help" in ended.error


def test_starting_is_cheap():
    code = (
        "import sys; from bimmjax.cli import main; main(['fit', '--help']);"
        "heavy = {'jax', 'numpy', 'matplotlib', 'scipy', 'tensorstore'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_module_is_the_command(tiff: Path):
    words = [sys.executable, "-m", "bimmjax", "info", str(tiff), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["shape"] == [48, 48, 48]


def test_info_tells_what_a_volume_is(tiff: Path, run: Run):
    ended = run("info", tiff, "--spacing", "10", "5", "5", "--unit", "nanometer")
    assert ended.status == 0
    for told in ("rock.tif", "48 x 48 x 48", "uint8", "10 x 5 x 5 nm"):
        assert told in ended.out


def test_info_counts_nan(run: Run, here: Path):
    odd = np.ones((10, 10, 10), np.float32)
    odd[0, 0] = np.nan
    np.save(here / "odd.npy", odd)
    assert "NaN" in run("info", "odd.npy").out
    assert json.loads(run("info", "odd.npy", "--json").out)["nan_share"] == 0.01


def test_convert_makes_what_info_reads(tiff: Path, run: Run, here: Path, grey: np.ndarray):
    words = (
        "convert",
        tiff,
        "rock.zarr",
        "--spacing",
        "0.5",
        "--unit",
        "um",
        "--chunk",
        16,
        32,
        32,
    )
    assert run(*words).status == 0
    facts = json.loads(run("info", "rock.zarr", "--json").out)
    assert (facts["format"], facts["unit"]) == ("OME-Zarr 0.5", "um")
    assert facts["chunks"] == [16, 32, 32]
    volume = bimmjax.open_volume(here / "rock.zarr")
    np.testing.assert_array_equal(volume.read(slice(None), slice(None), slice(None)), grey)
    ended = run(*words)
    assert ended.status == 2
    assert "out: got rock.zarr, which exists" in ended.error
    assert run(*words, "--overwrite").status == 0


@pytest.mark.parametrize("chunk", ["0", "-4", "1.5", "16,16"])
def test_bad_chunks(chunk: str, tiff: Path, run: Run, here: Path):
    ended = run("convert", tiff, "rock.zarr", "--chunk", chunk)
    assert ended.status == 2
    assert "chunk: got " in ended.error
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        ("fit a --spacing 0.5", "fit a --spacing=0.5"),
        ("fit --spacing 1 2 3 a", "fit --spacing=1,2,3 a"),
        ("fit --spacing 1 2 3 4", "fit --spacing=1,2,3 4"),
        ("fit --spacing=0.5 a", "fit --spacing=0.5 a"),
        ("fit a --spacing -1", "fit a --spacing=-1"),
        ("fit a --spacing --unit nm", "fit a --spacing --unit nm"),
        ("map a --block 64 --stride 32 32 16 b", "map a --block=64 --stride=32,32,16 b"),
        ("map a b --times 0 1.5 3 4 5 --json", "map a b --times=0,1.5,3,4,5 --json"),
        ("bse a --kv 1 2 4 20 --shape 8 8 8", "bse a --kv=1,2,4,20 --shape=8,8,8"),
        ("fit -- --spacing 1 2 3", "fit -- --spacing 1 2 3"),
    ],
)
def test_numbers_after_an_option_are_joined(words: str, joined: str):
    assert join_numbers(words.split()) == joined.split()


def test_spacing_is_one_number_or_three():
    assert spacing_of(None) is None
    assert spacing_of("0.5") == (0.5, 0.5, 0.5)
    assert spacing_of("1,0.5,0.25") == spacing_of("1 0.5 0.25") == (1.0, 0.5, 0.25)


@pytest.mark.parametrize(
    ("volume", "folder"),
    [
        ("a/rock.tif", "rock-fit"),
        ("slices/", "slices-fit"),
        ("rock.ome.zarr", "rock-fit"),
        ("scan.h5::/entry/data", "scan-fit"),
        ("run_0.65um", "run_0.65um-fit"),
        ("gs://bucket/rock.zarr/", "rock-fit"),
        ("vol.12.raw", "vol.12-fit"),
    ],
)
def test_the_default_folder_is_named_after_the_volume(volume: str, folder: str):
    assert default_folder(volume) == folder


def test_the_cache_folder_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("BIMMJAX_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("BIMMJAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "bimmjax"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder().parts[-3:] == ("Library", "Caches", "bimmjax")


def test_a_cache_that_the_user_gave_to_jax_is_kept(monkeypatch: pytest.MonkeyPatch):

    given = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    assert given is not None  # the tests' own
    keep_compiled_code()
    assert jax.config.jax_compilation_cache_dir == given  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("before", "version", "after"),
    [
        (None, (0, 10, 2), "--xla_cpu_use_fusion_emitters=false"),
        ("--a=1", (0, 10, 0), "--a=1 --xla_cpu_use_fusion_emitters=false"),
        ("--xla_cpu_use_fusion_emitters=true", (0, 10, 2), "--xla_cpu_use_fusion_emitters=true"),
        ("flags.txt", (0, 10, 2), "flags.txt"),  # a file's name
        ("--a=1", (0, 12, 0), "--a=1"),  # not tried: XLA ends on flags that it does not know
    ],
)
def test_the_compiler_is_told_once_and_only_where_it_listens(
    before: str | None, version: tuple[int, ...], after: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_compiler, "version", lambda _: ".".join(map(str, version)))
    if before is None:
        monkeypatch.delenv("XLA_FLAGS")
    else:
        monkeypatch.setenv("XLA_FLAGS", before)
    for _ in range(2):
        compile_sooner()
        assert os.environ["XLA_FLAGS"] == after
