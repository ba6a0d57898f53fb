"""`bimmjax demo` and `bimmjax example`: each way to a volume, and the whole run."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import bimmjax
from bimmjax.cli import _demo_volume, _examples
from bimmjax.cli._cache import cache_folder
from bimmjax.volumes import open_volume

Run = Callable[..., Any]
CEMENT = _examples.EXAMPLES["cement"]


@pytest.fixture
def cement(tmp_path: Path) -> Path:
    """Something of the cement's name, shape and dtype."""
    path = tmp_path / "made" / CEMENT.file
    path.parent.mkdir()
    rng = np.random.default_rng(0)
    tifffile.imwrite(path, rng.integers(0, 255, (128, 128, 128), dtype=np.uint8))
    return path


@pytest.fixture
def alone(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No checkout beside, and a pip that must not be called."""
    monkeypatch.setattr(_examples, "beside_checkout", lambda _: None)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was called"))
    return here


def _pip(monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], int]) -> list[list[str]]:
    """A pip that does `act` with the destination folder; the calls that it got."""
    calls: list[list[str]] = []

    def run(words: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        calls.append(words)
        status = act(Path(words[words.index("--dest") + 1]))
        return subprocess.CompletedProcess(words, status)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_beside_the_checkout_first(here: Path, cement: Path, monkeypatch: pytest.MonkeyPatch):
    beside = here.parent / "shared" / "data" / CEMENT.file
    beside.parent.mkdir(parents=True)
    shutil.copy(cement, beside)
    _pip(monkeypatch, lambda _: pytest.fail("pip was called"))
    found = _demo_volume.demo_volume()
    assert found.volume.shape == (128, 128, 128)
    assert f"read from {beside}" in found.story


def test_then_the_cache(alone: Path, cement: Path):
    cached = cache_folder() / "data" / CEMENT.file
    cached.parent.mkdir(parents=True)
    shutil.copy(cement, cached)
    found = _demo_volume.demo_volume()
    assert f"kept in {cached}" in found.story
    assert "fetched" not in found.story


def test_then_the_registry(
    alone: Path, cement: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def download(folder: Path) -> int:
        with zipfile.ZipFile(folder / "qim3d-1.6.0-py3-none-any.whl", "w") as wheel:
            wheel.write(cement, f"qim3d/examples/{CEMENT.file}")
            wheel.writestr("../evil.txt", "nothing else is taken out")
        return 0

    calls = _pip(monkeypatch, download)
    found = _demo_volume.demo_volume()
    assert "fetched and kept" in found.story
    assert "MIT" in found.story
    assert "MIT" in capsys.readouterr().err
    assert calls[0][1:4] == ["-m", "pip", "download"]
    assert {"--no-deps", "qim3d==1.6.0"} <= set(calls[0])
    kept = list((cache_folder() / "data").iterdir())
    assert [path.name for path in kept] == [CEMENT.file]
    assert "kept in" in _demo_volume.demo_volume().story
    assert len(calls) == 1


def _no_network(_: Path) -> int:
    return 1


def _no_answer(_: Path) -> int:
    raise subprocess.TimeoutExpired("pip", 120)


def _another_wheel(folder: Path) -> int:
    with zipfile.ZipFile(folder / "qim3d.whl", "w") as wheel:
        wheel.writestr("qim3d/__init__.py", "")
    return 0


def _half_a_wheel(folder: Path) -> int:
    (folder / "qim3d.whl").write_bytes(b"PK\x03\x04 and no more")
    return 0


def _another_volume(folder: Path) -> int:
    with zipfile.ZipFile(folder / "qim3d.whl", "w") as wheel:
        wheel.writestr(f"qim3d/examples/{CEMENT.file}", b"not a TIFF")
    return 0


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (_no_network, "pip cannot download it"),
        (_no_answer, "no answer from the package registry within 120 s"),
        (_another_wheel, "does not hold it"),
        (_half_a_wheel, "does not hold it"),
        (_another_volume, "not what it should be"),
    ],
)
def test_else_a_simulated_one_and_why(
    act: Callable[[Path], int], why: str, alone: Path, monkeypatch: pytest.MonkeyPatch
):
    _pip(monkeypatch, act)
    made = object()
    monkeypatch.setattr(_demo_volume, "simulated", lambda: made)
    found = _demo_volume.demo_volume()
    assert found.volume is made
    assert "simulated" in found.story
    assert why in found.story
    assert list((cache_folder() / "data").iterdir()) == []


def test_the_simulated_volume_is_like_the_cement():
    volume = _demo_volume.simulated()
    assert (volume.shape, volume.dtype, volume.name) == ((128, 128, 128), np.uint8, "simulated")


def test_the_whole_demo(run: Run, here: Path, grey: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    found = _demo_volume.DemoVolume(open_volume(grey), "Volume: made for this test.")
    fit = bimmjax.fit

    def quick(volume: Any, *, progress: Any, **options: Any) -> Any:
        assert options == {"phases": 3, "noise": "per_phase", "intervals": False}
        return fit(volume, model="gmm", progress=progress, **options)

    monkeypatch.setattr(bimmjax, "fit", quick)
    monkeypatch.setattr(_demo_volume, "demo_volume", lambda: found)
    ended = run("demo", "--out", "demo", "--no-intervals")
    assert (ended.status, ended.error) == (0, "")
    assert ended.out.startswith("Volume: made for this test.\n")
    assert "demo/report.html" in ended.out.splitlines()[-1]
    assert (here / "demo" / "report.html").is_file()
    assert run("demo", "--out", "demo").status == 2


@pytest.mark.skipif(
    "BIMMJAX_TEST_DOWNLOAD" not in os.environ, reason="12 MB; set BIMMJAX_TEST_DOWNLOAD=1"
)
def test_a_real_download(here: Path):
    assert _examples.fetch(CEMENT, here / CEMENT.file) is None
    assert tifffile.imread(here / CEMENT.file).shape == (128, 128, 128)
