"""Spheres that do not overlap, in a matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.sim import _checks
from bimmjax.sim._host_random import generator
from bimmjax.sim._structures.labelled import Labelled, highest, shares, wanted_voxels
from bimmjax.sim._structures.stamps import MARGIN, empty, stamp

# Spheres of one size fill no more than π / √18.
_DENSEST = 0.74
_DRAWS = 200
_ROUNDS = 2000


def packed_spheres(
    key: jax.Array,
    shape: tuple[int, int, int],
    solid_fraction: float,
    diameter: float | Sequence[float],
    *,
    gap: float = 0.5,
) -> Labelled:
    """Spheres (phase 1) that do not overlap, in a matrix (phase 0).

    Placed at random, then pushed apart until none is closer to another than `gap`.

    Parameters
    ----------
    key
        Random key.
    shape
        (z, y, x) voxels; the volume is periodic.
    solid_fraction
        Share of the voxels that the spheres get, to the voxel; up to about 0.55.
    diameter
        voxels; or the lowest and the highest, between which diameters are drawn evenly.
        All are then changed by a common small length, so that the share is met.
    gap
        Least distance between two surfaces, voxels.

    Returns
    -------
    Labelled
        The area is that of the spheres, exactly.

    Raises
    ------
    InputError
        A diameter below 4 voxels or too large for the volume, a fraction outside (0, 1) or so
        high that no place is found for all spheres.

    Examples
    --------
    Glass spheres of 38 to 45 µm at 3 µm a voxel:

    >>> import jax
    >>> from bimmjax.sim import packed_spheres
    >>> found = packed_spheres(jax.random.key(0), (64, 64, 64), 0.3, (38 / 3, 45 / 3))
    >>> abs(float(found.fractions[1]) - 0.3) < 1e-5
    True
    """
    rng = generator(key)
    shape = _checks.volume_shape("shape", shape)
    voxels = math.prod(shape)
    solid = wanted_voxels("solid_fraction", solid_fraction, voxels)
    _checks.number("gap", gap, low=0.1)
    low, high = _ends(diameter, gap, shape)
    if solid_fraction > _DENSEST:
        raise InputError(f"solid_fraction: got {solid_fraction:g}, wants at most {_DENSEST}")
    radii = _radii(rng, low / 2, high / 2, solid)
    centres = _apart(rng, radii, gap, np.array(shape, float))
    if centres is None:
        raise InputError(
            f"solid_fraction: got {solid_fraction:g}, for which no place was found for all of "
            f"{radii.size} spheres; wants less, or a smaller gap"
        )
    depth = empty(shape)
    for centre, radius in zip(centres, radii, strict=True):
        stamp(depth, centre, float(radius))
    spheres, level = highest(depth, solid)
    if level < -gap / 2:
        raise InputError(f"gap: got {gap:g}, too small to meet the fraction; wants more")
    labels = spheres.astype(np.uint8)
    area = 4.0 * math.pi * float(((radii - level) ** 2).sum()) / voxels
    return Labelled(labels, shares(labels, 2), np.array([area]), np.zeros(1))


def _ends(diameter: object, gap: float, shape: tuple[int, int, int]) -> tuple[float, float]:
    wants = "one, or the lowest and the highest"
    ends = _checks.numbers("diameter", np.atleast_1d(np.asarray(diameter, object)).tolist(), wants)
    if ends.size > 2 or ends[0] > ends[-1]:
        raise InputError(f"diameter: got {diameter!r}, wants {wants}")
    _checks.number("diameter", ends[0], low=4.0)
    most = min(shape) - 2.0 * max(MARGIN + 1.0, gap)
    if ends[-1] > most:
        raise InputError(f"diameter: got {ends[-1]:g}, wants at most {most:g} in {shape}")
    return float(ends[0]), float(ends[-1])


def _radii(rng: np.random.Generator, low: float, high: float, volume: float) -> np.ndarray:
    """Radii drawn evenly, changed by a common length, as small as may be, to fill a volume."""
    each = math.pi / 3.0 * (low**3 + low**2 * high + low * high**2 + high**3)
    count = max(round(volume / each), 1)
    best, least = np.zeros(0), math.inf
    for _ in range(_DRAWS):
        radii = rng.uniform(low, high, count)
        change = 0.0
        for _ in range(20):
            now = radii + change
            excess = 4.0 / 3.0 * math.pi * (now**3).sum() - volume
            change -= excess / (4.0 * math.pi * (now**2).sum())
        if abs(change) < least:
            best, least = radii + change, abs(change)
    if least > 0.25 * low:
        raise InputError(
            f"solid_fraction: got {volume:.0f} voxels, which {count} such spheres cannot fill; "
            "wants smaller spheres or a larger volume"
        )
    return best


def _apart(
    rng: np.random.Generator, radii: np.ndarray, gap: float, size: np.ndarray
) -> np.ndarray | None:
    """Centres (M, 3) of periodic spheres at least `gap` apart; None if none were found."""
    from scipy.spatial import KDTree

    centres = rng.uniform(size=(radii.size, 3)) * size
    reach = 2.0 * radii.max() + gap
    for _ in range(_ROUNDS):
        tree = KDTree(centres, boxsize=size)
        one, other = tree.query_pairs(reach, output_type="ndarray").T
        between = centres[one] - centres[other]
        between -= size * np.rint(between / size)
        distance = np.sqrt((between**2).sum(1))
        wanted = radii[one] + radii[other] + gap
        close = distance < wanted
        if not close.any():
            return centres
        one, other, distance = one[close], other[close], np.maximum(distance[close], 1e-9)
        # Slightly too far, or they would come to rest only after infinitely many rounds.
        push = 0.5 * (1.01 * wanted[close] + 1e-3 - distance) / distance
        moves = between[close] * push[:, None]
        for axis in range(3):
            centres[:, axis] += np.bincount(one, moves[:, axis], radii.size)
            centres[:, axis] -= np.bincount(other, moves[:, axis], radii.size)
        centres %= size
    return None
