"""A step of a reconstruction: what it is made from, and how it is done once and no more."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.volumes import Volume, open_volume
from bimmjax.volumes._written import write_resumably

# Raised when a step comes to give other results from the same settings.
_VERSION = 1
_BEGUN, _DONE = "begun.json", "step.json"

Progress = Callable[[str, int, int], object]


@dataclass(frozen=True)
class Done:
    """A step that is finished.

    Attributes
    ----------
    name : str
        Of the step.
    folder : Path
        Where its volumes and pictures are.
    told : dict[str, Any]
        What it found, plain numbers and lists.
    digest : str
        Of what it was made from.
    fresh : bool
        Whether it has been done by this run rather than an earlier one.
    """

    name: str
    folder: Path
    told: dict[str, Any]
    digest: str
    fresh: bool

    def volume(self, name: str) -> Volume:
        """One of its volumes."""
        return open_volume(self.folder / f"{name}.zarr")


class Work:
    """What a step has while it works: its folder, and how to write a volume into it."""

    def __init__(self, name: str, folder: Path, digest: str, progress: Progress) -> None:
        self.name, self.folder, self.digest = name, folder, digest
        self._progress = progress

    def tell(self, what: str) -> Callable[[int, int], None]:
        """`progress(done, all)` of a part of this step."""

        def told(done: int, total: int) -> None:
            self._progress(f"{self.name}: {what}", done, total)

        return told

    def write(self, name: str, volume: Volume, *, whole_slices: bool = False) -> Volume:
        """Write a volume unless an earlier run has; whole blocks of a killed one are kept."""
        path = self.folder / f"{name}.zarr"
        if not path.exists():
            write_resumably(
                volume, path, {"step": self.digest},
                whole_slices=whole_slices, progress=self.tell(name),
            )  # fmt: skip
        return open_volume(path)


def run_step(
    name: str,
    out: Path,
    made_from: Mapping[str, Any],
    work: Callable[[Work], dict[str, Any]],
    progress: Progress,
) -> Done:
    """Do a step, or take what an earlier run has left if it was made from the same.

    Parameters
    ----------
    name : of the step, and of its folder in `out`.
    made_from : JSON-able: settings, digests of earlier steps, fingerprints of files.
    work : fills the step's folder and returns what is to be told.
    """
    folder = out / name
    digest = hashlib.sha256(
        json.dumps([_VERSION, name, made_from], sort_keys=True).encode()
    ).hexdigest()
    earlier = _read(folder / _DONE)
    if earlier is not None and earlier.get("digest") == digest:
        return Done(name, folder, earlier["told"], digest, fresh=False)
    begun = _read(folder / _BEGUN) or {}
    if begun.get("digest") != digest or earlier is not None:
        with _writing(folder):
            dropped = _make_room(folder)
            folder.mkdir(parents=True)
            _write(folder / _BEGUN, {"digest": digest})
            shutil.rmtree(dropped, ignore_errors=True)
    told = _plain(work(Work(name, folder, digest, progress)))
    with _writing(folder):
        _write(folder / _DONE, {"digest": digest, "told": told})
    return Done(name, folder, told, digest, fresh=True)


def is_step(folder: Path) -> bool:
    """Whether a folder has been made by `run_step`."""
    return (folder / _BEGUN).is_file() or (folder / _DONE).is_file()


def forget(folder: Path) -> None:
    """What a step has found was made from something else by now."""
    with _writing(folder):
        (folder / _DONE).unlink(missing_ok=True)


def write_json(path: Path, told: Mapping[str, Any]) -> None:
    """Write a file whole or not at all; a full disk is told as one."""
    with _writing(path.parent):
        _write(path, told)


def _make_room(folder: Path) -> Path:
    """Put what is left of the same step with other settings out of the way: where it is now."""
    dropped = folder.with_name(f".{folder.name}.dropped")
    if folder.exists():
        held = [path for path in folder.iterdir() if path.suffix != ".partial"]
        if held and not is_step(folder):
            raise InputError(
                f"out: got {folder}, which is no step of a reconstruction; wants another folder"
            )
        # Out of the way first: half of it removed would look like all of it.
        shutil.rmtree(dropped, ignore_errors=True)
        folder.rename(dropped)
    return dropped


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise InputError(f"out: got {folder}, which cannot be written ({reason})") from error


def fingerprint(source: Any) -> Any:
    """What tells a file, a folder or an array from others, JSON-able.

    Files by path, size and time of the last change: reading gigavoxels only to know that nothing
    has changed takes as long as some steps.
    """
    if isinstance(source, str | os.PathLike):
        name, _, inside = str(source).partition("::")
        path = Path(name)
        if not path.exists():
            return str(source)
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        states = [(str(f.relative_to(path)), f.stat()) for f in files]
        listed = [[name, state.st_size, state.st_mtime_ns] for name, state in states]
        text = json.dumps(listed).encode()
        return [str(path.resolve()), inside, hashlib.sha256(text).hexdigest()]
    volume = open_volume(source)
    grid = f"{volume.shape} {volume.dtype} {volume.spacing} {volume.unit}"
    found = hashlib.sha256(grid.encode())
    for z in range(0, volume.shape[0], 16):
        found.update(volume.read(slice(z, z + 16), slice(None), slice(None)).tobytes())
    return found.hexdigest()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, told: Mapping[str, Any]) -> None:
    """At once, so that a step which was killed has not been done."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(told, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _plain(value: Any) -> Any:
    """Arrays as lists, numbers that are none as None."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in (value.tolist() if isinstance(value, np.ndarray) else value)]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
