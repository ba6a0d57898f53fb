"""Fibres in a matrix with pores: three phases, oriented."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import numpy as np

from bimmjax._core.checks import InputError, real_number
from bimmjax.sim import _checks
from bimmjax.sim._host_random import generator
from bimmjax.sim._structures.exposed import covered, exposed_area, surface_points
from bimmjax.sim._structures.labelled import Labelled, highest, shares, wanted_voxels
from bimmjax.sim._structures.lines import (
    Lines,
    draw_lines,
    ends,
    push_apart,
    stamp_line,
    within_lines,
)
from bimmjax.sim._structures.pores import radii_of, shrunk
from bimmjax.sim._structures.stamps import empty, stamp_until

# How often all fibres are pushed apart, and how many radii wider the box is then.
_PUSHED = 2
_PAD = 4.0
_POINTS = 40_000


def fibre_composite(
    key: jax.Array,
    shape: tuple[int, int, int],
    fibre_fraction: float,
    pore_fraction: float,
    radius: float,
    *,
    direction: Sequence[float] = (0.0, 0.0, 1.0),
    spread: float = 10.0,
    pore_radius: float | None = None,
    pore_radius_std: float = 0.0,
) -> Labelled:
    """Pores (phase 0), matrix (1) and straight fibres (2): from dark to bright, usually.

    Fibres run through the whole volume. They are pushed apart where they overlap; what overlap
    is left (where they are many and point in many directions) is one fibre's. Within some radii
    of the faces there are up to a tenth fewer. Pores lie in the matrix and beside fibres.

    Parameters
    ----------
    key
        Random key.
    shape
        (z, y, x) voxels.
    fibre_fraction, pore_fraction
        Shares of the voxels, both to the voxel.
    radius
        Of the fibres, voxels; all are changed by a common small length, to meet the share.
    direction
        (z, y, x), the mean one, of any length.
    spread
        Standard deviation, degrees, of the tilt to each of two sides, up to 45.
    pore_radius
        Mean of the radii of pores, voxels. Default: the fibres' radius.
    pore_radius_std
        Standard deviation of the radii of pores, voxels.

    Returns
    -------
    Labelled
        Areas of (0,1), (0,2) and (1,2), by random points on the fibres and pores.

    Raises
    ------
    InputError
        Fractions outside (0, 1) or above 1 together, fibres that are too thin or too thick, no
        direction.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import fibre_composite
    >>> found = fibre_composite(jax.random.key(0), (40, 40, 40), 0.25, 0.05, 4.0)
    >>> found.fractions.tolist()
    [0.05, 0.7, 0.25]
    """
    rng = generator(key)
    shape = _checks.volume_shape("shape", shape)
    voxels, size = math.prod(shape), np.array(shape, float)
    fibre_voxels = wanted_voxels("fibre_fraction", fibre_fraction, voxels)
    pore_voxels = wanted_voxels("pore_fraction", pore_fraction, voxels)
    if fibre_voxels + pore_voxels >= voxels:
        raise InputError(
            f"pore_fraction: got {pore_fraction:g} beside fibres of {fibre_fraction:g}, wants "
            "less than 1 together"
        )
    real_number("radius", radius, 1.0, min(shape) / 2)
    real_number("spread", spread, 0.0, 45.0)
    mean = _checks.numbers("direction", direction, "three numbers (z, y, x), not all 0")
    if mean.size != 3 or not mean.any():
        raise InputError(f"direction: got {direction!r}, wants three numbers (z, y, x), not all 0")
    mean /= np.linalg.norm(mean)
    draw = radii_of(
        rng, "pore_radius", radius if pore_radius is None else pore_radius, pore_radius_std, shape
    )
    depth, lines = _fibres(rng, size, fibre_voxels, radius, mean, math.radians(spread))
    fibres, level = highest(depth, fibre_voxels)
    radius -= level
    holes = empty(shape)
    balls = stamp_until(rng, holes, draw, pore_voxels, ~fibres)
    holes[fibres] = -np.inf
    pores, level = highest(holes, pore_voxels)
    labels = np.ones(shape, np.uint8)
    labels[pores], labels[fibres] = 0, 2

    balls = shrunk(balls, level)
    owners, points = surface_points(rng, balls)
    bare = ~covered(points, owners, balls, size)
    there = (points[bare] + 0.5) % size - 0.5
    bare[bare] = ~within_lines(there, np.full(len(there), -1), lines, radius)
    areas, errors = np.zeros(3), np.zeros(3)
    areas[0], errors[0] = exposed_area(bare, owners, balls)

    around, own, total = _on_fibres(rng, lines, radius, size)
    bare = np.all((around >= -0.5) & (around < size - 0.5), axis=1)
    bare[bare] = ~within_lines(around[bare], own[bare], lines, radius)
    empty_side = bare.copy()
    near = around[bare][:, None]
    empty_side[bare] = covered(near, np.full(len(near), -1), balls, size)[:, 0]
    for pair, side in ((1, empty_side), (2, bare & ~empty_side)):
        share = float(side.mean())
        areas[pair] = total * share
        errors[pair] = total * math.sqrt(share * (1.0 - share) / side.size)
    return Labelled(labels, shares(labels, 3), areas / voxels, errors / voxels)


def _fibres(
    rng: np.random.Generator,
    size: np.ndarray,
    voxels: int,
    radius: float,
    mean: np.ndarray,
    spread: float,
) -> tuple[np.ndarray, Lines]:
    """The depth within fibres that hold at least `voxels` voxels, and their lines."""
    shape = (int(size[0]), int(size[1]), int(size[2]))
    # At the faces of the box in which they are pushed, fibres crowd: that box is larger.
    pad = _PAD * radius
    lines, missing, rounds = Lines(np.zeros((0, 3)), np.zeros((0, 3))), voxels, 0
    depth, new = empty(shape), lines
    while missing > 0:
        few = _inside(draw_lines(rng, size + 2.0 * pad, mean, spread, 256), pad)
        start, stop = ends(few, size)
        each = math.pi * radius**2 * float(np.maximum(stop - start, 0.0).mean())
        count = max(math.ceil(missing / max(each, 1.0)), 1)
        new = draw_lines(rng, size + 2.0 * pad, mean, spread, count)
        lines = Lines(*(np.concatenate(both) for both in zip(lines, new, strict=True)))
        rounds += 1
        # Where there is no room for more, those that are added last stay where they are.
        if rounds <= _PUSHED:
            lines = push_apart(lines, radius, size + 2.0 * pad)
            depth, new = empty(shape), lines
        for place, along in zip(*_inside(new, pad), strict=True):
            stamp_line(depth, place, along, radius)
        missing = voxels - int(np.count_nonzero(depth > 0.0))
    return depth, _inside(lines, pad)


def _inside(lines: Lines, pad: float) -> Lines:
    return Lines(lines.places - pad, lines.directions)


def _on_fibres(
    rng: np.random.Generator, lines: Lines, radius: float, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Points (K, 3) spread evenly over the fibres' surfaces, whose lines (K,), and the area."""
    start, stop = ends(lines, size, 2.0 * radius)
    lengths = np.maximum(stop - start, 0.0)
    own = rng.choice(len(lengths), _POINTS, p=lengths / lengths.sum())
    along = lines.directions[own]
    off = rng.normal(size=(_POINTS, 3))
    off -= (off * along).sum(1, keepdims=True) * along
    off *= radius / np.linalg.norm(off, axis=1, keepdims=True)
    far = start[own] + rng.uniform(size=_POINTS) * lengths[own]
    points = lines.places[own] + far[:, None] * along + off
    return points, own, 2.0 * math.pi * radius * float(lengths.sum())
