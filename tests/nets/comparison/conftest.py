"""A tiny network beside the package's, data that it can learn, and one comparison of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bimmjax import nets
from bimmjax.nets import Comparison

TINY = Path(__file__).parents[1] / "training" / "tiny.py"
CLASSES = ("matrix", "fibre", "pore")


@pytest.fixture(scope="session")
def module() -> ModuleType:
    """The network's."""
    spec = importlib.util.spec_from_file_location("tiny_compared", TINY)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def tiny(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The same by the name of "tiny"."""
    monkeypatch.setitem(nets.NETWORKS, "tiny", module.Tiny)
    return module


@pytest.fixture(scope="session")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Grey values and labels (30, 16, 16): the darkest class is the last, some have no label."""
    rng = np.random.default_rng(0)
    labels = np.zeros((30, 16, 16), np.uint8)
    labels[:, 4:12, 3:9] = 1
    labels[:, 12:15, 10:14] = 2
    grey = np.array([100.0, 160.0, 40.0])[labels] + rng.normal(0, 12.0, labels.shape)
    labels[:, 0, :3] = 255
    return np.clip(grey, 0, 255).astype(np.uint8), labels


SETTINGS = {
    "network": "tiny", "classes": 3, "patch": (8, 8), "batch": 2, "epochs": 2, "steps": 2,
    "split": (0.6, 0.2, 0.2), "margin": 1, "learning_rate": 0.01, "loss": "cross-entropy",
    # What takes least time to compile.
    "settings": {"width": 2, "norm": False, "dropout": 0.0},
}  # fmt: skip


@pytest.fixture
def settings() -> dict:
    """A run of seconds."""
    return dict(SETTINGS)


@pytest.fixture(scope="session")
def recipes() -> dict[str, dict]:
    """Networks of two dimensions, of neighbouring slices, of three dimensions."""
    kinds = {"flat": {}, "stack": {"context": 3}, "solid": {"dims": 3}}
    found = {}
    for name, own in kinds.items():
        patch = (4, 8, 8) if name == "solid" else (8, 8)
        found[name] = SETTINGS | {"settings": SETTINGS["settings"] | own, "patch": patch}
    return found


@pytest.fixture(scope="session")
def compared(
    module: ModuleType,
    pair: tuple[np.ndarray, np.ndarray],
    recipes: dict[str, dict],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Comparison, Path]:
    """Of everything, done once."""
    out = tmp_path_factory.mktemp("compared") / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(nets.NETWORKS, "tiny", module.Tiny)
        found = nets.compare(
            recipes,
            *pair,
            out,
            names=CLASSES,
            classical=("zeror", "bin-zeror", "otsu", "kmeans"),
            slices=(2, 1),
            ablate=["width=3", "noise=0.5"],
        )
    return found, out
