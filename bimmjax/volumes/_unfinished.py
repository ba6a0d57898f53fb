"""An OME-Zarr that is written block by block, by as many runs as it takes."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bimmjax._core.checks import InputError
from bimmjax.volumes._convert import CHUNK, check_target, create, ome_metadata, put_in_place
from bimmjax.volumes._volume import Shape, Volume, one_line

_OURS, _SHARD, _CHUNK = "bimmjax", "shard", "chunk"
Box = tuple[slice, slice, slice]


class Unfinished:
    """Images of one grid in a hidden folder beside `out`, whose place it takes when it is complete.

    A block is done once the files of all its shards exist in all images; nothing else is
    remembered, so that a run that was killed leaves whole shards only, and another one that
    would write the same goes on with them. Where another one has finished or begun anew meanwhile,
    nothing more is written.

    Parameters
    ----------
    out : path
        The folder to make, usually `NAME.zarr`.
    grid : Volume
        Shape, voxel size and name are taken from it.
    images : mapping
        dtype by path within the folder; that of "" is what `open_volume(out)` opens.
    identity : mapping
        What must be the same to go on; JSON-able, told in the attributes under `bimmjax`.
    shard : three ints
        Shape of one file, whole chunks.
    chunk : three ints
        Shape in which voxels are compressed and read.
    overwrite : bool
        Replace `out` if it is a zarr folder, at the very end, and at once what was begun with
        another identity.

    Raises
    ------
    InputError
        `out` exists, cannot be written, or was begun with another identity.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        grid: Volume,
        images: Mapping[str, npt.DTypeLike],
        identity: Mapping[str, Any],
        *,
        shard: Shape,
        chunk: Shape = CHUNK,
        overwrite: bool = False,
    ) -> None:
        self._target, self._overwrite = Path(out), overwrite
        check_target(self._target, overwrite)
        self.path = _partial(self._target)
        self._chunk, self._shape = chunk, grid.shape
        self._shard = fitted(shard, grid.shape, chunk)
        # Files of another shape cannot be gone on with.
        self._identity = plain(identity) | {_SHARD: list(self._shard)}
        if chunk != CHUNK:
            self._identity[_CHUNK] = list(chunk)
        before = _told(self.path)
        if before is not None and not overwrite:
            check_same(f"{self._target}, begun", before, self._identity)
        anew = before != self._identity
        try:
            if anew:
                shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(parents=True, exist_ok=True)
            self._stores = {name: self._store(name, grid, kind) for name, kind in images.items()}
            if anew:
                for name in filter(None, images):
                    _group(self.path / name, grid, {})
                # At last: it says that nothing but shards is lacking.
                _group(self.path, grid, {_OURS: self._identity})
        except OSError as error:
            raise _unwritable(self._target, error) from error

    def done(self, box: Box) -> bool:
        """Whether all of a block (whole shards, or up to the volume's end) is written."""
        along = [
            range(part.start // n, -(-part.stop // n))
            for part, n in zip(box, self._shard, strict=True)
        ]
        return all(
            _holds(self.path / name / "0" / "c" / "/".join(map(str, at)))
            for name in self._stores
            for at in product(*along)
        )

    def write(self, box: Box, parts: Mapping[str, np.ndarray]) -> None:
        """Write a block of every image; it is done when this returns."""
        import tensorstore as ts

        self._check_ours()
        corners = [
            range(part.start, part.stop, n) for part, n in zip(box, self._shard, strict=True)
        ]
        try:
            for corner in product(*corners):
                here = tuple(
                    slice(at, min(at + n, part.stop))
                    for at, n, part in zip(corner, self._shard, box, strict=True)
                )
                inner = tuple(
                    slice(h.start - b.start, h.stop - b.start)
                    for h, b in zip(here, box, strict=True)
                )
                # Each file is written once, with all that belongs to it.
                with ts.Transaction() as all_at_once:
                    for name, part in parts.items():
                        self._stores[name].with_transaction(all_at_once)[here] = part[inner]
        except Exception as error:
            raise InputError(
                f"out: got {self._target}, which cannot be written ({one_line(error)})"
            ) from error

    def read(self, name: str, box: Box) -> np.ndarray:
        """A block that is done.

        Raises
        ------
        InputError
            A damaged file.
        """
        try:
            return self._stores[name][box].read().result()
        except Exception as error:
            raise InputError(
                f"out: got {self.path}, which cannot be read ({one_line(error)}); wants it "
                "undamaged, or removed"
            ) from error

    def finish(self, files: Mapping[str, str]) -> Path:
        """Put some text files (by name) into the folder, and the folder in its place.

        Raises
        ------
        InputError
            Another run has finished or begun anew meanwhile, or the disk is full.
        """
        self._check_ours()
        check_target(self._target, self._overwrite)
        try:
            for name, text in files.items():
                (self.path / name).write_text(text, encoding="utf-8")
            put_in_place(self.path, self._target)
        except OSError as error:
            raise _unwritable(self._target, error) from error
        return self._target

    def _check_ours(self) -> None:
        # Else blocks would make a new folder of what is left, to replace a complete one with.
        if _told(self.path) != self._identity:
            raise InputError(
                f"out: got {self._target}, which another run has finished or begun anew meanwhile; "
                "wants one at a time"
            )

    def _store(self, name: str, grid: Volume, kind: npt.DTypeLike) -> Any:
        folder = self.path / name / "0"
        return create(folder, grid.shape, np.dtype(kind), self._chunk, self._shard, go_on=True)


def told_of(folder: Path) -> dict[str, Any] | None:
    """The identity that a folder was written with, or None where there is none."""
    found = _told(folder)
    return found and {name: value for name, value in found.items() if name not in (_SHARD, _CHUNK)}


def begun_with(out: Path) -> dict[str, Any] | None:
    """The identity, and the `shard`, that what is to become `out` was begun with."""
    return _told(_partial(out))


def _partial(target: Path) -> Path:
    return target.parent / f".{target.name}.partial"


def _told(folder: Path) -> dict[str, Any] | None:
    try:
        told = json.loads((folder / "zarr.json").read_text("utf-8"))
        found = told["attributes"][_OURS]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def check_same(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with anything else; the first difference is named."""
    for name in dict.fromkeys([*now, *before]):
        if before.get(name) != now.get(name):
            here, there = _short(before.get(name)), _short(now.get(name))
            differs = f" ({here}, now {there})" if here != there else ""
            raise InputError(
                f"out: got {what} with another {name}{differs}; wants the same, a new folder, or "
                "overwrite=True (--overwrite)"
            )


def plain(told: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    return json.loads(json.dumps(told))


def fitted(shard: Sequence[int], shape: Shape, chunk: Shape = CHUNK) -> Shape:
    """A shard as `create` cuts it to the volume."""
    z, y, x = (min(s, -(-n // c) * c) for s, n, c in zip(shard, shape, chunk, strict=True))
    return z, y, x


def _group(folder: Path, grid: Volume, more: Mapping[str, Any]) -> None:
    attributes = {"ome": ome_metadata(grid), **more}
    text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=2)
    partial = folder / ".zarr.json.partial"
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(folder / "zarr.json")


def _holds(path: Path) -> bool:
    try:
        return path.stat().st_size > 0  # a lost disk leaves empty files
    except OSError:
        return False


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _unwritable(target: Path, error: OSError) -> InputError:
    reason = error.strerror or str(error) or type(error).__name__
    return InputError(f"out: got {target}, which cannot be written ({reason})")


def voxels_of(box: Box) -> int:
    """How many there are in a box."""
    return math.prod(part.stop - part.start for part in box)
