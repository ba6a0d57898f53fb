"""The command line in this process, with a small volume and a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
import tifffile

from bimmjax import sim
from bimmjax.cli import main


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    error: str


Run = Callable[..., Ended]


@pytest.fixture(scope="session")
def grey() -> np.ndarray:
    """A blurred, noisy volume of two phases, (48, 48, 48) uint8."""
    made = sim.artificial_volume(
        jax.random.key(3),
        (48, 48, 48),
        fractions=(0.4, 0.6),
        blur_std=1.1,
        noise_std=0.07,
        feature_length=6.0,
        with_area=False,
    )
    return sim.to_integers(made.image, scale=140.0, offset=50.0)


@pytest.fixture(scope="session")
def tiff(grey: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a TIFF."""
    path = tmp_path_factory.mktemp("volumes") / "rock.tif"
    tifffile.imwrite(path, grey)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and a cache folder beside it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BIMMJAX_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("fit", path, ...)`: the command's status and what it said."""

    def run(*words: object) -> Ended:
        capsys.readouterr()
        status = main([str(word) for word in words])
        said = capsys.readouterr()
        return Ended(status, said.out, said.err)

    return run
