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

from bimmjax._core.checks import InputError
from bimmjax.descriptors import crossing_areas
from bimmjax.descriptors._crofton import DIRECTIONS

SWEEPS = 16
# Temperatures, first and last: from softer than the likelihoods to all but certain. More sweeps
# or other ends change energies by a tenth of a per cent.
_HOT, _COLD = 2.0, 0.2
_STEPS = ((0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1))


def neighbour_weights(spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """Area that a change of label stands for, by the step between the two voxels.

    Parameters
    ----------
    spacing
        (z, y, x) voxel size; only its proportions count.

    Returns
    -------
    (7,) float64 in faces of a cube of a voxel's volume, for steps along x, y, z, then across
    yx, zx, zy and zyx, whatever their signs.

    Raises
    ------
    InputError
        A spacing that is not three numbers above 0.
    """
    if np.shape(spacing) != (3,) or not np.all(np.asarray(spacing) > 0):
        raise InputError(f"spacing: got {spacing!r}, wants three numbers above 0")
    areas = crossing_areas(spacing)
    return np.array([areas[step] for step in _STEPS]) / float(np.prod(spacing)) ** (2.0 / 3.0)


@jax.jit
def potts_labels(costs: Array, weight: float | Array, neighbours: Array, inside: Array) -> Array:
    """Labels of low energy (z, y, x) uint8 by mean-field annealing, `SWEEPS` sweeps.

    Source: mean-field annealing (Peterson and Söderberg 1989) of a Potts field.

    Parameters
    ----------
    costs
        (N, z, y, x) float, nats: -log likelihood of each phase, up to a constant per voxel.
    weight
        Nats per face of a voxel that lies between two phases.
    neighbours
        (7,) of `neighbour_weights`.
    inside
        (z, y, x) float or bool, 0 where there is no voxel to count as a neighbour, else 1.

    Examples
    --------
    >>> import jax.numpy as jnp, numpy as np
    >>> from bimmjax.segmentation import neighbour_weights, potts_labels
    >>> costs = jnp.zeros((2, 9, 9, 9)).at[0].set(1.0).at[:, 4, 4, 4].set(jnp.array([0.0, 1.0]))
    >>> inside, neighbours = jnp.ones((9, 9, 9)), jnp.asarray(neighbour_weights())
    >>> [int((potts_labels(costs, w, neighbours, inside) == 0).sum()) for w in (0.0, 2.0)]
    [1, 0]
    """
    temperatures = jnp.asarray(np.geomspace(_HOT, _COLD, SWEEPS), costs.dtype)
    held = _swept(costs, weight, neighbours, inside, temperatures)
    support = _weighed(costs, weight) * _support(held, neighbours)
    return jnp.argmin(costs - support, 0).astype(jnp.uint8)


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
    """Mean log likelihood of voxels that were held out, as their neighbours predict them; () nats.

    Every third voxel along each axis is held out at once, so that none is another's neighbour.
    The weight that makes it largest is the one the data ask for. Were voxels not held out, what
    they themselves told their neighbours would come back to them, and ask for more weight.
    Arguments as for `potts_labels`.

    Source: a mean-field likelihood (Celeux, Forbes and Peyrard 2003), cross-validated.
    """
    z, y, x = (jnp.arange(n) % 3 == min(1, n - 1) for n in costs.shape[1:])
    out = z[:, None, None] & y[:, None] & x
    held = _marginals(jnp.where(out, 0.0, costs), weight, neighbours, inside)
    support = _weighed(costs, weight) * _support(held, neighbours)
    predicted = support - jax.nn.logsumexp(support, 0)
    counted = out * inside
    logs = jax.nn.logsumexp(predicted - costs, 0)
    return jnp.sum(logs * counted) / jnp.maximum(counted.sum(), 1)


def potts_energy(
    costs: Array | np.ndarray,
    labels: Array | np.ndarray,
    weight: float,
    neighbours: Array | np.ndarray,
) -> float:
    """Costs of the labels plus `weight` times the area of their interfaces; nats.

    Parameters
    ----------
    costs
        (N, z, y, x) nats.
    labels
        (z, y, x) of whole numbers below N.
    weight
        Nats per face of a voxel.
    neighbours
        (7,) of `neighbour_weights`.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.segmentation import neighbour_weights, potts_energy
    >>> potts_energy(np.zeros((2, 4, 4, 4)), np.zeros((4, 4, 4), int), 1.0, neighbour_weights())
    0.0
    """
    labels = np.asarray(labels)
    energy = float(np.take_along_axis(np.asarray(costs), labels[None], 0).sum(dtype=float))
    areas = dict(zip(_STEPS, np.asarray(neighbours, float).tolist(), strict=True))
    for step in DIRECTIONS:
        near, far = (
            tuple(
                slice(max(sign * k, 0), n + min(sign * k, 0))
                for k, n in zip(step, labels.shape, strict=True)
            )
            for sign in (-1, 1)
        )
        along = (abs(step[0]), abs(step[1]), abs(step[2]))
        energy += weight * areas[along] * int(np.count_nonzero(labels[near] != labels[far]))
    return energy


def _marginals(costs: Array, weight: float | Array, neighbours: Array, inside: Array) -> Array:
    return _swept(costs, weight, neighbours, inside, jnp.ones(SWEEPS, costs.dtype))


def _swept(
    costs: Array, weight: float | Array, neighbours: Array, inside: Array, temperatures: Array
) -> Array:
    """Probabilities after a sweep at each temperature; 0 where there is no voxel."""
    weight = _weighed(costs, weight)
    inside = inside.astype(costs.dtype)

    def sweep(held: Array, temperature: Array) -> tuple[Array, None]:
        costs_now = costs - weight * _support(held, neighbours)
        return jax.nn.softmax(-costs_now / temperature, 0) * inside, None

    return jax.lax.scan(sweep, jax.nn.softmax(-costs, 0) * inside, temperatures)[0]


def _weighed(costs: Array, weight: float | Array) -> Array:
    """The weight in the precision of the costs, whatever it came in."""
    return jnp.asarray(weight, costs.dtype)


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
