"""Images as a computed tomography would show labels too large for memory, tile by tile."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.sim import _checks
from bimmjax.sim._ct.image import Scan, Shape, checked_scan, halo_of, padded, seen, with_air
from bimmjax.sim._ct.partial import block_mean, checked_labels
from bimmjax.volumes import Volume

TILE: Shape = (64, 256, 256)


def ct_volume(
    key: jax.Array,
    labels: Volume,
    intensities: Sequence[float] | np.ndarray,
    scan: Scan | None = None,
    **settings: Any,
) -> Volume:
    """The image that a scan makes of labels, computed where and when a box of it is read.

    In tiles that lie fixed in the volume, with so much around them that they fit together: what
    is read does not depend on the boxes in which it is read. `convert` writes it to disk.

    Parameters
    ----------
    key, intensities, scan, **settings
        As for `ct_image`.
    labels
        Volume of integers.

    Returns
    -------
    Volume
        float32; the same as `ct_image` of the labels to a few 1e-6 of the contrast, with fringes
        to 1e-4 of theirs. Its voxels are `supersample` times those of the labels.

    Raises
    ------
    InputError
        Bad settings; when read, labels without an intensity.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from bimmjax import open_volume
    >>> from bimmjax.sim import ct_volume
    >>> labels = open_volume(np.ones((8, 8, 8), np.uint8))
    >>> seen = ct_volume(jax.random.key(0), labels, (0.0, 1.0), noise_std=0.0)
    >>> seen.read(slice(0, 2), slice(3, 4), slice(5, 6)).round(4).ravel()
    array([1., 1.], dtype=float32)
    """
    key = _checks.random_key("key", key)
    told = with_air(checked_scan(scan, settings), intensities)
    table = _checks.numbers("intensities", intensities, "one number per label")
    if labels.dtype.kind not in "iu":
        raise InputError(f"labels: got {labels.dtype}, wants integers")
    factor = told.supersample
    z, y, x = (n // factor for n in labels.shape)
    if min(z, y, x) < 1:
        raise InputError(f"supersample: got {factor}, wants at most the shortest edge of labels")
    shape: Shape = (z, y, x)
    tile: Shape = (min(TILE[0], z), min(TILE[1], y), min(TILE[2], x))
    before, size = padded(tile, halo_of(told))

    def made(start: Shape) -> np.ndarray:
        near = [s - b + np.arange(n) for s, b, n in zip(start, before, size, strict=True)]
        places = [_inside(i, n, told.edges) for i, n in zip(near, shape, strict=True)]
        fine = [(factor * i[:, None] + np.arange(factor)).ravel() for i in places]
        box = [slice(int(i.min()), int(i.max()) + 1) for i in fine]
        found = labels.read(box[0], box[1], box[2])
        checked_labels(found, table.size)
        for axis, (i, part) in enumerate(zip(fine, box, strict=True)):
            found = np.take(found, i - part.start, axis)
        sharp = block_mean(found, table, factor)
        return np.asarray(seen(key, sharp, told, shape, start, before, tile))

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        out = np.empty([s.stop - s.start for s in (z, y, x)], np.float32)
        box = (z, y, x)
        firsts = [
            range(s.start // t * t, s.stop, t) if s.stop > s.start else range(0)
            for s, t in zip(box, tile, strict=True)
        ]
        for i, j, k in itertools.product(*firsts):
            start = (i, j, k)
            whole = made(start)
            to, of = [], []
            for s, first, length in zip(box, start, tile, strict=True):
                low, high = max(s.start, first), min(s.stop, first + length)
                to.append(slice(low - s.start, high - s.start))
                of.append(slice(low - first, high - first))
            out[tuple(to)] = whole[tuple(of)]
        return out

    deep, tall, wide = (s * factor for s in labels.spacing)
    return replace(
        labels, shape=shape, dtype=np.dtype(np.float32), reader=read, chunks=tile,
        spacing=(deep, tall, wide), format=f"scan of {labels.format}",
    )  # fmt: skip


def _inside(places: np.ndarray, size: int, edges: str) -> np.ndarray:
    """Where in a volume lies what is seen at places in and beyond it."""
    if edges == "wrap":
        return places % size
    turned = places % (2 * size)
    return np.minimum(turned, 2 * size - 1 - turned)
