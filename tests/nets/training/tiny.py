"""The smallest networks that have all that training has to care for."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx


class Tiny(nnx.Module):
    """Two convolutions, batch normalisation and dropout, and an auxiliary head."""

    def __init__(
        self, *, channels, classes, dims=2, context=1, width=4, norm=True, dropout=0.1, rngs
    ):
        self.dims, self.context, self.local = dims, context, True
        self.multiple, self.halo = (2,) * dims, (2,) * dims
        kernel = (3,) * dims
        self.first = nnx.Conv(channels * context, width, kernel, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs) if norm else None
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.last = nnx.Conv(width, classes, kernel, rngs=rngs)
        self.early = nnx.Conv(width, classes, (1,) * dims, rngs=rngs)

    def heads(self, x):
        x = self.first(x)
        x = nnx.relu(x if self.norm is None else self.norm(x))
        return tuple(h.astype(jnp.float32) for h in (self.last(self.dropout(x)), self.early(x)))

    def __call__(self, x):
        return self.heads(x)[0]


def build(*, channels, classes, seed=0, **settings):
    """One with random parameters."""
    return Tiny(channels=channels, classes=classes, rngs=nnx.Rngs(seed), **settings)
