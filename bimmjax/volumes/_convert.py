"""Any volume to OME-Zarr 0.5: sharded, compressed, streamed, there whole or not at all."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bimmjax._core.checks import InputError, whole_number
from bimmjax.volumes._open import open_volume
from bimmjax.volumes._paths import file_store
from bimmjax.volumes._stream import check_block_shape, stream
from bimmjax.volumes._units import udunits
from bimmjax.volumes._volume import Shape, Volume, one_line
from bimmjax.volumes._zarr import is_chunked, open_chunked

CHUNK: Shape = (64, 64, 64)
SHARD: Shape = (64, 512, 512)
_SLAB = 32  # slices of a coarser level made at once: one layer of chunks of the finer one
_BLOCK_BYTES = 2**27  # what one written block may take, and at least one shard

Progress = Callable[[int, int], object]


def convert(
    source: Any,
    out: str | os.PathLike[str],
    *,
    spacing: object | None = None,
    unit: str | None = None,
    dataset: str | None = None,
    dtype: npt.DTypeLike | None = None,
    chunk: Sequence[int] = CHUNK,
    shard: Sequence[int] = SHARD,
    levels: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a volume as OME-Zarr 0.5 (zarr 3, sharded, zstd), with bounded memory.

    The result appears under its name only when it is complete; what an interruption leaves is a
    hidden folder beside it, `.NAME.*.partial`.

    Parameters
    ----------
    source : path, array or Volume
        Anything `open_volume` takes.
    out : path
        The folder to make, usually `NAME.zarr`.
    spacing
        As for `open_volume`.
    unit
        As for `open_volume`.
    dataset
        As for `open_volume`.
    dtype
        As for `open_volume`.
    chunk : three ints
        Shape (z, y, x) in which voxels are compressed and read.
    shard : three ints
        Shape of one file, whole chunks. Flat by default, so that slices read in order fill it.
    levels : int
        Levels of the image pyramid: each is the 2 x 2 x 2 mean of the one before.
    overwrite : bool
        Replace `out` if it exists and is a zarr folder.
    progress : callable, optional
        Called as `progress(voxels done, voxels in all)`.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        Bad source or arguments, `out` exists, or it cannot be written.

    References
    ----------
    OME-Zarr 0.5, https://ngff.openmicroscopy.org/0.5/

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from bimmjax import convert, open_volume
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = convert(np.ones((8, 8, 8), np.uint8), folder.name + "/a.zarr", spacing=5, unit="nm")
    >>> open_volume(path).spacing
    (5.0, 5.0, 5.0)
    >>> folder.cleanup()
    """
    volume = open_volume(source, spacing=spacing, unit=unit, dataset=dataset, dtype=dtype)
    inner = check_block_shape(chunk, "chunk")
    outer = check_block_shape(shard, "shard")
    if any(s % c for s, c in zip(outer, inner, strict=True)):
        raise InputError(f"shard: got {outer}, wants whole multiples of the chunk {inner}")
    levels = whole_number("levels", levels, 1, 32)
    target = Path(out)
    check_target(target, overwrite)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        try:
            partial.mkdir(parents=True)
        except OSError as error:
            raise InputError(
                f"out: got {target}, which cannot be written ({error.strerror}); wants a folder "
                "that can"
            ) from error
        _write_levels(volume, partial, inner, outer, levels, progress)
        put_in_place(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def check_target(target: Path, overwrite: bool) -> None:
    """Refuse a place where something is that may not be replaced."""
    if not target.name:
        raise InputError(f"out: got {str(target)!r}, wants the name of a folder to make")
    if not (target.exists() or target.is_symlink()):
        return
    if not overwrite:
        raise InputError(
            f"out: got {target}, which exists; wants a new name, or overwrite=True (--overwrite)"
        )
    if target.is_symlink() or not target.is_dir() or not is_chunked(target):
        raise InputError(
            f"out: got {target}, which exists and is not a zarr folder; wants a new name (only "
            "zarr folders are overwritten)"
        )


def put_in_place(partial: Path, target: Path) -> None:
    """Rename, with the old volume (if any) in the way for no longer than two renames take."""
    old = partial.with_suffix(".old")
    if target.exists():
        # Of a run that was killed when it cleared up.
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    try:
        partial.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_levels(
    volume: Volume,
    folder: Path,
    chunk: Shape,
    shard: Shape,
    levels: int,
    progress: Progress | None,
) -> None:
    shapes = [volume.shape]
    for _ in range(levels - 1):
        z, y, x = (-(-n // 2) for n in shapes[-1])
        shapes.append((z, y, x))
    total, done = sum(z * y * x for z, y, x in shapes), 0
    source = volume
    for level, shape in enumerate(shapes):
        if level:
            source = _halved(open_chunked(folder / str(level - 1)), shape)
        store = create(folder / str(level), shape, volume.dtype, chunk, shard)
        block = _one_shard(source, shard) if level else _block_of_shards(source, shard)
        for voxels in _write(store, source, block, threads=1 if level else 2):
            done += voxels
            if progress is not None:
                progress(done, total)
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"ome": ome_metadata(volume, levels)},
    }
    (folder / "zarr.json").write_text(json.dumps(group, indent=2) + "\n", encoding="utf-8")


def create(
    folder: Path,
    shape: Shape,
    dtype: np.dtype[np.generic],
    chunk: Shape,
    shard: Shape,
    *,
    go_on: bool = False,
) -> Any:
    """An empty sharded zarr 3 array, or the one that is there already to `go_on` with."""
    import tensorstore as ts

    # No larger than the volume needs, in whole chunks: a small volume makes one small file.
    outer = [min(s, -(-n // c) * c) for s, n, c in zip(shard, shape, chunk, strict=True)]
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    sharding = {
        "chunk_shape": list(chunk),
        "codecs": [
            little,
            {"name": "zstd", "configuration": {"level": 1, "checksum": False}},
            # A flipped bit is told, instead of read as other voxels.
            {"name": "crc32c"},
        ],
        "index_codecs": [little, {"name": "crc32c"}],
        "index_location": "end",
    }
    spec = {
        "driver": "zarr3",
        "kvstore": file_store(folder),
        "metadata": {
            "shape": list(shape),
            "data_type": str(dtype),
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": outer}},
            "chunk_key_encoding": {"name": "default"},
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
            "fill_value": 0,
            "dimension_names": ["z", "y", "x"],
        },
        "create": True,
        "open": go_on,
        # Else chunks of zeros would be left out, and nobody could tell them from lost ones.
        "store_data_equal_to_fill_value": True,
    }
    try:
        return ts.open(spec).result()
    except Exception as error:
        raise InputError(
            f"out: got {folder.parent}, which cannot be written ({one_line(error)})"
        ) from error


def _write(store: Any, source: Volume, block: Shape, threads: int) -> Iterator[int]:
    """Write in whole shards, two blocks at a time; yields the voxels of each block written."""
    waiting: deque[tuple[Any, int]] = deque()
    for part in stream(source, block, halo=0, ahead=0, threads=threads):
        box = tuple(slice(s, s + n) for s, n in zip(part.start, part.core, strict=True))
        waiting.append((store[box].write(part.data), part.data.size))
        if len(waiting) > 1:
            yield _finish(store, *waiting.popleft())
    while waiting:
        yield _finish(store, *waiting.popleft())


def _finish(store: Any, writing: Any, voxels: int) -> int:
    try:
        writing.result()
    except Exception as error:
        raise InputError(
            f"out: got {store.kvstore.path}, which cannot be written ({one_line(error)})"
        ) from error
    return voxels


def _one_shard(volume: Volume, shard: Shape) -> Shape:
    z, y, x = (min(s, n) for s, n in zip(shard, volume.shape, strict=True))
    return (z, y, x)


def _block_of_shards(volume: Volume, shard: Shape) -> Shape:
    """As many shards along x, then y, as memory allows: slices are then read once each."""
    z, y, x = _one_shard(volume, shard)
    room = max(_BLOCK_BYTES // (z * y * x * volume.dtype.itemsize), 1)
    along_x = min(room, -(-volume.shape[2] // x))
    along_y = min(room // along_x, -(-volume.shape[1] // y))
    return (z, y * max(along_y, 1), x * along_x)


def _halved(volume: Volume, shape: Shape) -> Volume:
    """The lazy mean over 2 x 2 x 2 voxels; an odd last layer counts twice."""

    def read(z: slice, y: slice, x: slice) -> npt.NDArray[np.generic]:
        out = np.empty((z.stop - z.start, y.stop - y.start, x.stop - x.start), volume.dtype)
        # In slabs, because the finer level takes eight times the memory.
        for start in range(z.start, z.stop, _SLAB):
            slab = slice(start, min(start + _SLAB, z.stop))
            out[slab.start - z.start : slab.stop - z.start] = _mean_of_eight(volume, (slab, y, x))
        return out

    return replace(volume, shape=shape, reader=read)


def _mean_of_eight(volume: Volume, box: tuple[slice, slice, slice]) -> npt.NDArray[np.generic]:
    shape = tuple(s.stop - s.start for s in box)
    z, y, x = (slice(2 * s.start, 2 * s.stop) for s in box)
    fine: npt.NDArray[Any] = volume.read(z, y, x)
    odd = [(0, 2 * n - m) for n, m in zip(shape, fine.shape, strict=True)]
    if any(after for _, after in odd):
        fine = np.pad(fine, odd, mode="edge")
    mean = np.zeros(shape)
    for i, j, k in itertools.product((0, 1), repeat=3):
        mean += fine[i::2, j::2, k::2]
    mean /= 8
    return (mean if volume.dtype.kind == "f" else np.rint(mean)).astype(volume.dtype)


def ome_metadata(volume: Volume, levels: int = 1) -> dict[str, Any]:
    """The `ome` attributes of OME-Zarr 0.5 for a volume and its pyramid of 2 x 2 x 2 means.

    Returns
    -------
    dict
        `version` and one `multiscales` image: axes z, y, x of space with their unit (left out
        where it is unknown), per level the scale and, below the first, the translation of half
        the voxels merged.
    """
    unit = udunits(volume.unit)
    axis = {"type": "space"} | ({"unit": unit} if unit else {})
    datasets: list[dict[str, Any]] = []
    for level in range(levels):
        merged = 2**level
        steps: list[dict[str, Any]] = [
            {"type": "scale", "scale": [s * merged for s in volume.spacing]}
        ]
        if level:
            shift = [s * (merged - 1) / 2 for s in volume.spacing]
            steps.append({"type": "translation", "translation": shift})
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    image: dict[str, Any] = {
        "name": volume.name,
        "axes": [{"name": name, **axis} for name in "zyx"],
        "datasets": datasets,
    }
    if levels > 1:
        image["type"] = "mean"
    return {"version": "0.5", "multiscales": [image]}
