"""A thread that writes checkpoints while the next epoch is learned."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from bimmjax.nets._train import checkpoint


class Keeper:
    """Writes the checkpoints of a run, one after the other."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._writing: Future[None] | None = None

    def __enter__(self) -> None:
        """Leaving waits for the last one."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown()
        if kind is None:
            self.wait()

    def wait(self) -> None:
        """Until what is being written is there; what went wrong then is raised here."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def keep(self, epoch: int, state: Any, told: dict[str, Any], kept: Iterable[int]) -> None:
        """Write a state as it is now, then remove all checkpoints but those `kept`."""
        self.wait()
        # Copied before the next step takes its memory.
        arrays = checkpoint.named_arrays(state)
        self._writing = self._pool.submit(self._write, epoch, arrays, told, set(kept))

    def _write(self, epoch: int, arrays: Any, told: dict[str, Any], kept: set[int]) -> None:
        checkpoint.save(self._out, epoch, arrays, told)
        checkpoint.tidy(self._out, kept)
