"""Progress bars on standard error, only where somebody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Progress:
    """One bar per stage of the work; does nothing unless it is given a rich display."""

    def __init__(self, display: Any = None) -> None:
        self._display = display
        self._tasks: dict[str, Any] = {}
        self._totals: dict[str, float] = {}

    def stage(self, name: str) -> None:
        """Begin a stage whose length is not known; the ones before it are over."""
        self.update(name, 0, None)

    def update(self, name: str, done: float, total: float | None, counted: str = "") -> None:
        """`done` of `total` of a stage; told along with its speed where a word says of what."""
        if self._display is None:
            return
        self._totals[name] = total or 1
        if name not in self._tasks:
            self.finish()
            # What an earlier run did is there from the start, and makes no speed.
            self._tasks[name] = self._display.add_task(
                name, total=total, completed=done, counted=counted
            )
            return
        self._display.update(self._tasks[name], completed=done, total=total)

    def finish(self) -> None:
        """All stages so far are over."""
        for name, task in self._tasks.items():
            total = self._totals[name]
            self._display.update(task, completed=total, total=total)


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Progress]:
    """Bars for the length of a block; none if `quiet` or standard error is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Display

    from bimmjax.cli._rate import RateColumn

    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        RateColumn(),
    )
    console = Console(stderr=True)
    # Batches may take seconds: the speed is that of the last minute.
    with Display(*columns, console=console, transient=True, speed_estimate_period=60) as display:
        progress = Progress(display)
        yield progress
        progress.finish()
