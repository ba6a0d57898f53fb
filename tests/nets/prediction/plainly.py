"""Prediction the plain way: whole slices or volumes at once, written for its own sake."""

from __future__ import annotations

import jax
import numpy as np
from flax import nnx

_call = nnx.jit(lambda net, x: net(x))


def logits(net, *channels: np.ndarray, across: int = 0) -> np.ndarray:
    """(z, y, x, classes) float32 of volumes that are normalised to mean 0 and deviation 1."""
    seen = [((c - c.mean(dtype=float)) / c.std(dtype=float)).astype(np.float32) for c in channels]
    image = np.stack(seen, -1)
    if net.dims == 3:
        padded, inner = _padded(image[None], net.multiple)
        return np.asarray(_call(net, padded))[(slice(None), *inner)][0]
    image = np.moveaxis(image, across, 0)
    half = net.context // 2
    slices = []
    for at in range(len(image)):
        near = [image[min(max(at + d, 0), len(image) - 1)] for d in range(-half, half + 1)]
        padded, inner = _padded(np.concatenate(near, -1)[None], net.multiple)
        slices.append(np.asarray(_call(net, padded))[(slice(None), *inner)][0])
    return np.moveaxis(np.stack(slices), 0, across)


def probabilities(net, *channels: np.ndarray, across: int = 0) -> np.ndarray:
    """Likewise."""
    return np.asarray(jax.nn.softmax(logits(net, *channels, across=across), -1))


def _padded(image: np.ndarray, multiple: tuple[int, ...]):
    more = [(0, -n % m) for n, m in zip(image.shape[1:-1], multiple, strict=True)]
    inner = tuple(slice(0, n) for n in image.shape[1:-1])
    return np.pad(image, [(0, 0), *more, (0, 0)], mode="edge"), inner
