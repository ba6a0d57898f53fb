"""Areas of bodies whose area is known."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bimmjax import InputError, open_volume, sim
from bimmjax.descriptors import _crofton, _marching, crofton_areas, marching_cubes_areas
from bimmjax.descriptors._crofton import DIRECTIONS, _direction_shares


def ball(radius: float, shape: tuple[int, int, int], at=None, steps=(1.0, 1.0, 1.0)):
    centre = [(n - 1) / 2 for n in shape] if at is None else at
    axes = [
        ((np.arange(n) - c) * h).reshape([-1 if k == axis else 1 for k in range(3)])
        for axis, (n, c, h) in enumerate(zip(shape, centre, steps, strict=True))
    ]
    return (axes[0] ** 2 + axes[1] ** 2 + axes[2] ** 2 < radius**2).astype(np.uint8)


def crossings_by_hand(labels: np.ndarray, good: np.ndarray, phases: int) -> np.ndarray:
    """(directions, 1 + pairs): every step that counts, and those between each two phases."""
    found = np.zeros((len(DIRECTIONS), 1 + phases * (phases - 1) // 2), int)
    pairs = [None, *((i, j) for i in range(phases) for j in range(i + 1, phases))]
    for row, direction in zip(found, DIRECTIONS, strict=True):
        for place in np.ndindex(labels.shape):
            there = tuple(np.add(place, direction))
            if any(not 0 <= k < n for k, n in zip(there, labels.shape, strict=True)):
                continue
            weight = int(good[place] and good[there])
            for k, d, n in zip(place, direction, labels.shape, strict=True):
                low = min(k, k + d)
                weight *= 2 + (d != 0) * ((low == 0) + (low == n - 2))
            ends = tuple(sorted((labels[place], labels[there])))
            row += [weight * (pair is None or pair == ends) for pair in pairs]
    return found


@pytest.mark.parametrize("radius", [10.0, 12.7, 17.0, 25.0])
def test_balls(radius: float):
    shape = (int(2 * radius) + 7,) * 3
    random = np.random.default_rng(int(radius))
    found = []
    for _ in range(4):
        centre = (np.array(shape) - 1) / 2 + random.uniform(-0.5, 0.5, 3)
        found.append(crofton_areas(ball(radius, shape, centre), 2)[0] * np.prod(shape))
    assert np.mean(found) / (4 * np.pi * radius**2) == pytest.approx(1.0, abs=0.005)


def test_voxels_need_not_be_cubic():
    steps = (2.0, 1.0, 1.5)
    labels = ball(30.0, (36, 70, 48), steps=steps)
    area = crofton_areas(labels, 2, spacing=steps)[0] * labels.size * np.prod(steps)
    assert area / (4 * np.pi * 30**2) == pytest.approx(1.0, abs=0.01)
    cubes = marching_cubes_areas(labels, 2, spacing=steps)[0] * labels.size * np.prod(steps)
    assert 1.03 < cubes / (4 * np.pi * 30**2) < 1.15


def test_directions_share_the_sphere():
    shares = _direction_shares(np.array(DIRECTIONS, float))
    assert shares.sum() == pytest.approx(1.0)
    # Of the neighbours across faces, edges and corners, as published for cubic lattices.
    np.testing.assert_allclose(
        shares[[0, 3, 9]], 2 * np.array([0.045778, 0.036981, 0.035196]), rtol=1e-4
    )


def test_what_goes_on_beyond_the_faces_counts_as_what_does_not():
    body = sim.field_body(jax.random.key(0), (64, 64, 64), (0.4, 0.6), 6.0)
    labels = np.asarray(body.shares[1] > 0.5)
    truth = body.truth.interface_areas[0]
    parts = [
        labels[z:][:32][:, y:][:, :32][:, :, x:][:, :, :32]
        for z in (0, 32)
        for y in (0, 32)
        for x in (0, 32)
    ]
    areas = [crofton_areas(part.astype(np.uint8), 2)[0] for part in parts]
    assert np.mean(areas) / truth == pytest.approx(1.0, abs=0.015)
    cubes = [marching_cubes_areas(part.astype(np.uint8), 2)[0] for part in parts]
    assert np.mean(cubes) / truth == pytest.approx(1.085, abs=0.025)


def test_three_phases_by_pair():
    shape = (64, 64, 64)
    labels = ball(26.0, shape) + ball(16.0, shape)
    truth = 4 * np.pi * np.array([26.0**2, 0.0, 16.0**2]) / labels.size
    np.testing.assert_allclose(crofton_areas(labels, 3), truth, rtol=0.006)
    cubes = marching_cubes_areas(labels, 3)
    np.testing.assert_allclose(cubes, 1.09 * truth, rtol=0.01, atol=1e-9)
    np.testing.assert_allclose(crofton_areas(labels, 4)[[0, 1, 3]], truth, rtol=0.006)


def test_slabs_blocks_and_masks(monkeypatch: pytest.MonkeyPatch):
    labels = np.random.default_rng(0).integers(0, 3, (11, 9, 10))
    mask = np.random.default_rng(1).random(labels.shape) > 0.2
    whole = (
        crofton_areas(labels, 3),
        crofton_areas(labels, 3, mask=mask),
        marching_cubes_areas(labels, 3),
    )
    monkeypatch.setattr(_crofton, "_SLAB", 300)
    monkeypatch.setattr(_marching, "_BLOCK", 4)
    parts = (
        crofton_areas(labels, 3),
        crofton_areas(labels, 3, mask=mask),
        marching_cubes_areas(labels, 3),
    )
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    everything = np.ones(labels.shape, bool)
    np.testing.assert_allclose(crofton_areas(labels, 3, mask=everything), whole[0])


@pytest.mark.parametrize(
    "shape", [(5, 4, 1), (1, 6, 2), (4, 2, 3), (2, 5, 33), (6, 3, 34), (3, 1, 70)]
)
def test_crossings_are_those_by_hand(shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch):
    labels = np.random.default_rng(0).integers(0, 4, shape)  # one more than is asked for
    mask = np.random.default_rng(1).random(shape) > 0.2
    monkeypatch.setattr(_crofton, "_SLAB", 2 * shape[1] * shape[2])
    for good in (np.ones(shape, bool), mask):
        slabs = _crofton._overlapping(open_volume(labels), open_volume(good), 3)
        told = sum(np.asarray(_crofton._crossings(*slab, shape[2]), int) for slab in slabs)
        np.testing.assert_array_equal(told, crossings_by_hand(labels, good, 3))


def test_limits():
    uniform = np.zeros((5, 6, 7), np.uint8)
    assert crofton_areas(uniform, 2).tolist() == [0.0] == marching_cubes_areas(uniform, 2).tolist()
    assert crofton_areas(uniform, 1).shape == (0,)
    thin = np.zeros((1, 8, 8), np.uint8)
    thin[:, :, 4:] = 1
    assert np.isfinite(crofton_areas(thin, 2)).all()
    with pytest.raises(InputError, match="labels: got dtype float64"):
        crofton_areas(np.zeros((4, 4, 4)), 2)
    with pytest.raises(InputError, match="phases: got 0"):
        crofton_areas(uniform, 0)


def test_directions_without_pairs_are_taken_to_be_like_the_others():
    """A mask of every other slice sees no steps along z, and no slanted ones across slices."""
    noise = np.random.default_rng(0).normal(size=(48, 48, 48))
    labels = (gaussian_filter(noise, 3.0, mode="wrap") > 0).astype(int)
    mask = np.zeros(labels.shape, np.uint8)
    mask[::2] = 1
    assert crofton_areas(labels, 2, mask=mask)[0] == pytest.approx(
        crofton_areas(labels, 2)[0], rel=0.05
    )
    # NaN in a mask does not count either.
    gaps = np.where(mask, 1.0, np.nan)
    assert crofton_areas(labels, 2, mask=gaps)[0] == crofton_areas(labels, 2, mask=mask)[0]
