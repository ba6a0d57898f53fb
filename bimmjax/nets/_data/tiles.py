"""Tiles that cover a block without overlap, to validate on: always the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from bimmjax.nets._data.census import Census
from bimmjax.nets._data.sampler import Batch, Drawing, Place, check_patch, read
from bimmjax.nets._data.specimen import Specimen
from bimmjax.nets.losses import IGNORED


class Tiles:
    """All tiles of some blocks with voxels that count, or as many as are wanted, spread evenly.

    Where a block is thinner than a tile, its slices are seen with those below them, which do not
    count.
    """

    def __init__(
        self,
        specimens: Sequence[Specimen],
        counts: Sequence[Census],
        blocks: Sequence[range],
        drawing: Drawing,
        most: int,
    ) -> None:
        self._specimens = specimens
        self._how = drawing
        found: list[tuple[Place, tuple[int, int, int]]] = []
        for number, (specimen, count, block) in enumerate(
            zip(specimens, counts, blocks, strict=True)
        ):
            slices = count.labelled(block)
            if slices.size == 0:
                continue
            check_patch(drawing, specimen, range(block.stop))
            z, y, x = drawing.box
            deep = [(int(s), 0) for s in slices] if drawing.dims == 2 else _starts(block, z)
            across = [_starts(range(n), p) for n, p in zip(specimen.shape[1:], (y, x), strict=True)]
            for low, seen in deep:
                counting = _counting(specimen, count, range(low + seen, low + z))
                for (top, above), (left, before) in product(*across):
                    if counting[top + above : top + y, left + before : left + x].any():
                        place = Place(number, (low, top, left), drawing.box)
                        found.append((place, (seen, above, before)))
        if len(found) > most:
            found = [found[i] for i in np.linspace(0, len(found) - 1, most).round().astype(int)]
        self._found = found

    def __len__(self) -> int:
        return len(self._found)

    def batches(self, size: int) -> int:
        """How many batches they make."""
        return -(-len(self) // size)

    def batch(self, number: int, size: int) -> Batch:
        """Tiles `number * size` and on; what fills up the last batch does not count."""
        made = [self._tile(at) for at in range(number * size, min((number + 1) * size, len(self)))]
        image, labels, weight = made[-1]
        made += [(image, np.full_like(labels, IGNORED), weight)] * (size - len(made))
        images, right, weights = zip(*made, strict=True)
        return Batch(np.stack(images), np.stack(right), np.stack(weights))

    def _tile(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        place, (z, y, x) = self._found[number]
        image, labels, weight = read(self._specimens[place.specimen], place, self._how)
        # What an earlier tile has counted already, or lies below the block.
        labels[:z], labels[:, :y], labels[:, :, :x] = IGNORED, IGNORED, IGNORED
        if self._how.dims == 2:
            return image[0], labels[0], weight[0] if weight.size else weight
        return image, labels, weight


def _counting(specimen: Specimen, count: Census, slices: range) -> np.ndarray:
    """(y, x) bool: whether any voxel of these slices there has a label and a weight."""
    _, y, x = specimen.shape
    found = np.zeros((y, x), bool)
    whole = slice(None)
    for z in slices:
        labelled = count.counts[z].sum()
        if not labelled:
            continue
        held = np.ones((y, x), bool)
        if labelled < y * x:
            held = specimen.labels.read(slice(z, z + 1), whole, whole)[0] != IGNORED
        if specimen.weight is not None:
            held &= specimen.weight.read(slice(z, z + 1), whole, whole)[0] > 0
        found |= held
    return found


def _starts(block: range, size: int) -> list[tuple[int, int]]:
    """Where tiles begin, and how many voxels of each the one before has: the last is moved in.

    Examples
    --------
    >>> _starts(range(2, 9), 3), _starts(range(7, 9), 3)
    ([(2, 0), (5, 0), (6, 2)], [(6, 1)])
    """
    found = [(at, 0) for at in range(block.start, block.stop - size + 1, size)]
    end = found[-1][0] + size if found else block.start
    return found if end == block.stop else [*found, (block.stop - size, end - block.stop + size)]
