"""How many voxels a network can be given at once."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bimmjax.nets._predict.memory import host_memory
from bimmjax.nets._predict.tiling import whole

# Voxels of a 2D batch on a CPU (the Modular U-Net takes 0.9 kB for each) and on an accelerator.
_PLANE, _PLANE_ACCELERATED = 2**20, 2**22
# Voxels of small tiles that are worth a batch on a CPU, whose caches are soon full: 128² goes
# through the Modular U-Net twice as fast by itself as with 63 others.
_CACHED = 2**16
# Shares of what there is of the host's and of an accelerator's memory that 3D tiles may take.
_SHARE, _SHARE_ACCELERATED = 0.5, 0.6
# Bytes, where nobody knows; voxels that are never too many.
_USUAL, _FEW = 2**32, 2**20
_TRIED = 32


def voxels_at_once(net: Any, channels: int, voxels: int) -> int:
    """Of each device; `voxels` are all that could be wanted."""
    if net.dims == 2:
        return _PLANE_ACCELERATED if _accelerated() else _PLANE
    if voxels <= _FEW:
        return _FEW
    # Halos of 3D networks are thick: tiles have to be as large as can be.
    if _accelerated():
        room = _accelerator() * _SHARE_ACCELERATED
    else:
        there = host_memory()
        room = (_USUAL if there is None else there) * _SHARE
    return max(int(room / _bytes_per_voxel(net, channels)), _FEW)


def tiles_at_once(tile: int, most: int) -> int:
    """Of `tile` voxels each, where there is room for `most`; at least one."""
    return max((most if _accelerated() else min(most, _CACHED)) // tile, 1)


def _accelerated() -> bool:
    return jax.local_devices()[0].platform != "cpu"


def _bytes_per_voxel(net: Any, channels: int) -> float:
    """What the compiled network keeps at a time, from a small tile."""
    graph, state = nnx.split(net)
    tile = tuple(whole(_TRIED, m) for m in net.multiple)
    images = jax.ShapeDtypeStruct((1, *tile, channels * net.context), jnp.float32)
    made = jax.jit(lambda s, x: nnx.merge(graph, s)(x).argmax(-1)).lower(state, images).compile()
    told = made.memory_analysis()
    # Backends need not tell.
    kept = getattr(told, "temp_size_in_bytes", 0) or 1000 * math.prod(tile)
    return kept / math.prod(tile)


def _accelerator() -> int:
    told = jax.local_devices()[0].memory_stats() or {}
    return int(told.get("bytes_limit", 2 * _USUAL))
