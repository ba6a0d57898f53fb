"""Which devices share a batch, and how."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bimmjax._core.checks import InputError, whole_number


def mesh_for(batch: int, patch: Sequence[int], multiple: int, devices: int | None = None) -> Mesh:
    """Devices by batch and, where there are more than patches, by the first axis of space.

    Parameters
    ----------
    batch, patch : patches of a step, and their size.
    multiple : what parts along the first axis must be a multiple of.
    devices : how many; by default all accelerators that can be used evenly, or one CPU device.

    Raises
    ------
    InputError
        More devices than there are, or a number that batch and patch cannot be shared among.
    """
    there = jax.local_devices()
    if devices is not None:
        whole_number("devices", devices, 1, len(there))
    most = devices or (len(there) if there[0].platform != "cpu" else 1)
    for count in range(most, 0, -1):
        along = math.gcd(batch, count)
        parts = count // along
        if parts == 1 or patch[0] % (parts * multiple) == 0:
            chosen = np.array(there[:count]).reshape(along, parts)
            return Mesh(chosen, ("batch", "space"), axis_types=(AxisType.Auto, AxisType.Auto))
        if devices is not None:
            break
    raise InputError(
        f"devices: got {devices}, wants a number that a batch of {batch} patches of size "
        f"{tuple(patch)} can be shared among evenly"
    )


def everywhere(mesh: Mesh) -> NamedSharding:
    """The same on each device."""
    return NamedSharding(mesh, PartitionSpec())


def shared_out(mesh: Mesh, array: np.ndarray) -> jax.Array:
    """A batch (batch, *space, ...), each device its part; an empty one is everywhere."""
    part = PartitionSpec("batch", "space") if array.size else PartitionSpec()
    return jax.device_put(array, NamedSharding(mesh, part))
