"""Slices of one stack onto each other."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Lock
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax._core.checks import InputError, choice, real_number, whole_number
from bimmjax.fib._register.chain import chained
from bimmjax.fib._register.correlation import MARGIN, highest, spectrum
from bimmjax.fib._register.detrend import without_structure
from bimmjax.fib._register.field import drop_slices
from bimmjax.fib._register.reference import onto_one
from bimmjax.fib._register.registration import (
    Progress,
    Region,
    Registration,
    at_once,
    cut_region,
    opened,
    searched,
    slices_of,
    together,
)
from bimmjax.fib._register.translation import SMOOTH
from bimmjax.volumes import Volume

LAGS = (1, 2)
_MOST_PARTS = 8
_FARTHEST = 8  # as many spectra are kept


def register_stack(
    volume: Any,
    *,
    region: Region | None = None,
    reference: str | None = None,
    reach: int | None = None,
    lags: Sequence[int] = LAGS,
    smooth: float = SMOOTH,
    features: str = "edges",
    detrend: str | None = None,
    progress: Progress | None = None,
) -> Registration:
    """Where the slices of a stack lie within their planes (intra-stack registration).

    Source: FIB thesis, §2.1; Article II, §2.2.2.

    Parameters
    ----------
    volume
        Array (z, y, x), path or `Volume`. Some slices are read at a time.
    region
        Parts of y and of x, such as ((0, 64), (10, 90)): a mark that does not change from
        slice to slice, which alone is looked at. For "edges" at least 24 x 24 pixels, and best 4
        pixels or more off the image's edges, for gradients come from around it.
    reference
        What a slice is compared with. "chain": with slices shortly before it, as far as
        `lags` say; the structure changes slowly. "first": all with the first. "mean": with the
        mean of all, moved as "first" found. Default: "mean" with a region, else "chain".
    reach
        Most pixels between two that are compared. Default: a quarter of the shorter edge, in
        a chain at most 16.
    lags
        Distances of compared slices, 1 among them, at most 8. Longer ones bridge slices that
        resemble neither neighbour; elsewhere the nearest counts most, as structure changes with
        distance.
    smooth
        See `translation`.
    features
        "edges": sizes of the smoothed images' gradients are compared; coarse structure,
        whose change from slice to slice looks like drift, counts less. "grey": grey values, for
        images so noisy that they hardly show edges.
    detrend
        "smooth": what changes smoothly in the steps from slice to slice is taken to be the
        structure's own, see Notes; "linear": a straight line; "none". Default: "smooth" for a
        chain, else "none".
    progress : callable, optional
        `progress(slices done, slices in all)`.

    Returns
    -------
    Registration
        Slice 0 of a chain stays where it is.

    Raises
    ------
    InputError
        Bad arguments, or not one slice that can be registered.

    Notes
    -----
    A chain cannot tell drift from structure that runs obliquely through the slices: over tens of
    slices such steps add up to many pixels, however exact each is. What differs is that the
    structure's steps hang together over some slices and those of a drift do not. "smooth" takes
    off what hangs together, as far as the steps' own spectrum says (`without_structure`), and
    with it any true drift as slow; a steady drift too, unless it is much larger than the rest.
    Only a region with a mark is free of this.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.fib import register_stack
    >>> image = np.random.default_rng(0).random((80, 80))
    >>> stack = np.stack([image[8 - k : 72 - k, 8:72] for k in (0, 1, 3)])
    >>> np.round(register_stack(stack).shifts, 1) + 0.0
    array([[ 0.,  0.],
           [-1.,  0.],
           [-3.,  0.]])
    """
    whole = opened("volume", volume)
    way = reference or ("chain" if region is None else "mean")
    choice("reference", way, ("chain", "first", "mean"))
    trend = detrend or ("smooth" if way == "chain" else "none")
    choice("detrend", trend, ("smooth", "linear", "none"))
    choice("features", features, ("grey", "edges"))
    edges = features == "edges"
    smooth = real_number("smooth", smooth, 0.0, 100.0)
    most = searched(whole, region, reach, 16 if way == "chain" else None, edges)
    seen = cut_region(whole, region, MARGIN if edges else 0)
    told = progress or (lambda done, total: None)
    apart = _lags(lags, whole.shape[0])
    if whole.shape[0] == 1:
        return Registration(np.zeros((1, 2)), np.ones(1), np.zeros(1, bool))
    if way == "chain":
        pairs, likeness = _pairs(seen, apart, most, smooth, edges, told)
        shifts, refused = chained(pairs, likeness, apart)
        _some(refused)
        correlation = _with_nearest(likeness)
        correlation[np.argmin(refused)] = 1.0
        correlation[refused] = np.nan
    else:
        shifts, correlation, refused = onto_one(seen, way == "mean", most, smooth, edges, told)
        shifts = shifts - shifts[0]
    if trend == "smooth":
        shifts = without_structure(shifts)
    elif trend == "linear" and len(shifts) > 1:
        line = np.arange(len(shifts), dtype=np.float64)
        slope = np.polynomial.polynomial.polyfit(line, shifts, 1)[1]
        shifts = shifts - line[:, None] * slope
    return Registration(shifts, correlation, refused)


def _with_nearest(likeness: np.ndarray) -> np.ndarray:
    """Correlation of each slice with the nearest one before it that it could be compared with."""
    found = likeness[0].copy()
    for further in likeness[1:]:
        found = np.where(np.isnan(found), further, found)
    return found


def _some(refused: np.ndarray) -> None:
    if refused.all():
        raise InputError(
            f"volume: got {refused.size} slices of which none can be registered (constant, NaN, or "
            "moved beyond the reach), wants images that resemble each other"
        )


def _lags(lags: Sequence[int], slices: int) -> tuple[int, ...]:
    try:
        found = sorted({whole_number("lags", lag, 1, _FARTHEST) for lag in lags})
    except TypeError:
        raise InputError(f"lags: got {lags!r}, wants whole numbers such as (1, 2)") from None
    if not found or found[0] != 1:
        raise InputError(f"lags: got {lags!r}, wants 1 among them")
    return tuple(lag for lag in found if lag < max(slices, 2))


def _pairs(
    volume: Volume,
    lags: tuple[int, ...],
    reach: tuple[int, int],
    smooth: float,
    edges: bool,
    told: Progress,
) -> tuple[np.ndarray, np.ndarray]:
    """Shifts (lags, n, 2) of each slice onto those before it, and correlations (lags, n).

    In parts side by side on a CPU, where what is done to a slice takes one core.
    """
    total = volume.shape[0]
    parts = _parts(total, max(lags), together(volume))
    done, lock = [0] * len(parts), Lock()

    def one(number: int) -> tuple[np.ndarray, np.ndarray]:
        first, start, stop = parts[number]

        def tell(slices: int) -> None:
            with lock:
                done[number] = max(slices - (start - first), 0)
                told(sum(done), total)

        seen = drop_slices(volume, first, total - stop)
        found = _in_order(seen, lags, reach, smooth, edges, tell)
        return found[0][:, start - first :], found[1][:, start - first :]

    if len(parts) == 1:
        return one(0)
    with ThreadPoolExecutor(len(parts)) as pool:
        shifts, likeness = zip(*pool.map(one, range(len(parts))), strict=True)
    return np.concatenate(shifts, 1), np.concatenate(likeness, 1)


def _parts(total: int, before: int, together: int) -> list[tuple[int, int, int]]:
    """First slice that is read, first that is told of, and the end, of each part."""
    cores = (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1
    # Each reads some slices of the part before it: none of a few slices.
    count = max(min(cores, _MOST_PARTS, total // (4 * (before + together))), 1)
    ends = [total * k // count for k in range(count + 1)]
    return [(max(a - before, 0), a, b) for a, b in pairwise(ends)]


def _in_order(
    volume: Volume,
    lags: tuple[int, ...],
    reach: tuple[int, int],
    smooth: float,
    edges: bool,
    told: Callable[[int], None],
) -> tuple[np.ndarray, np.ndarray]:
    total, rows, columns = volume.shape
    count, last = together(volume), max(lags)
    spectra = jnp.zeros((last, rows, columns // 2 + 1), jnp.complex64)
    energies = jnp.full(last, jnp.nan, jnp.float32)
    shifts = np.full((len(lags), total, 2), np.nan)
    likeness = np.full((len(lags), total), np.nan)
    for start, planes in slices_of(volume, count):
        spectra, energies, moved, alike = _compared(
            spectra, energies, planes, jnp.float32(smooth), lags, reach, edges, at_once()
        )
        many = min(count, total - start)
        shifts[:, start : start + many] = np.asarray(moved)[:, :many]
        likeness[:, start : start + many] = np.asarray(alike)[:, :many]
        told(start + many)
    return shifts, likeness


@functools.partial(jax.jit, static_argnames=("lags", "reach", "edges", "batch"))
def _compared(
    spectra: jax.Array,
    energies: jax.Array,
    planes: jax.Array,
    smooth: jax.Array,
    lags: tuple[int, ...],
    reach: tuple[int, int],
    edges: bool,
    batch: int,
) -> tuple[jax.Array, ...]:
    """Spectra of the last slices, for the next ones, and what pairs of slices give."""
    columns, last = planes.shape[2], spectra.shape[0]
    new, strength = jax.lax.map(lambda p: spectrum(p, smooth, edges), planes, batch_size=batch)
    known = jnp.concatenate([spectra, new])
    strengths = jnp.concatenate([energies, strength])
    count = planes.shape[0]

    def pair(at: jax.Array) -> tuple[jax.Array, jax.Array]:
        lag, i = at
        both = jnp.stack([last + i - lag, last + i])
        return highest(
            known[both[0]],
            known[both[1]],
            strengths[both],
            columns=columns,
            reach=reach,
            edges=edges,
        )

    numbers = jnp.stack(jnp.meshgrid(jnp.asarray(lags), jnp.arange(count), indexing="ij"), -1)
    shifts, likeness = jax.lax.map(pair, numbers.reshape(-1, 2), batch_size=batch)
    shape = (len(lags), count)
    kept = known[count:], strengths[count:]
    return *kept, shifts.reshape(*shape, 2), likeness.reshape(shape)
