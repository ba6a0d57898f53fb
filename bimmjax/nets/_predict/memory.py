"""How much memory there is on the host."""

from __future__ import annotations

import os
from pathlib import Path

_MEMINFO, _GROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")


def host_memory() -> int | None:
    """Bytes that this process may still take, as far as the system tells; None where it does not.

    What is available, and what is left of the limit of a container or a job.
    """
    told = [_physical(), _available(), *_left_of_limits()]
    return min((one for one in told if one is not None), default=None)


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _available() -> int | None:
    try:
        for line in _MEMINFO.read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _left_of_limits() -> list[int]:
    """Of this process's control group and those around it (kernel, cgroup-v2 and cgroup-v1)."""
    try:
        groups = [line.split(":", 2) for line in _GROUPS.read_text("utf-8").splitlines()]
    except OSError:
        return []
    found = []
    for _, kinds, path in (one for one in groups if len(one) == 3):
        if kinds == "":
            root, most, taken = _MOUNTED, "memory.max", "memory.current"
        elif "memory" in kinds.split(","):
            root = _MOUNTED / "memory"
            most, taken = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        # A container may see its own group as the root.
        inner = root / path.strip("/")
        for folder in [inner, *inner.parents]:
            limit = _number(folder / most)
            if limit is not None:
                cached = _cached(folder / "memory.stat")
                found.append(max(limit - (_number(folder / taken) or 0) + cached, 0))
            if folder == root:
                break
    return found


def _cached(stat: Path) -> int:
    """Bytes of files, which are let go of when memory is wanted."""
    try:
        told = dict(line.split() for line in stat.read_text("utf-8").splitlines())
        return int(told.get("total_inactive_file", told.get("inactive_file", 0)))
    except (OSError, ValueError):
        return 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text("utf-8"))  # "max" is none
    except (OSError, ValueError):
        return None
