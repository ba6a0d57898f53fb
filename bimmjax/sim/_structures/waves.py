"""Fields of many plane waves of one wavelength (levelled waves), box by box and exactly alike.

A cosine of a sum of angles is a sum of products of one factor per axis, so a box of the field is a
matrix product. Angles are counted in fractions of 2³² of a turn, in whole numbers that wrap: so
far from the origin nothing is lost, and boxes fit together.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax._core.checks import InputError, real_number, whole_number
from bimmjax.sim import _checks
from bimmjax.sim._structures.structure import Structure, order_statistic

Shape = tuple[int, int, int]
_TURN = 2.0**32
# Rows of a matrix product: enough to keep cores busy, few enough for their caches.
_ROWS = 2048


class Waves(NamedTuple):
    """Plane waves: cos(2π (cycles · place + phase)), summed and scaled to a variance of 1.

    Attributes
    ----------
    cycles : array
        (n, 3) float32, along z, y, x, cycles per voxel, -1/2 to 1/2, in whole 2⁻³².
    phases : array
        (n,) float32, cycles.
    """

    cycles: Array
    phases: Array


def draw_waves(
    key: Array, wavelength: float, count: int = 200, *, period: Shape | None = None
) -> Waves:
    """Waves of one wavelength in directions that are uniform over the sphere.

    Source: FIB thesis, §2.1 (levelled wave method); Cahn (1965), Soyarslan et al. (2018).

    Parameters
    ----------
    key
        Random key.
    wavelength
        Voxels, at least two.
    count
        Number of waves.
    period
        (z, y, x) voxels, optional. The field then repeats with it: waves move to the nearest
        ones that do, so their lengths differ a little.

    Returns
    -------
    Waves

    Raises
    ------
    InputError
        A wavelength below two voxels or above the period.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from bimmjax.sim import draw_waves
    >>> waves = draw_waves(jax.random.key(0), 20.0)
    >>> bool(np.allclose(np.linalg.norm(waves.cycles, axis=1), 1 / 20, rtol=1e-5))
    True
    """
    key = _checks.random_key("key", key)
    real_number("wavelength", wavelength, 2.0, 1e9)
    whole_number("count", count, 1, 2**20)
    if period is not None:
        period = _checks.volume_shape("period", period)
        if wavelength > min(period):
            raise InputError(
                f"wavelength: got {wavelength:g}, wants at most the shortest period, {min(period)}"
            )
    return _drawn(key, jnp.float32(wavelength), count, period)


@functools.partial(jax.jit, static_argnames=("count", "period"))
def _drawn(key: Array, wavelength: Array, count: int, period: Shape | None) -> Waves:
    directions_key, phases_key = jax.random.split(key)
    directions = jax.random.normal(directions_key, (count, 3), jnp.float32)
    cycles = directions / jnp.linalg.norm(directions, axis=1, keepdims=True) / wavelength
    if period is not None:
        lattice = jnp.asarray(period, jnp.float32)
        cycles = jnp.rint(cycles * lattice) / lattice
    # In whole fractions of a turn, so that what is told is what is summed, however far off.
    cycles = jnp.rint(cycles.astype(jnp.float32) * _TURN) / _TURN
    return Waves(cycles, jax.random.uniform(phases_key, (count,), jnp.float32))


def wave_field(waves: Waves, shape: Shape, start: Shape = (0, 0, 0)) -> Array:
    """A box of the field, (z, y, x) float32, of mean 0 and variance 1 over phases.

    Parameters
    ----------
    waves : Waves
    shape
        (z, y, x) voxels of the box.
    start
        Its first voxel. Boxes fit together: the same voxel has the same value in any, up to
        the order of sums (1e-5).

    Examples
    --------
    >>> import jax, numpy as np
    >>> from bimmjax.sim import draw_waves, wave_field
    >>> waves = draw_waves(jax.random.key(0), 8.0)
    >>> whole, part = wave_field(waves, (16, 16, 16)), wave_field(waves, (4, 8, 8), (5, 6, 7))
    >>> bool(np.allclose(part, whole[5:9, 6:14, 7:15], atol=1e-5))
    True
    """
    return _field(waves, jnp.asarray(start, jnp.int32), tuple(shape))


@functools.partial(jax.jit, static_argnames="shape")
def _field(waves: Waves, start: Array, shape: Shape) -> Array:
    count = waves.phases.shape[0]
    cos, sin = zip(*(_tables(waves.cycles[:, k], start[k], n) for k, n in enumerate(shape)),
                   strict=True)  # fmt: skip
    angle = 2.0 * jnp.pi * waves.phases
    scale = jnp.sqrt(2.0 / count)
    # The phase and the scale go into the shortest table.
    cos_z = scale * (cos[0] * jnp.cos(angle) - sin[0] * jnp.sin(angle))
    sin_z = scale * (sin[0] * jnp.cos(angle) + cos[0] * jnp.sin(angle))
    across = jnp.concatenate([cos[2], -sin[2]], 1).T

    def layer(tables: tuple[Array, Array]) -> Array:
        c, s = tables
        along = jnp.concatenate([c * cos[1] - s * sin[1], s * cos[1] + c * sin[1]], 1)
        return jnp.matmul(along, across, precision=jax.lax.Precision.HIGHEST)

    return jax.lax.map(layer, (cos_z, sin_z), batch_size=max(_ROWS // shape[1], 1))


def _tables(cycles: Array, start: Array, size: int) -> tuple[Array, Array]:
    """Cosine and sine (size, n) of a wave's angle along an axis, from whole turns left out."""
    fractions = jnp.rint(cycles * _TURN).astype(jnp.int32).astype(jnp.uint32)
    places = (jnp.arange(size) + start).astype(jnp.uint32)
    turns = (places[:, None] * fractions).astype(jnp.int32).astype(jnp.float32) / _TURN
    return jnp.cos(2.0 * jnp.pi * turns), jnp.sin(2.0 * jnp.pi * turns)


def wave_surface_density(solid_fraction: float, wavelength: float) -> float:
    """Area of the level set per volume, 1/voxel, in the mean over many waves.

    S_V = 2 k exp(-ξ²/2) / (π √3), k = 2π / wavelength, ξ the level that leaves `solid_fraction`.

    Examples
    --------
    >>> from bimmjax.sim import wave_surface_density
    >>> round(wave_surface_density(0.5, 20.0), 4)
    0.1155
    """
    from scipy.special import ndtri

    share = real_number("solid_fraction", solid_fraction, 1e-9, 1.0 - 1e-9)
    level = float(ndtri(share))
    waves = 2.0 * np.pi / real_number("wavelength", wavelength, 2.0, 1e9)
    return float(2.0 * waves / (np.pi * np.sqrt(3.0)) * np.exp(-0.5 * level**2))


def levelled_wave(
    key: Array,
    shape: Shape,
    solid_fraction: float,
    wavelength: float,
    *,
    count: int = 200,
    periodic: bool = False,
) -> Structure:
    """Pores (phase 0) and solid (phase 1) on either side of a level of a wave field.

    Source: FIB thesis, §2.1 (levelled wave method).

    Parameters
    ----------
    key
        Random key.
    shape
        (z, y, x) voxels.
    solid_fraction
        Share of the voxels that the solid gets, to the voxel (up to ties).
    wavelength
        Voxels, from two to the shortest edge.
    count
        Number of waves.
    periodic
        Whether the volume repeats.

    Returns
    -------
    Structure
        One field (1, z, y, x) and its level: `structure_labels` gives labels, `interface_areas`
        the true area, `image_of` an image. In the mean over keys the area per volume is
        `wave_surface_density`.

    Raises
    ------
    InputError
        A fraction outside (0, 1), a wavelength below two voxels or above the box.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import levelled_wave, structure_labels
    >>> body = levelled_wave(jax.random.key(0), (32, 32, 32), 0.25, 12.0)
    >>> float(structure_labels(body).mean())
    0.25
    """
    shape = _checks.volume_shape("shape", shape)
    share = real_number("solid_fraction", solid_fraction, 0.0, 1.0)
    if not 0.0 < share < 1.0:
        raise InputError(f"solid_fraction: got {share:g}, wants a share between 0 and 1")
    if wavelength > min(shape):
        raise InputError(
            f"wavelength: got {wavelength:g}, wants at most the shortest edge, {min(shape)}"
        )
    waves = draw_waves(key, wavelength, count, period=shape if periodic else None)
    field = wave_field(waves, shape)
    pores = field.size - round(share * field.size)
    return Structure(field[None], order_statistic(field, jnp.int32(pores))[None])
