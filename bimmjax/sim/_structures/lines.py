"""Straight fibres through a box: drawn, pushed apart, and stamped into it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bimmjax.sim._structures.stamps import MARGIN

_ROUNDS = 20
_CELLS = 2**20


class Lines(NamedTuple):
    """A place on each line (M, 3), voxels, and its direction (M, 3), of length 1."""

    places: np.ndarray
    directions: np.ndarray


def draw_lines(
    rng: np.random.Generator, size: np.ndarray, mean: np.ndarray, spread: float, count: int
) -> Lines:
    """`count` lines that cross a box, anywhere with the same chance, tilted by normal angles.

    spread : standard deviation, radians, of the tilts towards two sides.
    """
    places, directions = np.zeros((0, 3)), np.zeros((0, 3))
    radius = 0.5 * float(np.linalg.norm(size))
    while len(places) < count:
        # Two sides at right angles to the mean direction: the rest of a turned frame.
        sides = np.linalg.svd(mean[None])[2][1:]
        tilts = np.tan(np.clip(rng.normal(0.0, spread, (count, 2)), -1.5, 1.5))
        along = mean + tilts @ sides
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        off = rng.normal(size=(count, 3))
        off -= (off * along).sum(1, keepdims=True) * along
        off *= (
            radius
            * np.sqrt(rng.uniform(size=(count, 1)))
            / np.linalg.norm(off, axis=1, keepdims=True)
        )
        found = Lines(0.5 * (size - 1.0) + off, along)
        start, stop = ends(found, size)
        crosses = stop > start
        places = np.concatenate([places, found.places[crosses]])
        directions = np.concatenate([directions, along[crosses]])
    return Lines(places[:count], directions[:count])


def ends(lines: Lines, size: np.ndarray, more: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Where lines enter and leave a box, `more` larger on each face, as lengths from `places`."""
    along = np.where(np.abs(lines.directions) < 1e-9, 1e-9, lines.directions)
    low = (-0.5 - more - lines.places) / along
    high = (size - 0.5 + more - lines.places) / along
    return np.minimum(low, high).max(1), np.maximum(low, high).min(1)


def push_apart(lines: Lines, radius: float, size: np.ndarray) -> Lines:
    """Move lines sideways until fibres around them overlap little, within some rounds."""
    from scipy.spatial import KDTree

    places, directions = lines.places.copy(), lines.directions
    for _ in range(_ROUNDS):
        start, stop = ends(Lines(places, directions), size)
        counts = np.maximum(np.ceil((stop - start) / (1.5 * radius)).astype(int), 0)
        owner = np.repeat(np.arange(len(places)), counts)
        step = np.arange(owner.size) - np.repeat(np.cumsum(counts) - counts, counts)
        points = (
            places[owner]
            + (start[owner] + (step + 0.5) * 1.5 * radius)[:, None] * directions[owner]
        )
        one, other = KDTree(points).query_pairs(2.3 * radius, output_type="ndarray").T
        apart = owner[one] != owner[other]
        one, other = one[apart], other[apart]
        first, second = owner[one], owner[other]
        between = points[one] - points[other]
        # Points stand anywhere along their lines: only what is across them counts.
        middle = directions[first] + directions[second] * np.sign(
            (directions[first] * directions[second]).sum(1, keepdims=True)
        )
        middle /= np.linalg.norm(middle, axis=1, keepdims=True)
        between -= (between * middle).sum(1, keepdims=True) * middle
        distance = np.maximum(np.linalg.norm(between, axis=1), 1e-9)
        close = distance < 2.0 * radius
        if not close.any():
            break
        first, second = first[close], second[close]
        push = (1.02 * radius - 0.5 * distance[close])[:, None] * (
            between[close] / distance[close, None]
        )
        contacts = np.bincount(first, minlength=len(places)) + np.bincount(
            second, minlength=len(places)
        )
        for axis in range(3):
            move = np.bincount(first, push[:, axis], len(places))
            move -= np.bincount(second, push[:, axis], len(places))
            places[:, axis] += move / np.maximum(contacts, 1)
    return Lines(places, directions)


def stamp_line(depth: np.ndarray, place: np.ndarray, along: np.ndarray, radius: float) -> None:
    """Raise `depth` to radius - distance around a line, where that is not below the margin."""
    start, stop = ends(Lines(place[None], along[None]), np.array(depth.shape), radius + MARGIN)
    if start[0] >= stop[0]:
        return
    axis = int(np.argmax(np.abs(along)))
    sides = [k for k in range(3) if k != axis]
    half = math.ceil((radius + MARGIN) / abs(along[axis])) + 1
    offsets = np.arange(-half, half + 1)
    batch = max(_CELLS // offsets.size**2, 1)
    for first in range(0, depth.shape[axis], batch):
        layers = np.arange(first, min(first + batch, depth.shape[axis]))
        centres = place + ((layers - place[axis]) / along[axis])[:, None] * along
        near = [np.rint(centres[:, k]).astype(int)[:, None] + offsets for k in sides]
        u, v = (n - centres[:, k, None] for n, k in zip(near, sides, strict=True))
        forward = u[:, :, None] * along[sides[0]] + v[:, None] * along[sides[1]]
        across = u[:, :, None] ** 2 + v[:, None] ** 2 - forward**2
        own = radius - np.sqrt(np.maximum(across, 0.0))
        held = own > -MARGIN
        for n, k, shape in zip(near, sides, ((1, 0), (0, 1)), strict=True):
            inside = (n >= 0) & (n < depth.shape[k])
            held &= inside[:, :, None] if shape == (1, 0) else inside[:, None]
        at, i, j = np.nonzero(held)
        index: list[np.ndarray] = [at, at, at]
        index[axis] = layers[at]
        index[sides[0]], index[sides[1]] = near[0][at, i], near[1][at, j]
        where = (index[0], index[1], index[2])
        depth[where] = np.maximum(depth[where], own[held].astype(np.float32))


def within_lines(points: np.ndarray, owners: np.ndarray, lines: Lines, radius: float) -> np.ndarray:
    """Whether points (K, 3) lie within fibres other than their own (-1: none): (K,) bool."""
    found = np.zeros(len(points), bool)
    for number, (place, along) in enumerate(zip(*lines, strict=True)):
        apart = points - place
        forward = apart @ along
        close = (apart**2).sum(1) - forward**2 < radius**2
        found |= close & (owners != number)
    return found
