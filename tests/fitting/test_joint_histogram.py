"""The streamed joint histogram against NumPy, for every kind of number."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from bimmjax import InputError, open_volume
from bimmjax.volumes import Grid, JointHistogram, _histogram, gradient_magnitude, joint_histogram

pytestmark = pytest.mark.numerics
RANDOM = np.random.default_rng(0)
SMOOTH = np.cumsum(RANDOM.normal(size=(40, 41, 42)), axis=0)


def brute_force(volume: np.ndarray, grid: Grid) -> np.ndarray:
    inner = (slice(1, -1),) * 3
    f = volume.astype(float)
    slopes = [(np.roll(f, -1, a) - np.roll(f, 1, a))[inner] / 2 for a in range(3)]
    v = np.sqrt(sum(s * s for s in slopes))
    u = f[inner]
    keep = np.isfinite(u) & np.isfinite(v)
    rows = np.searchsorted(grid.u_edges[1:-1], u[keep], side="right")
    columns = np.searchsorted(grid.v_edges[1:-1], v[keep], side="right")
    counts = np.zeros((128, 64), np.int64)
    np.add.at(counts, (rows, columns), 1)
    return counts


def close(found: JointHistogram, volume: np.ndarray) -> None:
    """Equal but for the few voxels that lie on an edge to within float32."""
    expected = brute_force(volume, found.grid)
    assert found.counts.sum() == expected.sum() == found.voxels
    assert np.abs(found.counts - expected).sum() <= 2e-3 * expected.sum()


KINDS: dict[str, np.ndarray] = {
    "uint8": np.clip(8 * SMOOTH + 120, 0, 255).astype(np.uint8),
    "uint16": np.clip(900 * SMOOTH + 30000, 0, 65535).astype(np.uint16),
    "int16": (900 * SMOOTH).astype(np.int16),
    "int32": (1e5 * SMOOTH).astype(np.int32) + 10**8,
    "float32": SMOOTH.astype(np.float32),
    "float64 far from 0": SMOOTH + 1e7,
    "whole numbers as floats": np.rint(5 * SMOOTH).astype(np.float32),
    "bool": SMOOTH > 0,
}


@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_numpys(kind: str):
    volume = KINDS[kind]
    found = joint_histogram(open_volume(volume))
    assert found.cell_counts.dtype == np.int64
    close(found, volume)


def test_blocks_and_cells_change_nothing(monkeypatch: pytest.MonkeyPatch):
    volume = open_volume(KINDS["uint8"])
    whole = joint_histogram(volume, cells=1)
    assert whole.cell_counts.shape[:3] == (1, 1, 1)
    monkeypatch.setattr(_histogram, "_BLOCK_VOXELS", 3000)
    np.testing.assert_array_equal(joint_histogram(volume, cells=2).counts, whole.counts)


def test_levels_of_a_stretched_histogram_get_bins_of_their_own():
    original = np.clip(np.rint(RANDOM.normal(90, 25, (80, 80, 80))), 0, 180)
    stretched = np.rint(1.4 * original).astype(np.uint8)
    grid = joint_histogram(open_volume(stretched)).grid
    assert grid.step == pytest.approx(1.4, abs=0.02)
    used = np.unique(stretched)
    per_bin = np.histogram(used, grid.u_edges)[0]
    held = np.flatnonzero(per_bin)[2:-2]
    assert set(per_bin[held[0] : held[-1]]) == {2}


def test_integer_gradients_have_their_lattice():
    noise = np.rint(RANDOM.normal(100, 3, (60, 60, 60))).astype(np.uint8)
    found = joint_histogram(open_volume(noise))
    seen = found.counts.sum(0) / found.voxels
    s2 = 9.0 + 1 / 12
    edges = found.grid.v_edges
    v = np.linspace(0, edges[-1], 64 * 50 + 1)
    density = 4 / np.sqrt(np.pi) * v**2 / s2**1.5 * np.exp(-(v**2) / s2)
    plain = np.add.reduceat(density[:-1], np.arange(0, 64 * 50, 50)) * (v[1] - v[0])
    with_lattice = plain * found.grid.lattice
    assert np.abs(seen - with_lattice)[:-1].sum() < 0.3 * np.abs(seen - plain)[:-1].sum()


def test_nan_is_counted_named_and_left_out_on_request():
    volume = KINDS["float32"].copy()
    volume[10, 10, 10] = np.nan
    volume[20, 20, 20] = np.inf
    with pytest.raises(InputError, match=r"got 14 voxels that are NaN or infinite.*--ignore-nan"):
        joint_histogram(open_volume(volume))
    found = joint_histogram(open_volume(volume), ignore_nan=True)
    assert found.excluded == 14
    close(found, volume)


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (np.zeros((2, 9, 9)), "volume: got shape .*at least 3 voxels"),
        (np.full((9, 9, 9), 7, np.uint8), "volume: got the constant value 7"),
        (np.full((9, 9, 9), np.nan), "volume: got no finite voxel"),
    ],
)
def test_unsuitable_volumes_are_refused(volume: np.ndarray, message: str):
    with pytest.raises(InputError, match=message):
        joint_histogram(open_volume(volume))


def test_a_bright_region_that_the_sample_misses_widens_the_bins():
    volume = RANDOM.normal(0, 1, (160, 160, 160)).astype(np.float32)
    volume[60:90, 3:40, 118:150] += 1000.0
    grid = joint_histogram(open_volume(volume)).grid
    assert grid.u_edges[-1] > 900


def test_gradient_magnitude_is_central_differences():
    volume = SMOOTH.astype(np.float32)
    expected = np.sqrt(sum(g[1:-1, 1:-1, 1:-1] ** 2 for g in np.gradient(volume)))
    np.testing.assert_allclose(gradient_magnitude(volume), expected, rtol=1e-5)
    slope: Any = jax.grad(lambda x: gradient_magnitude(x).sum())(volume)
    assert np.isfinite(np.asarray(slope)).all()
