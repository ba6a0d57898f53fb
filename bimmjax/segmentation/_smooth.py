"""The Markov random field over volumes of any size, and the weight that the data ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax.segmentation._boxes import Box, around, halved, shape_of, tiles, within
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
# Log2 of nats per voxel face, first in whole steps, then in half ones around the best. Less than
# the first does next to nothing, more than the last rounds off whatever there is.
_LOWEST, _HIGHEST = -2, 4
_SAMPLES, _EDGE = 8, 50

Progress = Callable[[int], object]
Solver = Callable[[np.ndarray, Rule, float, Array, np.ndarray], Array]


def chosen_weight(volume: Volume, rule: Rule) -> float:
    """The weight that predicts held-out voxels of a sample best; nats per face."""
    neighbours = jnp.asarray(neighbour_weights(volume.spacing), jnp.float32)
    blocks = [b for b in sample_blocks(volume, _SAMPLES, _EDGE) if np.isfinite(b).any()]
    known = [
        costs_of(np.pad(halved(b), 1, mode="edge"), rule, np.ones(b.shape, bool)) for b in blocks
    ]

    def evidence(power: float) -> float:
        """Summed over voxels, not over blocks: some may be mostly gaps."""
        return sum(
            float(inside.sum() * potts_evidence(costs, 2.0**power, neighbours, inside))
            for costs, inside in known
        )

    if not known:
        return 1.0
    found = {float(k): evidence(k) for k in range(_LOWEST, _HIGHEST + 1)}
    best = max(found, key=found.__getitem__)
    found |= {k: evidence(k) for k in (best - 0.5, best + 0.5) if _LOWEST <= k <= _HIGHEST}
    return 2.0 ** _peak(found)


def _peak(found: dict[float, float]) -> float:
    """Where the parabola through the largest value and those half a step beside it peaks."""
    best = max(found, key=found.__getitem__)
    if not {best - 0.5, best + 0.5} <= found.keys():
        return best
    before, top, after = (found[best + k] for k in (-0.5, 0.0, 0.5))
    curvature = before - 2.0 * top + after
    return best if curvature == 0.0 else best + 0.25 * (before - after) / curvature


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
    costs, counted = costs_of(data, rule, inside)
    found = potts_labels(costs, weight, neighbours, counted)
    return _core(jnp.where(counted > 0, found, NO_LABEL))


@jax.jit
def smooth_probability(
    phase: int, data: Array, rule: Rule, weight: Array, neighbours: Array, inside: Array
) -> Array:
    """Probability of a phase in a box without its halo."""
    costs, counted = costs_of(data, rule, inside)
    found = potts_probabilities(costs, weight, neighbours, counted)[phase]
    return _core(jnp.where(counted > 0, found, jnp.nan))


def _core(values: Array) -> Array:
    cut = slice(_HALO - 1, 1 - _HALO)
    return values[cut, cut, cut]


@jax.jit
def costs_of(data: Array, rule: Rule, inside: Array) -> tuple[Array, Array]:
    """Costs by phase, 0 where there is no number, and which voxels count; one layer is used up."""
    counted = inside & jnp.isfinite(data[1:-1, 1:-1, 1:-1])
    costs = rule.costs.reshape(len(rule.costs), -1)[:, bins_of(data, rule)]
    return jnp.where(counted, costs, 0.0), counted.astype(costs.dtype)
