"""A tiny network beside the package's, and data that it can learn."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bimmjax import nets

HERE = Path(__file__).parent


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, whose network goes by the name of "tiny"."""
    spec = importlib.util.spec_from_file_location("tiny", HERE / "tiny.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(nets.NETWORKS, "tiny", module.Tiny)
    return module


@pytest.fixture(scope="session")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Grey values (24, 24, 24) and labels: two classes, and a few voxels of a third."""
    rng = np.random.default_rng(0)
    labels = np.zeros((24, 24, 24), np.uint8)
    labels[:, 6:18, 4:14] = 1
    labels[:, 19:21, 18:21] = 2
    grey = 80 + 50.0 * labels + rng.normal(0, 10.0, labels.shape)
    return grey.astype(np.float32), labels


@pytest.fixture
def settings() -> dict:
    """A run of seconds."""
    return {
        "network": "tiny", "classes": 3, "patch": (8, 8), "batch": 2, "epochs": 4, "steps": 3,
        "split": (0.6, 0.2, 0.2), "margin": 1, "learning_rate": 0.01, "noise": 0.05,
        "foreground": 0.5, "tiles": 9,
    }  # fmt: skip
