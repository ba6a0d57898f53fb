"""Several images in one OME-Zarr: there whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from bimmjax._core.checks import InputError
from bimmjax.volumes._convert import check_target, put_in_place


@contextmanager
def new_collection(
    out: str | os.PathLike[str], images: Sequence[str], *, overwrite: bool = False
) -> Iterator[Path]:
    """A hidden folder beside `out` to fill with images; it becomes `out` when the block ends well.

    Written as a collection of OME-Zarr 0.5 (`bioformats2raw.layout`), whose `series` lists the
    images: readers that know it offer all of them, others open one of them, `out/2kV` say.

    Parameters
    ----------
    out : path
        The folder to make, usually `NAME.zarr`.
    images : sequence of str
        Paths of the images within it ("2kV", "image/2kV"), which the block writes by `convert`.
    overwrite : bool
        Replace `out` if it exists and is a zarr folder, at the very end.

    Raises
    ------
    InputError
        `out` exists, or cannot be written.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from bimmjax.volumes import convert, new_collection, open_volume
    >>> folder = tempfile.TemporaryDirectory()
    >>> with new_collection(folder.name + "/a.zarr", ["1kV", "2kV"]) as parts:
    ...     for name in ("1kV", "2kV"):
    ...         path = convert(np.ones((8, 8, 8), np.float32), parts / name)
    >>> open_volume(folder.name + "/a.zarr", dataset="2kV").shape
    (8, 8, 8)
    >>> folder.cleanup()

    References
    ----------
    OME-Zarr 0.5, https://ngff.openmicroscopy.org/0.5/, bioformats2raw.layout.
    """
    target = Path(out)
    check_target(target, overwrite)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        try:
            partial.mkdir(parents=True)
            _groups(partial, images)
            yield partial
            put_in_place(partial, target)
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            raise InputError(f"out: got {target}, which cannot be written ({reason})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _groups(folder: Path, images: Sequence[str]) -> None:
    _group(folder, {"version": "0.5", "bioformats2raw.layout": 3})
    _group(folder / "OME", {"version": "0.5", "series": list(images)})
    for name in sorted({str(p) for image in images for p in PurePosixPath(image).parents} - {"."}):
        _group(folder / name, None)


def _group(folder: Path, ome: dict[str, object] | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    attributes = {} if ome is None else {"ome": ome}
    text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=2)
    (folder / "zarr.json").write_text(text + "\n", encoding="utf-8")
