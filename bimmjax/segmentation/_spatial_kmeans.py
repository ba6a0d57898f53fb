"""k-means of grey values and places together, of volumes of any size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax._core.checks import real_number, whole_number
from bimmjax.segmentation._boxes import halved
from bimmjax.segmentation._kmeans import MOST_CLUSTERS, STARTS, enough
from bimmjax.segmentation._otsu import otsu_thresholds
from bimmjax.segmentation._rule import NO_LABEL
from bimmjax.volumes import Block, Volume, open_volume, stream, suggest_block

_SAMPLE = 20_000
_SWEEPS = 100
# Of a standard deviation: centres that move less are where they will stay.
_SETTLED = 1e-3
_BLOCK = 2**22


class _Features(NamedTuple):
    """What makes (grey value, z, y, x) have mean 0 and standard deviation 1."""

    mean: Array
    std: Array
    threshold: Array


def spatial_kmeans(
    volume: Any,
    clusters: int = 3,
    *,
    threshold: float | None = None,
    seed: int = 0,
    **options: Any,
) -> Volume:
    """Clusters of voxels brighter than a threshold, by standardised grey value and place.

    Source: Spheres paper, §II.B.

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x), grey values. Streamed, once for each sweep.
    clusters : int
        1 to 64.
    threshold : float, optional
        Grey value; by default Otsu's.
    seed : int
        Of the sample from which the centres start.
    **options
        `spacing`, `unit`, `dataset`, `dtype`: as in `open_volume`.

    Returns
    -------
    Volume
        uint8, worked out when read: 0 at and below the threshold, else 1 ... clusters in order
        of the clusters' grey values; 255 where the volume is NaN.

    Raises
    ------
    InputError
        Fewer voxels above the threshold than clusters.

    Notes
    -----
    Centres start from k-means on a sample (scikit-learn) and are moved by all voxels (Lloyd).
    """
    opened = open_volume(volume, **options)
    whole_number("clusters", clusters, 1, MOST_CLUSTERS)
    cut = (
        otsu_thresholds(opened)[0]
        if threshold is None
        else real_number("threshold", threshold, -np.inf, np.inf)
    )
    features, count = _standardised(opened, float(cut), clusters)
    centres = jnp.asarray(_start(opened, features, count, clusters, seed), jnp.float32)
    for _ in range(_SWEEPS):
        moved = _moved(opened, features, centres)
        settled = float(jnp.abs(moved - centres).max()) < _SETTLED
        centres = moved
        if settled:
            break
    centres = centres[jnp.argsort(centres[:, 0])]

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        start = np.array([z.start, y.start, x.start])
        return np.asarray(_labelled(halved(opened.read(z, y, x)), start, features, centres))

    return replace(opened, reader=read, dtype=np.dtype(np.uint8), name=f"{opened.name} clusters")


def _blocks(volume: Volume) -> Iterator[Block]:
    return stream(volume, suggest_block(volume, _BLOCK, halo=0), halo=0)


def _standardised(volume: Volume, threshold: float, clusters: int) -> tuple[_Features, int]:
    """The features, and how many voxels lie above the threshold."""
    # About the middle of the volume, so that nothing cancels.
    shift = np.array([threshold, *(0.5 * n for n in volume.shape)])
    plain = _Features(jnp.asarray(shift), jnp.ones(4), jnp.asarray(threshold, jnp.float32))
    count, total, squares = 0, np.zeros(4), np.zeros(4)
    for block in _blocks(volume):
        found = np.asarray(_bright(block, plain), float)
        count += found.shape[1]
        total += found.sum(1)
        squares += (found**2).sum(1)
    enough(clusters, count, "voxels above the threshold")
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    std = np.where(std > 0.0, std, 1.0)
    return plain._replace(mean=jnp.asarray(mean + shift), std=jnp.asarray(std)), count


def _start(volume: Volume, features: _Features, count: int, clusters: int, seed: int) -> np.ndarray:
    """Centres of a sample."""
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(seed)
    share = min(1.0, max(_SAMPLE, 100 * clusters) / count)
    taken = []
    for block in _blocks(volume):
        found = _bright(block, features)
        taken.append(found[:, rng.random(found.shape[1]) < share].T)
    means = KMeans(clusters, n_init=STARTS, random_state=seed)  # pyright: ignore[reportArgumentType]
    return means.fit(np.concatenate(taken)).cluster_centers_


def _bright(block: Block, features: _Features) -> np.ndarray:
    """Features (4, n) of the voxels of a block that lie above the threshold."""
    values = np.asarray(_features_of(halved(block.data), np.array(block.start), features))
    return values[:, np.asarray(block.data, float) > float(features.threshold)]


def _moved(volume: Volume, features: _Features, centres: Array) -> Array:
    """Means of the voxels that are nearest to each centre."""
    counts, totals = np.zeros(len(centres)), np.zeros(centres.shape)
    for block in _blocks(volume):
        n, total = _sums(halved(block.data), np.array(block.start), features, centres)
        counts, totals = counts + np.asarray(n, float), totals + np.asarray(total, float)
    held = counts > 0
    means = totals / np.maximum(counts, 1)[:, None]
    return jnp.asarray(np.where(held[:, None], means, np.asarray(centres)), jnp.float32)


@jax.jit
def _features_of(data: Array, start: Array, features: _Features) -> Array:
    """(4, z, y, x): grey value, z, y, x, standardised."""
    places = jnp.meshgrid(
        *(jnp.arange(n) + a for n, a in zip(data.shape, start, strict=True)), indexing="ij"
    )
    values = jnp.stack([jnp.asarray(data, jnp.float32), *(p.astype(jnp.float32) for p in places)])
    mean, std = (x.astype(jnp.float32)[:, None, None, None] for x in features[:2])
    return (values - mean) / std


def _nearest(values: Array, centres: Array) -> Array:
    far = [jnp.sum((values - c[:, None, None, None]) ** 2, 0) for c in centres]
    return jnp.argmin(jnp.stack(far), 0)


@jax.jit
def _sums(data: Array, start: Array, features: _Features, centres: Array) -> tuple[Array, Array]:
    values = _features_of(data, start, features)
    own = jnp.where(data > features.threshold, _nearest(values, centres), -1)
    mine = [own == k for k in range(len(centres))]
    counts = jnp.stack([jnp.sum(m, dtype=jnp.float32) for m in mine])
    return counts, jnp.stack([jnp.where(m, values, 0.0).sum((1, 2, 3)) for m in mine])


@jax.jit
def _labelled(data: Array, start: Array, features: _Features, centres: Array) -> Array:
    near = _nearest(_features_of(data, start, features), centres) + 1
    labels = jnp.where(data > features.threshold, near, 0)
    return jnp.where(jnp.isfinite(data), labels, NO_LABEL).astype(jnp.uint8)
