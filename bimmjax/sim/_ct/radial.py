"""What a scan's axis of rotation leaves in its slices: cupping and rings."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from bimmjax._core.checks import InputError
from bimmjax.sim import _checks
from bimmjax.sim._per_slice import coherence, coherent

Centre = tuple[float, float]
RING_ROWS = 4.0
"""Detector rows over which a column's error hangs together."""


def cup(
    image: jax.Array | np.ndarray,
    cupping: float | jax.Array,
    *,
    centre: Centre | None = None,
    radius: float | jax.Array | None = None,
    air: float | jax.Array = 0.0,
) -> jax.Array:
    """Darken a volume towards the axis of rotation, as the hardening of a beam does.

    Hard rays pass more easily, so thick paths absorb too little: to second order a projection p
    reads p - b p². From such projections of a round column of `radius` R filtered back-projection
    makes the absorption times 1 - `cupping` √(1 - r²/R²), `cupping` = 8 b R / π times the
    absorption: projections R² - s² are those of (2/π) √(R² - r²).

    Parameters
    ----------
    image
        (z, y, x), any unit.
    cupping
        What the axis loses, relatively: 0 to 1.
    centre
        Y, x of the axis, voxels; the middle of the slices by default.
    radius
        Of the column, voxels; by default from the axis to the farthest corner, so that all of
        the volume lies within.
    air
        Grey value where nothing absorbs, which stays as it is.

    Returns
    -------
    (z, y, x) float32.

    Raises
    ------
    InputError
        If `image` is not 3D, or a number is out of its range.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bimmjax.sim import cup
    >>> seen = cup(jnp.ones((1, 33, 33)), 0.2, radius=16.0)
    >>> print(seen[0, 16, ::8].round(3))
    [1.    0.827 0.8   0.827 1.   ]
    """
    volume = _checks.volume("image", image)
    check_cupping(cupping)
    size = (volume.shape[1], volume.shape[2])
    place = axis_of(size, centre)
    if radius is None:
        radius = farthest(size, place)
    _checks.number("radius", radius, open_low=True)
    _checks.number("air", air, low=-math.inf)
    numbers = (jnp.asarray(v, jnp.float32) for v in (cupping, radius, air))
    return cupped(volume, *numbers, jnp.zeros(2, jnp.int32), jnp.asarray(place, jnp.float32))


def check_cupping(cupping: object) -> None:
    """Refuse what is not from 0 to 1."""
    _checks.number("cupping", cupping)
    if not isinstance(cupping, Tracer) and float(cupping) > 1:  # type: ignore[arg-type]
        raise InputError(f"cupping: got {float(cupping):g}, wants a number from 0 to 1")  # type: ignore[arg-type]


def axis_of(size: tuple[int, int], centre: Centre | None) -> Centre:
    """`centre`, or the middle of a slice."""
    if centre is None:
        return (size[0] - 1) / 2.0, (size[1] - 1) / 2.0
    found = _checks.numbers("centre", centre, "two numbers, y and x")
    if found.size != 2:
        raise InputError(f"centre: got {found.size} numbers, wants two, y and x")
    return float(found[0]), float(found[1])


def farthest(size: tuple[int, int], centre: Centre) -> float:
    """From the axis to the farthest corner of a slice, voxels."""
    away = [max(c + 0.5, n - 0.5 - c) for n, c in zip(size, centre, strict=True)]
    return math.hypot(*away)


def _radius(shape: tuple[int, ...], first: jax.Array, centre: jax.Array) -> jax.Array:
    """Distance (y, x) from the axis, of a part of a slice that begins at `first` (2,)."""
    y = jnp.arange(shape[0], dtype=jnp.int32) + first[0]
    x = jnp.arange(shape[1], dtype=jnp.int32) + first[1]
    away = (y.astype(jnp.float32) - centre[0])[:, None], x.astype(jnp.float32) - centre[1]
    return jnp.sqrt(away[0] ** 2 + away[1] ** 2)


@jax.jit
def cupped(
    image: jax.Array,
    cupping: jax.Array,
    radius: jax.Array,
    air: jax.Array,
    first: jax.Array,
    centre: jax.Array,
) -> jax.Array:
    """`cup` of a part of slices that begins at `first` (2,)."""
    within = _radius(image.shape[1:], first, centre) / radius
    left = 1.0 - cupping * jnp.sqrt(jnp.maximum(1.0 - within**2, 0.0))
    return air + (image - air) * left


def rings(
    key: jax.Array,
    image: jax.Array | np.ndarray,
    strength: float | jax.Array,
    *,
    centre: Centre | None = None,
    rows: float | jax.Array = RING_ROWS,
    start: int | jax.Array = 0,
) -> jax.Array:
    """Add rings about the axis of rotation, which detector columns of wrong gain leave.

    Every slice gets a random function of the radius, one number per detector column (a voxel
    wide) and straight lines between them. That is what a full turn makes of a sinogram's stripes,
    but for the tails of the reconstruction filter and the greater strength near the axis.

    Parameters
    ----------
    key
        Random key.
    image
        (z, y, x), any unit.
    strength
        std of the columns' numbers, in the image's unit.
    centre
        Y, x of the axis, voxels; the middle of the slices by default.
    rows
        Slices over which a ring hangs together (the correlation over n slices is
        exp(-n² / (2 rows²))), at most 16.
    start
        Number of the first slice within its volume; a slice's rings depend on it and the key.

    Returns
    -------
    (z, y, x) float32; the mean of every slice is kept.

    Raises
    ------
    InputError
        If `image` is not 3D, or a number is out of its range.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from bimmjax.sim import rings
    >>> seen = rings(jax.random.key(0), jnp.zeros((1, 33, 33)), 1.0)[0]
    >>> bool(jnp.allclose(seen, seen.T, atol=1e-5)), bool(abs(seen.mean()) < 1e-5)
    (True, True)
    """
    key = _checks.random_key("key", key)
    volume = _checks.volume("image", image)
    _checks.number("strength", strength)
    coherence("rows", rows)
    size = (volume.shape[1], volume.shape[2])
    place = axis_of(size, centre)
    profiles = ring_profiles(key, size, place, volume.shape[0], strength, rows, start)
    return ringed(volume, profiles, jnp.zeros(2, jnp.int32), jnp.asarray(place, jnp.float32))


def ring_profiles(
    key: jax.Array,
    size: tuple[int, int],
    centre: Centre,
    count: int,
    strength: float | jax.Array,
    rows: float | jax.Array,
    start: int | jax.Array,
) -> jax.Array:
    """Rings (count, radius) at radii 0, 1, 2 ... voxels; their mean over a slice is 0."""
    shares = jnp.asarray(_ring_shares(size, centre))
    length = jnp.asarray(rows, jnp.float32)
    drawn = coherent(key, jnp.asarray(start, jnp.uint32), length, count, shares.size)
    return jnp.asarray(strength, jnp.float32) * (drawn - (drawn * shares).sum(1)[:, None])


@functools.lru_cache(maxsize=8)
def _ring_shares(size: tuple[int, int], centre: Centre) -> np.ndarray:
    """How much of a slice's mean each radius makes up: float32, summing to 1."""
    corners = [math.hypot(y - centre[0], x - centre[1]) for y in (0, size[0] - 1)
               for x in (0, size[1] - 1)]  # fmt: skip
    shares = np.zeros(math.ceil(max(corners)) + 3)
    across = (np.arange(size[1]) - centre[1]) ** 2
    for y in range(size[0]):
        radius = np.sqrt((y - centre[0]) ** 2 + across)
        below = radius.astype(np.int64)
        part = radius - below
        shares += np.bincount(below, 1.0 - part, shares.size)
        shares += np.bincount(below + 1, part, shares.size)
    return (shares / shares.sum()).astype(np.float32)


@jax.jit
def ringed(image: jax.Array, profiles: jax.Array, first: jax.Array, centre: jax.Array) -> jax.Array:
    """Rings of `profiles` (z, radius) in a part of slices that begins at `first` (2,)."""
    radius = _radius(image.shape[1:], first, centre)
    # Parts of a slice may reach beyond it, where nobody looks.
    below = jnp.minimum(radius.astype(jnp.int32), profiles.shape[1] - 2)
    part = jax.lax.optimization_barrier(radius - below)
    return jax.lax.map(
        lambda pair: pair[0] + (1.0 - part) * pair[1][below] + part * pair[1][below + 1],
        (image, profiles),
    )
