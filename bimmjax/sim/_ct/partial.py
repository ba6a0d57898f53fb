"""Partial volumes: voxels of a scan that are coarser than those of the truth."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from bimmjax._core.checks import InputError, whole_number
from bimmjax.sim import _checks


def block_mean(
    labels: jax.Array | np.ndarray, values: jax.Array | np.ndarray, factor: int
) -> jax.Array:
    """The mean of what a scan would see in `factor`³ voxels of labels: a coarser image.

    Parameters
    ----------
    labels
        (z, y, x) integers from 0; what is left over at the far edges is not used.
    values
        (N,) grey value of each label, any unit.
    factor
        Labels merged along each axis.

    Returns
    -------
    (z // factor, y // factor, x // factor) float32.

    Raises
    ------
    InputError
        Labels that are not integers, negative or without a value; or too few of them.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.sim import block_mean
    >>> labels = (np.arange(8) >= 3) * np.ones((2, 2, 1), np.uint8)
    >>> block_mean(labels, [0.0, 1.0], 2)[0, 0].tolist()
    [0.0, 0.5, 1.0, 1.0]
    """
    table = _checks.numbers("values", values, "one number per label")
    whole_number("factor", factor, 1, 16)
    checked_labels(labels, table.size)
    if min(np.shape(labels)) < factor:
        raise InputError(f"factor: got {factor}, wants at most the shortest edge of the labels")
    return _merged(jnp.asarray(labels), jnp.asarray(table, jnp.float32), factor)


def checked_labels(labels: object, phases: int) -> None:
    """Refuse labels that are no integers, or that have no value."""
    shape = np.shape(labels)  # type: ignore[arg-type]
    dtype = getattr(labels, "dtype", np.asarray(labels).dtype)
    if len(shape) != 3 or 0 in shape:
        raise InputError(f"labels: got an array of shape {shape}, wants (z, y, x)")
    if not jnp.issubdtype(dtype, jnp.integer) and dtype != np.bool_:
        raise InputError(f"labels: got {dtype}, wants integers")
    if isinstance(labels, Tracer):
        return
    low, high = int(labels.min()), int(labels.max())  # type: ignore[union-attr]
    if low < 0 or high >= phases:
        bad = low if low < 0 else high
        raise InputError(f"labels: got a label {bad}, wants 0 to {phases - 1}, one per intensity")


@functools.partial(jax.jit, static_argnames="factor")
def _merged(labels: jax.Array, values: jax.Array, factor: int) -> jax.Array:
    image = values[labels.astype(jnp.int32)]
    if factor == 1:
        return image
    z, y, x = (n // factor for n in image.shape)
    image = image[: z * factor, : y * factor, : x * factor]
    return image.reshape(z, factor, y, factor, x, factor).mean((1, 3, 5))
