"""White noise that belongs to places, so that boxes of a volume fit together."""

from __future__ import annotations

import jax
import jax.extend.random
import jax.numpy as jnp

# Rows of voxels that a halo may lie outside the volume, and not meet the next slice's.
_BESIDE = 4096


def place_noise(
    key: jax.Array, z: jax.Array, y: jax.Array, x: jax.Array, rows: jax.Array
) -> jax.Array:
    """Normal numbers (z, y, x) float32 at places z (nz,), y (ny,), x (nx,) of a volume.

    key : random key of any kind.
    z, y, x : int32; those outside the volume have numbers too.
    rows : of a slice of the volume.
    """
    words = jax.random.bits(key, (2,), jnp.uint32)
    stride = jnp.asarray(rows, jnp.uint32) + jnp.uint32(2 * _BESIDE)
    row = z.astype(jnp.uint32)[:, None] * stride + y.astype(jnp.uint32)[None, :]
    shape = (z.size, y.size, x.size)
    counts = (
        jnp.broadcast_to(row[:, :, None], shape).ravel(),
        jnp.broadcast_to(x.astype(jnp.uint32), shape).ravel(),
    )
    # The cipher behind JAX's own random numbers, on places in the stead of a running number.
    bits = jax.extend.random.threefry_2x32(words, jnp.concatenate(counts))[: row.size * x.size]
    # 23 bits, of both signs and never an end.
    unit = ((bits >> 8).astype(jnp.float32) + 0.5) * jnp.float32(2.0**-23) - 1.0
    limit = jnp.float32(1.0 - 2.0**-24)
    normal = jnp.float32(2.0**0.5) * jax.lax.erf_inv(jnp.clip(unit, -limit, limit))
    return normal.reshape(shape)
