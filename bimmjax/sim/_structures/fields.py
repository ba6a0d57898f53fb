"""Smooth Gaussian random fields, the raw material of structures and of correlated noise."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax.core import Tracer

from bimmjax._core.checks import choice
from bimmjax.sim import _checks
from bimmjax.sim._gaussian import periodic_kernel, smooth


@functools.partial(jax.jit, static_argnames=("shape", "normalise"))
def _field(
    key: jax.Array, length: jax.Array, shape: tuple[int, int, int], normalise: str
) -> jax.Array:
    field = smooth(jax.random.normal(key, shape, jnp.float32), length)
    if normalise == "volume":
        return (field - field.mean()) / field.std()
    # Filtered white noise has the variance Σ h², which is a product over the axes.
    energies = [(periodic_kernel(n, length) ** 2).sum() for n in shape]
    return field / jnp.sqrt(energies[0] * energies[1] * energies[2])


@functools.partial(jax.jit, static_argnames="shape")
def _white(key: jax.Array, shape: tuple[int, int, int]) -> jax.Array:
    return jax.random.normal(key, shape, jnp.float32)


def gaussian_field(
    key: jax.Array,
    shape: tuple[int, int, int],
    length: float | jax.Array,
    *,
    normalise: str = "ensemble",
) -> jax.Array:
    """White noise blurred by a Gaussian: a smooth, isotropic, periodic random field.

    Its autocorrelation at distance r is exp(-r² / (4 length²)). It is the first step of the
    BIMM paper's artificial data (§4.1 and Fig. S1, with `length` 20).

    Parameters
    ----------
    key
        Random key.
    shape
        (z, y, x) voxels.
    length
        Standard deviation of the Gaussian filter in voxels; 0 leaves the noise white.
    normalise
        "ensemble": mean 0 and variance 1 over all keys, so that one volume's own
        moments scatter about them; "volume": mean 0 and variance 1 of this very volume.

    Returns
    -------
    (z, y, x) float32.

    Raises
    ------
    InputError
        If `shape` is not 3D, or `length` is negative.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import gaussian_field
    >>> field = gaussian_field(jax.random.key(0), (16, 16, 16), 2.0, normalise="volume")
    >>> field.shape, round(float(field.std()), 3)
    ((16, 16, 16), 1.0)
    """
    key = _checks.random_key("key", key)
    shape = _checks.volume_shape("shape", shape)
    _checks.number("length", length)
    choice("normalise", normalise, ("ensemble", "volume"))
    if normalise == "ensemble" and not isinstance(length, Tracer) and length == 0:
        return _white(key, shape)
    return _field(key, jnp.asarray(length, jnp.float32), shape, normalise)


def gaussian_field_area(length: float, level: float) -> float:
    """Expected area, per volume, of the surface where a Gaussian field equals `level`.

    By Rice's formula a unit-variance isotropic field whose derivative along any axis has
    variance λ crosses `level` on the area (2/π) √λ exp(-level²/2) per volume; white noise
    filtered by a Gaussian of std `length` has λ = 1/(2 length²).

    Parameters
    ----------
    length
        As in `gaussian_field`, voxels.
    level
        In standard deviations of the field.

    Returns
    -------
    Area per volume, 1/voxel. Single volumes scatter about it.

    Examples
    --------
    >>> from bimmjax.sim import gaussian_field_area
    >>> round(gaussian_field_area(20.0, 0.0), 5)
    0.02251
    """
    _checks.number("length", length, open_low=True)
    _checks.number("level", level, low=-math.inf)
    return math.sqrt(2) / (math.pi * length) * math.exp(-0.5 * level**2)
