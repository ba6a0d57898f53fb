"""Random numbers on the host, for what places object after object."""

from __future__ import annotations

import jax
import numpy as np

from bimmjax.sim import _checks


def generator(key: jax.Array) -> np.random.Generator:
    """NumPy's random numbers from a JAX key: the same key gives the same body."""
    key = _checks.random_key("key", key)
    return np.random.default_rng(np.asarray(jax.random.bits(key, (4,), "uint32")).tolist())
