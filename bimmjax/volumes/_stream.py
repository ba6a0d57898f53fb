"""Blocks of a volume, in order, read ahead of whoever computes on them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bimmjax._core.checks import InputError, whole_number
from bimmjax.volumes._volume import Shape, Volume


@dataclass(frozen=True, eq=False)
class Block:
    """A box of a volume together with its halo.

    Attributes
    ----------
    start : tuple of int
        Index (z, y, x) in the volume of the core's first voxel.
    core : tuple of int
        Shape of the core; smaller than asked for at the far edges.
    data : numpy.ndarray
        The core enlarged by the halo on every face, in the volume's dtype.
    """

    start: Shape
    core: Shape
    data: npt.NDArray[np.generic]


def stream(
    volume: Volume,
    block_shape: Sequence[int],
    *,
    halo: int = 1,
    threads: int = 2,
    ahead: int = 2,
) -> Generator[Block, None, None]:
    """Blocks whose cores tile the volume (shrunk by `halo` on each face) once, in C order.

    Threads read ahead of the consumer. At most `ahead + threads` blocks are being read or wait
    to be taken. With the one handed over, and the one before it that a loop lets go only then,
    memory stays below `ahead + threads + 2` blocks whatever the volume's size.

    Parameters
    ----------
    volume : Volume
    block_shape : sequence of int
        Shape (z, y, x) of the cores; longer than the volume is fine.
    halo : int
        Voxels around each core that are read with it.
    threads : int
        Reading threads.
    ahead : int
        Blocks that may wait besides those being read.

    Yields
    ------
    Block

    Raises
    ------
    InputError
        Bad arguments, or a volume so thin that the halo leaves nothing of it. At once, not at
        the first block.

    Notes
    -----
    A reader's exception surfaces at the block it belongs to. Closing the generator (or leaving
    the loop and dropping it) ends the threads.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.volumes import open_volume, stream
    >>> volume = open_volume(np.zeros((6, 8, 8), np.uint8))
    >>> [(b.start, b.core, b.data.shape) for b in stream(volume, (3, 6, 6))]
    [((1, 1, 1), (3, 6, 6), (5, 8, 8)), ((4, 1, 1), (1, 6, 6), (3, 8, 8))]
    """
    core = check_block_shape(block_shape)
    halo = whole_number("halo", halo, 0, 2**31)
    threads = whole_number("threads", threads, 1, 1024)
    ahead = whole_number("ahead", ahead, 0, 2**31)
    if min(volume.shape) <= 2 * halo:
        raise InputError(
            f"volume: got shape {volume.shape}, wants more than {2 * halo} voxels along each axis "
            f"for a halo of {halo}"
        )
    return _blocks(volume, core, halo, threads, ahead)


def check_block_shape(block_shape: Sequence[int], name: str = "block_shape") -> Shape:
    """Three whole numbers of at least 1, else an `InputError`."""
    try:
        z, y, x = block_shape
    except (TypeError, ValueError):
        raise InputError(f"{name}: got {block_shape!r}, wants three numbers (z, y, x)") from None
    z, y, x = (whole_number(name, n, 1, 2**40) for n in (z, y, x))
    return (z, y, x)


def _blocks(
    volume: Volume, core: Shape, halo: int, threads: int, ahead: int
) -> Generator[Block, None, None]:
    def read(start: Shape, place: list[Block]) -> None:
        stop = [min(s + c, n - halo) for s, c, n in zip(start, core, volume.shape, strict=True)]
        box = [slice(s - halo, e + halo) for s, e in zip(start, stop, strict=True)]
        size = tuple(e - s for s, e in zip(start, stop, strict=True))
        data = volume.read(box[0], box[1], box[2])
        # Not returned: a thread holds on to what it returned until it gets to run again.
        place.append(Block(start, (size[0], size[1], size[2]), data))

    def submit(start: Shape) -> tuple[Future[None], list[Block]]:
        place: list[Block] = []
        return pool.submit(read, start, place), place

    zs, ys, xs = (range(halo, n - halo, c) for n, c in zip(volume.shape, core, strict=True))
    starts = itertools.product(zs, ys, xs)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="bimmjax-read")
    waiting: deque[tuple[Future[None], list[Block]]] = deque()
    try:
        for start in itertools.islice(starts, ahead + threads):
            waiting.append(submit(start))
        while waiting:
            future, place = waiting.popleft()
            future.result()
            block = place.pop()
            for start in itertools.islice(starts, 1):
                waiting.append(submit(start))
            yield block
            del block  # or the old block would outlive its turn while the next one is awaited
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def suggest_block(volume: Volume, target_voxels: int = 2**24, *, halo: int = 1) -> Shape:
    """A core shape for `stream` that suits the volume's chunks and bounds memory.

    Whole chunks; rows first, then slices, then depth, so that neighbouring blocks follow each
    other closely and what they share is still cached. Never more than `target_voxels`, unless
    even a row of voxels is longer.

    Parameters
    ----------
    volume : Volume
    target_voxels : int
        Most voxels of a core; the halo comes on top.
    halo : int
        As for `stream`.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.volumes import open_volume, suggest_block
    >>> suggest_block(open_volume(np.zeros((100, 64, 64), np.uint8)), 2**17)
    (33, 62, 62)
    """
    target = whole_number("target_voxels", target_voxels, 1, 2**62)
    extent = [max(n - 2 * halo, 1) for n in volume.shape]
    size = [min(c, e) for c, e in zip(volume.chunks, extent, strict=True)]
    if size[0] * size[1] * size[2] > target:
        # Chunks (pages, mostly) too large to take whole: thick strips of them, so that not every
        # page is read again for the halo of each block.
        size[0] = min(max(size[0], 16), extent[0], target)
        size[2] = min(size[2], max(target // size[0], 1))
        size[1] = min(size[1], max(target // (size[0] * size[2]), 1))
        size[0] = min(size[0], max(target // (size[1] * size[2]), 1))
    for axis in (2, 1, 0):
        others = size[0] * size[1] * size[2] // size[axis]
        chunk = min(volume.chunks[axis], size[axis])
        most = max(target // others // chunk * chunk, size[axis])
        if most < extent[axis]:
            # Even shares instead of a thin last block, still in whole chunks.
            share = -(-extent[axis] // -(-extent[axis] // most))
            size[axis] = min(-(-share // chunk) * chunk, most)
        else:
            size[axis] = extent[axis]
    return (size[0], size[1], size[2])
