"""Real volumes for first steps: found beside the checkout or in the cache, else fetched by pip."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from bimmjax.cli._cache import cache_folder, writable

_REQUIREMENT = "qim3d==1.6.0"
_TIMEOUT = 120.0


class Example(NamedTuple):
    """A volume that the package qim3d carries."""

    file: str
    shape: tuple[int, int, int]
    what: str

    @property
    def origin(self) -> str:
        """What it is, where it comes from, and its licence."""
        return f"{self.what}, an example of qim3d 1.6.0 (MIT licence)"


EXAMPLES = {
    "cement": Example(
        "cement_128x128x128.tif", (128, 128, 128), "an X-ray CT of cement with round pores"
    ),
    "bone": Example("bone_128x128x128.tif", (128, 128, 128), "an X-ray CT of bone"),
    "fibers": Example("fibers_150x150x150.tif", (150, 150, 150), "a scan of a fibre composite"),
}


class Found(NamedTuple):
    """Where a file is; where it comes from, or why it cannot be had."""

    path: Path | None
    how: str


def find(example: Example, spare: Path | None = None) -> Found:
    """Get an example from beside the checkout, from the cache, or through pip.

    Parameters
    ----------
    example : Example
        What is wanted.
    spare : Path, optional
        Where to put what is fetched if no cache can be written.
    """
    beside = beside_checkout(example)
    if beside is not None:
        return Found(beside, f"read from {beside}")
    cached = _cached_path(example)
    if cached is not None and _is_right(cached, example):
        return Found(cached, f"kept in {cached}")
    target = cached or spare
    if target is None:
        return Found(None, "the cache folder cannot be written")
    print(f"Fetching {example.origin} (12 MB) ...", file=sys.stderr)
    why = fetch(example, target)
    if why is not None:
        return Found(None, why)
    return Found(target, "fetched" if cached is None else f"fetched and kept in {cached}")


def beside_checkout(example: Example) -> Path | None:
    """`shared/data` beside the working folder, this package's checkout or a folder above them."""
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            path = folder / "shared" / "data" / example.file
            if path.is_file() and _is_right(path, example):
                return path
    return None


def fetch(example: Example, target: Path) -> str | None:
    """Get an example from its wheel through pip into `target`, whole or not at all.

    Returns
    -------
    str or None
        Why it could not be had, in a few words.
    """
    with tempfile.TemporaryDirectory(prefix="bimmjax-") as folder:
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        words += ["--only-binary", ":all:", "--disable-pip-version-check", "--no-input"]
        # Of the package nothing is run, so the Python that it wants does not matter.
        words += ["--ignore-requires-python"]
        try:
            done = subprocess.run(
                [*words, _REQUIREMENT],
                capture_output=True,
                timeout=_TIMEOUT,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no answer from the package registry within {_TIMEOUT:.0f} s"
        except OSError as error:
            return f"pip cannot be run, {error.strerror}"
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            return "pip cannot download it"
        try:
            with zipfile.ZipFile(wheels[0]) as wheel:
                data = wheel.read(f"qim3d/examples/{example.file}")
        except (KeyError, OSError, zipfile.BadZipFile):
            return "the downloaded package does not hold it"
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        if not _is_right(partial, example):
            return "the downloaded file is not what it should be"
        partial.replace(target)
    except OSError as error:
        return f"{target.parent} cannot be written, {error.strerror}"
    finally:
        partial.unlink(missing_ok=True)
    return None


def _cached_path(example: Example) -> Path | None:
    try:
        folder = cache_folder() / "data"
    except RuntimeError:  # no home
        return None
    path = folder / example.file
    return path if path.is_file() or writable(folder) else None


def _is_right(path: Path, example: Example) -> bool:
    """Whether a file is the volume, by what it opens as: half a file or another one is not."""
    from tifffile import TiffFile

    try:
        with TiffFile(path) as file:
            series = file.series[0]
            whole = path.stat().st_size > math.prod(example.shape)  # not compressed
            return series.shape == example.shape and series.dtype == "uint8" and whole
    except Exception:
        return False
