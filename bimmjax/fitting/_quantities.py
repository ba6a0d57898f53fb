"""The numbers that a fit reports, as one flat vector, with the scale on which each is normal."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax.fitting._result import BY_PAIR
from bimmjax.models import Params, phase_pairs
from bimmjax.properties import properties

_SCALES = {
    "intensities": "plain",
    "noise_std": "log",
    "correlation": "fisher",
    "blur_std": "log",
    "interface_halfwidth": "log",
    "interior_weights": "logit",
    "interface_weights": "logit",
    "interface_tilt": "curvature",
    "interface_bend": "curvature",
    "volume_fractions": "logit",
    "interface_areas": "log",
    "resolution_10_90": "log",
}


class Quantity(NamedTuple):
    """Name, shape and scale of a reported number or list of numbers."""

    name: str
    shape: tuple[int, ...]
    scale: str


def quantities(params: Params, spacing: Array | float) -> dict[str, Array]:
    """All reported numbers of a model, those that it lacks left out."""
    everything = {**params._asdict(), **properties(params, spacing)._asdict()}
    return {
        k: everything[k] for k in _SCALES if np.size(everything[k]) and everything[k] is not None
    }


def flat_quantities(params: Params, spacing: Array | float) -> Array:
    """`quantities` as one vector (q,)."""
    return jnp.concatenate([jnp.ravel(x) for x in quantities(params, spacing).values()])


def layout(params: Params) -> list[Quantity]:
    """What stands where in `flat_quantities`."""
    found = jax.eval_shape(quantities, params, 1.0)
    # JAX sorts the keys of dictionaries; the order of the vector is that of `_SCALES`.
    return [Quantity(name, found[name].shape, _SCALES[name]) for name in _SCALES if name in found]


def intervals(order: list[Quantity], values: np.ndarray, half: np.ndarray) -> dict[str, Any]:
    """Intervals of a half-width to first order, on the scale of each quantity.

    values, half (q,); returns [low, high] by name, in the shape of `fit.json`.
    """
    result: dict[str, Any] = {}
    at = 0
    for name, shape, scale in order:
        size = int(np.prod(shape))
        part = slice(at, at + size)
        pairs = [
            _interval(value, step, scale)
            for value, step in zip(values[part], half[part], strict=True)
        ]
        at += size
        if name in BY_PAIR:
            phases = round((1 + np.sqrt(1 + 8 * size)) / 2)
            keys = [f"{i}-{j}" for i, j in phase_pairs(phases)]
            result[name] = dict(zip(keys, pairs, strict=True))
        else:
            result[name] = pairs[0] if shape == () else pairs
    return result


def _interval(value: float, step: float, scale: str) -> list[float] | None:
    if not np.isfinite(value + step) or (scale == "log" and step > 20.0 * value):
        return None
    if scale == "curvature":
        # With no interface to tell it, a tilt or bend is not determined.
        return [float(value - step), float(value + step)] if step < 1.0 else None
    if scale == "plain":
        return [float(value - step), float(value + step)]
    if scale == "log":
        ratio = np.exp(min(step / max(value, 1e-300), 700.0))
        return [float(value / ratio), float(value * ratio)]
    if scale == "fisher":
        inside = np.clip(value, -1 + 1e-9, 1 - 1e-9)
        z, dz = np.arctanh(inside), step / (1 - inside**2)
        return [float(np.tanh(z - dz)), float(np.tanh(z + dz))]
    if step == 0.0:
        return [float(value), float(value)]
    inside = np.clip(value, 1e-12, 1 - 1e-12)
    z, dz = np.log(inside / (1 - inside)), step / (inside * (1 - inside))
    low, high = np.clip([z - dz, z + dz], -700.0, 700.0)
    return [float(1 / (1 + np.exp(-low))), float(1 / (1 + np.exp(-high)))]
