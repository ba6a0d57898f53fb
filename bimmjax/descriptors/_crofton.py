"""Interface area by counting where lines of voxels change phase, in thirteen directions."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.spatial import SphericalVoronoi

from bimmjax._core.checks import whole_number
from bimmjax.descriptors._labels import open_labels, open_mask
from bimmjax.volumes import Volume

# To the half of a voxel's 26 neighbours that come after it.
DIRECTIONS = (
    (0, 0, 1),
    (0, 1, 0),
    (1, 0, 0),
    (0, 1, 1),
    (0, 1, -1),
    (1, 0, 1),
    (1, 0, -1),
    (1, 1, 0),
    (1, -1, 0),
    (1, 1, 1),
    (1, 1, -1),
    (1, -1, 1),
    (1, -1, -1),
)
_SLAB = 2**25
MOST_PHASES = 64


def crofton_areas(labels: Any, phases: int, *, mask: Any = None, **options: Any) -> np.ndarray:
    """Area per volume of the interface of each two phases.

    The number of times a line crosses a surface, per length and averaged over all directions, is
    half the surface's area per volume (Cauchy and Crofton). Lines go through voxels' centres in
    thirteen directions, each of which stands for the directions that are nearest to it.

    Parameters
    ----------
    labels : path, array or Volume
        (z, y, x) of whole numbers 0 ... phases - 1. Streamed.
    phases : int
        Number of phases, N.
    mask : volume, optional
        Only pairs of voxels where it is not 0 count.
    **options
        `spacing`, `unit`, `dataset`: as in `open_volume`. Voxels need not be cubic.

    Returns
    -------
    (N(N-1)/2,) in 1/length, pairs in the order (0, 1), (0, 2), ..., (1, 2), ...

    Raises
    ------
    InputError
        Labels that are not whole numbers, or a mask of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> z, y, x = np.indices((48, 48, 48)) - 23.5
    >>> ball = (z**2 + y**2 + x**2 < 20**2).astype(np.uint8)
    >>> area = crofton_areas(ball, 2)[0] * 48**3
    >>> bool(abs(area / (4 * np.pi * 20**2) - 1) < 0.005)
    True
    """
    volume = open_labels(labels, **options)
    whole_number("phases", phases, 1, MOST_PHASES)
    covered = open_mask(mask, volume)
    crossings = np.zeros((len(DIRECTIONS), phases * (phases - 1) // 2), np.int64)
    possible = np.zeros(len(DIRECTIONS), np.int64)
    for data, good, weights in _overlapping(volume, covered):
        crossed, counted = _crossings(data, good, weights, phases)
        crossings += np.asarray(crossed).astype(np.int64)
        possible += np.asarray(counted).astype(np.int64)
    areas = np.array(list(crossing_areas(volume.spacing).values())) / np.prod(volume.spacing)
    return areas @ (crossings / np.maximum(possible, 1)[:, None])


def crossing_areas(
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
) -> dict[tuple[int, int, int], float]:
    """Area that two neighbours of different phase stand for, by the step (z, y, x) between them.

    Parameters
    ----------
    spacing : (z, y, x) voxel size.

    Returns
    -------
    dict of thirteen steps, one of each two opposite ones. Added up over all pairs of neighbours
    whose phases differ they are the area of the interface.

    Examples
    --------
    >>> round(crossing_areas()[0, 0, 1], 4)
    0.0915
    """
    steps = np.array(DIRECTIONS) * np.array(spacing)
    per_crossing = 2.0 * np.prod(spacing) / np.linalg.norm(steps, axis=1)
    return dict(zip(DIRECTIONS, (per_crossing * _direction_shares(steps)).tolist(), strict=True))


def _direction_shares(steps: np.ndarray) -> np.ndarray:
    """Share of all directions that are nearer to each of the steps (n, 3) than to the others."""
    unit = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    cells = SphericalVoronoi(np.concatenate([unit, -unit]))
    areas = cells.calculate_areas() / (4.0 * np.pi)
    return areas[: len(steps)] + areas[len(steps) :]


class _Weights(NamedTuple):
    """Twice the voxels that a step along an axis stands for, by axis; or no step.

    What lies between the last centres and the faces is unseen, and taken to be like what is next
    to it: so bodies in the middle are counted right as well as those that go on beyond the faces.
    """

    step_z: Array
    step_y: Array
    step_x: Array
    stay_z: Array
    stay_y: Array
    stay_x: Array


def _overlapping(
    volume: Volume, mask: Volume | None
) -> Generator[tuple[Array, Array | None, _Weights], None, None]:
    """Slabs along z that share a layer with the next one."""
    z, y, x = volume.shape
    steps = [_step_weights(n) for n in volume.shape]
    thick = max(_SLAB // (y * x), 1)
    for start in range(0, max(z - 1, 1), thick):
        stop = min(start + thick + 1, z)
        box = slice(start, stop), slice(None), slice(None)
        stays = [np.full(n, 2) for n in (stop - start, y, x)]
        if stop < z:
            stays[0][-1] = 0  # the next slab begins with it
        along = steps[0][start : stop - 1], steps[1], steps[2]
        weights = _Weights(*(_whole(w) for w in along), *(_whole(w) for w in stays))
        good = None if mask is None else jnp.asarray(mask.read(*box) != 0)
        yield jnp.asarray(volume.read(*box)), good, weights


def _whole(weights: np.ndarray) -> Array:
    return jnp.asarray(weights, jnp.uint32)


def _step_weights(size: int) -> np.ndarray:
    weights = np.full(size - 1, 2)
    weights[:1] += 1
    weights[-1:] += 1
    return weights


@partial(jax.jit, static_argnames="phases")
def _crossings(
    labels: Array, good: Array | None, weights: _Weights, phases: int
) -> tuple[Array, Array]:
    """Weighed changes of phase (directions, pairs), and pairs of voxels (directions,)."""
    crossed, possible = [], []
    for direction in DIRECTIONS:
        near, far = (
            tuple(_part(n, d, side) for n, d in zip(labels.shape, direction, strict=True))
            for side in (0, 1)
        )
        a, b = labels[near], labels[far]
        z, y, x = (
            step if d else stay
            for d, step, stay in zip(direction, weights[:3], weights[3:], strict=True)
        )
        weight = z[:, None, None] * y[:, None] * x
        if good is not None:
            weight = jnp.where(good[near] & good[far], weight, 0)
        possible.append(jnp.sum(weight, dtype=jnp.uint32))
        crossed.append(
            [
                jnp.sum(jnp.where(_change(a, b, i, j), weight, 0), dtype=jnp.uint32)
                for i in range(phases)
                for j in range(i + 1, phases)
            ]
        )
    return jnp.asarray(crossed), jnp.stack(possible)


def _change(a: Array, b: Array, i: int, j: int) -> Array:
    return ((a == i) & (b == j)) | ((a == j) & (b == i))


def _part(size: int, step: int, side: int) -> slice:
    """Voxels that have a neighbour a step on (side 0), and these neighbours (side 1)."""
    shift = step * side
    return slice(max(0, -step) + shift, size - max(0, step) + shift)
