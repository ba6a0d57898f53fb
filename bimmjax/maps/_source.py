"""A volume that can be read to its end, whatever is damaged or masked in it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.maps._windows import Shape
from bimmjax.volumes import Volume, open_volume

Box = tuple[slice, slice, slice]

_PAUSE = 0.2


class Damage:
    """The chunks of a volume that could not be read."""

    def __init__(self, volume: Volume) -> None:
        self._shape, self._chunk = volume.shape, volume.chunks
        self._lost: dict[Shape, None] = {}  # in the order in which they were found

    def __len__(self) -> int:
        return len(self._lost)

    def add(self, box: Box) -> None:
        """The chunk that a box lies in is lost."""
        z, y, x = (s.start // c for s, c in zip(box, self._chunk, strict=True))
        self._lost[z, y, x] = None

    def within(self, box: Box) -> list[Box]:
        """Lost chunks that share voxels with a box."""
        if not self._lost:
            return []
        near = itertools.product(
            *(
                range(max(s.start, 0) // c, -(-s.stop // c))
                for s, c in zip(box, self._chunk, strict=True)
            )
        )
        return [self._box((z, y, x)) for z, y, x in near if (z, y, x) in self._lost]

    def _box(self, index: Shape) -> Box:
        z, y, x = (
            slice(i * c, min((i + 1) * c, n))
            for i, c, n in zip(index, self._chunk, self._shape, strict=True)
        )
        return z, y, x


@dataclass(frozen=True, eq=False)
class Source:
    """A volume whose reader never fails, with what was found unreadable, and its mask.

    Attributes
    ----------
    volume : Volume
        Where it is damaged it reads as some grey value seen elsewhere.
    raw : Volume
        The same, whose reader fails.
    mask : Volume or None
        Not 0 where voxels count.
    damaged : Damage
        What could not be read so far; a chunk is here before its data are handed out.
    """

    volume: Volume
    raw: Volume
    mask: Volume | None
    damaged: Damage

    def counting(self, box: Box) -> np.ndarray | None:
        """Voxels of a box that was read which are neither masked nor lost; None if all are."""
        good = None
        if self.mask is not None:
            good = self.mask.read(*box) != 0
        for lost in self.damaged.within(box):
            if good is None:
                good = np.ones([b.stop - b.start for b in box], bool)
            good[
                tuple(
                    slice(max(s.start - b.start, 0), s.stop - b.start)
                    for s, b in zip(lost, box, strict=True)
                )
            ] = False
        return None if good is None or good.all() else good

    def usable(self, start: Sequence[int], shape: Sequence[int]) -> np.ndarray | None:
        """Voxels (of a box) that count and whose six neighbours do; None if all do.

        The box may touch the volume's faces: beyond them there is nothing that could not count.
        """
        low = [max(a - 1, 0) for a in start]
        high = [min(a + n + 1, m) for a, n, m in zip(start, shape, self.volume.shape, strict=True)]
        good = self.counting(
            (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
        )
        if good is None:
            return None
        edge = [
            (1 - (a - b), a + n + 1 - c) for a, b, c, n in zip(start, low, high, shape, strict=True)
        ]
        padded = np.pad(good, edge, constant_values=True)
        core = (slice(1, -1),) * 3
        kept = padded[core].copy()
        for axis in range(3):
            for side in (slice(None, -2), slice(2, None)):
                kept &= padded[tuple(side if k == axis else core[k] for k in range(3))]
        return kept


def open_source(volume: Any, mask: Any = None, **options: Any) -> Source:
    """Open a volume, and its mask if there is one, so that reading goes on past damage.

    `options` as for `open_volume`; chunks that do not exist are damage, unless it is told to fill
    them.

    Raises
    ------
    InputError
        As `open_volume`; a mask of another shape.
    """
    opened = open_volume(volume, **{"fill_missing": False, **options})
    over = None
    if mask is not None:
        try:
            over = open_volume(mask)
        except InputError as error:
            raise InputError("mask: " + str(error).removeprefix("source: ")) from None
        if over.shape != opened.shape:
            raise InputError(f"mask: got shape {over.shape}, wants the volume's {opened.shape}")
    damaged = Damage(opened)
    return Source(_resilient(opened, damaged), opened, over, damaged)


def _resilient(volume: Volume, damaged: Damage) -> Volume:
    lock = Lock()
    # What stands in for lost voxels should not widen the range of grey values.
    seen = [np.zeros((), volume.dtype)]

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        try:
            data = volume.read(z, y, x)
        except InputError:
            return patched((z, y, x))
        if data.size:
            seen[0] = data.reshape(-1)[data.size // 2]
        return data

    def patched(box: Box) -> np.ndarray:
        data = np.full([s.stop - s.start for s in box], seen[0], volume.dtype)
        failed = [
            part
            for part in _chunks(box, volume.chunks)
            if not damaged.within(part) and not read_into(data, box, part)
        ]
        if failed:
            # A busy file server is no damage.
            time.sleep(_PAUSE)
        lost = [part for part in failed if not read_into(data, box, part)]
        with lock:
            for part in lost:
                damaged.add(part)
        return data

    def read_into(data: np.ndarray, box: Box, part: Box) -> bool:
        place = tuple(
            slice(p.start - s.start, p.stop - s.start) for p, s in zip(part, box, strict=True)
        )
        try:
            data[place] = volume.read(*part)
        except InputError:
            return False
        return True

    return replace(volume, reader=read)


def _chunks(box: Box, chunk: Sequence[int]) -> list[Box]:
    """A box cut along the borders of chunks."""
    cuts = []
    for s, c in zip(box, chunk, strict=True):
        inner = range((s.start // c + 1) * c, s.stop, c)
        edges = [s.start, *inner, s.stop]
        cuts.append([slice(a, b) for a, b in itertools.pairwise(edges)])
    return [(z, y, x) for z, y, x in itertools.product(*cuts)]
