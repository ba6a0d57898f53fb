"""The network of Article II: planes along z with missing rows in, whole planes out."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import Array

from bimmjax.nets._blocks.convolution import Conv, PReLU

FEATURES = (96, 81, 70, 60, 50, 41, 32, 16)
"""Filters of the layers that extract features (Article II, supplement, Table S1)."""


class InpaintNetwork(nnx.Module):
    """What is missing from a zx or zy plane, after Yamanaka's super-resolution network.

    Eight convolutions of 3 x 3 extract features, and all their outputs are seen together by two
    branches: one of 1 x 1 with 96 filters, one of 1 x 1 with 64, 3 x 3 with 48 and 3 x 3 with 32.
    A convolution of 3 x 3 makes one image of both, and one of 1 x 1 weighs it against the cubic
    spline of the plane.

    Source: FIB thesis, Article II, supplement §2, Table S1; Yamanaka et al. (2017).
    """

    reach: int = len(FEATURES) + 3

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        before = (3, *FEATURES[:-1])
        self.extraction: nnx.List[_Unit] = nnx.List(
            [_Unit(a, b, 3, rngs=rngs) for a, b in zip(before, FEATURES, strict=True)]
        )
        seen = sum(FEATURES)
        self.a1: _Unit = _Unit(seen, 96, 1, rngs=rngs)
        self.b1: _Unit = _Unit(seen, 64, 1, rngs=rngs)
        self.b2: _Unit = _Unit(64, 48, 3, rngs=rngs)
        self.b3: _Unit = _Unit(48, 32, 3, rngs=rngs)
        self.l1: Conv = Conv(96 + 32, 1, (3, 3), rngs=rngs)
        self.l2: Conv = Conv(2, 1, (1, 1), rngs=rngs)
        # It starts as the spline.
        self.l1.kernel.set_value(0.1 * self.l1.kernel[...])
        self.l2.kernel.set_value(jnp.ones_like(self.l2.kernel[...]))

    def __call__(self, planes: Array, known: Array, cubic: Array) -> Array:
        """Planes (batch, z, x) float32, about 1 inside and about 0 outside.

        planes : (batch, z, x) float32, 0 or 1, and 0.5 where a row is missing.
        known : (batch, z, x) float32, 1 in rows that are there, else 0.
        cubic : (batch, z, x) float32, splines along z through them.
        """
        # Centred: what lies outside of the image is 0 to convolutions, and neither solid nor pore.
        features = jnp.stack([2.0 * planes - 1.0, known, 2.0 * cubic - 1.0], -1)
        each = []
        for unit in self.extraction:
            features = unit(features)
            each.append(features)
        seen = jnp.concatenate(each, -1)
        both = jnp.concatenate([self.a1(seen), self.b3(self.b2(self.b1(seen)))], -1)
        return self.l2(jnp.stack([self.l1(both)[..., 0], cubic], -1))[..., 0]


class _Unit(nnx.Module):
    """A convolution and its activation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, rngs: nnx.Rngs) -> None:
        self.conv: Conv = Conv(inputs, outputs, (kernel, kernel), rngs=rngs)
        self.activation: PReLU = PReLU(outputs)

    def __call__(self, x: Array) -> Array:
        return self.activation(self.conv(x))
