"""Normalisations, and what else differs between training and use: dropout and noise."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

NORMS = ("batch", "group", "layer", "none")


class BatchNorm(nnx.BatchNorm):
    """Normalisation by the statistics of a batch, which can be frozen.

    Frozen, the running averages are used and kept in training too: for batches of one, and for
    backbones whose trained statistics are to last. Scale and shift are trained still, unless the
    optimiser is told otherwise. A single value a feature (the mean of a whole image, in a batch of
    one) has no statistics, and is treated so as well.
    """

    frozen: bool = False

    def __call__(self, x: Array, *args: object, **kwargs: object) -> Array:
        if self.frozen or x.size == x.shape[-1]:
            return super().__call__(x, use_running_average=True)
        return super().__call__(x)


class Nothing(nnx.Module):
    """What stands where a normalisation or a dropout is left out."""

    def __call__(self, x: Array) -> Array:
        return x


def make_norm(
    kind: str, features: int, *, momentum: float, epsilon: float, rngs: nnx.Rngs
) -> nnx.Module:
    """A normalisation of `features`; `kind` is one of `NORMS`.

    As many groups as divide the features, 32 at most (Wu and He 2018 use 32). The layer
    normalisation is over the features of each voxel, so that tiles do not change it.
    """
    # The plain variance: mean(x²) - mean(x)² cancels in float32 where a mean is large against the
    # spread.
    plain: dict[str, Any] = {"epsilon": epsilon, "use_fast_variance": False, "rngs": rngs}
    if kind == "batch":
        return BatchNorm(features, momentum=momentum, **plain)
    if kind == "group":
        groups = math.gcd(32, features)
        return nnx.GroupNorm(features, num_groups=groups, **plain)
    if kind == "layer":
        return nnx.LayerNorm(features, **plain)
    return Nothing()


def freeze_norms(net: nnx.Module, frozen: bool = True) -> int:
    """Freeze (or free) every batch normalisation below `net`; returns how many there are.

    Examples
    --------
    >>> from flax import nnx
    >>> from bimmjax.nets import build, freeze_norms
    >>> freeze_norms(build("modular-unet", channels=1, classes=3, width=2, depth=2))
    19
    """
    found = [module for _, module in nnx.iter_modules(net) if isinstance(module, BatchNorm)]
    for norm in found:
        norm.frozen = frozen
    return len(found)


def random_stream(rngs: nnx.Rngs, name: str) -> nnx.RngStream:
    """A stream of keys for the hardware's own generator.

    A network draws a mask at every dropout, and compiling JAX's default generator for each takes
    most of the time that compiling a training step takes.
    """
    words = jax.random.bits(rngs[name](), (4,), jnp.uint32)
    return nnx.RngStream(jax.random.wrap_key_data(words, impl="rbg"), tag=name)


class GaussianNoise(nnx.Module):
    """Adds normal noise of a given standard deviation in training; nothing otherwise."""

    def __init__(self, std: float, *, rngs: nnx.Rngs) -> None:
        self.std = std
        self.deterministic = False
        self.rngs: nnx.RngStream = random_stream(rngs, "noise")

    def __call__(self, x: Array) -> Array:
        if self.deterministic or self.std == 0.0:
            return x
        return x + self.std * jax.random.normal(self.rngs(), x.shape, x.dtype)
