"""What generators and critics are judged by; images are (batch, y, x, channels), float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

_TINY = 1e-12


def least_squares(scores: Array, wanted: float) -> Array:
    """Mean squared distance of a critic's scores from 1 (real) or 0 (made): Mao et al. 2017."""
    return jnp.mean((scores - wanted) ** 2)


def apart(one: Array, other: Array) -> Array:
    """Mean absolute difference."""
    return jnp.mean(jnp.abs(one - other))


def gradient_correlation(one: Array, other: Array) -> Array:
    """How well the edges of two images lie on each other, for each of a batch: (batch,).

    The correlation Σ∇a·∇b / √(Σ|∇a|² Σ|∇b|²) of the gradients of both, smoothed by a binomial
    filter of five pixels against noise: 1 where one is the other with more or less contrast and
    brightness, -1 where it is inverted, near 0 where edges were moved, lost or made up. Grey values
    may be on any scale.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bimmjax.nets._adapt.losses import gradient_correlation
    >>> image = jnp.arange(64.0).reshape(1, 8, 8, 1) ** 2
    >>> [round(float(gradient_correlation(image, s * image + 3)[0]), 4) for s in (2.0, -1.0)]
    [1.0, -1.0]
    """
    a, b = _gradient(_scaled(one)), _gradient(_scaled(other))

    def product(x: list[Array], y: list[Array]) -> Array:
        return sum((jnp.sum(p * q, (1, 2, 3)) for p, q in zip(x, y, strict=True)), jnp.float32(0))

    # Root by root: the product of both sums is beyond float32 for a large image.
    return product(a, b) / (jnp.sqrt(product(a, a) + _TINY) * jnp.sqrt(product(b, b) + _TINY))


def shape_loss(one: Array, other: Array) -> Array:
    """1 - mean of the squared `gradient_correlation`: contrast may change, or be inverted."""
    return 1.0 - jnp.mean(gradient_correlation(one, other) ** 2)


def _scaled(x: Array) -> Array:
    """Each image from its first pixel on, its largest distance from there as 1."""
    # The correlation depends on neither, so that its slope needs none of theirs.
    x = x - jax.lax.stop_gradient(x[:, :1, :1])
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), (1, 2, 3), keepdims=True))
    return x / jnp.where(largest > 0.0, largest, 1.0)


def _gradient(x: Array) -> list[Array]:
    for axis in (1, 2):
        for _ in range(2):
            n = x.shape[axis]
            x = sum(
                (w * jnp.take(x, jnp.arange(s, n - 2 + s), axis) for s, w in enumerate((1, 2, 1))),
                jnp.float32(0),
            )
    return [jnp.diff(x, axis=1), jnp.diff(x, axis=2)]
