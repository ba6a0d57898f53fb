"""Two-point correlation by Fourier transforms against counting pairs one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bimmjax.descriptors import _autocorrelation, line_counts, plane_two_point, radial_two_point

SHAPE = (9, 12, 10)


def lattice(good: np.ndarray, inside: np.ndarray, step: tuple[int, int, int], periodic: bool):
    """Pairs a step apart: inside at both ends, and possible."""
    if periodic:
        back = [-s for s in step]
        return (
            int(np.sum(inside & np.roll(inside, back, (0, 1, 2)))),
            int(np.sum(good & np.roll(good, back, (0, 1, 2)))),
        )
    near = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, good.shape, strict=True))
    far = tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(step, good.shape, strict=True))
    return int(np.sum(inside[near] & inside[far])), int(np.sum(good[near] & good[far]))


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 1, 1.5)])
def test_over_all_directions(periodic: bool, masked: bool, spacing: tuple[float, float, float]):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, SHAPE)
    mask = random.random(SHAPE) > 0.2 if masked else None
    good = np.ones(SHAPE, bool) if mask is None else mask
    found = radial_two_point(labels, lags=4, periodic=periodic, mask=mask, spacing=spacing)
    pairs, possible = np.zeros(4), np.zeros(4)
    for step in itertools.product(range(5), range(-4, 5), range(-4, 5)):
        lag = int(np.rint(np.linalg.norm(np.array(step) * spacing)))
        if lag < 4:
            a, b = lattice(good, (labels == 1) & good, step, periodic)
            pairs[lag], possible[lag] = pairs[lag] + a, possible[lag] + b
    np.testing.assert_allclose(found, pairs / possible, atol=1e-6)


@pytest.mark.parametrize("axis", ["z", "y", "x"])
@pytest.mark.parametrize("masked", [False, True])
def test_in_planes(axis: str, masked: bool):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, SHAPE)
    mask = random.random(SHAPE) > 0.2 if masked else None
    good = np.ones(SHAPE, bool) if mask is None else mask
    k = "zyx".index(axis)
    found = plane_two_point(labels, 1, axis, lags=4, mask=mask)

    def ratio(a: int, b: int) -> float:
        step = [a, b]
        step.insert(k, 0)
        pairs, possible = lattice(good, (labels == 1) & good, tuple(step), False)
        return pairs / possible

    for lag in range(4):
        values = []
        for turn in range(2 * lag + 1):
            angle = 0.5 * np.pi * turn / max(2 * lag, 1)
            a, b = lag * np.cos(angle), lag * np.sin(angle)
            i, j = min(int(a + 1e-9), 3), min(int(b + 1e-9), 3)
            u, v = a - i, b - j
            values.append(
                (1 - u) * (1 - v) * ratio(i, j)
                + u * (1 - v) * ratio(i + 1, j)
                + (1 - u) * v * ratio(i, j + 1)
                + u * v * ratio(i + 1, j + 1)
            )
        assert found[lag] == pytest.approx(np.mean(values), abs=1e-6)


def test_blocks_of_a_large_volume(monkeypatch: pytest.MonkeyPatch):
    labels = (np.random.default_rng(0).random((40, 40, 40)) < 0.4).astype(np.uint8)
    whole = radial_two_point(labels, lags=8)
    monkeypatch.setattr(_autocorrelation, "_EDGE", 20)
    monkeypatch.setattr(_autocorrelation, "_PLANES", 4000)
    parts = radial_two_point(labels, lags=8)
    assert parts[0] == whole[0] == labels.mean()
    np.testing.assert_allclose(parts, whole, atol=2e-3)
    plane = plane_two_point(labels, 1, "y", lags=2)
    line = line_counts(labels, 1, ["z", "x"], lags=2)
    # Two of the three points of a circle of one voxel lie on the axes.
    between = 3 * plane[1] - line[1, "z"].two_point[1] - line[1, "x"].two_point[1]
    assert 0.16 < between < 0.25


def test_limits():
    nothing = np.zeros((6, 6, 6), np.uint8)
    np.testing.assert_array_equal(radial_two_point(nothing), np.zeros(3))
    np.testing.assert_array_equal(radial_two_point(nothing, 0), np.ones(3))
    np.testing.assert_allclose(plane_two_point(nothing, 0), np.ones(3))
    one = np.ones((1, 1, 1), np.uint8)
    assert radial_two_point(one).tolist() == plane_two_point(one).tolist() == [1.0]


def test_lags_that_a_mask_has_no_pairs_for_are_unknown():
    labels = np.ones((4, 24, 24), int)
    mask = np.zeros(labels.shape, int)
    mask[:, 10:12] = 1
    found = plane_two_point(labels, mask=mask)
    # Along x there are pairs at every lag, and they all are of the phase.
    np.testing.assert_allclose(found, 1.0)
    mask[:] = 0
    mask[:, 10, 10] = 1
    found = plane_two_point(labels, mask=mask)
    assert found[0] == 1.0
    assert np.isnan(found[2:]).all()
