"""Curtains: stripes that an ion beam leaves along its own direction."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax.sim import _checks
from bimmjax.sim._per_slice import coherence, coherent, reach_of, stack_of_slices


def curtains(
    key: jax.Array,
    image: jax.Array | np.ndarray,
    *,
    strength: float | jax.Array = 0.05,
    width: float | jax.Array = 1.5,
    length: float | jax.Array = 8.0,
    depth: float | jax.Array = math.inf,
    slices: float | jax.Array = 20.0,
    start: int | jax.Array = 0,
) -> tuple[jax.Array, jax.Array]:
    """Stripes along y, the direction of milling, that stay for some slices and fade.

    Each slice is multiplied by 1 + pattern(x) · exp(-y / depth): the beam enters at y = 0. The
    pattern is a Gaussian random function of x that changes slowly from slice to slice.

    Parameters
    ----------
    key
        Random key.
    image
        (z, y, x), any unit in which 0 is black.
    strength
        std of the pattern in slice 0.
    width
        std of the Gaussian that correlates the pattern along x, pixels, at most 8.
    length
        Slices over which it hangs together (the correlation over n slices is
        exp(-n² / (2 length²))), at most 16.
    depth
        Pixels along y after which a stripe has faded to 1/e; endless by default.
    slices
        Number of slices after which the pattern has faded to 1/e. The thesis saw curtains
        in the first 10 to 30 slices (§2.1).
    start
        Number of the first slice within its stack.

    Returns
    -------
    striped : (z, y, x) float32.
    patterns : (z, x) float32, at y = 0.

    Raises
    ------
    InputError
        If `image` is not 3D, or a number is out of its range.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from bimmjax.sim import curtains
    >>> striped, patterns = curtains(jax.random.key(0), jnp.ones((2, 8, 32)))
    >>> bool(jnp.allclose(striped[:, 5], 1 + patterns))
    True
    """
    key = _checks.random_key("key", key)
    stack = stack_of_slices("image", image, start)
    _checks.number("strength", strength)
    reach = reach_of("width", width)
    coherence("length", length)
    _checks.length_or_inf("depth", depth)
    _checks.length_or_inf("slices", slices)
    numbers = (jnp.asarray(v, jnp.float32) for v in (strength, width, length, depth, slices))
    return _striped(key, stack, jnp.asarray(start, jnp.uint32), *numbers, reach)


@functools.partial(jax.jit, static_argnames="reach")
def _striped(
    key: jax.Array,
    image: jax.Array,
    start: jax.Array,
    strength: jax.Array,
    width: jax.Array,
    length: jax.Array,
    depth: jax.Array,
    slices: jax.Array,
    reach: int,
) -> tuple[jax.Array, jax.Array]:
    count, rows, columns = image.shape
    drawn = coherent(key, start, length, count, columns + 2 * reach)
    steps = jnp.arange(-reach, reach + 1, dtype=jnp.float32)
    weights = jnp.exp(-0.5 * (steps / jnp.maximum(width, 1e-3)) ** 2)
    weights = weights / jnp.sqrt((weights**2).sum())
    patterns = functools.reduce(
        jnp.add, (weights[i] * drawn[:, i : i + columns] for i in range(2 * reach + 1))
    )
    number = start.astype(jnp.float32) + jnp.arange(count, dtype=jnp.float32)
    patterns = strength * jnp.exp(-number / slices)[:, None] * patterns
    fading = jnp.exp(-jnp.arange(rows, dtype=jnp.float32) / depth)
    striped = jax.lax.map(
        lambda pair: pair[0] * (1.0 + pair[1] * fading[:, None]), (image, patterns)
    )
    return striped, patterns
