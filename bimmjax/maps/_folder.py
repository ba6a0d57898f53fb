"""The folder of a map set: there whole or not at all, and never taken from anybody."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from bimmjax._core.checks import InputError

BESIDE = (
    "map.json",
    "blocks.csv",
    "blocks.parquet",
    "maps.html",
    "maps.png",
    "profiles.png",
    "histograms.png",
    "flags.png",
    "series.png",
)
"""Files of ours in the folder that are not zarr's."""


def partial_name(path: Path) -> Path:
    """A hidden name beside `path`, for what is still being written."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")


def unwritable(out: str | os.PathLike[str], error: OSError) -> InputError:
    """A full disk and the like, told as bad output."""
    reason = error.strerror or str(error) or type(error).__name__
    return InputError(f"out: got {os.fspath(out)}, which cannot be written ({reason})")


def check_foreign(target: Path, own: Collection[str]) -> None:
    """Refuse to replace a folder that holds anything but `own` and files `BESIDE`."""
    for name in sorted(entry.name for entry in target.iterdir()):
        if name in own or name in BESIDE or name == "zarr.json":
            continue
        if not (name.startswith(".") and name.endswith(".partial")):
            raise InputError(
                f"out: got {target}, which holds {name}, not of our making; wants a folder with "
                "nothing else in it to overwrite"
            )


@contextmanager
def new_folder(target: Path, overwrite: bool = False) -> Iterator[Path]:
    """A hidden folder beside `target` to fill; it takes the target's place when all went well.

    Without `overwrite` only an empty folder is replaced, even one made in the meantime.
    """
    partial = partial_name(target)
    try:
        try:
            partial.mkdir(parents=True)
            yield partial
            _put_in_place(partial, target, overwrite)
        except OSError as error:
            raise unwritable(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A hidden file beside `target` to write; it takes the target's place when all went well."""
    partial = partial_name(target)
    try:
        try:
            yield partial
            partial.replace(target)
        except OSError as error:
            raise unwritable(target, error) from error
    finally:
        partial.unlink(missing_ok=True)


def _put_in_place(partial: Path, target: Path, overwrite: bool) -> None:
    """Rename, with the old folder (if any) out of the way for no longer than two renames take."""
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()  # not every system renames onto an empty folder
    if not overwrite or not target.exists():
        partial.rename(target)
        return
    old = partial.with_suffix(".old")
    target.rename(old)
    try:
        partial.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
