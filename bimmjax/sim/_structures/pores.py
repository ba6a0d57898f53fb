"""Solids with spherical pores at random places."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.sim import _checks
from bimmjax.sim._host_random import generator
from bimmjax.sim._structures.exposed import Balls, covered, exposed_area, surface_points
from bimmjax.sim._structures.labelled import Labelled, highest, shares, wanted_voxels
from bimmjax.sim._structures.stamps import MARGIN, empty, stamp_until

_SMALLEST = 1.0


def random_pores(
    key: jax.Array,
    shape: tuple[int, int, int],
    solid_fraction: float,
    radius: float,
    radius_std: float = 0.0,
) -> Labelled:
    """A solid (phase 1) with spherical pores (phase 0) at random places, which may overlap.

    Source: FIB thesis, Article I §2.1.1.3 (random pore generation method).

    Parameters
    ----------
    key
        Random key.
    shape
        (z, y, x) voxels; the volume is periodic.
    solid_fraction
        Share of the voxels that the solid keeps, to the voxel: pores are added
        until there are enough, and all are then shrunk by a common small length.
    radius
        Mean of the pores' radii, which are normal, voxels.
    radius_std
        Standard deviation of the pores' radii, voxels. Radii below 1 or above what the volume
        holds are drawn again.

    Returns
    -------
    Labelled
        Its area is that of the pores' surfaces outside other pores, by random points on them.

    Raises
    ------
    InputError
        A fraction outside (0, 1), a radius below 1.5 or too large for the volume, a spread of
        more than half of it.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import random_pores
    >>> random_pores(jax.random.key(0), (32, 32, 32), 0.75, 5.0, 1.0).fractions.tolist()
    [0.25, 0.75]
    """
    rng = generator(key)
    shape = _checks.volume_shape("shape", shape)
    solid = wanted_voxels("solid_fraction", solid_fraction, int(np.prod(shape)))
    draw = radii_of(rng, "radius", radius, radius_std, shape)
    depth = empty(shape)
    balls = stamp_until(rng, depth, draw, depth.size - solid)
    pores, level = highest(depth, depth.size - solid)
    labels = (~pores).astype(np.uint8)
    balls = shrunk(balls, level)
    owners, points = surface_points(rng, balls)
    bare = ~covered(points, owners, balls, np.array(shape, float))
    area, error = exposed_area(bare, owners, balls)
    return Labelled(
        labels, shares(labels, 2), np.array([area]) / labels.size, np.array([error]) / labels.size
    )


def shrunk(balls: Balls, by: float) -> Balls:
    """The balls with smaller radii; those of which nothing is left are left out."""
    radii = balls.radii - by
    return Balls(balls.centres[radii > 0.0], radii[radii > 0.0])


def radii_of(
    rng: np.random.Generator, name: str, radius: object, spread: object, shape: tuple[int, int, int]
) -> Callable[[int], np.ndarray]:
    """A function that draws so many normal radii, none below a voxel or too large for `shape`."""
    _checks.number(name, radius, low=1.5)
    _checks.number(f"{name}_std", spread)
    middle, std, most = float(radius), float(spread), min(shape) / 2 - MARGIN - 1  # type: ignore[arg-type]
    if middle > most:
        raise InputError(f"{name}: got {middle:g}, wants at most {most:g} in {shape}")
    if std > middle / 2:
        raise InputError(f"{name}_std: got {std:g}, wants at most half the radius, {middle / 2:g}")

    def draw(count: int) -> np.ndarray:
        found = rng.normal(middle, std, count)
        while (bad := (found < _SMALLEST) | (found > most)).any():
            found[bad] = rng.normal(middle, std, int(bad.sum()))
        return found

    return draw
