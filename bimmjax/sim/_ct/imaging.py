"""Image formation: partial volumes, blur, noise, and grey levels of a detector."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from bimmjax._core.checks import InputError, whole_number
from bimmjax.sim import _checks
from bimmjax.sim._gaussian import smooth
from bimmjax.sim._structures.fields import gaussian_field
from bimmjax.sim._structures.structure import Structure, checked_structure, render

_smooth = jax.jit(smooth)


def image_of(
    structure: Structure, values: Sequence[float] | jax.Array, *, supersample: int = 1
) -> jax.Array:
    """A sharp image of a structure: `values[i]` in phase i.

    Parameters
    ----------
    structure
        Fields (F, z, y, x) and levels (N-1,).
    values
        (N,), any unit.
    supersample
        1 samples each voxel at its centre, as the BIMM paper does; s averages s³
        points of it (partial volumes; adds (1 - 1/s²)/12 to the variance of the blur).

    Returns
    -------
    (z, y, x) float32.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import gaussian_structure, image_of
    >>> body = gaussian_structure(jax.random.key(0), (16, 16, 16), (0.5, 0.5), 3.0)
    >>> float(image_of(body, (10.0, 20.0)).mean())
    15.0
    """
    structure = checked_structure(structure)
    whole_number("supersample", supersample, 1, 16)
    table = jnp.asarray(values, jnp.float32)
    if table.shape != (structure.levels.shape[0] + 1,):
        raise InputError(
            f"values: got shape {table.shape}, wants ({structure.levels.shape[0] + 1},), "
            "one per phase"
        )
    return render(structure, table, supersample)


def blur(image: jax.Array | np.ndarray, blur_std: float | jax.Array) -> jax.Array:
    """Filter a periodic volume by a Gaussian (BIMM paper, §2.1 and §4.1).

    Parameters
    ----------
    image
        (z, y, x), any real dtype.
    blur_std
        Standard deviation in voxels; 0 changes nothing.

    Returns
    -------
    (z, y, x) float32; the sum is kept.

    Raises
    ------
    InputError
        If `image` is not 3D, or `blur_std` is negative.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bimmjax.sim import blur
    >>> point = jnp.zeros((16, 16, 16)).at[8, 8, 8].set(1.0)
    >>> seen = blur(point, 2.0)
    >>> round(float(seen.sum()), 4), round(float(seen[8, 8, 8]), 4)
    (1.0, 0.0079)
    """
    volume = _checks.volume("image", image)
    _checks.number("blur_std", blur_std)
    return _smooth(volume, jnp.asarray(blur_std, jnp.float32))


@functools.partial(jax.jit, donate_argnums=1)
def _plus(image: jax.Array, noise: jax.Array, std: jax.Array) -> jax.Array:
    return image + std * noise


def add_noise(
    key: jax.Array,
    image: jax.Array | np.ndarray,
    noise_std: float | jax.Array | np.ndarray,
    *,
    noise_length: float | jax.Array = 0.0,
) -> jax.Array:
    """Add Gaussian noise, white or correlated between neighbouring voxels.

    Parameters
    ----------
    key
        Random key.
    image
        (z, y, x).
    noise_std
        Standard deviation in the image's unit: one number, or one per voxel (z, y, x).
    noise_length
        The noise is filtered by a Gaussian of this std (voxels) and scaled back to
        `noise_std`; `noise_correlation` tells what correlation that gives. 0 is white noise.

    Returns
    -------
    (z, y, x) float32.

    Raises
    ------
    InputError
        If `image` is not 3D, or a standard deviation or length is negative.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from bimmjax.sim import add_noise
    >>> seen = add_noise(jax.random.key(0), jnp.zeros((16, 16, 16)), 0.1)
    >>> round(float(seen.std()), 2)
    0.1
    """
    key = _checks.random_key("key", key)
    volume = _checks.volume("image", image)
    if np.ndim(noise_std) == 0:
        _checks.number("noise_std", noise_std)
    elif np.shape(noise_std) != volume.shape:
        raise InputError(
            f"noise_std: got shape {np.shape(noise_std)}, wants a number or {volume.shape}"
        )
    elif not isinstance(noise_std, Tracer) and not bool(jnp.all(noise_std >= 0)):
        raise InputError("noise_std: got negative or NaN values, wants numbers of at least 0")
    _checks.number("noise_length", noise_length)
    shape = (volume.shape[0], volume.shape[1], volume.shape[2])
    noise = gaussian_field(key, shape, noise_length)
    std = jnp.asarray(noise_std, jnp.float32)
    return _plus(volume, noise, std)


def noise_correlation(noise_length: float, lags: int = 2) -> np.ndarray:
    """Correlation of the noise of `add_noise` between voxels 1 ... `lags` apart along an axis.

    At lag 2 it is the correlation parameter ρ of BIMM-2D (paper, Eq. 9); close to
    exp(-lag² / (4 noise_length²)) for `noise_length` ≥ 0.7.

    Parameters
    ----------
    noise_length
        std of the noise filter, voxels.
    lags
        Number of lags.

    Returns
    -------
    (lags,) float64.

    Examples
    --------
    >>> from bimmjax.sim import noise_correlation
    >>> noise_correlation(1.2).round(3)
    array([0.841, 0.499])
    """
    _checks.number("noise_length", noise_length)
    whole_number("lags", lags, 1, 1000)
    if noise_length == 0:
        return np.zeros(lags)
    reach = math.ceil(8 * noise_length) + lags
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / noise_length) ** 2)
    energy = (kernel**2).sum()
    return np.array([(kernel[k:] * kernel[:-k]).sum() for k in range(1, lags + 1)]) / energy


def to_integers(
    image: jax.Array | np.ndarray,
    dtype: str = "uint8",
    *,
    scale: float = 1.0,
    offset: float = 0.0,
) -> np.ndarray:
    """Grey levels as a detector stores them: `scale * image + offset`, rounded and clipped.

    Parameters
    ----------
    image
        (z, y, x), any unit.
    dtype
        "uint8" or "uint16".
    scale
        Grey levels per unit.
    offset
        Grey level of 0.

    Returns
    -------
    (z, y, x) of `dtype`. Rounding adds 1/12 grey level² to the variance of the noise.

    Raises
    ------
    InputError
        If `image` is not 3D, `scale` is not positive, or `dtype` is another one.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.sim import to_integers
    >>> to_integers(np.array([[[-0.2, 0.5, 1.0, 2.0]]]), scale=200.0, offset=20.0)
    array([[[  0, 120, 220, 255]]], dtype=uint8)
    """
    if dtype not in ("uint8", "uint16"):
        raise InputError(f"dtype: got {dtype!r}, wants uint8 or uint16")
    _checks.number("scale", scale, open_low=True)
    _checks.number("offset", offset, low=-math.inf)
    volume = _checks.volume("image", image)
    return np.asarray(_grey(volume, jnp.float32(scale), jnp.float32(offset), dtype))


@functools.partial(jax.jit, static_argnames="dtype")
def _grey(image: jax.Array, scale: jax.Array, offset: jax.Array, dtype: str) -> jax.Array:
    top = np.iinfo(dtype).max
    return jnp.clip(jnp.rint(scale * image + offset), 0, top).astype(dtype)
