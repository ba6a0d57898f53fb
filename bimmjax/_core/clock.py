"""How long a stretch of code took, and how much of it was compilation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import jax


@dataclass
class Stretch:
    """Seconds of a finished stretch: `total`, of which `compiling` went to tracing and XLA."""

    total: float = 0.0
    compiling: float = 0.0


@contextmanager
def timed() -> Iterator[Stretch]:
    """Time a block; the yielded `Stretch` is filled when the block ends."""
    stretch = Stretch()

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event.startswith("/jax/core/compile"):
            stretch.compiling += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    before = time.perf_counter()
    try:
        yield stretch
    finally:
        stretch.total = time.perf_counter() - before
        jax.monitoring.unregister_event_duration_listener(listen)
