"""A network that sees the slices around a gap face on, and draws the ones between them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from bimmjax.nets._blocks.convolution import Conv

AROUND = 3
"""Slices that are seen on either side of a gap."""
_FARTHEST = 24.0
# Of the numbers that tell a layer where the slices lie.
_TOLD = 64
_FOLD = 2
_START = 1.5


class SliceNetwork(nnx.Module):
    """Labels of a missing slice from the slices before and after it, and where they lie.

    It sees distances from outlines (`signed_distances`) rather than labels, folds each 2 x 2 pixels
    into features, and mixes them by convolutions of 3 x 3. How far away the slices lie scales
    and shifts the features of each layer (Perez et al. 2018). What comes out corrects the cubic
    spline of the distances.

    Parameters
    ----------
    width : int
        Features of a layer.
    layers : int
        Convolutions of 3 x 3.
    """

    def __init__(self, width: int = 64, layers: int = 5, *, rngs: nnx.Rngs) -> None:
        seen = 2 * AROUND
        self.layers = layers
        self.convs: nnx.List[Conv] = nnx.List(
            [
                Conv(_FOLD**2 * seen if i == 0 else width, width, (3, 3), rngs=rngs)
                for i in range(layers)
            ]
        )
        for conv in self.convs:
            # Whoever asks brings what lies around.
            conv.padding = [(0, 0), (0, 0)]
        none = nnx.initializers.zeros
        self.told: nnx.List[nnx.Linear] = nnx.List(
            [nnx.Linear(seen, _TOLD, rngs=rngs), nnx.Linear(_TOLD, _TOLD, rngs=rngs)]
        )
        self.modulations: nnx.List[nnx.Linear] = nnx.List(
            [nnx.Linear(_TOLD, 2 * width, kernel_init=none, rngs=rngs) for _ in range(layers)]
        )
        self.last: Conv = Conv(width, _FOLD**2, (1, 1), rngs=rngs)
        self.last.kernel.set_value(0.1 * self.last.kernel[...])
        self.sharpness: nnx.Param[Array] = nnx.Param(jnp.float32(_START))

    @property
    def reach(self) -> int:
        """Pixels that have to be known around what is asked for."""
        return _FOLD * self.layers

    def __call__(self, distances: Array, offsets: Array, shares: Array) -> Array:
        """Logits (batch, y - 2 reach, x - 2 reach) float32, above 0 where it is more likely inside.

        distances : (batch, y, x, 6) float32, even sizes; of the three slices before and after.
        offsets : (batch, 6) float32, places from the missing slice to these; 0 where there is none,
            and all distances are 0.
        shares : (batch, 6) float32, of the cubic spline.
        """
        near = jnp.clip(offsets, -_FARTHEST, _FARTHEST) / 4.0
        told = near
        for layer in self.told:
            told = jax.nn.silu(layer(told))
        kept = slice(self.reach, -self.reach)
        spline = jnp.einsum("byxk,bk->byx", distances[:, kept, kept], shares)
        features = _folded(distances / 4.0)
        for i, (conv, modulation) in enumerate(zip(self.convs, self.modulations, strict=True)):
            scale, shift = jnp.split(modulation(told)[:, None, None, :], 2, -1)
            found = jax.nn.silu(conv(features) * (1.0 + scale) + shift)
            features = found if i == 0 else found + features[:, 1:-1, 1:-1]
        return _unfolded(self.last(features)) + self.sharpness[...] * spline


def _folded(x: Array) -> Array:
    b, h, w, c = x.shape
    folded = x.reshape(b, h // _FOLD, _FOLD, w // _FOLD, _FOLD, c).transpose(0, 1, 3, 2, 4, 5)
    return folded.reshape(b, h // _FOLD, w // _FOLD, -1)


def _unfolded(x: Array) -> Array:
    b, h, w, _ = x.shape
    return x.reshape(b, h, w, _FOLD, _FOLD).transpose(0, 1, 3, 2, 4).reshape(b, _FOLD * h, -1)
