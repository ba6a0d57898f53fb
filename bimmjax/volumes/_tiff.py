"""TIFF: a folder of slices, or one file of many pages; read page by page, rows only if plain."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from bimmjax._core.checks import InputError
from bimmjax.volumes._units import UNKNOWN, Spacing, from_metadata, normalise_unit
from bimmjax.volumes._volume import Volume, check_grid, one_line

SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")

PageReader = Callable[[slice, slice], npt.NDArray[Any]]


@contextmanager
def _opened(path: Path, argument: str = "source") -> Iterator[Any]:
    """A TiffFile whose failures to parse are told as bad input."""
    import tifffile

    try:
        file = tifffile.TiffFile(path)
    except Exception as error:  # a damaged header fails in many ways: struct, key, value, memory
        raise InputError(
            f"{argument}: got {path}, which is not a readable TIFF ({one_line(error)})"
        ) from error
    with file:
        try:
            yield file
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{argument}: got {path}, whose TIFF pages cannot be read ({one_line(error)})"
            ) from error


def open_tiff(path: Path, dataset: str | None = None) -> Volume:
    """One TIFF file of many pages. `dataset` is the number of the image series if there are many.

    Raises
    ------
    InputError
        Not a TIFF, truncated, colour, or not 3D.
    """
    with _opened(path) as file:
        _check_whole(path, file)
        number = _pick_series(path, list(file.series), dataset)
        series = file.series[number]
        axes, sizes = _grey_axes(path, series)
        shape, dtype = check_grid(sizes, series.dtype, f"{path} (axes {axes})")
        keyframe = series.keyframe
        stored = keyframe.dtype.newbyteorder(file.byteorder)
        if plain := series.dataoffset is not None:
            page_bytes = shape[1] * shape[2] * stored.itemsize
            offsets = [series.dataoffset + i * page_bytes for i in range(shape[0])]
            ends = [o + page_bytes for o in offsets]
        else:
            pages = [series.pages[i] for i in range(len(series.pages))]
            if len(pages) != shape[0] or any(p is None for p in pages):
                raise InputError(
                    f"source: got {path} with {len(pages)} pages for {shape[0]} slices; wants one "
                    "page per slice"
                )
            plain = all(p.is_final for p in pages)
            offsets = [p.dataoffsets[0] if p.dataoffsets else 0 for p in pages]
            ends = [
                max(
                    (o + n for o, n in zip(p.dataoffsets, p.databytecounts, strict=True)), default=0
                )
                for p in pages
            ]
        _check_ends(path, ends)
        if not plain:
            _check_codec(path, series.pages[0])
        spacing, unit = _spacing(file, series, number)
    if plain:
        page = _plain_pages(path, stored, shape[1:], offsets)
    else:
        page = _decoded_pages(path, number, shape[0])

    def read(z: slice, y: slice, x: slice) -> npt.NDArray[np.generic]:
        return _stack([page(i) for i in _range(z)], dtype, y, x)

    return Volume(
        shape, dtype, read, spacing, unit, path.name, (1, shape[1], shape[2]), "multi-page TIFF"
    )


def open_folder(path: Path, files: list[Path]) -> Volume:
    """A folder of 2D TIFF slices, one per file, in natural order (`s2.tif` before `s10.tif`).

    Raises
    ------
    InputError
        A slice that is damaged, has several pages, or another shape or dtype than the first; the
        message names the file.
    """
    files = sorted(files, key=natural_key)
    if len(files) == 1:
        with _opened(files[0]) as file:
            several = len(file.pages) > 1
        if several:
            return open_tiff(files[0])
    # All headers are looked at now: better told at once than after an hour of computing.
    with ThreadPoolExecutor(4, thread_name_prefix="bimmjax-tiff") as pool:
        slices = list(pool.map(_look_at_slice, files, [True] + [False] * (len(files) - 1)))
    first = slices[0]
    for file, other in zip(files, slices, strict=True):
        if other.shape != first.shape or other.dtype != first.dtype:
            raise InputError(
                f"source: got {file} of shape {other.shape} and dtype {other.dtype}, wants "
                f"{first.shape} and {first.dtype} as in {files[0].name}: one shape and dtype "
                "throughout the folder"
            )
    shape, dtype = check_grid((len(files), *first.shape), first.dtype, f"{path}")

    def read(z: slice, y: slice, x: slice) -> npt.NDArray[np.generic]:
        return _stack([slices[i].read for i in _range(z)], dtype, y, x)

    return Volume(
        shape, dtype, read, *UNKNOWN, path.name, (1, shape[1], shape[2]), "folder of TIFF slices"
    )


def natural_key(path: Path) -> tuple[object, ...]:
    """Sorts runs of digits by their value: `s2` before `s10`."""
    parts = re.split(r"(\d+)", path.name)
    return (*(int(p) if i % 2 else p.lower() for i, p in enumerate(parts)), path.name)


@dataclass(frozen=True)
class _Slice:
    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored: np.dtype[Any]
    offset: int | None  # of plain voxels; None where they must be decoded

    def read(self, y: slice, x: slice) -> npt.NDArray[Any]:
        if self.offset is not None:
            shape = (self.shape[0], self.shape[1])
            return np.memmap(self.path, self.stored, "r", self.offset, shape)[y, x]
        with _opened(self.path) as file:
            return file.pages[0].asarray(maxworkers=1)[y, x]


def _look_at_slice(path: Path, probe: bool) -> _Slice:
    with _opened(path) as file:
        _check_whole(path, file)
        if len(file.pages) != 1:
            raise InputError(
                f"source: got {path} with {len(file.pages)} pages, wants one slice per file in a "
                "folder of slices (or open that file itself)"
            )
        page = file.pages[0]
        if len(page.shape) != 2:
            raise InputError(f"source: got {path} of shape {page.shape}, wants a grey slice (y, x)")
        if page.dtype is None:
            raise InputError(f"source: got {path} of an unknown sample type, wants grey values")
        ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        _check_ends(path, ends)
        offset = page.dataoffsets[0] if page.is_final else None
        if offset is None and probe:
            _check_codec(path, page)
        stored = page.dtype.newbyteorder(file.byteorder)
        return _Slice(path, page.shape, page.dtype, stored, offset)


def _stack(
    pages: list[PageReader], dtype: np.dtype[np.generic], y: slice, x: slice
) -> npt.NDArray[np.generic]:
    out = np.empty((len(pages), y.stop - y.start, x.stop - x.start), dtype)
    for target, page in zip(out, pages, strict=True):
        target[...] = page(y, x)
    return out


def _range(z: slice) -> range:
    return range(z.start, z.stop)


def _plain_pages(
    path: Path, stored: np.dtype[Any], shape: tuple[int, int], offsets: list[int]
) -> Callable[[int], PageReader]:
    """Pages as windows of one memory map: only the rows asked for are read from disk."""
    raw = np.memmap(path, np.uint8, "r")
    size = shape[0] * shape[1] * stored.itemsize

    def page(i: int) -> PageReader:
        window = raw[offsets[i] : offsets[i] + size].view(stored).reshape(shape)
        return lambda y, x: window[y, x]

    return page


def _decoded_pages(path: Path, series: int, count: int) -> Callable[[int], PageReader]:
    """Pages that must be decompressed whole, from one file kept open for the volume's life."""
    import weakref

    import tifffile

    file: Any = tifffile.TiffFile(path)
    file.filehandle.set_lock(True)
    pages = [file.series[series].pages[i] for i in range(count)]

    def page(i: int) -> PageReader:
        return lambda y, x: pages[i].asarray(maxworkers=1).reshape(pages[i].shape[-2:])[y, x]

    weakref.finalize(page, file.close)
    return page


def _pick_series(path: Path, series: list[Any], dataset: str | None) -> int:
    told = "; ".join(f"{i}: {s.shape} {s.dtype}" for i, s in enumerate(series[:8]))
    if len(series) > 8:
        told += "; ..."
    if dataset is not None:
        if not (dataset.isdigit() and int(dataset) < len(series)):
            raise InputError(f"dataset: got {dataset!r}, wants the number of a series: {told}")
        return int(dataset)
    if len(series) > 1:
        raise InputError(
            f"source: got {path}, whose pages are not all of one shape and dtype; wants one "
            f"volume, or the number of a series as dataset ({told})"
        )
    if not series:
        raise InputError(f"source: got {path} without an image, wants a TIFF of many pages")
    return 0


def _grey_axes(path: Path, series: Any) -> tuple[str, tuple[int, ...]]:
    """The axes longer than one, refused where one of them is colour."""
    kept = [(a, int(n)) for a, n in zip(series.axes, series.shape, strict=True) if n > 1]
    if len(kept) < 3:  # a volume may be one voxel thin; tifffile has squeezed nothing yet then
        kept = [(a, int(n)) for a, n in zip(series.axes, series.shape, strict=True)]
    axes = "".join(a for a, _ in kept)
    # Many programs (and tifffile itself, for ImageJ) call the pages of a plain stack channels;
    # only few of them, or channels of a stack, are channels indeed.
    channels = dict(kept).get("C", 0)
    if "S" in axes or 1 < channels <= 4 or (channels > 1 and len(kept) > 3):
        raise InputError(
            f"source: got {path} with colour or channels (axes {axes}, shape "
            f"{tuple(n for _, n in kept)}); wants one grey value per voxel"
        )
    return axes, tuple(n for _, n in kept)


def _check_ends(path: Path, ends: list[int]) -> None:
    size = path.stat().st_size
    for page, end in enumerate(ends):
        if end > size:
            raise InputError(
                f"source: got {path}, a truncated TIFF: page {page} of {len(ends)} ends at byte "
                f"{end} and the file at {size}; wants the whole file"
            )


def _check_codec(path: Path, page: Any) -> None:
    """Decode one page: a compression this machine lacks is told now, not at the first block."""
    try:
        page.asarray(maxworkers=1)
    except Exception as error:
        extra = " (pip install 'bimmjax[codecs]')" if "imagecodecs" in str(error) else ""
        raise InputError(
            f"source: got {path}, whose pages cannot be decoded ({one_line(error)}){extra}"
        ) from error


def _check_whole(path: Path, file: Any) -> None:
    """Follow the chain of page directories to its end.

    tifffile stops at a directory beyond the end of the file and gives the pages before it; half
    a volume must not pass for a whole one.
    """
    order, size = file.byteorder, path.stat().st_size
    big = file.tiff.version == 43
    count, entry, link = ("Q", 20, "Q") if big else ("H", 12, "I")
    with path.open("rb") as handle:

        def number(kind: str, at: int) -> int:
            width = struct.calcsize(kind)
            handle.seek(at)
            data = handle.read(width)
            if at <= 0 or len(data) < width:
                raise InputError(
                    f"source: got {path}, a truncated TIFF: a page directory lies at byte {at} "
                    f"and the file ends at {size}; wants the whole file"
                )
            return int(struct.unpack(order + kind, data)[0])

        seen: set[int] = set()
        at = number(link, 8 if big else 4)
        while at and at not in seen:
            seen.add(at)
            at = number(link, at + struct.calcsize(count) + entry * number(count, at))


def _spacing(file: Any, series: Any, number: int) -> tuple[Spacing, str]:
    """Spacing only where all three axes are told: by OME-XML or by ImageJ."""
    if file.is_ome:
        return _ome_spacing(file.ome_metadata, number)
    if file.is_imagej:
        return _imagej_spacing(file.imagej_metadata or {}, series.keyframe.tags)
    return UNKNOWN


def _ome_spacing(xml: str | None, index: int) -> tuple[Spacing, str]:
    try:
        images = [e for e in ElementTree.fromstring(xml or "").iter() if e.tag.endswith("}Pixels")]
        pixels = images[index]
        sizes = [float(pixels.attrib[f"PhysicalSize{a}"]) for a in "ZYX"]
    except (ElementTree.ParseError, IndexError, KeyError, ValueError):
        return UNKNOWN
    # OME's default unit is the micrometre.
    return from_metadata(sizes, [pixels.get(f"PhysicalSize{a}Unit", "um") for a in "ZYX"])


def _imagej_spacing(metadata: dict[str, Any], tags: Any) -> tuple[Spacing, str]:
    """ImageJ: `spacing` is the slice distance, the resolution tags are pixels per `unit`."""
    unit = normalise_unit(str(metadata.get("unit", "")))
    if unit is None or unit in ("voxel", "unit") or "spacing" not in metadata:
        return UNKNOWN
    try:
        x, y = (
            tags[name].value[1] / tags[name].value[0] for name in ("XResolution", "YResolution")
        )
        z = float(metadata["spacing"])
    except (KeyError, ZeroDivisionError, TypeError, ValueError):
        return UNKNOWN
    # Resolution is stored as a ratio of integers: 12 digits are all it holds.
    return from_metadata([z, *(float(f"{s:.6g}") for s in (y, x))], [unit] * 3)


def is_tiff(path: str | os.PathLike[str]) -> bool:
    """By its suffix."""
    return str(path).lower().endswith(SUFFIXES)
