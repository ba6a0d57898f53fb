"""Parameters from plain values: what every model's `init` does."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from bimmjax._core.checks import InputError
from bimmjax.models._params import Params


def initial(
    intensities: ArrayLike,
    noise_std: ArrayLike,
    interior_weights: ArrayLike | None,
    interface_weights: ArrayLike | None = None,
    *,
    interfaces: bool = True,
    interface_halfwidth: ArrayLike | None = None,
    correlation: ArrayLike | None = None,
    blur_std: ArrayLike | None = None,
    interface_tilt: ArrayLike | None = None,
    interface_bend: ArrayLike | None = None,
) -> Params:
    """Check and complete parameters; what needs an interface is None for a single phase."""
    means = np.atleast_1d(np.asarray(intensities, float))
    if means.ndim != 1 or not np.all(np.isfinite(means)) or np.any(np.diff(means) <= 0):
        raise InputError(f"intensities: got {means.tolist()}, wants ascending finite numbers")
    phases = means.size
    noise = np.asarray(noise_std, float)
    if noise.shape not in ((), (phases,)) or not np.all(noise > 0):
        raise InputError(
            f"noise_std: got {noise.tolist()}, wants one positive number or {phases} of them"
        )
    pairs = phases * (phases - 1) // 2 if interfaces else 0
    interior, interface = _weights(interior_weights, interface_weights, phases, pairs)
    return Params(
        intensities=jnp.asarray(means, float),
        noise_std=jnp.asarray(noise, float),
        correlation=None if correlation is None else jnp.asarray(correlation, float),
        blur_std=None if blur_std is None or pairs == 0 else jnp.asarray(blur_std, float),
        interface_halfwidth=None
        if interface_halfwidth is None or pairs == 0
        else jnp.asarray(interface_halfwidth, float),
        interior_weights=interior,
        interface_weights=interface,
        interface_tilt=_by_pair("interface_tilt", interface_tilt, pairs),
        interface_bend=_by_pair("interface_bend", interface_bend, pairs),
    )


def _by_pair(name: str, values: ArrayLike | None, pairs: int) -> Array | None:
    if values is None or pairs == 0:
        return None
    given = np.asarray(values, float)
    if given.shape not in ((), (pairs,)) or not np.all(np.isfinite(given)):
        raise InputError(
            f"{name}: got {given.tolist()}, wants one finite number or {pairs} of them"
        )
    return jnp.broadcast_to(jnp.asarray(given, float), (pairs,))


def _weights(
    interior: ArrayLike | None, interface: ArrayLike | None, phases: int, pairs: int
) -> tuple[Array, Array]:
    given = [
        np.ones(size) if values is None else np.atleast_1d(np.asarray(values, float))
        for values, size in ((interior, phases), (interface, pairs))
    ]
    for name, values, size in zip(
        ("interior_weights", "interface_weights"), given, (phases, pairs), strict=True
    ):
        if values.shape != (size,) or not np.all(values >= 0):
            raise InputError(f"{name}: got {values.tolist()}, wants {size} numbers >= 0")
    total = given[0].sum() + given[1].sum()
    if not total > 0:
        raise InputError("interior_weights: got all zeros, wants a positive sum")
    return jnp.asarray(given[0] / total, float), jnp.asarray(given[1] / total, float)
