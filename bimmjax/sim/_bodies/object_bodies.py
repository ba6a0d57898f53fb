"""Bodies made of many objects at random places: spheres, shells and fibres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.sim import _checks
from bimmjax.sim._bodies.body import POINTS, Body, Truth
from bimmjax.sim._host_random import generator

# On all surfaces together; by them the share that is exposed is found.
_SURFACE_POINTS = 200_000
_TRIES = 20_000


class _Objects(NamedTuple):
    """Spheres and straight lines with a thickness; they repeat with the volume.

    centres (M, 3), radii (M,), across (M, 3): the axes along which distance to a centre counts.
    """

    centres: np.ndarray
    radii: np.ndarray
    across: np.ndarray


def sphere_body(
    key: jax.Array,
    shape: tuple[int, int, int],
    radius: float | tuple[float, float],
    fraction: float,
    *,
    overlap: bool = True,
) -> Body:
    """Spheres at random places: phase 0; around them phase 1.

    Parameters
    ----------
    key
        Random key.
    shape
        (z, y, x) voxels; the body is periodic.
    radius
        voxels; or the lowest and the highest, between which radii are drawn evenly.
    fraction
        Of the spheres, below 1: on average over keys where they overlap.
    overlap
        True for the Boolean model; False for spheres that do not touch, one after the
        other placed where there is room.

    Returns
    -------
    Body
        Its area is that of the spheres' surfaces outside other spheres, by random points on
        them; edges where spheres meet have no part in the curvature.

    Raises
    ------
    InputError
        A radius below 2 or above half the volume, a fraction that is not between 0 and 1, or no
        room left for spheres that must not touch.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import sphere_body
    >>> body = sphere_body(jax.random.key(1), (48, 48, 48), 6.0, 0.2)
    >>> body.truth.mean_curvature.round(4)
    array([0.1667])
    """
    rng = generator(key)
    shape = _checks.volume_shape("shape", shape)
    low, high = _radii(radius, shape)
    mean = (low**3 + low**2 * high + low * high**2 + high**3) / 4.0
    share = 4.0 / 3.0 * math.pi * mean / math.prod(shape)
    count = _count(fraction, share, overlap)
    # The large ones first: they need the most room.
    radii = np.sort(rng.uniform(low, high, size=count))[::-1]
    everywhere = np.ones((count, 3), bool)
    objects = _placed(rng, shape, radii, everywhere, overlap)
    points = rng.normal(size=(count, _each(count), 3))
    points *= (radii / np.linalg.norm(points, axis=2).T).T[..., None]
    points += objects.centres[:, None]
    areas = 4.0 * math.pi * radii**2
    return _two_phases(shape, objects, points, areas, 1.0 / radii, 2.0 / radii**2, 1.0 / radii**2)


def fibre_body(
    key: jax.Array,
    shape: tuple[int, int, int],
    radius: float,
    fraction: float,
    *,
    overlap: bool = True,
) -> Body:
    """Straight fibres along the three axes: phase 0; around them phase 1.

    Parameters, returns and errors as for `sphere_body`; one radius, and the volume is a cube.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import fibre_body
    >>> body = fibre_body(jax.random.key(1), (48, 48, 48), 5.0, 0.2)
    >>> body.truth.gaussian_curvature
    array([0.])
    """
    rng = generator(key)
    shape = _checks.volume_shape("shape", shape)
    if len(set(shape)) > 1:
        raise InputError(f"shape: got {shape}, wants a cube")
    low, _ = _radii(radius, shape)
    count = _count(fraction, math.pi * low**2 / shape[0] ** 2, overlap)
    radii = np.full(count, low)
    across = np.arange(3) != (np.arange(count) % 3)[:, None]
    objects = _placed(rng, shape, radii, across, overlap)
    angle = rng.uniform(size=(count, _each(count))) * 2.0 * math.pi
    points = np.empty((*angle.shape, 3))
    for at in range(count):
        first, second = np.flatnonzero(across[at])
        points[at, :, first] = objects.centres[at, first] + low * np.cos(angle[at])
        points[at, :, second] = objects.centres[at, second] + low * np.sin(angle[at])
        points[at, :, at % 3] = rng.uniform(size=angle.shape[1]) * shape[0]
    areas = 2.0 * math.pi * radii * shape[0]
    return _two_phases(shape, objects, points, areas, 0.5 / radii, 1.0 / radii**2, 0.0 * radii)


def shell_body(
    key: jax.Array,
    shape: tuple[int, int, int],
    radius: float,
    thickness: float,
    fraction: float,
) -> Body:
    """Spheres that do not touch, each with a core (phase 0) in a shell (1); around them phase 2.

    No core touches phase 2, so that a fit which finds an interface 0-2 is wrong. The truth is
    exact but for the fractions, which are counted at 27 points a voxel.

    Parameters
    ----------
    key
        As for `sphere_body`.
    shape
        As for `sphere_body`.
    fraction
        As for `sphere_body`.
    radius
        Of the shell's outside, voxels.
    thickness
        Of the shell, voxels; a core of 2 voxels has to be left.

    Raises
    ------
    InputError
        As for `sphere_body`, or a shell too thick.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import shell_body
    >>> body = shell_body(jax.random.key(0), (48, 48, 48), 8.0, 3.0, 0.2)
    >>> bool(body.truth.interface_areas[1] == 0)
    True
    """
    rng = generator(key)
    shape = _checks.volume_shape("shape", shape)
    outside, _ = _radii(radius, shape)
    _checks.number("thickness", thickness, open_low=True)
    if outside - thickness < 2.0:
        raise InputError(f"thickness: got {thickness}, wants at most {outside - 2.0:g}")
    count = _count(fraction, 4.0 / 3.0 * math.pi * outside**3 / math.prod(shape), False)
    everywhere = np.ones((count, 3), bool)
    whole = _placed(rng, shape, np.full(count, outside), everywhere, overlap=False)
    inside = outside - thickness
    cores = whole._replace(radii=np.full(count, inside))
    core, both = (_within(shape, objects, POINTS) for objects in (cores, whole))
    rough = [float(_within(shape, objects, 1).mean()) for objects in (cores, whole)]
    shares = np.stack([core, both - core, 1.0 - both])
    fractions = shares.mean((1, 2, 3), dtype=float)
    roughly = np.array([rough[0], rough[1] - rough[0], 1.0 - rough[1]])
    touching = np.array([1.0, 0.0, 1.0])
    radii = np.array([inside, np.nan, outside])
    areas = np.nan_to_num(4.0 * math.pi * radii**2) * count / math.prod(shape)
    none = 0.0 * touching
    return Body(
        shares,
        Truth(
            fractions, np.abs(fractions - roughly), areas, none, 1.0 / radii, none,
            2.0 / radii**2, none, 1.0 / radii**2, none,
        ),
    )  # fmt: skip


def _two_phases(
    shape: tuple[int, int, int],
    objects: _Objects,
    points: np.ndarray,
    areas: np.ndarray,
    mean: np.ndarray,
    squared: np.ndarray,
    gaussian: np.ndarray,
) -> Body:
    """The union of objects (phase 0), whose surfaces carry `points` (M, K, 3) spread evenly.

    areas (M,) of the whole surfaces; mean, squared, gaussian (M,): their H, S and K.
    """
    size = np.array(shape, float)
    exposed = np.empty(len(points))
    for at, own in enumerate(points):
        others = np.arange(len(points)) != at
        exposed[at] = np.mean(_depth(own, _Objects(*(x[others] for x in objects)), size) < 0.0)
    bare = exposed * areas
    variance = areas**2 * exposed * (1.0 - exposed) / points.shape[1]
    inside = _within(shape, objects, POINTS)
    shares = np.stack([inside, 1.0 - inside])
    fractions = shares.mean((1, 2, 3), dtype=float)
    rough = float(_within(shape, objects, 1).mean())
    volume = math.prod(shape)
    none = np.zeros(1)
    h, s, k = (np.array([(x * bare).sum() / bare.sum()]) for x in (mean, squared, gaussian))
    return Body(
        shares,
        Truth(
            fractions,
            np.full(2, abs(fractions[0] - rough)),
            np.array([bare.sum() / volume]),
            np.array([math.sqrt(variance.sum()) / volume]),
            h, none, s, none, k, none,
        ),
    )  # fmt: skip


def _placed(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    radii: np.ndarray,
    across: np.ndarray,
    overlap: bool,
) -> _Objects:
    size = np.array(shape, float)
    if overlap:
        return _Objects(rng.uniform(size=(len(radii), 3)) * size, radii, across)
    centres = np.empty((len(radii), 3))
    for at in range(len(radii)):
        for _ in range(_TRIES):
            centres[at] = rng.uniform(size=3) * size
            apart = centres[:at] - centres[at]
            apart -= size * np.rint(apart / size)
            # Between two lines only the axes that both lie across count.
            apart *= across[:at] & across[at]
            if np.all((apart**2).sum(1) > (radii[:at] + radii[at]) ** 2):
                break
        else:
            raise InputError(
                f"fraction: got no room for object {at + 1} of {len(radii)} that must not touch, "
                "wants a smaller fraction"
            )
    return _Objects(centres, radii, across)


def _depth(points: np.ndarray, objects: _Objects, size: np.ndarray) -> np.ndarray:
    """How deep points (K, 3) lie within the nearest of the objects (below 0: outside)."""
    deepest = np.full(len(points), -np.inf)
    for centre, radius, axes in zip(*objects, strict=True):
        apart = points - centre
        apart -= size * np.rint(apart / size)
        distance = np.sqrt((apart[:, axes] ** 2).sum(1))
        np.maximum(deepest, radius - distance, out=deepest)
    return deepest


def _within(shape: tuple[int, int, int], objects: _Objects, points: int) -> np.ndarray:
    """Share of each voxel within an object, (z, y, x) float32, asked at points³ of its points."""
    fine = np.array(shape) * points
    inside = np.zeros(fine, bool)
    for centre, radius, axes in zip(*objects, strict=True):
        windows, squares = [], []
        for axis in range(3):
            if not axes[axis]:
                windows.append(np.arange(fine[axis]))
                squares.append(np.zeros(fine[axis]))
                continue
            low, high = ((centre[axis] + side * radius + 0.5) * points for side in (-1, 1))
            near = np.arange(math.floor(low), math.ceil(high) + 1)[: fine[axis]]
            squares.append(((near + 0.5) / points - 0.5 - centre[axis]) ** 2)
            windows.append(near % fine[axis])
        distance = squares[0][:, None, None] + squares[1][:, None] + squares[2]
        inside[np.ix_(*windows)] |= distance < radius**2
    z, y, x = shape
    cells = inside.reshape(z, points, y, points, x, points)
    return cells.mean((1, 3, 5), dtype=np.float32)


def _radii(radius: float | Sequence[float], shape: tuple[int, int, int]) -> tuple[float, float]:
    """Lowest and highest radius."""
    ends = np.atleast_1d(np.asarray(radius, dtype=object))
    if ends.size > 2 or (ends.size == 2 and not ends[0] <= ends[-1]):
        raise InputError(f"radius: got {radius!r}, wants one, or the lowest and the highest")
    for end in ends:
        _checks.number("radius", end, low=2.0)
    if 2.0 * ends[-1] > min(shape):
        raise InputError(f"radius: got {ends[-1]}, wants at most {min(shape) / 2:g} in {shape}")
    return float(ends[0]), float(ends[-1])


def _each(count: int) -> int:
    return max(_SURFACE_POINTS // count, 100)


def _count(fraction: float, share: float, overlap: bool) -> int:
    """How many objects, each of a share of the volume, cover a fraction of it (on average)."""
    _checks.number("fraction", fraction, open_low=True)
    if fraction >= 1.0:
        raise InputError(f"fraction: got {fraction}, wants a number below 1")
    covered = -math.log1p(-fraction) if overlap else fraction
    return max(1, round(covered / share))
