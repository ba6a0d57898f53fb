"""How long labels of a slice take that are worked out when read, without the disk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from bimmjax.volumes import Volume

_SLICES = 5


class Memory:
    """Boxes that were read already, given again while times are taken."""

    def __init__(self) -> None:
        self._boxes: dict[tuple[int, ...], np.ndarray] | None = None

    def over(self, volume: Volume) -> Volume:
        """The volume; while remembering each box of it is read once."""

        def read(z: slice, y: slice, x: slice) -> np.ndarray:
            if self._boxes is None:
                return volume.reader(z, y, x)
            # Slices are no keys before Python 3.12.
            key = tuple(n for part in (z, y, x) for n in (part.start, part.stop))
            if key not in self._boxes:
                # A copy: memory maps are promises to read later.
                self._boxes[key] = np.array(volume.reader(z, y, x))
                self._boxes[key].flags.writeable = False
            return self._boxes[key]

        return replace(volume, reader=read)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """For the length of a block; all is forgotten after it."""
        self._boxes = {}
        try:
            yield
        finally:
            self._boxes = None


def seconds_of(labels: Volume, block: range, memory: Memory) -> list[float]:
    """That some slices of a block take, evenly spread; `memory` is over what they are made from."""
    places = np.linspace(block.start, block.stop - 1, min(_SLICES, len(block))).round().astype(int)
    found = []
    for z in places.tolist():
        box = slice(z, z + 1), slice(None), slice(None)
        with memory.remembering():
            labels.read(*box)  # which also compiles
            began = time.perf_counter()
            labels.read(*box)
            found.append(time.perf_counter() - began)
    return found
