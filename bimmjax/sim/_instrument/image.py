"""The FIB-SEM as a whole: what becomes of perfect images on their way to a stack of files."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from bimmjax.sim import _checks
from bimmjax.sim._instrument.curtains import curtains
from bimmjax.sim._instrument.dose import GAUSSIAN_VARIANCE, add_shot_noise, dose_electrons
from bimmjax.sim._instrument.drift import draw_brightness, draw_shifts, drift
from bimmjax.sim._instrument.edges import blur_edges
from bimmjax.sim._per_slice import stack_of_slices


class Instrument(NamedTuple):
    """Settings; the defaults are the FIB thesis's where it tells a number.

    Attributes
    ----------
    current_pa
        Beam current (Article III, §2.1.1).
    dwell_us
        Dwell time per pixel (Article III, §2.1.1).
    gaussian_variance
        Of the noise after counting, black 0, white 1 (Article I, §2.2.1).
    black
        Yield that becomes 0.
    white
        Yield that becomes 1.
    edge_blur
        `blur_edges`, pixels; the thesis has the procedure (Article I, §2.2.2) without a number.
    drift_walk
        `drift`, pixels from slice to slice; ours.
    drift_jitter
        `drift`, pixels; ours.
    gain_std
        `brightness`; ours.
    offset_std
        `brightness`, where black is 0 and white 1; ours.
    brightness_length
        `brightness`, slices; ours.
    curtain_strength
        `curtains`; ours.
    curtain_width
        `curtains`, pixels; ours.
    curtain_length
        `curtains`, slices; ours.
    curtain_depth
        `curtains`, pixels; ours.
    curtain_slices
        `curtains`: seen in the first 10 to 30 slices (§2.1).
    """

    current_pa: Any = 50.0
    dwell_us: Any = 30.0
    gaussian_variance: Any = GAUSSIAN_VARIANCE
    black: Any = 0.0
    white: Any = 1.0
    edge_blur: Any = 1.5
    drift_walk: Any = 0.3
    drift_jitter: Any = 0.3
    gain_std: Any = 0.02
    offset_std: Any = 0.01
    brightness_length: Any = 0.0
    curtain_strength: Any = 0.05
    curtain_width: Any = 1.5
    curtain_length: Any = 8.0
    curtain_depth: Any = math.inf
    curtain_slices: Any = 20.0


class Recording(NamedTuple):
    """Images as an instrument delivers them, with what it did to them.

    Attributes
    ----------
    image : array
        (z, y, x) float32, 0 to 1.
    shifts : array
        (z, 2) float32, pixels along y and x by which a slice was moved.
    gains : array
        (z,) float32, by which grey levels were multiplied.
    offsets : array
        (z,) float32, added to grey levels then.
    curtains : array
        (z, x) float32, patterns of the curtains at the top of each slice, before it was moved.
    """

    image: jax.Array
    shifts: jax.Array
    gains: jax.Array
    offsets: jax.Array
    curtains: jax.Array


def instrument(
    key: jax.Array,
    image: jax.Array | np.ndarray,
    settings: Instrument | None = None,
    *,
    start: int = 0,
    surface: jax.Array | None = None,
) -> Recording:
    """Soft edges, curtains, drift, counted electrons, brightness and noise, in this order.

    What happens to a slice depends on its number, the key and its own pixels, on nothing else: a
    stack may go through block by block.

    Source: FIB thesis, §2.1; Article I, §2.2; Article III, §2.1.1.

    Parameters
    ----------
    key
        Random key, the same for all blocks of a stack.
    image
        (z, y, x), detected electrons per electron of the beam.
    settings
        See `Instrument`, its defaults if None.
    start
        Number of the first slice within its stack.
    surface
        Random key of what belongs to the milled surface, the curtains: images of it at
        several voltages share this one, and have a `key` each. Default: from `key`.

    Returns
    -------
    Recording

    Raises
    ------
    InputError
        If `image` is not 3D, or a setting is out of its range.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from bimmjax.sim import Instrument, instrument
    >>> stack = jnp.broadcast_to(jnp.where(jnp.arange(32) < 16, 0.1, 0.4), (3, 32, 32))
    >>> seen = instrument(jax.random.key(0), stack, Instrument(white=0.5))
    >>> seen.image.shape, seen.shifts.shape
    ((3, 32, 32), (3, 2))
    """
    key = _checks.random_key("key", key)
    stack = stack_of_slices("image", image, start)
    told = Instrument() if settings is None else settings
    # Before the rest of the work, which would be in vain.
    _checks.rising("black", told.black, "white", told.white, stack.shape[0])
    curtain_key, drift_key, brightness_key, noise_key = jax.random.split(key, 4)
    if surface is not None:
        curtain_key = _checks.random_key("surface", surface)
    soft = blur_edges(stack, told.edge_blur)
    striped, patterns = curtains(
        curtain_key,
        soft,
        strength=told.curtain_strength,
        width=told.curtain_width,
        length=told.curtain_length,
        depth=told.curtain_depth,
        slices=told.curtain_slices,
        start=start,
    )
    moved, shifts = drift(
        drift_key, striped, walk=told.drift_walk, jitter=told.drift_jitter, start=start
    )
    gains, offsets = draw_brightness(
        brightness_key,
        stack.shape[0],
        told.gain_std,
        told.offset_std,
        told.brightness_length,
        start,
    )
    # Gain and offset as other ends of the scale, so that nothing is clipped before they act.
    span = (jnp.asarray(told.white, jnp.float32) - told.black) / gains
    black = told.black - offsets * span
    seen = add_shot_noise(
        noise_key,
        moved,
        _dose(told.current_pa, told.dwell_us),
        gaussian_variance=told.gaussian_variance,
        black=black,
        white=black + span,
        start=start,
    )
    return Recording(seen, shifts, gains, offsets, patterns)


def per_slice(
    key: jax.Array, count: int, settings: Instrument
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shifts, gains and offsets of the slices 0 ... count - 1, as `instrument` has them."""
    _, drift_key, brightness_key, _ = jax.random.split(key, 4)
    shifts = draw_shifts(drift_key, count, settings.drift_walk, settings.drift_jitter)
    spread = settings.gain_std, settings.offset_std, settings.brightness_length
    gains, offsets = draw_brightness(brightness_key, count, *spread, 0)
    return np.asarray(shifts), np.asarray(gains), np.asarray(offsets)


def _dose(current_pa: Any, dwell_us: Any) -> Any:
    if isinstance(current_pa, Tracer) or isinstance(dwell_us, Tracer):
        return current_pa * dwell_us * dose_electrons(1.0, 1.0)
    return dose_electrons(current_pa, dwell_us)
