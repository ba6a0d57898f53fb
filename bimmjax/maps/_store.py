"""Maps on disk or in memory: a zarr 3 group, written unit by unit by any number of processes."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.maps._arrays import META, Place, encode, files, memory, open_arrays, write_structure
from bimmjax.maps._flags import Flag
from bimmjax.maps._folder import check_foreign, new_folder
from bimmjax.maps._metadata import Description, described, group_metadata, plain
from bimmjax.maps._windows import Unit, Windows
from bimmjax.volumes._units import Spacing
from bimmjax.volumes._volume import one_line

UNKNOWN = "?"
"""Stands in an identity for what could not be told."""


class MapStore:
    """One array per column, one chunk per unit.

    A unit is done once its chunk of `flags`, written last, exists along with all others. Nothing
    else is remembered, so processes that write different units need not know of each other, and
    one that is killed leaves whole units only. Made by `create` or `open`.

    Attributes
    ----------
    path : Path or None
        The folder; None in memory.
    description : Description
        Windows, columns, times, spacing, identity and attributes.
    """

    def __init__(
        self, path: Path | None, description: Description, place: Place, argument: str = "out"
    ) -> None:
        self.path = path
        self.description: Description = description
        self._keys = place.keys()
        self._arrays = open_arrays(place, description, argument)

    @classmethod
    def create(
        cls,
        out: str | os.PathLike[str] | None,
        windows: Windows,
        *,
        columns: Mapping[str, str],
        times: Sequence[float] | None = None,
        spacing: Spacing = (1.0, 1.0, 1.0),
        unit: str = "voxel",
        identity: Mapping[str, Any] | None = None,
        attributes: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> MapStore:
        """A new map set with every unit pending.

        Parameters
        ----------
        out : path or None
            The folder to make, which appears whole; None keeps the maps in memory.
        windows : Windows
        columns : mapping
            dtype by name; `flags` is one of them.
        times : sequence of float, optional
            One per volume; two or more give every map a first axis of time.
        spacing, unit
            Of the volume's voxels, (z, y, x).
        identity : mapping
            The options that must be the same to go on with this map set; JSON-able.
        attributes : mapping
            Anything else to keep; JSON-able.
        overwrite : bool
            Replace `out` if it is a map set with nothing else in it.

        Raises
        ------
        InputError
            `out` exists (and is not empty), or cannot be written.

        Examples
        --------
        >>> windows = Windows((16, 16, 16), (8, 8, 8), (8, 8, 8))
        >>> columns = {"blur_std": "float32", "flags": "uint16"}
        >>> store = MapStore.create(None, windows, columns=columns)
        >>> (unit,) = store.pending(0)
        >>> ones = np.ones(unit.shape)
        >>> store.write(0, unit, {"blur_std": ones, "flags": 0 * ones})
        >>> store.pending(0)
        []
        """
        description = Description(
            windows=windows,
            columns={name: str(np.dtype(dtype)) for name, dtype in columns.items()},
            times=None if times is None else tuple(float(t) for t in times),
            spacing=spacing,
            unit=unit,
            identity=plain(identity or {}),
            attributes=plain(attributes or {}),
        )
        if out is None:
            place = memory()
            write_structure(place, group_metadata(description, "maps"))
            return cls(None, description, place)
        target = _resolved(out)
        _check_target(target, overwrite)
        with new_folder(target, overwrite) as partial:
            write_structure(files(partial), group_metadata(description, target.name))
        return cls.open(target)

    @classmethod
    def open(cls, out: str | os.PathLike[str], *, argument: str = "out") -> MapStore:
        """An existing map set, complete or not.

        Raises
        ------
        InputError
            Not a map set, or a damaged one; the message begins with `argument`.
        """
        path = _resolved(out)
        description = _read_description(path, argument)
        if description is None:
            raise InputError(
                f"{argument}: got {out}, which is not a map set of bimmjax; wants the folder that "
                "one was written to"
            )
        return cls(path, description, files(path), argument)

    @staticmethod
    def exists(out: str | os.PathLike[str]) -> bool:
        """Whether `out` is a map set, which `open` then opens.

        Raises
        ------
        InputError
            It is one, and damaged.
        """
        return _read_description(_resolved(out), "out") is not None

    @property
    def windows(self) -> Windows:
        """Where the blocks lie."""
        return self.description.windows

    @property
    def columns(self) -> dict[str, str]:
        """Dtype of each map by name."""
        return self.description.columns

    @property
    def times(self) -> tuple[float, ...] | None:
        """One per volume."""
        return self.description.times

    @property
    def identity(self) -> dict[str, Any]:
        """The options that made it."""
        return self.description.identity

    @property
    def attributes(self) -> dict[str, Any]:
        """Whatever else was kept."""
        return self.description.attributes

    def check_identity(self, identity: Mapping[str, Any]) -> None:
        """Refuse to go on with other options than those that made it.

        Raises
        ------
        InputError
            Names the first option that differs.
        """
        missing = object()
        wanted = plain(identity)
        for option in dict.fromkeys([*wanted, *self.identity]):
            ours, theirs = self.identity.get(option, missing), wanted.get(option, missing)
            if _alike(ours, theirs):
                continue
            told = option in ("volume", "mask") and isinstance(ours, list)
            if told and isinstance(theirs, list) and any(ours) and any(theirs):
                raise InputError(
                    f"out: got {self.name}, made from another {option} (by name, shape, type or "
                    "voxels); wants the same or a new folder"
                )
            made = f"without {option}" if ours is missing else f"with {option}={_short(ours)}"
            wants = f"no {option}" if theirs is missing else f"{option}={_short(theirs)}"
            if wants == made.removeprefix("with "):
                wants = f"another {option}"  # they differ further on than is shown
            raise InputError(f"out: got {self.name}, made {made}; wants {wants} or a new folder")

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return "maps in memory" if self.path is None else self.path.name

    def done(self, time_index: int, unit: Unit) -> bool:
        """Whether all of a unit is written."""
        chunk = self._chunk(time_index, unit)
        # `flags` first: as the last one written it alone decides about most.
        others = (name for name in self.columns if name != "flags")
        return all(self._has(f"{name}/{chunk}") for name in ("flags", *others))

    def pending(self, time_index: int) -> list[Unit]:
        """The units that are still to be written, in the order in which to compute them."""
        return [unit for unit in self.windows.units() if not self.done(time_index, unit)]

    def write(self, time_index: int, unit: Unit, values: Mapping[str, Any]) -> None:
        """Write a unit; it is done when this returns.

        Parameters
        ----------
        time_index : int
        unit : Unit
            One of `windows.units()`.
        values : mapping
            For every column an array of the unit's shape, in any dtype that casts to the column's.

        Raises
        ------
        InputError
            The disk is full and the like.
        ValueError
            Columns are missing or unknown, or of another shape.
        """
        if set(values) != set(self.columns):
            raise ValueError(f"columns differ: {sorted(set(values) ^ set(self.columns))}")
        box = self._box(time_index, unit)
        parts = {
            name: np.ascontiguousarray(values[name], dtype) for name, dtype in self.columns.items()
        }
        for name, part in parts.items():
            if part.shape != unit.shape:
                raise ValueError(f"{name} has shape {part.shape}, the unit {unit.shape}")
        flags = parts.pop("flags")
        self._finish([self._arrays[name][box].write(part) for name, part in parts.items()])
        self._finish([self._arrays["flags"][box].write(flags)])

    def forget(self, time_index: int, unit: Unit) -> None:
        """Make a unit pending again; its flags go first, so that nothing half-new looks done."""
        self._finish([self._keys.write(f"flags/{self._chunk(time_index, unit)}", None)])

    def read(
        self, column: str, time_index: int | None = None, unit: Unit | None = None
    ) -> np.ndarray:
        """Numbers of one column; NaN, 0 or `Flag.PENDING` where nothing is written.

        Parameters
        ----------
        column : str
        time_index : int, optional
            One time; all of them by default.
        unit : Unit, optional
            One unit, or any other box of windows; all of them by default.

        Returns
        -------
        ndarray
            (z, y, x) windows, with an axis of time first if this is a series and no time is given.

        Raises
        ------
        InputError
            A file is damaged.
        """
        try:
            values = np.asarray(self._arrays[column][self._box(time_index, unit)].read().result())
        except Exception as error:
            raise InputError(
                f"maps: got {self.name}, whose {column} cannot be read ({one_line(error)}); wants "
                "it whole: delete the named file and give the command that made it once more"
            ) from error
        if column == "flags":
            values = self._with_pending(values, time_index, unit)
        return values

    def update_attributes(self, extra: Mapping[str, Any]) -> None:
        """Add or replace attributes; a reader finds the old ones or the new, nothing between."""
        # What is on disk now, because another process may have added to it.
        found = None if self.path is None else _read_description(self.path, "out")
        now = self.description if found is None else found
        self.description = replace(self.description, attributes=now.attributes).with_attributes(
            extra
        )
        name = "maps" if self.path is None else self.path.name
        self._finish([self._keys.write(META, encode(group_metadata(self.description, name)))])

    def _chunk(self, time_index: int, unit: Unit) -> str:
        index = [s // n for s, n in zip(unit.start, self.windows.chunk, strict=True)]
        if self.description.series:
            index.insert(0, time_index)
        return "/".join(["c", *map(str, index)])

    def _box(self, time_index: int | None, unit: Unit | None) -> tuple[slice | int, ...]:
        if time_index is not None and not 0 <= time_index < self.description.volumes:
            raise ValueError(f"time {time_index} of {self.description.volumes}")
        space = (slice(None),) * 3 if unit is None else unit.box
        if not self.description.series:
            return space
        return (slice(None) if time_index is None else time_index, *space)

    def _has(self, key: str) -> bool:
        if self.path is None:
            return self._keys.read(key).result().state == "value"
        try:
            return (self.path / key).stat().st_size > 0  # a lost disk leaves empty files
        except OSError:
            return False

    def _with_pending(
        self, flags: np.ndarray, time_index: int | None, box: Unit | None
    ) -> np.ndarray:
        """What `done` denies is pending, even where a chunk of flags exists."""
        flags = flags.copy()
        box = box or Unit((0, 0, 0), self.windows.shape)
        times = range(self.description.volumes) if time_index is None else [time_index]
        for time in times:
            whole = flags[time] if flags.ndim == 4 else flags
            for unit in self._units_within(box):
                if not self.done(time, unit):
                    z, y, x = (
                        slice(max(s.start - first, 0), max(s.stop - first, 0))
                        for s, first in zip(unit.box, box.start, strict=True)
                    )
                    whole[z, y, x] = Flag.PENDING
        return flags

    def _units_within(self, box: Unit) -> Iterator[Unit]:
        chunk, shape = self.windows.chunk, self.windows.shape
        corners = [
            range(s.start - s.start % n, s.stop, n) for s, n in zip(box.box, chunk, strict=True)
        ]
        for z, y, x in itertools.product(*corners):
            layers, lines, width = (
                min(n, size - at) for n, size, at in zip(chunk, shape, (z, y, x), strict=True)
            )
            yield Unit((z, y, x), (layers, lines, width))

    def _finish(self, futures: list[Any]) -> None:
        """Await all, so that nothing is written any more when the first failure is told."""
        failures = [error for future in futures if (error := future.exception()) is not None]
        if failures:
            raise InputError(
                f"out: got {self.name}, which cannot be written ({one_line(failures[0])})"
            ) from failures[0]


def _alike(ours: Any, theirs: Any) -> bool:
    """Whether two options are the same, as far as they are known."""
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_alike, ours, theirs))
    return ours == theirs or UNKNOWN in (ours, theirs)


def _short(value: Any) -> str:
    """An option as a user would give it."""
    if isinstance(value, list) and len(value) == 3 and value[0] == value[1] == value[2]:
        return _short(value[0])
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _resolved(out: str | os.PathLike[str]) -> Path:
    return Path(os.path.abspath(os.path.realpath(out)))  # noqa: PTH100 (need not exist)


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"out: got {target}, which is a file; wants a folder to make")
    if not any(target.iterdir()):
        return
    description = _read_description(target, "out")
    if description is None:
        raise InputError(
            f"out: got {target}, which exists and is not a map set; wants a new folder (only map "
            "sets are overwritten)"
        )
    if not overwrite:
        raise InputError(
            f"out: got {target}, which exists; wants a new folder, or overwrite=True (--overwrite)"
        )
    check_foreign(target, description.columns)


def _read_description(path: Path, argument: str) -> Description | None:
    """What a folder tells of its map set, None if it holds none; an `InputError` if damaged."""
    try:
        group = json.loads((path / META).read_bytes())
        return described(group) if isinstance(group, dict) else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{argument}: got {path}, whose zarr.json cannot be read ({one_line(error)}); wants a "
            "whole map set or a new folder"
        ) from error
