"""Noise of the electrons that are counted, and of what counts them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from bimmjax._core.checks import InputError
from bimmjax.sim import _checks
from bimmjax.sim._per_slice import slice_keys, stack_of_slices

ELECTRON_CHARGE = 1.602176634e-19
"""Coulomb, exact (SI)."""
GAUSSIAN_VARIANCE = 0.001
"""Of an image in [0, 1] (FIB thesis, Article I, §2.2.1)."""
# Below this mean the distribution is summed up, above it a series in 1/√mean is close enough.
_FEW = 12.0
# Beyond it float32 no longer holds every whole number.
_MOST = 1e7


def dose_electrons(current_pa: float, dwell_us: float) -> float:
    """Electrons that a beam sends into one pixel.

    Parameters
    ----------
    current_pa
        Beam current, pA.
    dwell_us
        Dwell time, µs.

    Examples
    --------
    >>> from bimmjax.sim import dose_electrons
    >>> round(dose_electrons(50.0, 30.0))
    9362
    """
    _checks.number("current_pa", current_pa)
    _checks.number("dwell_us", dwell_us)
    return float(current_pa) * 1e-12 * float(dwell_us) * 1e-6 / ELECTRON_CHARGE


def poisson(key: jax.Array, mean: jax.Array) -> jax.Array:
    """Poisson numbers, one normal number each: four to nine times as fast as JAX's own.

    The quantile function of a Poisson distribution at the normal number's own probability: summed
    term by term for means below 12, from the first terms of its expansion about the normal
    distribution above (Giles 2016, doi:10.1145/2699466, normal approximation). The probabilities
    of the numbers are off by 0.0004 in all (total variation) at worst, just above a mean of 12.

    Parameters
    ----------
    key
        Random key.
    mean
        Any shape, from 0 to 1e7.

    Returns
    -------
    float32 of the same shape, whole numbers.

    Raises
    ------
    InputError
        A mean that is not from 0 to 1e7.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from bimmjax.sim import poisson
    >>> counts = poisson(jax.random.key(0), jnp.full((100, 100), 9362.0))
    >>> bool(abs(counts.var() / counts.mean() - 1) < 0.05)
    True
    """
    key = _checks.random_key("key", key)
    means = jnp.asarray(mean, jnp.float32)
    if not isinstance(means, Tracer) and not bool(jnp.all((means >= 0) & (means <= _MOST))):
        bad = float(means.min()) if bool(means.min() < 0) else float(means.max())
        raise InputError(f"mean: got {bad:g}, wants numbers from 0 to {_MOST:g}")
    return _poisson(key, means)


@jax.jit
def _poisson(key: jax.Array, mean: jax.Array) -> jax.Array:
    normal = jax.random.normal(key, mean.shape, jnp.float32)
    return poisson_quantile(normal, mean)


@jax.jit
def poisson_quantile(normal: jax.Array, mean: jax.Array) -> jax.Array:
    """The Poisson number that is as unlikely as `normal` is; float32, shapes alike."""
    root = jnp.sqrt(jnp.maximum(mean, _FEW))
    series = mean + root * normal + (2.0 + normal**2) / 6.0
    series = series - (2.0 * normal + normal**3) / 72.0 / root
    many = jnp.floor(jnp.maximum(series, 0.0))
    few = mean < _FEW
    # Counted from the nearer end, where float32 still tells probabilities apart.
    above = jax.scipy.stats.norm.sf(normal)
    start = jnp.exp(-jnp.where(few, mean, 0.0))

    def unfinished(state: tuple[jax.Array, ...]) -> jax.Array:
        return state[-1]

    def next_number(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        k, number, term, left, _ = state
        left = left - term
        more = few & (left > above)
        k = k + 1.0
        return k, jnp.where(more, k, number), term * mean / k, left, (k < 64.0) & jnp.any(more)

    zero = jnp.zeros(mean.shape, jnp.float32)
    state = (jnp.float32(0.0), zero, start, jnp.ones_like(zero), jnp.any(few))
    return jnp.where(few, jax.lax.while_loop(unfinished, next_number, state)[1], many)


def add_shot_noise(
    key: jax.Array,
    image: jax.Array | np.ndarray,
    electrons: float | jax.Array,
    *,
    gaussian_variance: float | jax.Array = GAUSSIAN_VARIANCE,
    black: float | jax.Array | np.ndarray = 0.0,
    white: float | jax.Array | np.ndarray = 1.0,
    start: int | jax.Array = 0,
) -> jax.Array:
    """What a detector tells of an image: electrons counted, amplified to [0, 1], Gaussian noise.

    Source: FIB thesis, Article I, §2.2.1.

    Parameters
    ----------
    key
        Random key.
    image
        (z, y, x), detected electrons per electron of the beam, from 0 up.
    electrons
        Per pixel, see `dose_electrons`.
    gaussian_variance
        Of the noise after the count, where black is 0 and white 1.
    black
        Yield that becomes 0 (brightness and contrast of the detector): one number, or one per
        slice (z,).
    white
        Yield that becomes 1: one number, or one per slice (z,). No slice is stretched to its own
        extremes: with the noise included they would change the grey levels from slice to slice.
    start
        Number of the first slice within its stack. A slice's noise depends on its number and
        the key alone.

    Returns
    -------
    (z, y, x) float32, clipped to [0, 1].

    Raises
    ------
    InputError
        `image` is not 3D, no electrons, a negative variance, or black not below white.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from bimmjax.sim import add_shot_noise
    >>> seen = add_shot_noise(
    ...     jax.random.key(0), jnp.full((4, 64, 64), 0.5), 500.0, gaussian_variance=0.0
    ... )
    >>> round(float(seen.var()), 4)
    0.001
    """
    key = _checks.random_key("key", key)
    stack = stack_of_slices("image", image, start)
    _checks.number("electrons", electrons, open_low=True)
    _checks.number("gaussian_variance", gaussian_variance)
    _checks.rising("black", black, "white", white, stack.shape[0])
    ends = (jnp.broadcast_to(jnp.asarray(v, jnp.float32), stack.shape[:1]) for v in (black, white))
    dose, variance = (jnp.asarray(v, jnp.float32) for v in (electrons, gaussian_variance))
    return _noisy(key, stack, jnp.asarray(start, jnp.uint32), dose, variance, *ends)


@jax.jit
def _noisy(
    key: jax.Array,
    image: jax.Array,
    start: jax.Array,
    electrons: jax.Array,
    variance: jax.Array,
    black: jax.Array,
    white: jax.Array,
) -> jax.Array:
    def one(of_slice: tuple[jax.Array, ...]) -> jax.Array:
        own, plane, low, high = of_slice
        of_count, of_detector = jax.random.split(own)
        counts = _poisson(of_count, electrons * jnp.maximum(plane, 0.0))
        level = (counts / electrons - low) / (high - low)
        noise = jax.random.normal(of_detector, plane.shape, jnp.float32)
        return jnp.clip(level + jnp.sqrt(variance) * noise, 0.0, 1.0)

    return jax.lax.map(one, (slice_keys(key, start, image.shape[0]), image, black, white))
