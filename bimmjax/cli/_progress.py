"""Progress on standard error: bars where somebody watches, lines now and then in logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple


class Progress:
    """One bar per stage of the work; does nothing unless it is given a display."""

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


class Lines:
    """A line now and then for logs, in the place of a display that nobody would see."""

    def __init__(self, write: Callable[[str], object], every: float = 30.0) -> None:
        self._write = write
        self._every = every
        self._stages: list[_Stage] = []
        self._told = time.monotonic()

    def add_task(self, name: str, *, total: float | None, completed: float, counted: str) -> int:
        """A stage begins."""
        self._stages.append(_Stage(name, completed, counted, None))
        return len(self._stages) - 1

    def update(self, stage: int, *, completed: float, total: float | None) -> None:
        """Tell of it, if the last line is long enough ago."""
        now, found = time.monotonic(), self._stages[stage]
        if found.begun is None and completed > found.before:
            # What came before the first of them, compiling mostly, is no speed.
            self._stages[stage] = found._replace(before=completed, begun=now)
            return
        if now - self._told < self._every or total is None or completed >= total:
            return
        if found.begun is None:
            return
        self._told = now
        speed = (completed - found.before) / (now - found.begun)
        if speed <= 0.0:
            return
        left = timedelta(seconds=round((total - completed) / speed))
        said = f"{speed:,.0f}" if speed >= 2 else f"{speed:.2g}"
        told = f"{said} {found.counted} per second, " if found.counted else ""
        self._write(f"{found.name}: {completed:,.0f} of {total:,.0f}, {told}{left} left")


class _Stage(NamedTuple):
    name: str
    before: float
    counted: str
    begun: float | None


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Progress]:
    """Bars for the length of a block; lines where standard error is no terminal."""
    if quiet:
        yield Progress()
        return
    if not sys.stderr.isatty():
        yield Progress(Lines(lambda line: print(line, file=sys.stderr, flush=True)))
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
