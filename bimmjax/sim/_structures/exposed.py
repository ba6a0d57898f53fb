"""Which part of the surfaces of many balls lies outside the other balls: by random points."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

_BALLS = 4000
_POINTS = 200_000


class Balls(NamedTuple):
    """centres (M, 3) and radii (M,), voxels; they repeat with the volume."""

    centres: np.ndarray
    radii: np.ndarray


def surface_points(rng: np.random.Generator, balls: Balls) -> tuple[np.ndarray, np.ndarray]:
    """Some of the balls (K,), and points (K, P, 3) spread evenly over the surface of each."""
    count = min(len(balls.radii), _BALLS)
    owners = rng.choice(len(balls.radii), count, replace=False)
    points = rng.normal(size=(count, max(_POINTS // count, 20), 3))
    points *= (balls.radii[owners] / np.linalg.norm(points, axis=2).T).T[..., None]
    return owners, points + balls.centres[owners, None]


def covered(points: np.ndarray, owners: np.ndarray, balls: Balls, size: np.ndarray) -> np.ndarray:
    """Whether points (K, P, 3) lie within other balls than their own (-1: none): (K, P) bool."""
    from scipy.spatial import KDTree

    tree = KDTree(balls.centres % size, boxsize=size)
    middles = points.mean(1)
    reaches = np.linalg.norm(points - middles[:, None], axis=2).max(1) + balls.radii.max()
    found = np.zeros(points.shape[:2], bool)
    near = tree.query_ball_point(middles % size, reaches)
    for row, (own, others) in enumerate(zip(owners, near, strict=True)):
        for other in others:
            if other == own:
                continue
            apart = points[row] - balls.centres[other]
            apart -= size * np.rint(apart / size)
            found[row] |= (apart**2).sum(1) < balls.radii[other] ** 2
    return found


def exposed_area(bare: np.ndarray, owners: np.ndarray, balls: Balls) -> tuple[float, float]:
    """Area of the parts of surfaces whose points are `bare` (K, P), and its standard error.

    The balls that were not looked at count as the others do.
    """
    shares, count, every = bare.mean(1), len(owners), len(balls.radii)
    whole = 4.0 * math.pi * balls.radii[owners] ** 2
    total = 4.0 * math.pi * float((balls.radii**2).sum())
    mean = float((shares * whole).sum() / whole.sum())
    points = (whole**2 * shares * (1.0 - shares)).sum() / bare.shape[1] / whole.sum() ** 2
    chosen = (whole**2 * (shares - mean) ** 2).sum() / whole.sum() ** 2 * (1.0 - count / every)
    return total * mean, total * math.sqrt(points + chosen)
