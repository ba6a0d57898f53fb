"""Unconstrained parameters as one NumPy vector, on the host, where JAX would compile each step."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from bimmjax.models import Unconstrained


def flatten(theta: Unconstrained) -> np.ndarray:
    """All parameters (p,) in the order of `jax.flatten_util.ravel_pytree`."""
    return np.concatenate([np.ravel(np.asarray(leaf)) for leaf in jax.tree.leaves(theta)])


def unflatten(vector: np.ndarray, like: Unconstrained) -> Unconstrained:
    """Inverse of `flatten`, with the shapes and dtypes of `like`."""
    leaves, tree = jax.tree.flatten(like)
    parts: list[Any] = []
    at = 0
    for leaf in leaves:
        size = int(np.size(leaf))
        parts.append(vector[at : at + size].reshape(np.shape(leaf)).astype(leaf.dtype))
        at += size
    return jax.tree.unflatten(tree, parts)
