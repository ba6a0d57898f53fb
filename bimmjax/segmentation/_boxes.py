"""Boxes of a volume with what lies around them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from bimmjax.volumes import Volume
from bimmjax.volumes._volume import Shape

# Slices with a start and a stop, within the volume.
Box = tuple[slice, slice, slice]


def around(
    volume: Volume, box: Box, halo: int, shape: Shape | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A box with `halo` layers around it, and which of its voxels lie in the volume.

    Beyond the volume's faces voxels are repeated. With a larger `shape` than the box's the
    halo is thicker at the far ends. The second array has one layer less on each face.
    """
    inner, pads, counted = [], [], []
    for part, n, size in zip(box, volume.shape, shape or shape_of(box), strict=True):
        start = part.start - halo
        stop = part.start + size + halo
        inner.append(slice(max(start, 0), min(stop, n)))
        pads.append((max(-start, 0), max(stop - n, 0)))
        places = np.arange(start + 1, stop - 1)
        counted.append((places >= 0) & (places < n))
    z, y, x = counted
    inside = z[:, None, None] & y[:, None] & x
    return np.pad(halved(volume.read(*inner)), pads, mode="edge"), inside


def halved(data: np.ndarray) -> np.ndarray:
    """Numbers of 64 bits in 32, as floats: JAX would wrap large integers without a word."""
    return data.astype(np.float32) if data.dtype.itemsize == 8 else data


def tiles(box: Box, most: int) -> tuple[Iterator[Box], Shape]:
    """Boxes of at most `most` voxels along each axis that fill a box, and the shape of the first.

    None is larger than the first.
    """
    z, y, x = (-(-n // -(-n // most)) if n else 1 for n in shape_of(box))
    starts = (range(s.start, s.stop, n) for s, n in zip(box, (z, y, x), strict=True))
    ends = (box[0].stop, box[1].stop, box[2].stop)
    filled = (
        (
            slice(a, min(a + z, ends[0])),
            slice(b, min(b + y, ends[1])),
            slice(c, min(c + x, ends[2])),
        )
        for a, b, c in itertools.product(*starts)
    )
    return filled, (z, y, x)


def within(part: Box, box: Box) -> Box:
    """Where a part of a box lies in an array of the box."""
    z, y, x = (slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True))
    return z, y, x


def shape_of(box: Box) -> Shape:
    """Voxels along each axis."""
    z, y, x = (s.stop - s.start for s in box)
    return z, y, x
