"""Random numbers on the host, for what places object after object."""

from __future__ import annotations

import jax
import numpy as np
from jax.core import Tracer

from bimmjax._core.checks import InputError
from bimmjax.sim import _checks


def host_key(key: jax.Array) -> jax.Array:
    """`key` itself, refused where it is traced: what needs its numbers runs outside of that."""
    key = _checks.random_key("key", key)
    if isinstance(key, Tracer):
        raise InputError(
            "key: got a traced key, wants one outside jit and vmap: this runs on the host"
        )
    return key


def generator(key: jax.Array) -> np.random.Generator:
    """NumPy's random numbers from a JAX key: the same key gives the same body."""
    return np.random.default_rng(
        np.asarray(jax.random.bits(host_key(key), (4,), "uint32")).tolist()
    )
