"""Images that move from slice to slice, and that grow brighter or darker."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.sim import _checks
from bimmjax.sim._per_slice import coherence, coherent, slice_keys, stack_of_slices


def drift(
    key: jax.Array,
    image: jax.Array | np.ndarray,
    *,
    walk: float | jax.Array = 0.3,
    jitter: float | jax.Array = 0.3,
    start: int = 0,
) -> tuple[jax.Array, jax.Array]:
    """Move each slice within its plane: a random walk, and a jitter about it.

    Parameters
    ----------
    key
        Random key.
    image
        (z, y, x), any unit.
    walk
        std along y and x of the steps that add up from slice to slice, pixels. Slice 0 has
        taken none.
    jitter
        std of what does not add up, pixels.
    start
        Number of the first slice within its stack; how far a slice moves depends on its
        number and the key alone.

    Returns
    -------
    moved : (z, y, x) float32, see `shift_slices`.
    shifts : (z, 2) float32, pixels along y and x, by which each slice was moved.

    Raises
    ------
    InputError
        If `image` is not 3D, or a std is negative.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from bimmjax.sim import drift
    >>> moved, shifts = drift(jax.random.key(0), jnp.zeros((5, 8, 8)))
    >>> moved.shape, shifts.shape
    ((5, 8, 8), (5, 2))
    """
    key = _checks.random_key("key", key)
    stack = stack_of_slices("image", image, start)
    _checks.number("walk", walk)
    _checks.number("jitter", jitter)
    shifts = draw_shifts(key, start + stack.shape[0], walk, jitter)[start:]
    return _moved(stack, shifts), shifts


def draw_shifts(
    key: jax.Array, count: int, walk: float | jax.Array, jitter: float | jax.Array
) -> jax.Array:
    """The shifts (count, 2) of `drift`, of the slices 0 ... count - 1."""
    # The walk begins at slice 0 whatever is asked for; few lengths, so that few are compiled.
    length = 1 << (count - 1).bit_length()
    numbers = (jnp.asarray(v, jnp.float32) for v in (walk, jitter))
    return _walked(key, *numbers, length)[:count]


@functools.partial(jax.jit, static_argnames="count")
def _walked(key: jax.Array, walk: jax.Array, jitter: jax.Array, count: int) -> jax.Array:
    keys = slice_keys(key, jnp.uint32(0), count)
    steps = jax.vmap(lambda own: jax.random.normal(own, (2, 2), jnp.float32))(keys)

    # One after the other: in a parallel sum the order, and so the rounding, is up to the length.
    def add(place: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
        place = place + step
        return place, place

    taken = walk * steps[:, 0].at[0].set(0.0)
    _, places = jax.lax.scan(add, jnp.zeros(2, jnp.float32), taken)
    return places + jitter * steps[:, 1]


def shift_slices(image: jax.Array | np.ndarray, shifts: jax.Array | np.ndarray) -> jax.Array:
    """Move each slice by its own fraction of pixels, by cubic convolution (Keys 1981, a = -1/2).

    Pixels that come into the frame repeat its edge: take a margin and cut it off where they matter.

    Parameters
    ----------
    image
        (z, y, x), any unit.
    shifts
        (z, 2) pixels along y and x, towards larger indices.

    Returns
    -------
    (z, y, x) float32.

    Raises
    ------
    InputError
        If `image` is not 3D, or there are not two shifts for each slice.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.sim import shift_slices
    >>> shift_slices(np.arange(5.0).reshape(1, 1, 5), [[0.0, 1.0]]).tolist()
    [[[0.0, 0.0, 1.0, 2.0, 3.0]]]
    """
    stack = _checks.volume("image", image)
    if np.shape(shifts) != (stack.shape[0], 2):
        raise InputError(f"shifts: got shape {np.shape(shifts)}, wants ({stack.shape[0]}, 2)")
    return _moved(stack, jnp.asarray(shifts, jnp.float32))


@jax.jit
def _moved(image: jax.Array, shifts: jax.Array) -> jax.Array:
    def one(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
        plane, shift = pair
        for axis in (0, 1):
            plane = jax.lax.optimization_barrier(_along(plane, shift[axis], axis))
        return plane

    return jax.lax.map(one, (image, shifts))


def _along(plane: jax.Array, shift: jax.Array, axis: int) -> jax.Array:
    whole = jnp.floor(-shift)
    u = -shift - whole
    weights = (
        u * (-0.5 + u * (1.0 - 0.5 * u)),
        1.0 + u * u * (-2.5 + 1.5 * u),
        u * (0.5 + u * (2.0 - 1.5 * u)),
        u * u * (-0.5 + 0.5 * u),
    )
    size = plane.shape[axis]
    first = jnp.arange(size) + jnp.clip(whole, -size - 4, size + 4).astype(jnp.int32) - 1
    taps = (
        weight * jnp.take(plane, jnp.clip(first + i, 0, size - 1), axis=axis)
        for i, weight in enumerate(weights)
    )
    return functools.reduce(jnp.add, taps)


def brightness(
    key: jax.Array,
    image: jax.Array | np.ndarray,
    *,
    gain_std: float | jax.Array = 0.02,
    offset_std: float | jax.Array = 0.01,
    length: float | jax.Array = 0.0,
    start: int = 0,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Give each slice a gain and an offset of its own.

    Parameters
    ----------
    key
        Random key.
    image
        (z, y, x), any unit.
    gain_std
        Of the gain's logarithm.
    offset_std
        Of the offset, in the image's unit.
    length
        Slices over which they hang together (their correlation over n slices is
        exp(-n² / (2 length²))), at most 16; 0 leaves them independent.
    start
        Number of the first slice within its stack.

    Returns
    -------
    changed : (z, y, x) float32, gain · image + offset.
    gains, offsets : (z,) float32.

    Raises
    ------
    InputError
        If `image` is not 3D, a std is negative, or the length is not from 0 to 16.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from bimmjax.sim import brightness
    >>> changed, gains, offsets = brightness(jax.random.key(0), jnp.ones((3, 4, 4)))
    >>> bool(jnp.allclose(changed[:, 0, 0], gains + offsets))
    True
    """
    key = _checks.random_key("key", key)
    stack = stack_of_slices("image", image, start)
    gains, offsets = draw_brightness(key, stack.shape[0], gain_std, offset_std, length, start)
    return gains[:, None, None] * stack + offsets[:, None, None], gains, offsets


def draw_brightness(
    key: jax.Array,
    count: int,
    gain_std: float | jax.Array,
    offset_std: float | jax.Array,
    length: float | jax.Array,
    start: int | jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The gains and offsets (count,) of `brightness`."""
    _checks.number("gain_std", gain_std)
    _checks.number("offset_std", offset_std)
    coherence("length", length)
    number = jnp.asarray(start, jnp.uint32)
    drawn = coherent(key, number, jnp.asarray(length, jnp.float32), count, 2)
    gains = jnp.exp(jnp.asarray(gain_std, jnp.float32) * drawn[:, 0])
    return gains, jnp.asarray(offset_std, jnp.float32) * drawn[:, 1]
