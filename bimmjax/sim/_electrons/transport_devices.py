"""Electrons on all devices of a process, and on all cores of one."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from bimmjax.sim._electrons.scattering import Tables
from bimmjax.sim._electrons.transport import Beam, Tally, transport

_EMITTERS = "xla_cpu_use_fusion_emitters"


def host_threads() -> int:
    """For a CPU that is one device: one run of a loop keeps about one of its cores busy."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


@functools.lru_cache(16)
def on_devices(
    shape: tuple[int, int, int], lanes: int, devices: tuple[Any, ...]
) -> Callable[..., Tally]:
    """`transport` on all devices, each with its own share of the electrons."""
    mesh = Mesh(np.array(devices), ("devices",))
    alone, shared = PartitionSpec(), PartitionSpec("devices")

    def one(
        words: Array,
        voxels: Array,
        tables: Tables,
        beam: Beam,
        first: Array,
        stop: Array,
        earlier: Array,
    ) -> Tally:
        tally = transport(words, voxels, tables, beam, first[0], stop[0], earlier, shape, lanes)
        return jax.tree.map(lambda part: jax.lax.psum(part, "devices"), tally)

    return jax.jit(
        jax.shard_map(
            one,
            mesh=mesh,
            in_specs=(alone, alone, alone, alone, shared, shared, alone),
            out_specs=alone,
            check_vma=False,
        ),
        compiler_options=_options(devices[0].platform),
    )


def _options(platform: str) -> dict[str, Any] | None:
    # The command line has XLA spend less time on code (cli/_compiler.py); this code runs for long,
    # and half as fast then.
    hasty = f"{_EMITTERS}=false" in os.environ.get("XLA_FLAGS", "")
    return {_EMITTERS: True} if hasty and platform == "cpu" else None
