"""Checkpoints that are written while the next epoch is learned."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bimmjax.nets._data.behind import Behind
from bimmjax.nets._train import checkpoint


class Keeper(Behind):
    """Writes the checkpoints of a run, one after the other."""

    def __init__(self, out: Path) -> None:
        super().__init__("checkpoints")
        self._out = out

    def keep(self, epoch: int, state: Any, told: dict[str, Any], kept: Iterable[int]) -> None:
        """Write a state as it is now, then remove all checkpoints but those `kept`."""
        self.wait()  # or there would be two copies
        self.do(self._write, epoch, checkpoint.named_arrays(state), told, set(kept))

    def _write(self, epoch: int, arrays: Any, told: dict[str, Any], kept: set[int]) -> None:
        checkpoint.save(self._out, epoch, arrays, told)
        checkpoint.tidy(self._out, kept)
