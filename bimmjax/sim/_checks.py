"""What the simulators refuse, one line each; values traced by `jit` pass unseen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from bimmjax._core.checks import InputError


def random_key(name: str, key: object) -> jax.Array:
    """`key` itself if it is a scalar JAX random key, new style or legacy."""
    if isinstance(key, jax.Array):
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0:
            return key
        if key.dtype == jnp.uint32 and key.ndim == 1:
            return key
    what = f"an array of shape {key.shape}" if isinstance(key, jax.Array) else repr(key)
    raise InputError(f"{name}: got {what}, wants one random key such as jax.random.key(0)")


def volume_shape(name: str, shape: object) -> tuple[int, int, int]:
    """`shape` as three positive ints (z, y, x)."""
    wants = "wants three positive whole numbers (z, y, x)"
    if not isinstance(shape, Sequence | np.ndarray) or len(shape) != 3:
        raise InputError(f"{name}: got {shape!r}, {wants}")
    for n in shape:
        if isinstance(n, bool) or not hasattr(n, "__index__") or int(n) < 1:
            raise InputError(f"{name}: got {tuple(shape)!r}, {wants}")
    z, y, x = (int(n) for n in shape)
    return z, y, x


def number(name: str, value: object, *, low: float = 0.0, open_low: bool = False) -> None:
    """Refuse what is not a finite scalar at or above `low` (above it, if `open_low`)."""
    if isinstance(value, Tracer):
        return
    wants = f"wants a finite number {'above' if open_low else 'of at least'} {low:g}"
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(f"{name}: got {value!r}, {wants}") from None
    if not math.isfinite(found) or found < low or (open_low and found == low):
        raise InputError(f"{name}: got {found:g}, {wants}")


def numbers(name: str, values: object, wants: str) -> np.ndarray:
    """`values` as a 1D float64 array of finite numbers, at least one."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: got {values!r}, wants {wants}") from None
    if found.ndim != 1 or found.size == 0 or not np.all(np.isfinite(found)):
        raise InputError(f"{name}: got {values!r}, wants {wants}")
    return found


def phase_fractions(name: str, fractions: object) -> np.ndarray:
    """`fractions` as a float64 array (N,) of positive numbers that sum to 1."""
    wants = "one positive number per phase, summing to 1"
    found = numbers(name, fractions, wants)
    if np.any(found <= 0) or abs(found.sum() - 1) > 1e-6:
        listed = ", ".join(f"{f:g}" for f in found)
        raise InputError(f"{name}: got ({listed}) with sum {found.sum():g}, wants {wants}")
    if found.size > 256:
        raise InputError(f"{name}: got {found.size} phases, wants at most 256 (labels are uint8)")
    return found / found.sum()


def phase_intensities(name: str, intensities: object, phases: int) -> np.ndarray:
    """`intensities` as a float64 array of `phases` ascending numbers."""
    wants = f"{phases} ascending number{'s' if phases > 1 else ''}, one per phase"
    found = numbers(name, intensities, wants)
    if found.size != phases or np.any(np.diff(found) <= 0):
        raise InputError(f"{name}: got ({', '.join(f'{i:g}' for i in found)}), wants {wants}")
    return found


def phase_noise(name: str, noise_std: object, phases: int) -> np.ndarray:
    """`noise_std` as a float64 array: () when shared by the phases, (N,) when per phase."""
    wants = f"a number of at least 0, or {phases} of them, one per phase"
    try:
        found = np.asarray(noise_std, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: got {noise_std!r}, wants {wants}") from None
    if found.shape not in ((), (phases,)) or not np.all(np.isfinite(found) & (found >= 0)):
        raise InputError(f"{name}: got {noise_std!r}, wants {wants}")
    return found


def volume(name: str, image: object) -> jax.Array:
    """`image` as a 3D float32 JAX array."""
    shape = np.shape(image)  # type: ignore[arg-type]
    if len(shape) != 3 or 0 in shape:
        raise InputError(f"{name}: got an array of shape {shape}, wants (z, y, x)")
    return jnp.asarray(image, jnp.float32)


def rising(low_name: str, low: object, high_name: str, high: object, count: int) -> None:
    """Refuse what is not below another: numbers, or `count` of them."""
    if isinstance(low, Tracer) or isinstance(high, Tracer):
        return
    ends = []
    for name, value in ((low_name, low), (high_name, high)):
        try:
            ends.append(np.asarray(value, np.float64))
        except (TypeError, ValueError):
            raise InputError(f"{name}: got {value!r}, wants a number") from None
        if ends[-1].shape not in ((), (count,)) or not np.all(np.isfinite(ends[-1])):
            raise InputError(f"{name}: got {value!r}, wants a finite number, or {count} of them")
    if not np.all(ends[0] < ends[1]):
        raise InputError(f"{low_name}: got {low!r}, wants less than {high_name}, {high!r}")


def length_or_inf(name: str, value: object) -> None:
    """Refuse what is not a number above 0; infinite ones are fine."""
    if not isinstance(value, Tracer) and not (isinstance(value, float) and value == math.inf):
        number(name, value, open_low=True)


def material_labels(name: str, labels: object, materials: int) -> Any:
    """(z, y, x) uint8, every one of them below `materials`; traced ones are taken as they are."""
    found = labels if isinstance(labels, Tracer) else np.asarray(labels)
    if found.ndim != 3 or found.size == 0:
        raise InputError(f"{name}: got an array of shape {found.shape}, wants (z, y, x)")
    if found.dtype.kind not in "iub":
        raise InputError(f"{name}: got {found.dtype}, wants whole numbers, one per material")
    if not isinstance(found, Tracer):
        low, high = int(found.min()), int(found.max())
        if low < 0 or high >= min(materials, 256):
            raise InputError(
                f"materials: got {materials} for labels {low} to {high}, wants one for each label "
                "from 0 on, at most 256"
            )
    return found.astype(np.uint8)
