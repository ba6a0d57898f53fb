"""Where a network that computes in half precision goes back to float32."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def in_float32(logits: Array) -> Array:
    """Logits in float32 at least, before anything is made of them: sums, means, probabilities.

    Examples
    --------
    >>> in_float32(jnp.zeros(2, jnp.bfloat16)).dtype
    dtype('float32')
    """
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
