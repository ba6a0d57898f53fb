"""Slices of one stack onto the same slices of another."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax._core.checks import InputError, choice, real_number
from bimmjax.fib._register.correlation import MARGIN, highest, spectrum
from bimmjax.fib._register.registration import (
    Progress,
    Region,
    Registration,
    at_once,
    cut_region,
    interpolated,
    opened,
    searched,
    slices_of,
    together,
)
from bimmjax.fib._register.translation import SMOOTH


def register_onto(
    volume: Any,
    reference: Any,
    *,
    region: Region | None = None,
    reach: int | None = None,
    smooth: float = SMOOTH,
    features: str = "edges",
    progress: Progress | None = None,
) -> Registration:
    """How slices have to be moved to lie on the same slices of another stack (inter-stack).

    Images at 1 and 4 kV onto those at 2 kV, say. Each slice on its own: nothing adds up.

    Source: Article II, §2.2.2.

    Parameters
    ----------
    volume, reference
        Array (z, y, x), path or `Volume`, of one shape.
    region
        As for `register_stack`.
    smooth
        As for `register_stack`.
    progress
        As for `register_stack`.
    reach
        Most pixels between both. Default: 16, or a quarter of the shorter edge.
    features
        "edges": sizes of the smoothed images' gradients are compared; contrast may differ,
        even be reversed. "grey": grey values.

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
    """
    moving, fixed = opened("volume", volume), opened("reference", reference)
    if moving.shape != fixed.shape:
        raise InputError(
            f"reference: got shape {fixed.shape}, wants that of volume, {moving.shape}"
        )
    choice("features", features, ("grey", "edges"))
    edges = features == "edges"
    most = searched(moving, region, reach, 16, edges)
    smooth = real_number("smooth", smooth, 0.0, 100.0)
    moving, fixed = (cut_region(v, region, MARGIN if edges else 0) for v in (moving, fixed))
    total, count = moving.shape[0], together(moving)
    shifts, likeness = np.full((total, 2), np.nan), np.full(total, np.nan)
    pairs = zip(slices_of(fixed, count), slices_of(moving, count), strict=True)
    for (start, below), (_, above) in pairs:
        moved, alike = _matched(below, above, jnp.float32(smooth), most, edges, at_once())
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
        seen = [spectrum(p, smooth, edges) for p in planes]
        energies = jnp.stack([seen[0][1], seen[1][1]])
        columns = fixed.shape[2]
        return highest(seen[0][0], seen[1][0], energies, columns=columns, reach=reach, edges=edges)

    return jax.lax.map(pair, (fixed, moving), batch_size=batch)
