"""The buffer of earlier images from which critics are shown some."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Pool(NamedTuple):
    """Images that were made before, and how many have been put in."""

    images: Array
    """(size, y, x, channels)."""
    seen: Array
    """() int32."""


def empty_pool(size: int, shape: tuple[int, int, int]) -> Pool:
    """Of `size` images (y, x, channels); size 0 keeps none."""
    return Pool(jnp.zeros((size, *shape), jnp.float32), jnp.int32(0))


def exchanged(pool: Pool, made: Array, key: Array) -> tuple[Pool, Array]:
    """What a critic is shown in place of images (batch, y, x, channels) just made.

    Until the pool is full each image is shown and kept. Then one in two takes the place of an
    earlier one, which is shown instead, so that critics do not forget (Shrivastava et al. 2017).

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from bimmjax.nets._adapt.pool import empty_pool, exchanged
    >>> pool, shown = exchanged(empty_pool(2, (1, 1, 1)), jnp.ones((1, 1, 1, 1)), jax.random.key(0))
    >>> float(shown[0, 0, 0, 0]), pool.images.ravel().tolist()
    (1.0, [1.0, 0.0])
    """
    size = pool.images.shape[0]
    if size == 0:
        return pool, made
    images, seen, shown = pool.images, pool.seen, []
    for image, own in zip(made, jax.random.split(key, made.shape[0]), strict=True):
        coin, place = jax.random.split(own)
        filling = seen < size
        at = jnp.where(filling, seen, jax.random.randint(place, (), 0, size))
        swap = filling | jax.random.bernoulli(coin)
        shown.append(jnp.where(filling | ~swap, image, images[at]))
        images = images.at[at].set(jnp.where(swap, image, images[at]))
        seen = seen + 1
    return Pool(images, jnp.minimum(seen, size)), jnp.stack(shown)
