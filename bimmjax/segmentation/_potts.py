"""A Markov random field: labels that are likely voxel by voxel and have little interface.

The energy is the cost of each voxel's label plus a weight times the area of the interfaces, which
are counted along thirteen directions (Potts model with 26 neighbours). It is lowered by
mean-field annealing: each voxel's probabilities are set by those of its neighbours, all at once,
while the temperature falls. Whatever is done to a voxel depends on voxels that are no further
than the number of sweeps away, so volumes can be worked out box by box without seams.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax.descriptors import crossing_areas

SWEEPS = 16
# Temperatures, first and last: from softer than the likelihoods to all but certain. More sweeps
# or other ends change energies by a tenth of a per cent.
_HOT, _COLD = 2.0, 0.2
_STEPS = ((0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1))


def neighbour_weights(spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """Area that a change of label stands for, by the step between the two voxels.

    Parameters
    ----------
    spacing : (z, y, x) voxel size; only its proportions count.

    Returns
    -------
    (7,) float64 in faces of a cube of a voxel's volume, for steps along x, y, z, then across
    yx, zx, zy and zyx, whatever their signs.
    """
    areas = _areas(spacing)
    return np.array([areas[step] for step in _STEPS])


@jax.jit
def potts_labels(costs: Array, weight: float | Array, neighbours: Array, inside: Array) -> Array:
    """Labels of low energy (z, y, x) uint8 by mean-field annealing, `SWEEPS` sweeps.

    Parameters
    ----------
    costs : (N, z, y, x) float, nats: -log likelihood of each phase, up to a constant per voxel.
    weight : nats per face of a voxel that lies between two phases.
    neighbours : (7,) of `neighbour_weights`.
    inside : (z, y, x) float, 0 where there is no voxel to count as a neighbour, else 1.
    """
    temperatures = jnp.asarray(np.geomspace(_HOT, _COLD, SWEEPS), costs.dtype)
    held = _swept(costs, weight, neighbours, inside, temperatures)
    return jnp.argmin(costs - weight * _support(held, neighbours), 0).astype(jnp.uint8)


@jax.jit
def potts_probabilities(
    costs: Array, weight: float | Array, neighbours: Array, inside: Array
) -> Array:
    """Probability of each phase in each voxel, (N, z, y, x), in the mean field of its neighbours.

    Arguments as for `potts_labels`.
    """
    return _marginals(costs, weight, neighbours, inside)


@jax.jit
def potts_evidence(costs: Array, weight: float | Array, neighbours: Array, inside: Array) -> Array:
    """Mean log likelihood of a voxel, given what its neighbours make likely; () nats.

    The mean-field likelihood of the data (Celeux, Forbes and Peyrard 2003): the weight that
    makes it largest is the one the data ask for. Arguments as for `potts_labels`.
    """
    support = weight * _support(_marginals(costs, weight, neighbours, inside), neighbours)
    prior = support - jax.nn.logsumexp(support, 0)
    return jnp.sum(jax.nn.logsumexp(prior - costs, 0) * inside) / jnp.maximum(inside.sum(), 1)


def potts_energy(
    costs: Array | np.ndarray,
    labels: Array | np.ndarray,
    weight: float,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
) -> float:
    """Costs of the labels plus `weight` times the area of their interfaces; nats.

    Parameters
    ----------
    costs : (N, z, y, x) nats. labels : (z, y, x) of whole numbers below N.
    weight : nats per face of a voxel.
    spacing : (z, y, x) voxel size.

    Examples
    --------
    >>> import numpy as np
    >>> costs = np.zeros((2, 4, 4, 4))
    >>> labels = np.zeros((4, 4, 4), int)
    >>> potts_energy(costs, labels, 1.0)
    0.0
    """
    labels = np.asarray(labels)
    energy = float(np.take_along_axis(np.asarray(costs), labels[None], 0).sum(dtype=float))
    for step, area in _areas(spacing).items():
        near, far = (
            tuple(
                slice(max(sign * k, 0), n + min(sign * k, 0))
                for k, n in zip(step, labels.shape, strict=True)
            )
            for sign in (-1, 1)
        )
        energy += weight * area * int(np.count_nonzero(labels[near] != labels[far]))
    return energy


def _areas(spacing: Sequence[float]) -> dict[tuple[int, int, int], float]:
    face = float(np.prod(spacing)) ** (2.0 / 3.0)
    return {step: area / face for step, area in crossing_areas(spacing).items()}


def _marginals(costs: Array, weight: float | Array, neighbours: Array, inside: Array) -> Array:
    return _swept(costs, weight, neighbours, inside, jnp.ones(SWEEPS, costs.dtype))


def _swept(
    costs: Array, weight: float | Array, neighbours: Array, inside: Array, temperatures: Array
) -> Array:
    """Probabilities after a sweep at each temperature; 0 where there is no voxel."""

    def sweep(held: Array, temperature: Array) -> tuple[Array, None]:
        costs_now = costs - weight * _support(held, neighbours)
        return jax.nn.softmax(-costs_now / temperature, 0) * inside, None

    return jax.lax.scan(sweep, jax.nn.softmax(-costs, 0) * inside, temperatures)[0]


def _support(held: Array, neighbours: Array) -> Array:
    """Sum over the 26 neighbours; sums along x serve those along y, and both those along z."""
    x, y, z, yx, zx, zy, zyx = (neighbours[k].astype(held.dtype) for k in range(7))
    along_x = _once(_both_sides(held, 3))
    along_y = _both_sides(held, 2)
    along_yx = _once(_both_sides(along_x, 2))
    level = _once(x * along_x + y * along_y + yx * along_yx)
    beside = _once(z * held + zx * along_x + zy * along_y + zyx * along_yx)
    return level + _both_sides(beside, 1)


# Worked out once and kept; the compiler would work it out again for every use.
_once = jax.lax.optimization_barrier


def _both_sides(values: Array, axis: int) -> Array:
    """The neighbours before and after, 0 beyond the ends."""
    n = values.shape[axis]
    padded = jnp.pad(values, [(int(k == axis),) * 2 for k in range(values.ndim)])
    before = jax.lax.slice_in_dim(padded, 0, n, axis=axis)
    return before + jax.lax.slice_in_dim(padded, 2, n + 2, axis=axis)
