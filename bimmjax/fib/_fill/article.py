"""Gaps filled by the network of Article II, which sees planes along z."""

from __future__ import annotations

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.fib._fill.article_network import InpaintNetwork
from bimmjax.fib._fill.curves import needed, sums
from bimmjax.fib._fill.given import Given
from bimmjax.fib._fill.learned import TILE, applied, overlap, tiles
from bimmjax.volumes import Volume


def article_box(
    slices: Volume, given: Given, z: slice, y: slice, x: slice, *, network: InpaintNetwork
) -> np.ndarray:
    """A box of filled labels, uint8: where zx and zy planes say so in the mean.

    Only one phase is known to it: labels are 0 and 1.
    """
    mean = np.zeros((z.stop - z.start, y.stop - y.start, x.stop - x.start), np.float32)
    if 0 in mean.shape:
        return mean.astype(np.uint8)
    run = applied(network)
    for along in (2, 1):
        family = np.moveaxis(mean, 3 - along, 0)
        part = x if along == 2 else y
        for tile in tiles((z, part)):
            inner, outer = overlap((z, part), tile)
            planes = _inputs(slices, given, tile, y if along == 2 else x, along, network.reach)
            for number, found in enumerate(zip(*planes, strict=True)):
                made = np.asarray(run(*(one[None] for one in found)))[0]
                kept = made[network.reach : -network.reach, network.reach : -network.reach]
                family[number][outer] += 0.5 * kept[inner]
    labels = (mean > 0.5).astype(np.uint8)
    for k in range(z.start, z.stop):
        if not given.within(k) or given.places[given.before(k)] == k:
            one = given.nearest(k)
            labels[k - z.start] = slices.read(slice(one, one + 1), y, x)[0]
    return labels


def _inputs(
    slices: Volume, given: Given, tile: tuple[slice, ...], across: slice, along: int, reach: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Planes, known rows and splines (planes, TILE + 2 reach, TILE + 2 reach), mirrored outside."""
    size = slices.shape[along]
    rows = slice(max(tile[0].start - reach, 0), min(tile[0].stop + reach, given.depth))
    part = slice(max(tile[1].start - reach, 0), min(tile[1].stop + reach, size))
    read = needed(given, rows, 3)
    y, x = (across, part) if along == 2 else (part, across)
    values = slices.read(read, y, x)
    if values.max(initial=0) > 1:
        raise InputError(
            f"slices: got label {values.max()}, wants 0 and 1 only for the network of Article II"
        )
    values = values.astype(np.float32)
    cubic = np.stack(list(sums(values, read.start, given, rows, 3)))
    planes = np.full_like(cubic, 0.5)
    known = np.zeros_like(cubic)
    for number in range(read.start, read.stop):
        at = int(given.places[number]) - rows.start
        if 0 <= at < rows.stop - rows.start:
            planes[at], known[at] = values[number - read.start], 1.0
    low = (rows.start - tile[0].start + reach, part.start - tile[1].start + reach)
    high = (
        TILE + 2 * reach - low[0] - (rows.stop - rows.start),
        TILE + 2 * reach - low[1] - (part.stop - part.start),
    )
    pads = ((0, 0), (low[0], high[0]), (low[1], high[1]))

    def placed(one: np.ndarray) -> np.ndarray:
        return np.pad(np.moveaxis(one, 3 - along, 0), pads, mode="symmetric")

    return placed(planes), placed(known), placed(cubic)
