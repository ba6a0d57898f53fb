"""Gaps filled by a trained network, tile by tile: a label is the same whatever box is read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import jax
import numpy as np
from flax import nnx

from bimmjax.fib._fill.curves import weights
from bimmjax.fib._fill.distances import FARTHEST, signed_distances
from bimmjax.fib._fill.given import Given
from bimmjax.fib._fill.slice_network import AROUND, SliceNetwork
from bimmjax.volumes import Volume

# Sums depend on the shape of a product in their last digits, so that all tiles have one shape.
TILE = 128

Box = tuple[slice, ...]


def learned_box(
    slices: Volume, given: Given, z: slice, y: slice, x: slice, *, network: SliceNetwork
) -> np.ndarray:
    """A box of filled labels, uint8."""
    out = np.empty((z.stop - z.start, y.stop - y.start, x.stop - x.start), np.uint8)
    run = applied(network)
    for tile in tiles((y, x)):
        inner, outer = overlap((y, x), tile)
        stack = _Stack(slices, tile, network.reach)
        for k in range(z.start, z.stop):
            out[k - z.start][outer] = _slice(stack, given, k, run)[inner]
    return out


class _Stack:
    """Slices of a tile with what lies around it, and their distances, for as long as needed."""

    def __init__(self, slices: Volume, tile: Box, reach: int) -> None:
        self._slices, self._tile, self.reach = slices, tile, reach
        self._halo = reach + FARTHEST + 1
        self._labels: dict[int, np.ndarray] = {}
        self._far: dict[tuple[int, int], np.ndarray] = {}

    def labels(self, number: int) -> np.ndarray:
        """(TILE + 2 halo, TILE + 2 halo), mirrored where the slices end."""
        if number not in self._labels:
            self._forget(number)
            one = slice(number, number + 1)
            self._labels[number] = _read(self._slices, one, self._tile, self._halo)[0]
        return self._labels[number]

    def far(self, number: int, label: int) -> np.ndarray:
        """(TILE + 2 reach, TILE + 2 reach): distances that nothing beyond can change."""
        if (number, label) not in self._far:
            found = signed_distances(self.labels(number) == label)
            rim = FARTHEST + 1
            self._far[number, label] = found[rim:-rim, rim:-rim]
        return self._far[number, label]

    def middle(self, number: int) -> np.ndarray:
        """(TILE, TILE) labels."""
        return self.labels(number)[self._halo : -self._halo, self._halo : -self._halo]

    def _forget(self, number: int) -> None:
        for old in [n for n in self._labels if abs(n - number) > 2 * AROUND]:
            del self._labels[old]
        for key in [key for key in self._far if abs(key[0] - number) > 2 * AROUND]:
            del self._far[key]


def _slice(stack: _Stack, given: Given, z: int, run: Callable[..., jax.Array]) -> np.ndarray:
    """The labels (TILE, TILE) of a place."""
    before = given.before(z)
    if given.places[before] == z or not given.within(z):
        return stack.middle(given.nearest(z))
    numbers = np.arange(before + 1 - AROUND, before + 1 + AROUND)
    there = (numbers >= 0) & (numbers < given.places.size)
    offsets, shares = (np.zeros(2 * AROUND, np.float32) for _ in range(2))
    offsets[there] = given.places[numbers[there]] - z
    known = Given(given.places[numbers[there]], given.depth)
    shares[there] = weights(known, z, 3).shares
    classes = np.unique(np.concatenate([np.unique(stack.labels(n)) for n in numbers[there]]))
    if classes.size == 1:
        return np.full((TILE, TILE), classes[0], np.uint8)
    # Of two, what is not the one is the other.
    asked = classes[1:] if classes.size == 2 else classes
    logits = []
    for label in asked.tolist():
        size = TILE + 2 * stack.reach
        far = np.zeros((1, size, size, 2 * AROUND), np.float32)
        for i in np.flatnonzero(there):
            far[0, ..., i] = stack.far(int(numbers[i]), label)
        logits.append(np.asarray(run(far, offsets[None], shares[None]))[0])
    if classes.size == 2:
        return np.where(logits[0] > 0, classes[1], classes[0])
    return classes[np.argmax(logits, 0)]


def _read(slices: Volume, number: slice, tile: Box, halo: int) -> np.ndarray:
    """Slices of a tile and of `halo` pixels around it, mirrored where the slices end."""
    parts, pads = [number], [(0, 0)]
    for part, size in zip(tile, slices.shape[1:], strict=True):
        low, high = part.start - halo, part.stop + halo
        parts.append(slice(max(low, 0), min(high, size)))
        pads.append((max(-low, 0), max(high - size, 0)))
    return np.pad(slices.read(parts[0], parts[1], parts[2]), pads, mode="symmetric")


def tiles(box: Box) -> Iterator[Box]:
    """Tiles of the plane that a box touches; they begin at multiples of their size."""
    each = [range(part.start // TILE * TILE, part.stop, TILE) for part in box]
    for starts in itertools.product(*each):
        yield tuple(slice(start, start + TILE) for start in starts)


def overlap(box: Box, tile: Box) -> tuple[Box, Box]:
    """Where box and tile meet, seen from the tile and seen from the box."""
    inner, outer = [], []
    for part, one in zip(box, tile, strict=True):
        low, high = max(part.start, one.start), min(part.stop, one.stop)
        inner.append(slice(low - one.start, high - one.start))
        outer.append(slice(low - part.start, high - part.start))
    return tuple(inner), tuple(outer)


def applied(net: nnx.Module) -> Callable[..., jax.Array]:
    """A network as a function, which is compiled once for as long as the network lives on."""
    return partial(_compiled(net), nnx.state(net))


@lru_cache(8)
def _compiled(net: nnx.Module) -> Callable[..., jax.Array]:
    graph = nnx.graphdef(net)
    return jax.jit(lambda state, *given: nnx.merge(graph, state)(*given))
