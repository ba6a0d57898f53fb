"""Phases cut out of smooth fields at levels that give wanted volume fractions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax._core.checks import InputError, choice
from bimmjax.sim import _checks
from bimmjax.sim._gaussian import shifted
from bimmjax.sim._structures.fields import gaussian_field


class Structure(NamedTuple):
    """N phases as continuous bodies: the level sets of smooth fields are their interfaces.

    One field and N-1 ascending levels are `nested` phases: label = number of levels at or
    below the field, so only neighbours in the order of labels touch. N-1 fields with one level
    each are `mixed` phases: phase 0 is where field 0 lies below its level, phase 1 is where,
    in what is left, field 1 lies below its level, and so on; every two phases touch.

    Attributes
    ----------
    fields : array
        (1, z, y, x) or (N-1, z, y, x), float32.
    levels : array
        (N-1,) float32.
    """

    fields: jax.Array
    levels: jax.Array


def structure_labels(structure: Structure) -> jax.Array:
    """The phase of every voxel, sampled at its centre.

    Parameters
    ----------
    structure
        Fields (F, z, y, x) and levels (N-1,).

    Returns
    -------
    (z, y, x) uint8, 0 ... N-1.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import gaussian_structure, structure_labels
    >>> body = gaussian_structure(jax.random.key(0), (16, 16, 16), (0.25, 0.75), 2.0)
    >>> float((structure_labels(body) == 0).mean())
    0.25
    """
    return _labels(checked_structure(structure))


def checked_structure(structure: Structure) -> Structure:
    """`structure` in float32, its shapes found to match."""
    if not isinstance(structure, tuple) or len(structure) != 2:
        has = "Labelled" if hasattr(structure, "labels") else type(structure).__name__
        more = ", which has labels already (.labels)" if hasattr(structure, "labels") else ""
        raise InputError(f"structure: got {has}{more}; wants a Structure, fields with levels")
    fields, levels = structure
    if np.ndim(fields) != 4 or np.ndim(levels) != 1 or fields.shape[0] not in (1, levels.shape[0]):
        raise InputError(
            f"structure: got fields of shape {np.shape(fields)} with levels of shape "
            f"{np.shape(levels)}, wants (1, z, y, x) or (N-1, z, y, x) with (N-1,)"
        )
    return Structure(jnp.asarray(fields, jnp.float32), jnp.asarray(levels, jnp.float32))


@jax.jit
def _labels(structure: Structure) -> jax.Array:
    fields, levels = structure
    labels = jnp.zeros(fields.shape[1:], jnp.uint8)
    if fields.shape[0] == 1:
        for i in range(levels.shape[0]):
            labels = labels + (fields[0] >= levels[i]).astype(jnp.uint8)
        return labels
    # A voxel leaves the chain at the first field below its level.
    for i in reversed(range(levels.shape[0])):
        labels = jnp.where(fields[i] < levels[i], jnp.uint8(0), labels + jnp.uint8(1))
    return labels


@jax.jit
def order_statistic(values: jax.Array, rank: jax.Array) -> jax.Array:
    """The value with `rank` smaller ones among float32 `values`: () float32.

    Found bit by bit in the order-preserving integer image of the floats: 32 counts over the
    data, where a sort of 256³ values takes XLA seconds on a CPU.
    """

    def as_float(ordered: jax.Array) -> jax.Array:
        bits = jnp.where(ordered >> 31 == 1, ordered & jnp.uint32(0x7FFFFFFF), ~ordered)
        return jax.lax.bitcast_convert_type(bits, jnp.float32)

    def next_bit(i: jax.Array, found: jax.Array) -> jax.Array:
        candidate = found + (jnp.uint32(1) << (31 - i).astype(jnp.uint32))
        # Counted from above, so that candidates that are NaN are never taken.
        above = jnp.sum(values >= as_float(candidate), dtype=jnp.int32)
        return jnp.where(values.size - above <= rank, candidate, found)

    found = as_float(jax.lax.fori_loop(0, 32, next_bit, jnp.uint32(0)))
    # XLA compares subnormal candidates as if they were zero.
    return jnp.where(jnp.abs(found) < jnp.finfo(jnp.float32).tiny, 0.0, found)


@functools.partial(jax.jit, static_argnames="arrangement")
def _volume_levels(fields: jax.Array, counts: jax.Array, arrangement: str) -> jax.Array:
    """Levels that leave `counts[i]` voxels to phase i, up to ties of equal field values."""
    levels = []
    if arrangement == "nested":
        below = jnp.cumsum(counts, dtype=jnp.int32)
        return jnp.stack([order_statistic(fields[0], k) for k in below])
    free = jnp.ones(fields.shape[1:], bool)
    for field, count in zip(fields, counts, strict=True):
        levels.append(order_statistic(jnp.where(free, field, jnp.inf), count))
        free = free & (field >= levels[-1])
    return jnp.stack(levels)


def ensemble_levels(fractions: np.ndarray, arrangement: str) -> np.ndarray:
    """Levels (N-1,) of unit Gaussian fields with `fractions` on average over all keys."""
    from scipy.special import ndtri

    before = np.concatenate([[0.0], np.cumsum(fractions)])
    if arrangement == "nested":
        return ndtri(before[1:-1])
    return ndtri(fractions[:-1] / (1 - before[:-2]))


def gaussian_structure(
    key: jax.Array,
    shape: tuple[int, int, int],
    fractions: Sequence[float],
    length: float,
    *,
    arrangement: str = "mixed",
    levels: str = "volume",
) -> Structure:
    """Phases with wanted volume fractions, cut from Gaussian fields (BIMM paper, Fig. S1).

    Parameters
    ----------
    key
        Random key.
    shape
        (z, y, x) voxels; the structure is periodic.
    fractions
        One positive number per phase, summing to 1.
    length
        std of the Gaussian filter of the fields, voxels; the mean chord through
        either phase of a half-and-half structure is 4.4 times that.
    arrangement
        "mixed": N-1 independent fields, every two phases touch; "nested": one field,
        phases touch in order. With two phases they are the same.
    levels
        "volume": this volume has the fractions, exact to a voxel (and ties of equal
        float32 values, a few voxels in 256³); "ensemble": they hold on average over keys, so
        that `expected_interface_areas` is the mean truth.

    Returns
    -------
    Structure with float32 fields.

    Raises
    ------
    InputError
        If the shape is not 3D, the fractions do not sum to 1, or the length is not positive.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import gaussian_structure
    >>> body = gaussian_structure(jax.random.key(0), (16, 16, 16), (0.2, 0.3, 0.5), 3.0)
    >>> body.fields.shape, body.levels.shape
    ((2, 16, 16, 16), (2,))
    """
    key = _checks.random_key("key", key)
    shape = _checks.volume_shape("shape", shape)
    wanted = _checks.phase_fractions("fractions", fractions)
    _checks.number("length", length, open_low=True)
    choice("arrangement", arrangement, ("mixed", "nested"))
    choice("levels", levels, ("volume", "ensemble"))
    cuts = wanted.size - 1
    count = min(cuts, 1) if arrangement == "nested" else cuts
    if cuts == 0:
        return Structure(jnp.zeros((1, *shape), jnp.float32), jnp.zeros((0,), jnp.float32))
    fields = jnp.stack(
        [gaussian_field(jax.random.fold_in(key, i), shape, length) for i in range(count)]
    )
    if levels == "ensemble":
        return Structure(fields, jnp.asarray(ensemble_levels(wanted, arrangement), jnp.float32))
    ends = np.rint(np.cumsum(wanted) * np.prod(shape)).astype(np.int32)
    counts = jnp.asarray(np.diff(ends, prepend=0)[:-1], jnp.int32)
    return Structure(fields, _volume_levels(fields, counts, arrangement))


@functools.partial(jax.jit, static_argnames="supersample")
def render(structure: Structure, values: jax.Array, supersample: int = 1) -> jax.Array:
    """Image with `values` (N,) in the phases, float32; see `image_of`."""
    if supersample == 1:
        return values[_labels(structure)]
    fields, levels = structure
    shape = (fields.shape[1], fields.shape[2], fields.shape[3])
    spectra = [jnp.fft.rfftn(field) for field in fields]
    offsets = _offsets(supersample)

    def add(total: jax.Array, offset: jax.Array) -> tuple[jax.Array, None]:
        moved = jnp.stack([shifted(spectrum, shape, offset) for spectrum in spectra])
        return total + values[_labels(Structure(moved, levels))], None

    total, _ = jax.lax.scan(add, jnp.zeros(shape, jnp.float32), jnp.asarray(offsets, jnp.float32))
    return total / len(offsets)


def _offsets(supersample: int) -> np.ndarray:
    """Points within a voxel, from its centre: (supersample³, 3)."""
    along = (np.arange(supersample) + 0.5) / supersample - 0.5
    return np.stack(np.meshgrid(along, along, along, indexing="ij"), -1).reshape(-1, 3)


@functools.partial(jax.jit, static_argnames="supersample")
def between_voxels(field: jax.Array, supersample: int) -> jax.Array:
    """A periodic field at supersample³ points of each voxel: (supersample³, z, y, x)."""
    spectrum = jnp.fft.rfftn(field)
    shape = (field.shape[0], field.shape[1], field.shape[2])
    offsets = jnp.asarray(_offsets(supersample), jnp.float32)
    return jax.lax.map(lambda offset: shifted(spectrum, shape, offset), offsets)
