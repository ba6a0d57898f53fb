"""The CPU devices of JAX: one a core, where JAX itself would make one of them all."""

from __future__ import annotations

import os

from bimmjax._core.checks import InputError, whole_number

_MOST = 1024


def use_cores(devices: int | None = None) -> None:
    """Make each core that this process may use a device; to be called before JAX has any.

    What the user has told JAX or XLA is left as it is. Accelerators do not mind.

    Parameters
    ----------
    devices : int, optional
        How many CPU devices instead, whatever the user has told elsewhere.

    Raises
    ------
    InputError
        Not a number from 1 to 1024, or JAX has begun with another number.
    """
    import jax

    if devices is not None:
        devices = whole_number("devices", devices, 1, _MOST)
    elif _told():
        return
    try:
        jax.config.update("jax_num_cpu_devices", min(devices or cores(), _MOST))
    except RuntimeError:  # JAX has begun: in a process that runs several commands
        there = jax.local_device_count("cpu")
        if devices not in (None, there):
            raise InputError(
                f"devices: got {devices}, wants {there}: JAX has begun with as many"
            ) from None


def cores() -> int:
    """How many cores this process may use: those it is bound to, and no more than its share."""
    try:
        bound = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        bound = os.cpu_count() or 1
    return max(1, min(bound, _share()))


def _share() -> int:
    """Cores' worth of time that the container grants."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:  # noqa: PTH123 (no pathlib)
            granted, period = file.read().split()
        return max(1, round(int(granted) / int(period)))
    except (OSError, ValueError):  # no container, or "max"
        return _MOST


def _told() -> bool:
    return (
        "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
        or "JAX_NUM_CPU_DEVICES" in os.environ
    )
