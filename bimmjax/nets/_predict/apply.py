"""A network on batches of equal tiles, compiled once."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from bimmjax.nets._train.devices import everywhere, mesh_for, shared_out


class Applied:
    """A network in eval mode, its parameters on the devices that share a batch.

    Each of its functions takes images (batch, *tile, channels * context), float32.
    """

    def __init__(self, net: Any, batch: int, tile: tuple[int, ...], devices: int) -> None:
        graph, state = nnx.split(net)
        self.batch = batch
        self._mesh = mesh_for(batch, tile, net.multiple[0], devices)
        self._state = jax.device_put(state, everywhere(self._mesh))
        self._logits = jax.jit(partial(_logits, graph))
        self._labels = jax.jit(partial(_labels, graph), static_argnums=2)
        self._probabilities = jax.jit(partial(_probabilities, graph))

    def logits(self, images: np.ndarray) -> Array:
        """(batch, *tile, classes) float32."""
        return self._logits(self._state, shared_out(self._mesh, images))

    def labels(self, images: np.ndarray, uncertainty: bool) -> Array:
        """(batch, *tile, 1 or 2) uint8: the likeliest class, and how uncertain it is."""
        return self._labels(self._state, shared_out(self._mesh, images), uncertainty)

    def probabilities(self, images: np.ndarray) -> Array:
        """(batch, *tile, classes) float32, summing to 1."""
        return self._probabilities(self._state, shared_out(self._mesh, images))


def entropy_bytes(probabilities: Array) -> Array:
    """Entropy of the classes over that of no idea at all, in 255ths: (..., classes) to (...).

    Examples
    --------
    >>> entropy_bytes(jnp.array([[1.0, 0.0], [0.5, 0.5]])).tolist()
    [0, 255]
    """
    sure = jnp.maximum(probabilities, jnp.finfo(jnp.float32).tiny)
    entropy = -jnp.sum(probabilities * jnp.log(sure), -1)
    share = entropy / math.log(max(probabilities.shape[-1], 2))
    return jnp.rint(255.0 * jnp.clip(share, 0.0, 1.0)).astype(jnp.uint8)


def _logits(graph: Any, state: Any, images: Array) -> Array:
    return nnx.merge(graph, state)(images)


def _labels(graph: Any, state: Any, images: Array, uncertainty: bool) -> Array:
    logits = _logits(graph, state, images)
    found = [jnp.argmax(logits, -1).astype(jnp.uint8)]
    if uncertainty:
        found.append(entropy_bytes(jax.nn.softmax(logits, -1)))
    return jnp.stack(found, -1)


def _probabilities(graph: Any, state: Any, images: Array) -> Array:
    return jax.nn.softmax(_logits(graph, state, images), -1)
