"""Slices of one stack onto the same slices of another."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax._core.checks import InputError, choice, real_number
from bimmjax.fib._register.correlation import frequencies, highest, spectrum
from bimmjax.fib._register.registration import (
    Progress,
    Region,
    Registration,
    at_once,
    cut_region,
    interpolated,
    opened,
    slices_of,
    together,
)
from bimmjax.fib._register.translation import SMOOTH, search


def register_onto(
    volume: Any,
    reference: Any,
    *,
    region: Region | None = None,
    reach: int | None = None,
    smooth: float = SMOOTH,
    features: str = "grey",
    progress: Progress | None = None,
) -> Registration:
    """How slices have to be moved to lie on the same slices of another stack (inter-stack).

    Images at 1 and 4 kV onto those at 2 kV, say. Each slice on its own: nothing adds up.

    Parameters
    ----------
    volume, reference : array (z, y, x), path or `Volume`, of one shape.
    region, smooth, progress : as for `register_stack`.
    reach : most pixels between both. Default: 16, or a quarter of the shorter edge.
    features : "grey": grey values; "edges": sizes of their gradients, for contrast that is partly
        reversed.

    Returns
    -------
    Registration

    Raises
    ------
    InputError
        Stacks of different shapes, bad arguments, or not one slice that can be registered.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.fib import register_onto
    >>> image = np.random.default_rng(0).random((2, 80, 80))
    >>> found = register_onto(image[:, 8:72, 6:70], image[:, 8:72, 8:72])
    >>> np.round(found.shifts, 1) + 0.0
    array([[ 0., -2.],
           [ 0., -2.]])

    Source: Article II, §2.2.2.
    """
    moving, fixed = opened("volume", volume), opened("reference", reference)
    if moving.shape != fixed.shape:
        raise InputError(
            f"reference: got shape {fixed.shape}, wants that of volume, {moving.shape}"
        )
    moving, fixed = cut_region(moving, region), cut_region(fixed, region)
    most = search("reach", reach, moving.shape[1:], 16)
    smooth = real_number("smooth", smooth, 0.0, 100.0)
    choice("features", features, ("grey", "edges"))
    total, count = moving.shape[0], together(moving)
    shifts, likeness = np.full((total, 2), np.nan), np.full(total, np.nan)
    pairs = zip(slices_of(fixed, count), slices_of(moving, count), strict=True)
    for (start, below), (_, above) in pairs:
        moved, alike = _matched(
            below, above, jnp.float32(smooth), most, features == "edges", at_once()
        )
        many = min(count, total - start)
        shifts[start : start + many] = np.asarray(moved)[:many]
        likeness[start : start + many] = np.asarray(alike)[:many]
        if progress is not None:
            progress(start + many, total)
    refused = np.asarray(np.isnan(shifts).any(1))
    return Registration(interpolated(shifts, refused), likeness, refused)


@functools.partial(jax.jit, static_argnames=("reach", "edges", "batch"))
def _matched(
    fixed: jax.Array,
    moving: jax.Array,
    smooth: jax.Array,
    reach: tuple[int, int],
    edges: bool,
    batch: int,
) -> tuple[jax.Array, jax.Array]:
    def pair(planes: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        if edges:
            # Smoothed before sizes are taken: noise has gradients everywhere.
            seen = [spectrum(_steepness(p, smooth), jnp.float32(0.0)) for p in planes]
        else:
            seen = [spectrum(p, smooth) for p in planes]
        energies = jnp.stack([seen[0][1], seen[1][1]])
        columns = fixed.shape[2]
        return highest(seen[0][0], seen[1][0], energies, columns=columns, reach=reach)

    return jax.lax.map(pair, (fixed, moving), batch_size=batch)


def _steepness(plane: jax.Array, smooth: jax.Array) -> jax.Array:
    """Size of the gradient of an image that is smoothed by a Gaussian."""
    rows, columns = plane.shape
    fy, fx = frequencies(rows, columns)
    falling = -2.0 * np.pi**2 * jnp.maximum(smooth, 0.5) ** 2
    blur = jnp.exp(falling * fy**2)[:, None] * jnp.exp(falling * fx**2)
    soft = jnp.fft.irfft2(jnp.fft.rfft2(plane - plane.mean()) * blur, (rows, columns))
    down, across = jnp.gradient(soft)
    # The image does not go on beyond its edge as the Fourier transform has it.
    inside = np.zeros((rows, columns), np.float32)
    inside[4:-4, 4:-4] = 1.0
    return jnp.hypot(down, across) * inside
