"""The Markov random field over volumes of any size, and the weight that the data ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax.segmentation._boxes import Box, around, shape_of, tiles, within
from bimmjax.segmentation._potts import (
    SWEEPS,
    neighbour_weights,
    potts_evidence,
    potts_labels,
    potts_probabilities,
)
from bimmjax.segmentation._rule import NO_LABEL, Rule, bins_of
from bimmjax.volumes import Volume, sample_blocks
from bimmjax.volumes._volume import Shape

# A voxel's label comes from voxels no further than the sweeps, the last choice and the gradient.
_HALO = SWEEPS + 2
_TILE = 128
# Nats per voxel face. Noise asks for 2 to 4; less than the first does next to nothing, more than
# the last rounds off whatever there is.
_WEIGHTS = 2.0 ** np.arange(-2, 5)
_SAMPLES, _EDGE = 8, 50

Progress = Callable[[int], object]
Solver = Callable[[np.ndarray, Rule, float, Array, np.ndarray], Array]


def chosen_weight(volume: Volume, rule: Rule) -> float:
    """The weight that makes a sample of the volume likeliest in the mean field; nats per face."""
    neighbours = jnp.asarray(neighbour_weights(volume.spacing), jnp.float32)
    evidence, voxels = np.zeros(_WEIGHTS.size), 0
    for block in sample_blocks(volume, _SAMPLES, _EDGE):
        count = int(np.isfinite(block).sum())
        if count == 0 or min(block.shape) < 3:
            continue
        data = jnp.asarray(np.pad(block, 1, mode="edge"))
        costs, inside = _costs(data, rule, jnp.ones(block.shape, bool))
        found = [float(potts_evidence(costs, w, neighbours, inside)) for w in _WEIGHTS]
        evidence, voxels = evidence + count * np.array(found), voxels + count
    if voxels == 0:
        return 1.0
    return float(2.0 ** _peak(np.log2(_WEIGHTS), evidence))


def _peak(at: np.ndarray, values: np.ndarray) -> float:
    """Where the parabola through the largest of evenly spaced values peaks."""
    k = int(np.argmax(values))
    if k in (0, len(values) - 1):
        return float(at[k])
    before, top, after = values[k - 1 : k + 2]
    curvature = before - 2.0 * top + after
    shift = 0.0 if curvature == 0 else 0.5 * (before - after) / curvature
    return float(at[k] + shift * (at[1] - at[0]))


def smoothed(
    volume: Volume,
    rule: Rule,
    weight: float,
    solver: Solver,
    dtype: Any,
    progress: Progress | None,
    box: Box,
) -> np.ndarray:
    """What a solver finds in a box of the volume: read at once, worked out tile by tile."""
    neighbours = jnp.asarray(neighbour_weights(volume.spacing), jnp.float32)
    found = np.empty(shape_of(box), dtype)
    filled, shape = tiles(box, _TILE)
    z, y, x = (-(-n // tile) * tile for n, tile in zip(found.shape, shape, strict=True))
    data, inside = around(volume, box, _HALO, (z, y, x))
    for tile in filled:
        place = within(tile, box)
        known = data[_grown(place, shape, 2 * _HALO)]
        counted = inside[_grown(place, shape, 2 * _HALO - 2)]
        solved = np.asarray(solver(known, rule, weight, neighbours, counted))
        z, y, x = shape_of(tile)
        found[place] = solved[:z, :y, :x]
        if progress is not None:
            progress(z * y * x)
    return found


def _grown(place: Box, shape: Shape, more: int) -> Box:
    z, y, x = (slice(s.start, s.start + n + more) for s, n in zip(place, shape, strict=True))
    return z, y, x


@jax.jit
def smooth_labels(
    data: Array, rule: Rule, weight: Array, neighbours: Array, inside: Array
) -> Array:
    """Labels of a box without its halo from its grey values (z, y, x) with it."""
    costs, counted = _costs(data, rule, inside)
    found = potts_labels(costs, weight, neighbours, counted)
    return _core(jnp.where(counted > 0, found, NO_LABEL))


@jax.jit
def smooth_probability(
    phase: int, data: Array, rule: Rule, weight: Array, neighbours: Array, inside: Array
) -> Array:
    """Probability of a phase in a box without its halo."""
    costs, counted = _costs(data, rule, inside)
    found = potts_probabilities(costs, weight, neighbours, counted)[phase]
    return _core(jnp.where(counted > 0, found, jnp.nan))


def _core(values: Array) -> Array:
    cut = slice(_HALO - 1, 1 - _HALO)
    return values[cut, cut, cut]


@jax.jit
def _costs(data: Array, rule: Rule, inside: Array) -> tuple[Array, Array]:
    """Costs by phase, 0 where there is no number, and which voxels count; one layer is used up."""
    counted = inside & jnp.isfinite(data[1:-1, 1:-1, 1:-1])
    costs = rule.costs.reshape(len(rule.costs), -1)[:, bins_of(data, rule)]
    return jnp.where(counted, costs, 0.0), counted.astype(costs.dtype)
