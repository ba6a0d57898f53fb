"""What the reconstructed labels tell of the structure."""

from __future__ import annotations

from typing import Any

from bimmjax.descriptors import describe
from bimmjax.fib._pipeline.gaps import NO_LABEL
from bimmjax.fib._pipeline.step import Work
from bimmjax.volumes import Volume

# Connected parts are found in memory.
_MOST_IN_MEMORY = 2**28
# What `describe` tells of.
_STAGES = 6


def measure(work: Work, labels: Volume, phases: int, without_label: float) -> dict[str, Any]:
    """The content of describe.json, without the slow part of it in very large volumes."""
    tell = work.tell("descriptors")
    told = 0

    def progress(what: str) -> None:
        nonlocal told
        told += 1
        tell(told, _STAGES)

    ignore = NO_LABEL if without_label > 0 else None
    small = labels.voxels <= _MOST_IN_MEMORY
    found = describe(labels, phases, ignore=ignore, parts=small, marching=small, progress=progress)
    return found.to_dict()
