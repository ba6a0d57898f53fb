"""Pairs and unbroken paths along lines of voxels, counted exactly, 32 lines at a time."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

_WORD = 4  # bytes
# Words counted at a time: what each lag reads and writes again (four times as much) stays in cache.
_PART = 2**19
_FOLD = 16


def packed(inside: np.ndarray, axis: int) -> np.ndarray:
    """Bits (n, words) of a boolean volume: n steps along the axis, a bit for each line."""
    across = 1 if axis == 2 else 2
    words = np.moveaxis(np.packbits(inside, axis=across), axis, 0)
    words = np.ascontiguousarray(words).reshape(inside.shape[axis], -1)
    words = np.pad(words, ((0, 0), (0, -words.shape[1] % _WORD)))
    return words.view(np.uint32)


def counted(words: np.ndarray, lags: int, periodic: bool) -> np.ndarray:
    """How often (2, lags) both ends of a step of so many voxels are inside, and all on the way.

    Of bits as `packed` gives them. Not far beyond `_PART` words at a time, so counts fit 32 bits.
    """
    steps, across = words.shape
    wide = min(max(_PART // steps // _FOLD, 1), -(-across // _FOLD)) * _FOLD
    found = np.zeros((2, lags), np.int64)
    for start in range(0, across, wide):
        part = words[:, start : start + wide]
        # Of one shape, so that one program counts them all.
        part = np.pad(part, ((0, 0), (0, wide - part.shape[1])))
        found += np.asarray(_count(part, lags, periodic))
    return found


@partial(jax.jit, static_argnames=("lags", "periodic"))
def _count(words: Array, lags: int, periodic: bool) -> Array:
    steps = words.shape[0]
    beyond = words if periodic else jnp.zeros_like(words)
    twice = jnp.concatenate([words, beyond])

    def step(unbroken: Array, lag: Array) -> tuple[Array, Array]:
        far = jax.lax.dynamic_slice_in_dim(twice, lag, steps)
        unbroken = jax.lax.optimization_barrier(unbroken & far)
        return unbroken, jnp.stack([_bits(words & far), _bits(unbroken)])

    return jax.lax.scan(step, words, jnp.arange(lags))[1].T


def _bits(words: Array) -> Array:
    # Added up in columns first: XLA on a processor writes out all that a long sum takes in, and
    # then adds slowly; this leaves it a sixteenth.
    columns = jnp.split(jax.lax.population_count(words), _FOLD, axis=1)
    return jnp.sum(sum(columns[1:], columns[0]), dtype=jnp.uint32)
