"""Slices onto one image: the first of them, or their mean."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax.fib._register.correlation import highest, spectrum
from bimmjax.fib._register.registration import (
    Progress,
    at_once,
    interpolated,
    slices_of,
    together,
)
from bimmjax.sim import shift_slices
from bimmjax.volumes import Volume


def onto_one(
    volume: Volume, mean: bool, reach: tuple[int, int], smooth: float, edges: bool, told: Progress
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shifts (n, 2), correlations (n,) and refusals (n,) of slices compared with one image.

    With `mean` the stack is read three times instead of once.
    """
    total = volume.shape[0]
    passes = 3 if mean else 1

    def counted(done: int, of: int) -> None:
        told((at * total + done) // passes, of)

    at = 0
    image = _first(volume)
    shifts, likeness = _compared_with(volume, image, reach, smooth, edges, counted)
    refused = np.asarray(np.isnan(shifts).any(1))
    shifts = interpolated(shifts, refused)
    if mean:
        at = 1
        image = _mean(volume, shifts, refused, counted)
        at = 2
        shifts, likeness = _compared_with(volume, image, reach, smooth, edges, counted)
        refused = np.asarray(np.isnan(shifts).any(1))
        shifts = interpolated(shifts, refused)
    return shifts, likeness, refused


def _first(volume: Volume) -> np.ndarray:
    """The first slice that shows something."""
    plane = np.zeros(volume.shape[1:], np.float32)
    for i in range(volume.shape[0]):
        plane = volume.read(slice(i, i + 1), slice(None), slice(None))[0].astype(np.float32)
        if bool(jnp.isfinite(spectrum(jnp.asarray(plane), jnp.float32(0.0))[1])):
            break
    return plane


def _mean(volume: Volume, shifts: np.ndarray, refused: np.ndarray, told: Progress) -> np.ndarray:
    total, count = volume.shape[0], together(volume)
    image = np.zeros(volume.shape[1:], np.float64)
    for start, planes in slices_of(volume, count):
        many = min(count, total - start)
        numbers = np.minimum(np.arange(start, start + count), total - 1)
        moved = np.asarray(shift_slices(planes, shifts[numbers]), np.float64)[:many]
        image += moved[~refused[start : start + many]].sum(0)
        told(start + many, total)
    return (image / (~refused).sum()).astype(np.float32)


def _compared_with(
    volume: Volume,
    image: np.ndarray,
    reach: tuple[int, int],
    smooth: float,
    edges: bool,
    told: Progress,
) -> tuple[np.ndarray, np.ndarray]:
    total, count = volume.shape[0], together(volume)
    shifts, likeness = np.full((total, 2), np.nan), np.full(total, np.nan)
    for start, planes in slices_of(volume, count):
        moved, alike = _onto(
            jnp.asarray(image), planes, jnp.float32(smooth), reach, edges, at_once()
        )
        many = min(count, total - start)
        shifts[start : start + many] = np.asarray(moved)[:many]
        likeness[start : start + many] = np.asarray(alike)[:many]
        told(start + many, total)
    return shifts, likeness


@functools.partial(jax.jit, static_argnames=("reach", "edges", "batch"))
def _onto(
    image: jax.Array,
    planes: jax.Array,
    smooth: jax.Array,
    reach: tuple[int, int],
    edges: bool,
    batch: int,
) -> tuple[jax.Array, jax.Array]:
    fixed, strength = spectrum(image, smooth, edges)

    def one(plane: jax.Array) -> tuple[jax.Array, jax.Array]:
        moving, own = spectrum(plane, smooth, edges)
        energies = jnp.stack([strength, own])
        return highest(fixed, moving, energies, columns=image.shape[1], reach=reach, edges=edges)

    return jax.lax.map(one, planes, batch_size=batch)
