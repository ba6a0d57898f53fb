"""What an instrument makes of stacks of any size, and the brightness that suits a material."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Lock

import jax
import numpy as np

from bimmjax.sim import _checks
from bimmjax.sim._electrons.bulk import bulk_backscatter
from bimmjax.sim._electrons.materials import Material, known_material
from bimmjax.sim._instrument.image import Instrument, instrument
from bimmjax.sim._shine.model import tilted_backscatter
from bimmjax.volumes import Volume

_SLICES = 16  # that go through together
_HEADROOM = 1.25


def detector_levels(
    materials: Sequence[str | Material], energy: float, tilt: float = 0.0
) -> tuple[float, float]:
    """Yields that a well-set detector shows as black and as white: `Instrument.black`, `.white`.

    Black is 0, white a quarter above the bulk coefficient of the brightest material: room for
    noise.

    Examples
    --------
    >>> from bimmjax.sim import detector_levels
    >>> detector_levels(["epoxy", "gold"], 2.0)
    (0.0, 0.559)
    """
    used = [known_material("materials", m) for m in materials]
    brightest = max(bulk_backscatter(m, energy) for m in used)
    if brightest <= 0.0:
        return 0.0, 1.0
    return 0.0, float(f"{_HEADROOM * tilted_backscatter(brightest, tilt):.3g}")


def instrument_volume(
    key: jax.Array,
    image: Volume,
    settings: Instrument | None = None,
    *,
    surface: jax.Array | None = None,
) -> Volume:
    """As `instrument`, of a stack of any size: slices are recorded when a box of them is read.

    Parameters
    ----------
    key
        As for `instrument`.
    settings
        As for `instrument`.
    surface
        As for `instrument`.
    image
        Volume of detected electrons per electron of the beam.

    Returns
    -------
    Volume
        float32, 0 to 1. Whole slices are made, some at a time; those read last are kept.

    Raises
    ------
    InputError
        A setting out of its range, when read.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from bimmjax import open_volume
    >>> from bimmjax.sim import instrument_volume
    >>> stack = open_volume(np.full((20, 16, 16), 0.3, np.float32))
    >>> seen = instrument_volume(jax.random.key(0), stack)
    >>> seen.read(slice(18, 20), slice(None), slice(None)).shape
    (2, 16, 16)
    """
    key = _checks.random_key("key", key)
    lock = Lock()
    last: dict[int, np.ndarray] = {}

    def recorded(at: int) -> np.ndarray:
        with lock:
            if at not in last:
                first = at * _SLICES
                some = image.read(slice(first, first + _SLICES), slice(None), slice(None))
                # Always as many slices, so that one program does for all.
                missing = _SLICES - len(some)
                full = np.pad(some, ((0, missing), (0, 0), (0, 0)), mode="edge")
                seen = instrument(key, full, settings, start=first, surface=surface).image
                last.clear()
                last[at] = np.asarray(seen)
            return last[at]

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        out = np.empty([s.stop - s.start for s in (z, y, x)], np.float32)
        for at in range(z.start // _SLICES, -(-z.stop // _SLICES)):
            first = at * _SLICES
            low, high = max(z.start, first), min(z.stop, first + _SLICES)
            out[low - z.start : high - z.start] = recorded(at)[low - first : high - first, y, x]
        return out

    return replace(
        image, dtype=np.dtype(np.float32), reader=read,
        chunks=(_SLICES, *image.shape[1:]), format=f"recorded {image.format}",
    )  # fmt: skip
