"""Maps as people use them: arrays by name, where they lie, what to trust."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.maps._flags import UNUSABLE, Flag
from bimmjax.maps._meaning import meaning_of
from bimmjax.maps._store import MapStore
from bimmjax.maps._table import rows
from bimmjax.maps._windows import Windows
from bimmjax.volumes._units import Spacing

# Maps that say something of the fit rather than of the sample.
_ABOUT_THE_FIT = ("goodness_of_fit", "voxels", "steps", "flags")


class Maps:
    """The local fits of a volume or of a series, one map a quantity; read when asked for.

    `map_fits` returns it, `open_maps` opens one that was written.

    Parameters
    ----------
    store : MapStore

    Examples
    --------
    >>> from bimmjax.maps import open_maps
    >>> maps = open_maps("MAPS.zarr")  # doctest: +SKIP
    >>> maps["volume_fraction_0"][maps.usable].mean()  # doctest: +SKIP
    0.412
    """

    def __init__(self, store: MapStore) -> None:
        self._store = store

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        where = "in memory" if self.path is None else str(self.path)
        return f"<Maps {where}: {size} blocks, {self.phases} phases>"

    @property
    def store(self) -> MapStore:
        """What the maps are kept in."""
        return self._store

    @property
    def path(self) -> Path | None:
        """The folder; None in memory."""
        return self._store.path

    @property
    def phases(self) -> int:
        """How many phases were fitted."""
        numbered = (name.removeprefix("volume_fraction_") for name in self.columns)
        return sum(name.isdecimal() for name in numbered)

    @property
    def windows(self) -> Windows:
        """Where the blocks lie, in voxels."""
        return self._store.windows

    @property
    def shape(self) -> tuple[int, ...]:
        """Of every map: blocks along (z, y, x), or along (t, z, y, x) for a series."""
        return self._store.description.shape

    @property
    def times(self) -> tuple[float, ...] | None:
        """One per volume, where they were given."""
        return self._store.times

    @property
    def series(self) -> bool:
        """Whether the maps have an axis of time."""
        return self._store.description.series

    @property
    def spacing(self) -> Spacing:
        """Size of the volume's voxels (z, y, x), in `length_unit`."""
        return self._store.description.spacing

    @property
    def length_unit(self) -> str:
        """Of lengths: "um", "nm", ... or "voxel"."""
        return self._store.description.unit

    @property
    def origin(self) -> Spacing:
        """Centre (z, y, x) of the first block, in `length_unit`; the first voxel's is at 0."""
        return self._store.description.origin

    @property
    def step(self) -> Spacing:
        """From one block to the next (z, y, x), in `length_unit`."""
        return self._store.description.step

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the maps."""
        return tuple(self._store.columns)

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of the maps of fitted quantities: no standard errors, nothing about the fit."""
        return tuple(
            name
            for name in self.columns
            if not name.endswith("_stderr") and name not in _ABOUT_THE_FIT
        )

    @property
    def attributes(self) -> dict[str, Any]:
        """What was stored along with the maps: "global_fit" and more."""
        return self._store.attributes

    def unit(self, column: str) -> str:
        """The unit of a column in words; "" for pure numbers."""
        return self._store.description.unit_of(self._known(column))

    def meaning(self, column: str) -> str:
        """What a column shows, in words."""
        return meaning_of(self._known(column))

    def __getitem__(self, column: str) -> np.ndarray:
        """A whole map, of `shape`.

        Raises
        ------
        InputError
            There is no such map, or a file is damaged.
        """
        return self._store.read(self._known(column))

    @property
    def flags(self) -> np.ndarray:
        """Bits of `Flag`, of `shape`, uint16; 0 is a block without remark."""
        return self["flags"]

    def flagged(self, flag: Flag) -> np.ndarray:
        """Where any bit of `flag` is set; bool, of `shape`."""
        return (self.flags & np.uint16(flag)) != 0

    @property
    def usable(self) -> np.ndarray:
        """Where the numbers may enter a mean; bool, of `shape`."""
        return ~self.flagged(UNUSABLE)

    @property
    def complete(self) -> bool:
        """Whether every block is done."""
        times = range(self._store.description.volumes)
        return not any(self._store.pending(time) for time in times)

    def table(self) -> dict[str, np.ndarray]:
        """One row a block, in C order.

        Returns
        -------
        dict
            1D arrays: "time" where times were given; "z", "y", "x", the block's first voxel; then
            every column.
        """
        parts = list(rows(self._store))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def summary(self, time_index: int | None = None) -> dict[str, Any]:
        """Counts and means over the blocks that can be used, of all times or of one.

        Returns
        -------
        dict
            `blocks`, `usable`, `pending`; `flags`, the count of each by name; `quantities`: by
            name the `mean`, `std` (of the blocks, not of the mean) and `median`, with their
            `unit`; None where no block can be used.
        """
        flags = self._store.read("flags", time_index)
        usable = (flags & np.uint16(UNUSABLE)) == 0
        quantities = {}
        for name in (*self.quantities, "goodness_of_fit"):
            if name in self.columns:
                values = self._store.read(name, time_index)[usable]
                quantities[name] = {**_moments(values), "unit": self.unit(name)}
        return {
            "blocks": int(flags.size),
            "usable": int(usable.sum()),
            "pending": int(((flags & np.uint16(Flag.PENDING)) != 0).sum()),
            "flags": {str(flag.name): int(((flags & np.uint16(flag)) != 0).sum()) for flag in Flag},
            "quantities": quantities,
        }

    def layers(
        self, columns: Sequence[str] | None = None
    ) -> list[tuple[np.ndarray, dict[str, Any], str]]:
        """Layers for napari, which lie over the volume's layer where that has `scale=spacing`.

        Parameters
        ----------
        columns : names, optional
            By default all but the standard errors. The first is visible.

        Returns
        -------
        list
            (data, keywords, "image"): `viewer.add_image(data, **keywords)` for each.

        Examples
        --------
        >>> for data, keywords, _ in maps.layers():  # doctest: +SKIP
        ...     viewer.add_image(data, **keywords)
        """
        if columns is None:
            columns = [name for name in self.columns if not name.endswith("_stderr")]
        start, step = self._store.description.time_step if self.series else (0.0, 1.0)
        scale = (step, *self.step) if self.series else self.step
        translate = (start, *self.origin) if self.series else self.origin
        layers = []
        for name in columns:
            data = self[name]
            keywords: dict[str, Any] = {
                "name": name,
                "scale": scale,
                "translate": translate,
                "visible": not layers,
            }
            finite = data[np.isfinite(data)]
            if finite.size and finite.min() < finite.max():  # napari's own choice fails on NaN
                keywords["contrast_limits"] = (float(finite.min()), float(finite.max()))
            layers.append((data, keywords, "image"))
        return layers

    def _known(self, column: str) -> str:
        if column not in self._store.columns:
            near = difflib.get_close_matches(str(column), self.columns, n=4, cutoff=0.5)
            raise InputError(
                f"column: got {column!r}, wants one of {', '.join(near or self.columns)}"
            )
        return column


def open_maps(path: str | os.PathLike[str]) -> Maps:
    """Maps that were written by `map_fits` or the command `map`, complete or not.

    Parameters
    ----------
    path : path
        The folder, `MAPS.zarr`.

    Raises
    ------
    InputError
        Not a map set, or a damaged one.
    """
    return Maps(MapStore.open(path, argument="path"))


def _moments(values: np.ndarray) -> dict[str, float | None]:
    values = values[np.isfinite(values)].astype(float)
    if not values.size:
        return {"mean": None, "std": None, "median": None}
    numbers = {"mean": values.mean(), "std": values.std(), "median": np.median(values)}
    return {name: float(n) if math.isfinite(n) else None for name, n in numbers.items()}
