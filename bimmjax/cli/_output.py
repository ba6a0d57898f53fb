"""Output folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from bimmjax._core.checks import InputError


@contextmanager
def output_folder(
    out: str | os.PathLike[str], *, own: Collection[str], overwrite: bool = False
) -> Iterator[Path]:
    """A new folder beside `out` to write into; it becomes `out` when the block ends well.

    Made at once, so that a place which cannot be written is found before anything is computed.

    Parameters
    ----------
    out : path
        The folder to make. One that exists must be empty, or hold nothing but `own` files and
        be given up by `overwrite`.
    own : names of files
        What an earlier run of the same verb may have left there.
    overwrite : bool
        Replace what an earlier run left, at the very end.

    Raises
    ------
    InputError
        `out` exists and may not be replaced, or it cannot be written.
    """
    target = _checked(out, own, overwrite)
    made = _make_parents(target)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        try:
            partial.mkdir()
        except OSError as error:
            raise _unwritable(target, error) from error
        yield partial
        try:
            _put_in_place(partial, target)
        except OSError as error:
            raise _unwritable(target, error) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        _remove_if_empty(made)
        raise


@contextmanager
def writing_to(out: str | os.PathLike[str]) -> Iterator[None]:
    """Tell a full disk and the like as bad output rather than as an error of ours."""
    try:
        yield
    except OSError as error:
        raise _unwritable(out, error) from error


def _unwritable(out: str | os.PathLike[str], error: OSError) -> InputError:
    reason = error.strerror or str(error) or type(error).__name__
    return InputError(f"out: got {os.fspath(out)}, which cannot be written ({reason})")


def _checked(out: str | os.PathLike[str], own: Collection[str], overwrite: bool) -> Path:
    target = Path(os.path.abspath(os.path.realpath(out)))  # noqa: PTH100 (need not exist)
    here = Path.cwd()
    if target == here or target in here.parents:
        raise InputError(f"out: got {out}, which holds the folder you are in; wants a new folder")
    if not os.path.lexists(target):
        return target
    if not target.is_dir():
        raise InputError(f"out: got {out}, which is a file; wants a folder to make")
    if target.is_mount():
        raise InputError(f"out: got {out}, where a disk is mounted; wants a folder within it")
    try:
        names = sorted(path.name for path in target.iterdir())
    except OSError as error:
        raise _unwritable(out, error) from error
    if not names:
        return target
    if not overwrite:
        raise InputError(
            f"out: got {out}, which exists and is not empty; wants a new folder, or --overwrite"
        )
    foreign = [name for name in names if name not in own]
    if foreign:
        raise InputError(
            f"out: got {out}, which holds {foreign[0]}, not of our making; wants a folder with "
            "nothing else in it to overwrite"
        )
    return target


def _make_parents(target: Path) -> list[Path]:
    """The missing parents, made, innermost first."""
    missing = []
    for parent in target.parents:
        if parent.exists():
            break
        missing.append(parent)
    made: list[Path] = []
    try:
        for parent in reversed(missing):
            parent.mkdir(exist_ok=True)
            made.insert(0, parent)
    except OSError as error:
        _remove_if_empty(made)
        raise _unwritable(target, error) from error
    return made


def _remove_if_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def _put_in_place(partial: Path, target: Path) -> None:
    """Rename, with the old folder (if any) in the way for no longer than two renames take."""
    if not target.exists():
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
