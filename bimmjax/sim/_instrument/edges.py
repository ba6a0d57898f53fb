"""Edges of ligaments made as soft as a real beam makes them, the rest left as it is."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax.sim import _checks
from bimmjax.sim._per_slice import reach_of, smooth_plane

_EDGE_STD = 0.7


def blur_edges(image: jax.Array | np.ndarray, std: float | jax.Array = 1.5) -> jax.Array:
    """Blur each slice where its edges are: the thesis's procedure of four steps.

    Edges are where the slice, smoothed by 0.7 pixels, changes steeply to one side or the other.
    Divided by the greatest change in the slice that is the mask, by which the slice and its
    Gaussian blur are blended. A line of one pixel has 0.6 of the weight of a step of its height,
    a lone pixel 0.5. What is even stays as it is, its noise nearly so.

    Source: FIB thesis, Article I, §2.2.2.

    Parameters
    ----------
    image
        (z, y, x), any unit.
    std
        Of the Gaussian blur, pixels; 0 changes nothing. The thesis tells no number.

    Returns
    -------
    (z, y, x) float32.

    Raises
    ------
    InputError
        If `image` is not 3D, or `std` is not from 0 to 8.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bimmjax.sim import blur_edges
    >>> step = jnp.broadcast_to(jnp.arange(16) >= 8, (1, 16, 16)) * 1.0
    >>> print(blur_edges(step)[0, 0, 5:11].round(2))
    [0.   0.06 0.37 0.63 0.94 1.  ]
    """
    stack = _checks.volume("image", image)
    reach = reach_of("std", std)
    return _blended(stack, jnp.asarray(std, jnp.float32), reach)


def edge_mask(plane: jax.Array) -> jax.Array:
    """Where the edges of a slice (y, x) are: float32, from 0 to 1 at the steepest."""
    smooth = smooth_plane(plane, jnp.float32(_EDGE_STD), math.ceil(4 * _EDGE_STD))
    wide = jnp.pad(smooth, 1, mode="edge")
    # A difference across a pixel would be zero on lone pixels and thin lines.
    down = _larger(wide[2:, 1:-1] - smooth, smooth - wide[:-2, 1:-1])
    across = _larger(wide[1:-1, 2:] - smooth, smooth - wide[1:-1, :-2])
    size = jax.lax.optimization_barrier(jnp.sqrt(down**2 + across**2))
    return size / jnp.maximum(size.max(), 1e-30)


def _larger(one: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.maximum(jnp.abs(one), jnp.abs(other))


@functools.partial(jax.jit, static_argnames="reach")
def _blended(image: jax.Array, std: jax.Array, reach: int) -> jax.Array:
    # Slice by slice: a slice's own result then never depends on how many come with it.
    return jax.lax.map(
        lambda plane: plane + edge_mask(plane) * (smooth_plane(plane, std, reach) - plane), image
    )
