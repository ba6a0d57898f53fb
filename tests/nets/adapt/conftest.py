"""Two kinds of tiny images, and one run of each kind that all tests look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bimmjax import nets

TINY = {
    "width": 2,
    "blocks": 0,
    "critic_width": 4,
    "patch": 16,
    "epochs": 2,
    "steps": 3,
    "buffer": 2,
}
PAIRED = {
    "width": 4,
    "depth": 1,
    "patch": 16,
    "batch": 4,
    "adversarial": 0.01,
    "critic_width": 4,
    "critic_layers": 1,
    "epochs": 2,
    "steps": 3,
}


class Kinds(NamedTuple):
    labels: np.ndarray
    simulated: np.ndarray
    real: np.ndarray


@pytest.fixture(scope="session")
def kinds() -> Kinds:
    """Blobs of 1 on 0; others, bright on dark and blurred."""
    rng = np.random.default_rng(0)

    def blobs() -> np.ndarray:
        return (gaussian_filter(rng.standard_normal((5, 40, 44)), (0, 2, 2)) > 0.05).astype(
            np.uint8
        )

    labels = blobs()
    simulated = (labels + 0.05 * rng.standard_normal(labels.shape)).astype(np.float32)
    real = gaussian_filter(100.0 + 50.0 * blobs(), (0, 1, 1)).astype(np.float32)
    return Kinds(labels, simulated, real)


@pytest.fixture(scope="session")
def unpaired(kinds: Kinds, tmp_path_factory: pytest.TempPathFactory) -> nets.Adapted:
    """A finished run."""
    out = tmp_path_factory.mktemp("adapt") / "unpaired"
    return nets.train_unpaired(kinds.simulated, kinds.real, out, **TINY)


@pytest.fixture
def tiny() -> dict[str, Any]:
    return dict(TINY)


@pytest.fixture
def pairs() -> dict[str, Any]:
    return dict(PAIRED)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIMMJAX_CACHE", str(tmp_path / "cache"))
    return tmp_path
