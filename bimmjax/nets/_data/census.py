"""How many voxels of each class count in each slice, and where some of them lie."""

from __future__ import annotations

import hashlib
from itertools import repeat
from typing import NamedTuple

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.nets.losses import IGNORED
from bimmjax.volumes import Volume, stream

_SLAB = 2**24
_PLACES = 16


class Census(NamedTuple):
    """Of one volume of labels, but for voxels of weight 0."""

    counts: np.ndarray
    """(slices, classes) int64."""
    places: np.ndarray
    """(slices, classes, 16, 2) int32: y and x of voxels drawn at random from each class in each
    slice; 0 where there is none."""
    digest: str
    """By which the labels are known again."""
    weights: list[bytes]
    """By which the weight of each slice is known again; none is as good as 1."""

    def labelled(self, block: range) -> np.ndarray:
        """Slices of a block in which any voxel has a label that counts."""
        inside = np.arange(block.start, block.stop)
        return inside[self.counts[inside].sum(1) > 0]


def census(labels: Volume, classes: int, seed: int, weight: Volume | None = None) -> Census:
    """Count in one streamed pass, which checks; the same seed draws the same places.

    Raises
    ------
    InputError
        Labels beyond the classes other than 255, weights that are negative or no numbers.
    """
    depth, y, x = labels.shape
    counts = np.zeros((depth, classes), np.int64)
    places = np.zeros((depth, classes, _PLACES, 2), np.int32)
    slab = (max(_SLAB // (y * x), 1), y, x)
    weights = repeat(None) if weight is None else stream(weight, slab, halo=0)
    digest, even = hashlib.sha256(), hashlib.sha256(np.ones((y, x), np.float32).tobytes()).digest()
    digests: list[bytes] = []
    for block, heavy in zip(stream(labels, slab, halo=0), weights, strict=False):
        for z, one in enumerate(block.data, block.start[0]):
            _check(one, classes, z)
            flat = one.astype(np.uint8).ravel()
            digest.update(flat.tobytes())
            if heavy is None:
                digests.append(even)
            else:
                own = heavy.data[z - block.start[0]].astype(np.float32)
                _check_weight(own, z)
                digests.append(hashlib.sha256(own.tobytes()).digest())
                flat = np.where(own.ravel() > 0.0, flat, IGNORED)
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(z,)))
            for label in range(classes):
                there = np.flatnonzero(flat == label)
                counts[z, label] = there.size
                if there.size:
                    drawn = there[rng.integers(there.size, size=_PLACES)]
                    places[z, label] = np.stack(np.divmod(drawn, x), -1)
    return Census(counts, places, digest.hexdigest(), digests)


def _check(labels: np.ndarray, classes: int, z: int) -> None:
    wrong = (labels != IGNORED) & ((labels < 0) | (labels >= classes))
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        raise InputError(
            f"labels: got {labels[y, x]} at (z, y, x) = ({z}, {y}, {x}), wants 0 to {classes - 1}, "
            f"or {IGNORED} where there is no label"
        )


def _check_weight(weight: np.ndarray, z: int) -> None:
    wrong = ~((weight >= 0.0) & np.isfinite(weight))
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        raise InputError(
            f"weight: got {weight[y, x]} at (z, y, x) = ({z}, {y}, {x}), wants numbers, 0 or more"
        )
