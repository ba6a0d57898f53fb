"""Square patches of slices, drawn at random from volumes, each by the seed and its number alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.nets._data.augment import symmetries
from bimmjax.nets._data.normalise import Normalisation, normalisation
from bimmjax.nets._data.specimen import KEPT, check_same, open_named
from bimmjax.volumes import Volume

Entry = tuple[Volume, ...]


def opened(name: str, given: Any, several: bool) -> list[Entry]:
    """Volumes of one kind: of each entry its channels, all of one grid.

    Parameters
    ----------
    name : the argument's, for messages.
    given : a volume, or a list of them; where `several`, each may be a list of channels.

    Raises
    ------
    InputError
        No volume, what cannot be opened, channels of other shapes, numbers of channels that
        differ.
    """
    entries = given if isinstance(given, list | tuple) else [given]
    if not entries:
        raise InputError(f"{name}: got none, wants at least one volume")
    found: list[Entry] = []
    for entry in entries:
        channels = entry if several and isinstance(entry, list | tuple) else [entry]
        volumes = tuple(open_named(name, one) for one in channels)
        for volume in volumes[1:]:
            check_same(name, volume, volumes[0])
        found.append(volumes)
    counts = {len(one) for one in found}
    if counts != {len(found[0])} or 0 in counts:
        raise InputError(f"{name}: got {sorted(counts)} channels, wants as many of each volume")
    return found


def kept(entries: Sequence[Entry]) -> list[Entry]:
    """The same, read once where there is room: they are looked at again and again."""
    if sum(volume.nbytes for entry in entries for volume in entry) > KEPT // 2:
        return list(entries)

    def whole(volume: Volume) -> Volume:
        data = np.asarray(volume)
        return replace(volume, reader=lambda z, y, x: data[z, y, x])

    return [tuple(map(whole, entry)) for entry in entries]


def normalisations(entries: Sequence[Entry], how: str) -> tuple[Normalisation, ...]:
    """One for each channel, of all volumes together.

    "range" joins their ranges, "std" their moments, by voxels.
    """
    found = []
    for channel in zip(*entries, strict=True):
        each = [normalisation(volume, how) for volume in channel]
        if how == "range":
            low = min(one.offset for one in each)
            high = max(one.offset + 1.0 / one.factor for one in each)
            found.append(Normalisation(low, 1.0 / (high - low)))
            continue
        shares = np.array([volume.voxels for volume in channel], np.float64)
        shares /= shares.sum()
        means = np.array([one.offset for one in each])
        mean = float(shares @ means)
        variance = shares @ (np.array([one.factor for one in each]) ** -2.0 + (means - mean) ** 2)
        found.append(Normalisation(mean, 1.0 / math.sqrt(variance)) if how == "std" else each[0])
    return tuple(found)


class Patches:
    """Draws batches (batch, side, side, channels) float32, normalised.

    Parameters
    ----------
    entries, how : volumes, and what to normalise each of their channels by.
    side : of patches.
    turns : "all", "plane" or "none".
    seed : of the place and the turn of each patch; `stream` tells several `Patches` apart.
    """

    def __init__(
        self,
        name: str,
        entries: Sequence[Entry],
        how: Sequence[Normalisation],
        side: int,
        turns: str,
        seed: int,
        stream: int,
    ) -> None:
        for entry in entries:
            if min(entry[0].shape[1:]) < side:
                raise InputError(
                    f"{name}: got slices of {entry[0].shape[1:]} in {entry[0].name}, wants at "
                    f"least the patch, {side}; or a smaller patch"
                )
        self._entries, self._how, self._side = entries, how, side
        self._turns = symmetries(turns, 2)
        self._seed, self._stream = seed, stream
        sizes = np.array([entry[0].voxels for entry in entries], np.float64)
        self._shares = sizes / sizes.sum()

    def batch(self, number: int, size: int) -> np.ndarray:
        """The patches `number * size` and on."""
        return np.stack([self._patch(number * size + i) for i in range(size)])

    def _patch(self, number: int) -> np.ndarray:
        seeds = np.random.SeedSequence(self._seed, spawn_key=(self._stream, number))
        rng = np.random.default_rng(seeds)
        entry = self._entries[rng.choice(len(self._entries), p=self._shares)]
        depth, *plane = entry[0].shape
        z = int(rng.integers(depth))
        y, x = (int(rng.integers(n - self._side + 1)) for n in plane)
        turn = self._turns[rng.integers(len(self._turns))]
        box = slice(z, z + 1), slice(y, y + self._side), slice(x, x + self._side)
        pairs = zip(entry, self._how, strict=True)
        found = np.stack([normalise(volume.read(*box)) for volume, normalise in pairs], -1)
        return np.ascontiguousarray(turn(found)[0])
