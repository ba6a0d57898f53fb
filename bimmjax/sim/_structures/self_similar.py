"""Hierarchical structures from a given one: masked by smaller, turned copies of itself."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.sim import _checks
from bimmjax.sim._host_random import generator
from bimmjax.sim._structures.labelled import Labelled, highest, shares, wanted_voxels
from bimmjax.sim._structures.structure import Structure
from bimmjax.sim._structures.truth import interface_areas

# Distances from a surface are told up to so many voxels.
_FARTHEST = 32
_LAYERS = 16
_CACHED = 2**17
# Voxels: takes the stairs off the surface, whose area is within 1 % then (8 % too much before).
_SMOOTHING = 0.7


def self_similar(
    key: jax.Array,
    volume: np.ndarray | jax.Array,
    solid_fraction: float,
    *,
    scales: Sequence[float] = (1.0, 0.25),
    shape: tuple[int, int, int] | None = None,
) -> Labelled:
    """What is solid in a volume and in smaller copies of it, each turned at random.

    Source: FIB thesis, Article I §2.1.1.2 (self-similarity method), there slice by slice.

    Parameters
    ----------
    key
        Random key.
    volume
        (z, y, x), bool or integers of two values: 0 in pores. Beyond its faces it is
        continued as in a mirror.
    solid_fraction
        Share of the voxels that are solid in all copies, to the voxel. All surfaces
        are moved by a common distance, which shrinks and grows with the copies: each keeps the
        same share of its own.
    scales
        Sizes of the copies relative to `volume`. The first is not turned.
    shape
        (z, y, x) voxels of the result. Default: that of `volume`.

    Returns
    -------
    Labelled
        Pores (0) and solid (1). The area is that of the moved surfaces, interpolated linearly
        between the voxels of `volume`, by marching cubes.

    Raises
    ------
    InputError
        A volume that is not binary, without pores or without solid; scales that are not above 0
        and at most 4; a fraction outside (0, 1), or one that would move surfaces by more than
        32 voxels.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import label_structure, levelled_wave, self_similar
    >>> given = label_structure(levelled_wave(jax.random.key(0), (48, 48, 48), 0.5, 32.0))
    >>> self_similar(jax.random.key(1), given.labels, 0.25).fractions.tolist()
    [0.75, 0.25]
    """
    from scipy.ndimage import affine_transform
    from scipy.spatial.transform import Rotation

    rng = generator(key)
    solid = _binary(volume)
    size = solid.shape if shape is None else _checks.volume_shape("shape", shape)
    count = wanted_voxels("solid_fraction", solid_fraction, int(np.prod(size)))
    wants = "numbers above 0 and at most 4, one per copy"
    factors = _checks.numbers("scales", scales, wants)
    if np.any(factors <= 0.0) or np.any(factors > 4.0):
        raise InputError(f"scales: got {tuple(scales)}, wants {wants}")
    depth = _depth(solid)
    score = np.full(size, np.inf, np.float32)
    middle = (np.array(size) - 1) / 2
    for number, factor in enumerate(factors):
        turn = np.eye(3) if number == 0 else Rotation.random(rng=rng).as_matrix()
        aim = (np.array(solid.shape) - 1) / 2
        if number:  # smaller copies show any part of the volume
            aim = rng.uniform(size=3) * (np.array(solid.shape) - 1)
        matrix = turn / factor
        offset = aim - matrix @ middle

        def copy(layer: int, matrix: np.ndarray = matrix, offset: Any = offset) -> None:
            part = score[layer : layer + _LAYERS]
            moved = affine_transform(
                depth, matrix, offset + matrix[:, 0] * layer, part.shape, order=1, mode="mirror"
            )
            np.minimum(part, moved, out=part)

        with ThreadPoolExecutor() as pool:
            list(pool.map(copy, range(0, size[0], _LAYERS)))
    taken, level = highest(score, count)
    if not -_FARTHEST < level < _FARTHEST:
        raise InputError(
            f"solid_fraction: got {solid_fraction:g}, for which surfaces move by more than "
            f"{_FARTHEST} voxels; wants one nearer to the volume's own"
        )
    labels = taken.astype(np.uint8)
    surface = Structure(jnp.asarray(score)[None], jnp.full(1, level, jnp.float32))
    areas = interface_areas(surface, periodic=False)
    return Labelled(labels, shares(labels, 2), areas, np.zeros(1))


def _binary(volume: object) -> np.ndarray:
    found = np.asarray(volume)
    if found.ndim != 3 or found.dtype.kind not in "biu" or min(found.shape, default=0) < 2:
        raise InputError(
            f"volume: got an array of shape {found.shape} and dtype {found.dtype}, wants (z, y, x) "
            "of bool or integers"
        )
    solid = found != 0
    if solid.all() or not solid.any():
        raise InputError(f"volume: got {'no pores' if solid.all() else 'no solid'}, wants both")
    others = found[solid]
    if others.min() != others.max():
        raise InputError(
            f"volume: got 0 and values from {others.min()} to {others.max()}, wants two values: 0 "
            "in pores, and one other in the solid"
        )
    return solid


def _depth(solid: np.ndarray) -> np.ndarray:
    """Distance from the surface, voxels, above 0 in the solid and below 0 in the pores; float32."""
    from scipy.ndimage import gaussian_filter

    # From the centre of a voxel to that of the next on the other side: half is its own.
    out = np.sqrt(_squares(solid), dtype=np.float32) - np.float32(0.5)
    np.subtract(np.float32(0.5), np.sqrt(_squares(~solid), dtype=np.float32), out, where=~solid)
    np.clip(out, -_FARTHEST, _FARTHEST, out=out)
    return gaussian_filter(out, _SMOOTHING)


def _squares(side: np.ndarray) -> np.ndarray:
    """Squared distance from voxels of a side to the nearest ones off it: (z, y, x) uint16.

    Axis by axis, up to `_FARTHEST` and one: as much as is wanted here, in a tenth of the memory
    that a transform without limit takes.
    """
    reach = _FARTHEST + 1
    out = np.where(side, np.uint16(reach**2), np.uint16(0))

    def spread(part: tuple[slice, ...], axis: int) -> None:
        now = np.moveaxis(out[part], axis, 0)
        was = now.copy()
        farther = np.empty_like(was)
        for k in range(1, min(reach, len(was))):
            np.add(was, np.uint16(k**2), out=farther)
            np.minimum(now[k:], farther[:-k], out=now[k:])
            np.minimum(now[:-k], farther[k:], out=now[:-k])

    with ThreadPoolExecutor() as pool:
        for axis in range(3):
            across = 0 if axis else 1
            # In parts that stay in a core's cache.
            step = max(_CACHED * out.shape[across] // out.size, 1)
            slabs = (slice(at, at + step) for at in range(0, out.shape[across], step))
            parts = [(slice(None),) * across + (slab,) for slab in slabs]
            list(pool.map(spread, parts, [axis] * len(parts)))
    return out
