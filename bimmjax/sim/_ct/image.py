"""Images as a computed tomography would show a structure."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.fft import next_fast_len

from bimmjax._core.checks import InputError, choice, whole_number
from bimmjax.sim import _checks
from bimmjax.sim._ct.fringes import fringe_transfer
from bimmjax.sim._ct.imaging import image_of
from bimmjax.sim._ct.partial import block_mean
from bimmjax.sim._ct.place_noise import place_noise
from bimmjax.sim._ct.radial import (
    RING_ROWS,
    Centre,
    axis_of,
    check_cupping,
    cupped,
    farthest,
    ring_profiles,
    ringed,
)
from bimmjax.sim._gaussian import periodic_kernel, smooth, transfer
from bimmjax.sim._structures.structure import Structure

Shape = tuple[int, int, int]


class Scan(NamedTuple):
    """Settings of a scan; lengths in voxels of the image, grey values in the intensities' unit.

    Attributes
    ----------
    blur_std : float
        σ_b of the Gaussian blur, at most 16.
    noise_std : float
        σ_n of the Gaussian noise.
    noise_length : float
        Correlation of the noise, see `add_noise`; at most 8.
    rings : float
        Strength of `rings`.
    cupping : float
        Of `cup`, relative.
    fresnel : float
        Of `fringes`: wavelength · distance / voxel²; at most 16.
    delta_beta : float
        Of `fringes`: δ/β.
    centre : Centre or None
        y, x of the axis of rotation; the middle by default.
    supersample : int
        Labels along each axis that one voxel of the image averages, see `block_mean`.
    edges : str
        What lies beyond the volume: "mirror", its mirror image, or "wrap", itself again.
    air : float or None
        Grey value where nothing absorbs, see `cup`; the lowest intensity by default.
    """

    blur_std: float = 1.0
    noise_std: float = 0.1
    noise_length: float = 0.0
    rings: float = 0.0
    cupping: float = 0.0
    fresnel: float = 0.0
    delta_beta: float = 0.0
    centre: Centre | None = None
    supersample: int = 1
    edges: str = "mirror"
    air: float | None = None


def ct_image(
    key: jax.Array,
    structure: Structure | jax.Array | np.ndarray,
    intensities: Sequence[float] | np.ndarray,
    scan: Scan | None = None,
    **settings: Any,
) -> jax.Array:
    """The image that a scan makes of a structure or of labels.

    Partial volumes, phase fringes, blur, cupping, rings and noise, in this order.

    Source: BIMM paper, §4.1 (blur and noise); the artefacts as their own functions tell.

    Parameters
    ----------
    key
        Random key.
    structure
        `Structure`, sampled at `supersample`³ points of each voxel (its fields are
        periodic whatever the `edges`); or labels (z, y, x), `supersample`³ of which one voxel
        averages.
    intensities
        Grey value of each phase, any unit.
    scan
        settings; `Scan()` if None.
    **settings
        Fields of `Scan` in the place of those in `scan`.

    Returns
    -------
    (z, y, x) float32.

    Raises
    ------
    InputError
        Bad settings, or labels without an intensity.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import ct_image, levelled_wave
    >>> body = levelled_wave(jax.random.key(0), (24, 24, 24), 0.4, 12.0)
    >>> seen = ct_image(jax.random.key(1), body, (0.0, 1.0), blur_std=1.0, noise_std=0.1)
    >>> seen.shape
    (24, 24, 24)
    """
    key = _checks.random_key("key", key)
    told = with_air(checked_scan(scan, settings), intensities)
    if isinstance(structure, Structure):
        sharp = image_of(structure, intensities, supersample=told.supersample)  # type: ignore[arg-type]
    else:
        sharp = block_mean(structure, np.asarray(intensities), told.supersample)
    shape = (sharp.shape[0], sharp.shape[1], sharp.shape[2])
    wrap = told.edges == "wrap"
    # A volume that repeats needs no more of itself: the Fourier transform is periodic too.
    before, size = ((0, 0, 0), shape) if wrap else padded(shape, halo_of(told))
    if not wrap:
        pads = [(b, s - n - b) for b, s, n in zip(before, size, shape, strict=True)]
        sharp = jnp.pad(sharp, pads, mode="symmetric")
    return seen(key, sharp, told, shape, (0, 0, 0), before, shape)


def checked_scan(scan: Scan | None, settings: dict[str, Any]) -> Scan:
    """`scan` with other `settings`, every one of them in its range."""
    unknown = [name for name in settings if name not in Scan._fields]
    if unknown:
        raise InputError(f"{unknown[0]}: no setting of a scan, wants {', '.join(Scan._fields)}")
    told = (Scan() if scan is None else scan)._replace(**settings)
    for name, most in (("blur_std", 16), ("noise_length", 8), ("fresnel", 16)):
        value = getattr(told, name)
        _checks.number(name, value)
        if value > most:
            raise InputError(f"{name}: got {value:g}, wants at most {most}")
    for name in ("noise_std", "rings", "delta_beta"):
        _checks.number(name, getattr(told, name))
    check_cupping(told.cupping)
    if told.air is not None:
        _checks.number("air", told.air, low=-math.inf)
    if told.centre is not None:
        axis_of((1, 1), told.centre)
    whole_number("supersample", told.supersample, 1, 16)
    choice("edges", told.edges, ("mirror", "wrap"))
    return told


def with_air(scan: Scan, intensities: Sequence[float] | np.ndarray) -> Scan:
    """`scan` with the lowest intensity as air, if it tells no other."""
    grey = _checks.numbers("intensities", intensities, "one number per phase")
    return scan if scan.air is not None else scan._replace(air=float(grey.min()))


def halo_of(scan: Scan) -> int:
    """Voxels around a box that tell on it."""
    blurred = math.ceil(5.0 * scan.blur_std)
    if scan.fresnel == 0:
        return blurred
    # A wave of the finest period that is left after the blur runs off by half the fresnel number.
    return blurred + math.ceil(2.0 * scan.fresnel) + 8


def padded(shape: Shape, halo: int) -> tuple[Shape, Shape]:
    """Voxels before a box, and the size with those behind it, quickly transformed."""
    z, y, x = (n if halo == 0 else int(next_fast_len(n + 2 * halo, True) or 0) for n in shape)
    return (halo, halo, halo), (z, y, x)


def seen(
    key: jax.Array,
    sharp: jax.Array,
    scan: Scan,
    shape: Shape,
    start: Shape,
    before: Shape,
    size: Shape,
) -> jax.Array:
    """A box of `size` at `start` in a scan of `shape`; `sharp` has `before` voxels before it."""
    ring_key, noise_key = jax.random.split(key)
    numbers = (scan.blur_std, scan.fresnel, scan.delta_beta)
    image = sharp
    if scan.blur_std > 0 or scan.fresnel > 0:
        image = _filtered(sharp, *(jnp.float32(v) for v in numbers), before, size, scan.fresnel > 0)
    plane = (shape[1], shape[2])
    centre = axis_of(plane, scan.centre)
    first, axis = jnp.asarray(start[1:], jnp.int32), jnp.asarray(centre, jnp.float32)
    if scan.cupping > 0:
        radius = jnp.float32(farthest(plane, centre))
        air = jnp.float32(scan.air or 0.0)
        image = cupped(image, jnp.float32(scan.cupping), radius, air, first, axis)
    if scan.rings > 0:
        profiles = ring_profiles(ring_key, plane, centre, size[0], scan.rings, RING_ROWS, start[0])
        image = ringed(image, profiles, first, axis)
    if scan.noise_std > 0:
        reach = math.ceil(5.0 * scan.noise_length)
        wrap = shape if scan.edges == "wrap" else None
        where = jnp.asarray((*start, plane[0]), jnp.int32)
        std, length = jnp.float32(scan.noise_std), jnp.float32(scan.noise_length)
        image = _with_noise(noise_key, image, where, std, length, reach, wrap)
    return image


@functools.partial(jax.jit, static_argnames=("before", "size", "fringed"))
def _filtered(
    sharp: jax.Array,
    blur_std: jax.Array,
    fresnel: jax.Array,
    delta_beta: jax.Array,
    before: Shape,
    size: Shape,
    fringed: bool,
) -> jax.Array:
    shape = (sharp.shape[0], sharp.shape[1], sharp.shape[2])
    filter_ = transfer(shape, blur_std)
    if fringed:
        filter_ = filter_ * fringe_transfer(shape, fresnel, delta_beta)
    seen = jnp.fft.irfftn(jnp.fft.rfftn(sharp) * filter_, s=shape).astype(jnp.float32)
    return jax.lax.slice(seen, before, [b + n for b, n in zip(before, size, strict=True)])


@functools.partial(jax.jit, static_argnames=("reach", "wrap"))
def _with_noise(
    key: jax.Array,
    image: jax.Array,
    where: jax.Array,
    std: jax.Array,
    length: jax.Array,
    reach: int,
    wrap: Shape | None,
) -> jax.Array:
    places = [
        where[axis] - reach + jnp.arange(n + 2 * reach, dtype=jnp.int32)
        for axis, n in enumerate(image.shape)
    ]
    if wrap is not None:
        places = [i % n for i, n in zip(places, wrap, strict=True)]
    noise = place_noise(key, places[0], places[1], places[2], where[3])
    if reach:
        kernels = [periodic_kernel(n, length) for n in noise.shape]
        energies = [(kernel**2).sum() for kernel in kernels]
        noise = smooth(noise, length) / jnp.sqrt(energies[0] * energies[1] * energies[2])
        inner = slice(reach, -reach)
        noise = noise[inner, inner, inner]
    return image + std * noise
