"""A volume that can be read to its end, whatever is damaged or masked in it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.volumes import Volume, open_volume

Box = tuple[slice, slice, slice]

_PAUSE = 0.2


@dataclass(frozen=True, eq=False)
class Source:
    """A volume whose reader never fails, with what was found unreadable, and its mask.

    Attributes
    ----------
    volume : Volume
        Where it is damaged it reads as some grey value seen elsewhere.
    mask : Volume or None
        Not 0 where voxels count.
    damaged : list of Box
        What could not be read so far; a box is here before its data are handed out.
    """

    volume: Volume
    mask: Volume | None
    damaged: list[Box] = field(default_factory=list)

    def counting(self, box: Box) -> np.ndarray | None:
        """Voxels of a box that was read which are neither masked nor lost; None if all are."""
        good = None
        if self.mask is not None:
            good = self.mask.read(*box) != 0
        for lost in tuple(self.damaged):
            inside = [
                slice(max(s.start - b.start, 0), max(min(s.stop, b.stop) - b.start, 0))
                for s, b in zip(lost, box, strict=True)
            ]
            if all(s.start < s.stop for s in inside):
                if good is None:
                    good = np.ones([b.stop - b.start for b in box], bool)
                good[tuple(inside)] = False
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
    damaged: list[Box] = []
    return Source(_resilient(opened, damaged), over, damaged)


def _resilient(volume: Volume, damaged: list[Box]) -> Volume:
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
        for part in _chunks(box, volume.chunks):
            place = tuple(
                slice(p.start - s.start, p.stop - s.start) for p, s in zip(part, box, strict=True)
            )
            try:
                data[place] = _patiently(volume, part)
            except InputError:
                with lock:
                    if part not in damaged:
                        damaged.append(part)
        return data

    return replace(volume, reader=read)


def _patiently(volume: Volume, box: Box) -> np.ndarray:
    """Read once more after a while what fails: a busy file server is no damage."""
    try:
        return volume.read(*box)
    except InputError:
        time.sleep(_PAUSE)
        return volume.read(*box)


def _chunks(box: Box, chunk: Sequence[int]) -> list[Box]:
    """A box cut along the borders of chunks."""
    cuts = []
    for s, c in zip(box, chunk, strict=True):
        inner = range((s.start // c + 1) * c, s.stop, c)
        edges = [s.start, *inner, s.stop]
        cuts.append([slice(a, b) for a, b in itertools.pairwise(edges)])
    return [(z, y, x) for z, y, x in itertools.product(*cuts)]
