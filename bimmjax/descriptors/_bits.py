"""Pairs and unbroken paths along lines of voxels, counted exactly, 32 lines at a time."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

_WORD = 4  # bytes


def packed(inside: np.ndarray, axis: int) -> np.ndarray:
    """Bits (n, words) of a boolean volume: n steps along the axis, a bit for each line."""
    across = 1 if axis == 2 else 2
    words = np.moveaxis(np.packbits(inside, axis=across), axis, 0)
    words = np.ascontiguousarray(words).reshape(inside.shape[axis], -1)
    words = np.pad(words, ((0, 0), (0, -words.shape[1] % _WORD)))
    return words.view(np.uint32)


def counted(inside: np.ndarray, axis: int, lags: int, periodic: bool) -> np.ndarray:
    """How often (2, lags) both ends of a step of so many voxels are inside, and all on the way."""
    words = packed(inside, axis)
    # Far less than 2^32 lines' worth of bits at a time, so that counts fit.
    parts = np.array_split(words, max(1, words.size // 2**26), axis=1)
    counts = [np.asarray(_count(part, lags, periodic)) for part in parts]
    return np.asarray(counts, np.int64).sum(0)


@partial(jax.jit, static_argnames=("lags", "periodic"))
def _count(words: Array, lags: int, periodic: bool) -> Array:
    steps = words.shape[0]
    beyond = words if periodic else jnp.zeros_like(words)
    twice = jnp.concatenate([words, beyond])

    def step(unbroken: Array, lag: Array) -> tuple[Array, Array]:
        far = jax.lax.dynamic_slice_in_dim(twice, lag, steps)
        unbroken = unbroken & far
        return unbroken, jnp.stack([_bits(words & far), _bits(unbroken)])

    return jax.lax.scan(step, words, jnp.arange(lags))[1].T


def _bits(words: Array) -> Array:
    return jnp.sum(jax.lax.population_count(words), dtype=jnp.uint32)
