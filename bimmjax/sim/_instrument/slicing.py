"""Slices of uneven thickness, as an ion beam cuts them, out of a volume of even voxels."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax._core.checks import InputError, choice, real_number, whole_number
from bimmjax.sim import _checks
from bimmjax.sim._per_slice import slice_keys
from bimmjax.volumes import Volume

MEAN_THICKNESS = 10.16
STD_THICKNESS = 3.12
"""nm: 316 slices of nanoporous gold (FIB thesis, Article III, §2.1.1)."""


def draw_thickness(
    key: jax.Array,
    count: int,
    mean: float = MEAN_THICKNESS,
    std: float = STD_THICKNESS,
    *,
    step: float | None = None,
) -> np.ndarray:
    """Thicknesses of milled slices, from a gamma distribution.

    Its shape is (mean/std)², its scale std²/mean.

    Source: FIB thesis, Article II, §2.1.2.

    Parameters
    ----------
    key
        Random key. The first slices of a longer draw are the same.
    count
        Number of slices.
    mean
        nm; that of Article III by default.
    std
        nm; that of Article III by default.
    step
        nm, optional. Whole multiples of it, at least one, as Article II draws them.

    Returns
    -------
    (count,) float64, nm.

    Raises
    ------
    InputError
        A count below 1, a length that is not above 0, or a std above the mean.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import draw_thickness
    >>> thickness = draw_thickness(jax.random.key(0), 4000)
    >>> bool(abs(thickness.mean() - 10.16) < 0.2), bool(abs(thickness.std() - 3.12) < 0.2)
    (True, True)
    """
    from scipy.special import gammaincinv

    key = _checks.random_key("key", key)
    count = whole_number("count", count, 1, 2**24)
    _checks.number("mean", mean, open_low=True)
    _checks.number("std", std, open_low=True)
    if std > mean:
        raise InputError(f"std: got {std:g}, wants at most the mean, {mean:g}")
    # Few lengths, so that few are compiled.
    words = _words(key, 1 << max(count - 1, 63).bit_length())[:count]
    chance = (np.asarray(words, np.float64) + 0.5) / 2.0**32
    thickness = gammaincinv((mean / std) ** 2, chance) * (std**2 / mean)
    if step is None:
        return thickness
    _checks.number("step", step, open_low=True)
    return step * np.maximum(np.rint(thickness / step), 1.0)


@functools.partial(jax.jit, static_argnames="count")
def _words(key: jax.Array, count: int) -> jax.Array:
    # A key for each slice: how many are drawn with it must not matter.
    keys = slice_keys(key, jnp.uint32(0), count)
    return jax.vmap(lambda own: jax.random.bits(own, dtype=jnp.uint32))(keys)


def slice_positions(thickness: Any, *, depth: float | None = None) -> np.ndarray:
    """Depths at which the faces lie that milling slices of these thicknesses lays bare.

    Parameters
    ----------
    thickness
        (n,) above 0. The first face is at 0; `thickness[i]` lies between faces i and i+1.
    depth
        Optional. Faces beyond it are left out.

    Returns
    -------
    (m,) float64, ascending, in the unit of `thickness`; n + 1 of them without a `depth`.

    Raises
    ------
    InputError
        A thickness that is not above 0.

    Examples
    --------
    >>> from bimmjax.sim import slice_positions
    >>> slice_positions([10.0, 7.5, 12.5], depth=20.0)
    array([ 0. , 10. , 17.5])
    """
    found = _checks.numbers("thickness", thickness, "numbers above 0")
    if np.any(found <= 0):
        raise InputError(f"thickness: got {found.min():g}, wants numbers above 0")
    faces = np.concatenate([[0.0], np.cumsum(found)])
    if depth is None:
        return faces
    _checks.number("depth", depth)
    # Sums of thicknesses are rounded; a face at the very end still counts.
    return faces[faces <= depth * (1.0 + 1e-9)]


def draw_positions(
    key: jax.Array,
    depth: float,
    mean: float = MEAN_THICKNESS,
    std: float = STD_THICKNESS,
    *,
    step: float | None = None,
) -> np.ndarray:
    """Faces of slices of drawn thickness down to a depth: `draw_thickness`, `slice_positions`.

    Parameters
    ----------
    key
        As for `draw_thickness`.
    mean
        As for `draw_thickness`.
    std
        As for `draw_thickness`.
    step
        As for `draw_thickness`.
    depth
        nm; of a volume of n slices `spacing` apart it is (n - 1) · spacing.

    Returns
    -------
    (m,) float64, nm.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import draw_positions
    >>> positions = draw_positions(jax.random.key(0), 1000.0, step=2.5)
    >>> bool(positions[-1] > 950), bool((positions % 2.5 == 0).all())
    (True, True)
    """
    _checks.number("depth", depth)
    _checks.number("mean", mean, open_low=True)
    count = 16 + int(depth / mean)
    while True:
        faces = slice_positions(draw_thickness(key, count, mean, std, step=step))
        if faces[-1] > depth:
            return faces[faces <= depth * (1.0 + 1e-9)]
        count *= 2


def cut_slices(
    volume: Any, positions: Any, *, spacing: float | None = None, method: str = "linear"
) -> Any:
    """The uneven stack that slicing makes of a volume of even voxels ("mimicking" data).

    Position 0 is the first slice of the volume, (n - 1) · spacing the last.

    Source: FIB thesis, Article II, §2.1.2.

    Parameters
    ----------
    volume
        Array (z, y, x), or a `Volume`, from which slices are then read as they are wanted.
    positions
        (m,) from 0 to (n - 1) · spacing.
    spacing
        Distance of the volume's slices in the unit of `positions`. Default: the
        `Volume`'s own, 1 for an array.
    method
        "linear": between the two slices around a position, for images; "nearest": one
        slice as it is, for labels.

    Returns
    -------
    (m, y, x) jax.Array, or Volume
        float32 for "linear", else the dtype of `volume`. The z spacing of a Volume is the mean
        distance of the slices.

    Raises
    ------
    InputError
        Positions outside the volume, or another method.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.sim import cut_slices
    >>> ramp = np.arange(5.0)[:, None, None] * np.ones((1, 2, 2))
    >>> cut_slices(ramp, [0.0, 2.5, 10.0], spacing=2.5)[:, 0, 0].tolist()
    [0.0, 1.0, 4.0]
    """
    choice("method", method, ("linear", "nearest"))
    lazy = isinstance(volume, Volume)
    shape = volume.shape if lazy else np.shape(volume)
    if len(shape) != 3 or 0 in shape:
        raise InputError(f"volume: got an array of shape {shape}, wants (z, y, x)")
    apart = spacing if spacing is not None else (volume.spacing[0] if lazy else 1.0)
    apart = real_number("spacing", apart, 1e-12, 1e12)
    below, part = _between(positions, apart, shape[0], method)
    if lazy:
        return _lazily(volume, below, part, positions)
    values = jnp.asarray(volume)
    if method == "nearest":
        return values[below]
    return _mixed(values, jnp.asarray(below), jnp.asarray(part))


def _between(
    positions: Any, spacing: float, slices: int, method: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """The slice at or before each position, and how far it is to the next one."""
    places = _checks.numbers("positions", positions, "numbers within the volume") / spacing
    # Within rounding of float32, in which thicknesses are drawn.
    slack = 1e-6 * slices
    if places.min() < -slack or places.max() > slices - 1 + slack:
        raise InputError(
            f"positions: got {places.min() * spacing:g} to {places.max() * spacing:g}, wants them "
            f"from 0 to {(slices - 1) * spacing:g}, the last slice"
        )
    places = np.clip(places, 0, slices - 1)
    if method == "nearest":
        return np.floor(places + 0.5).astype(np.int32).clip(max=slices - 1), None
    below = np.floor(places).astype(np.int32)
    return below, (places - below).astype(np.float32)


@jax.jit
def _mixed(values: jax.Array, below: jax.Array, part: jax.Array) -> jax.Array:
    above = jnp.minimum(below + 1, values.shape[0] - 1)
    low, high = values[below].astype(jnp.float32), values[above].astype(jnp.float32)
    return low + part[:, None, None] * (high - low)


def _lazily(volume: Volume, below: np.ndarray, part: np.ndarray | None, positions: Any) -> Volume:
    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        made = []
        for i in range(z.start, z.stop):
            first = int(below[i])
            # The next slice is read only where something of it is wanted.
            more = 0 if part is None or part[i] == 0 else 1
            pair = volume.read(slice(first, first + 1 + more), y, x)
            if part is not None:
                pair = pair.astype(np.float32)
                made.append(pair[0] + part[i] * (pair[-1] - pair[0]))
            else:
                made.append(pair[0])
        return np.stack(made)

    faces = np.asarray(positions, np.float64)
    apart = float((faces[-1] - faces[0]) / (faces.size - 1)) if faces.size > 1 else 1.0
    return replace(
        volume,
        shape=(below.size, volume.shape[1], volume.shape[2]),
        dtype=volume.dtype if part is None else np.dtype(np.float32),
        reader=read,
        spacing=(apart if apart > 0 else 1.0, volume.spacing[1], volume.spacing[2]),
        chunks=(1, volume.chunks[1], volume.chunks[2]),
        format=f"slices of {volume.format}",
    )
