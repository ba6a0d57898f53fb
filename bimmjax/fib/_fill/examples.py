"""Examples to learn filling from: simulated structures, and slices of drawn thickness from them."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import numpy as np

from bimmjax import sim
from bimmjax.fib._fill.curves import grey_box, weights
from bimmjax.fib._fill.distances import signed_distances
from bimmjax.fib._fill.given import Given
from bimmjax.fib._fill.slice_network import AROUND
from bimmjax.volumes import open_volume

EDGE = 112
"""Voxels of a structure that is learned from."""
_SHAPE = (EDGE, EDGE, EDGE)
_VOXEL = 2.5  # nm
_LIGAMENTS = (110.0, 15.0)  # nm
_FRACTION = (0.10, 0.14)
_THICKNESS = (10.16, 3.12)  # nm, mean and standard deviation
# Of a ligament, how thick slices may be in the mean. (Article II: two thirds.)
_RESOLVED = 0.8

Batch = tuple[np.ndarray, ...]
"""What a network is called with, and the truth last; all (batch, ...) float32."""


class Body(NamedTuple):
    """A structure, and how thick its slices are, in voxels."""

    labels: np.ndarray
    """(EDGE, EDGE, EDGE) bool."""
    mean: float
    std: float


def body(seed: int, number: int, article: bool) -> Body:
    """A structure of a training set: the same seed and number give the same one.

    Those of Article II are hierarchical, with ligaments of 110 and 15 nm, a solid fraction of 0.10
    to 0.14, voxels of 2.5 nm and slices of 10.16 ± 3.12 nm. Of the others half are hierarchical
    with voxels of 2.5 to 5 nm, and half have ligaments of one size, 5 to 16 voxels; their solid
    fractions are 0.1 to 0.5, or 0.5 to 0.9, and their slices as thin as gaps of such ligaments can
    be filled at all, up to 6 voxels in the mean.
    """
    rng = np.random.default_rng((seed, 1, number))
    key = jax.random.key(int(rng.integers(2**31)))
    if article:
        thick, spread = (_THICKNESS[0] / _VOXEL, _THICKNESS[1] / _VOXEL)
        return Body(_hierarchy(key, rng.uniform(*_FRACTION), _VOXEL), thick, spread)
    fraction = rng.uniform(0.1, 0.5)
    if rng.random() < 0.5:
        voxel = rng.uniform(_VOXEL, 2.0 * _VOXEL)
        ligament = _LIGAMENTS[1] / voxel
        labels = _hierarchy(key, fraction, voxel)
    else:
        ligament = rng.uniform(5.0, 16.0)
        length = min(sim.ligament_wavelength(ligament, fraction), EDGE)
        wave = sim.levelled_wave_volume(key, _SHAPE, fraction, length, area=False)
        labels = np.asarray(wave.volume, bool)
    mean = rng.uniform(1.5, min(_RESOLVED * ligament, 6.0))
    std = mean * rng.uniform(0.1, 0.4)
    return Body(labels if rng.random() < 0.5 else ~labels, mean, std)


def _hierarchy(key: jax.Array, fraction: float, voxel: float) -> np.ndarray:
    level = math.sqrt(fraction)
    lengths = [min(sim.ligament_wavelength(d, level) / voxel, EDGE) for d in _LIGAMENTS]
    made = sim.hierarchical_wave_volume(key, _SHAPE, fraction, lengths, area=False)
    return np.asarray(made.volume, bool)


def thicknesses(rng: np.random.Generator, of: Body, count: int) -> np.ndarray:
    """Slices of drawn thickness (count,) int64, in whole voxels, at least one."""
    drawn = rng.gamma((of.mean / of.std) ** 2, of.std**2 / of.mean, count)
    return np.maximum(np.rint(drawn), 1).astype(np.int64)


class SliceExamples:
    """Missing slices, and three slices on either side of each, for `SliceNetwork`."""

    def __init__(self, of: Body, reach: int, patch: int) -> None:
        self._of, self._reach, self._patch = of, reach, patch
        # Stacks across each axis: none of them is special.
        self._stacks = [np.moveaxis(of.labels, axis, 0) for axis in range(3)]
        self._far = [np.stack([signed_distances(s) for s in stack]) for stack in self._stacks]

    def draw(self, rng: np.random.Generator, count: int) -> Batch:
        """Distances, offsets, shares and truth, of random places, turned and mirrored."""
        each = [self._one(rng) for _ in range(count)]
        return tuple(np.stack(parts) for parts in zip(*each, strict=True))

    def _one(self, rng: np.random.Generator) -> Batch:
        offsets = self._offsets(rng)
        axis, size = int(rng.integers(3)), self._patch + 2 * self._reach
        at = rng.integers(-offsets[AROUND - 1], EDGE - offsets[AROUND])
        y, x = rng.integers(0, EDGE - size + 1, 2)
        box = (slice(y, y + size), slice(x, x + size))
        places = at + offsets
        there = (places >= 0) & (places < EDGE)
        far = np.zeros((size, size, 2 * AROUND), np.float32)
        far[..., there] = np.moveaxis(self._far[axis][places[there]][:, *box], 0, -1)
        shares = np.zeros(2 * AROUND, np.float32)
        shares[there] = weights(Given(places[there], EDGE), int(at), 3).shares
        inner = slice(self._reach, -self._reach)
        truth = self._stacks[axis][at][box][inner, inner].astype(np.float32)
        offsets = np.where(there, offsets, 0).astype(np.float32)
        if rng.random() < 0.5:
            far, offsets, shares = far[..., ::-1], -offsets[::-1], shares[::-1]
        if rng.random() < 0.5:
            far, truth = far.swapaxes(0, 1), truth.T
        flip = tuple(slice(None, None, int(step)) for step in rng.choice((-1, 1), 2))
        return far[flip], offsets, shares, truth[flip]

    def _offsets(self, rng: np.random.Generator) -> np.ndarray:
        """Places of the six slices from a missing one, all missing ones being as likely."""
        gaps = thicknesses(rng, self._of, 64)
        if gaps.max() < 2:
            gaps[0] = 2
        gap = rng.choice(gaps, p=(gaps - 1) / (gaps - 1).sum())
        steps = thicknesses(rng, self._of, 2 * AROUND - 1)
        steps[AROUND - 1] = gap
        places = np.concatenate([[0], np.cumsum(steps)])
        return places - places[AROUND - 1] - rng.integers(1, gap)


class PlaneExamples:
    """Patches of zx and zy planes with rows missing, for `InpaintNetwork`."""

    def __init__(self, of: Body, rng: np.random.Generator, patch: int) -> None:
        places = np.concatenate([[0], np.cumsum(thicknesses(rng, of, EDGE))])
        self._places = places[places < EDGE]
        # The last gap is open: no example shows it.
        self._given = Given(self._places, int(self._places[-1]) + 1)
        self._labels = of.labels[: self._given.depth]
        whole = [slice(0, n) for n in self._labels.shape]
        slices = open_volume(self._labels[self._places].astype(np.float32))
        self._cubic = grey_box(slices, self._given, whole[0], whole[1], whole[2], order=3)
        self._patch = min(patch, self._given.depth)

    def draw(self, rng: np.random.Generator, count: int) -> Batch:
        """Planes, known, cubic and truth, of random places, mirrored."""
        each = [self._one(rng) for _ in range(count)]
        return tuple(np.stack(parts) for parts in zip(*each, strict=True))

    def _one(self, rng: np.random.Generator) -> Batch:
        size, turned = self._patch, bool(rng.integers(2))
        z = int(rng.integers(0, self._given.depth - size + 1))
        row, first = int(rng.integers(EDGE)), int(rng.integers(0, EDGE - size + 1))
        part = slice(first, first + size)
        at = (slice(z, z + size), *((part, row) if turned else (row, part)))
        truth, cubic = self._labels[at].astype(np.float32), self._cubic[at]
        rows = np.isin(np.arange(z, z + size), self._places)[:, None]
        known = np.broadcast_to(rows, truth.shape).astype(np.float32)
        planes = np.where(rows, truth, np.float32(0.5))
        flip = tuple(slice(None, None, int(step)) for step in rng.choice((-1, 1), 2))
        return planes[flip], known[flip], cubic[flip], truth[flip]
