"""Volumes, and networks that are random and yet not blind."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from flax import nnx

from bimmjax.nets import build, train

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def plainly() -> ModuleType:
    """Prediction the plain way."""
    spec = importlib.util.spec_from_file_location("plainly", HERE / "plainly.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def blobs() -> np.ndarray:
    """Grey values (11, 37, 42), uint8: smooth, noisy, and brighter to one side."""
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in (11, 37, 42)], indexing="ij"), -1)
    waves = sum(np.sin(grid @ rng.normal(0, 0.35, 3) + rng.uniform(0, 6)) for _ in range(6))
    return (110 + 15 * waves + 0.5 * grid[..., 2] + rng.normal(0, 6, waves.shape)).astype(np.uint8)


@pytest.fixture(scope="session")
def net():
    """2D, halo 11, multiple 2, three classes."""
    return lively(build("modular-unet", channels=1, classes=3, width=2, depth=1))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, blobs: np.ndarray) -> Path:
    """What a short training of two classes has left; one channel, "range"."""
    folder = tmp_path_factory.mktemp("runs") / "net"
    settings = {
        "network": "modular-unet", "settings": {"width": 2, "depth": 1}, "classes": 2,
        "patch": (16, 16), "batch": 2, "epochs": 1, "steps": 2, "split": (1.0, 0.0, 0.0),
        "normalise": "range", "learning_rate": 0.01,
    }  # fmt: skip
    train(settings, blobs, (blobs > 115).astype(np.uint8), folder)
    return folder


def lively(net):
    """The same with running averages unlike those of a network that was never trained."""
    rng = np.random.default_rng(0)
    for _, module in nnx.iter_modules(net):
        if isinstance(module, nnx.BatchNorm):
            module.mean[...] = rng.normal(0, 0.3, module.mean.shape).astype(np.float32)
            module.var[...] = rng.uniform(0.5, 1.5, module.var.shape).astype(np.float32)
    net.eval()
    return net
