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
    for bits, weights in _overlapping(volume, covered, phases):
        counted = np.asarray(_crossings(bits, weights, volume.shape[2])).astype(np.int64)
        possible += counted[:, 0]
        crossings += counted[:, 1:]
    areas = np.array(list(crossing_areas(volume.spacing).values())) / np.prod(volume.spacing)
    # Directions in which no two voxels count are taken to be like the others.
    shares = _direction_shares(np.array(DIRECTIONS) * np.array(volume.spacing))
    seen = float(shares[possible > 0].sum())
    return areas @ (crossings / np.maximum(possible, 1)[:, None]) / max(seen, 1e-12)


def crossing_areas(
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
) -> dict[tuple[int, int, int], float]:
    """Area that two neighbours of different phase stand for, by the step (z, y, x) between them.

    Parameters
    ----------
    spacing
        (z, y, x) voxel size.

    Returns
    -------
    dict of thirteen steps, one of each two opposite ones. Added up over all pairs of neighbours
    whose phases differ they are the area of the interface.

    Examples
    --------
    >>> round(crossing_areas()[0, 0, 1], 4)
    0.1831
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
    """Twice the voxels that a step along z or y stands for, or no step; `_along_x` does the rest.

    What lies between the last centres and the faces is unseen, and taken to be like what is next
    to it: so bodies in the middle are counted right as well as those that go on beyond the faces.
    """

    step_z: Array
    step_y: Array
    stay_z: Array
    stay_y: Array


def _overlapping(
    volume: Volume, mask: Volume | None, phases: int
) -> Generator[tuple[np.ndarray, _Weights], None, None]:
    """Slabs along z that share a layer with the next one: bits of what counts, then each phase."""
    z, y, x = volume.shape
    steps = [_step_weights(n) for n in (z, y)]
    thick = max(_SLAB // (y * x), 1)
    for start in range(0, max(z - 1, 1), thick):
        stop = min(start + thick + 1, z)
        box = slice(start, stop), slice(None), slice(None)
        stays = [np.full(n, 2) for n in (stop - start, y)]
        if stop < z:
            stays[0][-1] = 0  # the next slab begins with it
        along = steps[0][start : stop - 1], steps[1]
        weights = _Weights(*(_whole(w) for w in along), *(_whole(w) for w in stays))
        labels = volume.read(*box)
        good = np.ones(labels.shape, bool) if mask is None else mask.read(*box) != 0
        bits = [_packed(good), *(_packed((labels == p) & good) for p in range(phases))]
        yield np.stack(bits), weights


def _packed(inside: np.ndarray) -> np.ndarray:
    """Bits (words, z, y) of a boolean volume, lowest first along x."""
    octets = np.packbits(inside, axis=2, bitorder="little")
    words = np.pad(octets, ((0, 0), (0, 0), (0, -octets.shape[2] % 4))).view("<u4")
    return np.moveaxis(words, 2, 0).astype(np.uint32, order="C")


def _whole(weights: np.ndarray) -> Array:
    return jnp.asarray(weights, jnp.uint32)


def _step_weights(size: int) -> np.ndarray:
    weights = np.full(size - 1, 2)
    weights[:1] += 1
    weights[-1:] += 1
    return weights


@partial(jax.jit, static_argnames="size")
def _crossings(bits: Array, weights: _Weights, size: int) -> Array:
    """Weighed (directions, 1 + pairs): all that count, and changes of each two phases.

    Of bits (1 + phases, words, z, y) as `_overlapping` makes them; size: voxels along x.
    """
    following = jnp.concatenate([bits[:, 1:], jnp.zeros_like(bits[:, :1])], axis=1)
    shifted = (bits >> 1) | (following << 31)
    first, second = np.triu_indices(len(bits) - 1, 1)
    pairs = jnp.asarray(np.r_[0, first + 1]), jnp.asarray(np.r_[0, second + 1])

    def along(direction: tuple[int, int, int]) -> Array:
        (near, far), (z, y) = _steps(bits.shape[2:], direction[:2], weights)
        a = (shifted if direction[2] < 0 else bits)[near]
        b = (shifted if direction[2] > 0 else bits)[far]

        def count(pair: tuple[Array, Array]) -> Array:
            i, j = pair
            rows = _along_x((a[i] & b[j]) | (a[j] & b[i]), direction[2] != 0, size)
            return jnp.sum(z[:, None] * y * rows, dtype=jnp.uint32)

        return jax.lax.map(count, pairs)

    return jnp.stack([along(direction) for direction in DIRECTIONS])


def _steps(
    shape: Sequence[int], direction: Sequence[int], weights: _Weights
) -> tuple[list[tuple[slice, ...]], list[Array]]:
    """Where along z and y steps begin and end, of all bits, and what they weigh."""
    everything = slice(None), slice(None)
    parts = [
        (*everything, *(_part(n, d, side) for n, d in zip(shape, direction, strict=True)))
        for side in (0, 1)
    ]
    chosen = zip(direction, weights[:2], weights[2:], strict=True)
    return parts, [step if d else stay for d, step, stay in chosen]


def _along_x(words: Array, stepping: bool, size: int) -> Array:
    """Twice the bits of each row (words, z, y), and the first and last step's once more."""
    rows = 2 * jnp.sum(jax.lax.population_count(words), axis=0, dtype=jnp.uint32)
    if not stepping or size < 2:
        return rows
    word, bit = divmod(size - 2, 32)
    return rows + (words[0] & 1) + (words[word] >> bit & 1)


def _part(size: int, step: int, side: int) -> slice:
    """Voxels that have a neighbour a step on (side 0), and these neighbours (side 1)."""
    shift = step * side
    return slice(max(0, -step) + shift, size - max(0, step) + shift)
