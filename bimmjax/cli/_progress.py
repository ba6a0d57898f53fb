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

    def stage(self, name: str) -> None:
        """Begin a stage whose length is not known; the ones before it are over."""
        self.update(name, 0, None)

    def update(self, name: str, done: float, total: float | None) -> None:
        """`done` of `total` of a stage."""
        if self._display is None:
            return
        if name not in self._tasks:
            self.finish()
            self._tasks[name] = self._display.add_task(name, total=total)
        self._display.update(self._tasks[name], completed=done, total=total)

    def finish(self) -> None:
        """All stages so far are over."""
        for task in self._tasks.values():
            self._display.update(task, completed=1, total=1)


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Progress]:
    """Bars for the length of a block; none if `quiet` or standard error is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Display

    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
    )
    with Display(*columns, console=Console(stderr=True), transient=True) as display:
        progress = Progress(display)
        yield progress
        progress.finish()
