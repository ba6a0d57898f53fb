"""What stands behind a bar that counts things: how many, how fast, how much longer."""

from __future__ import annotations

from rich.progress import ProgressColumn, Task
from rich.table import Column
from rich.text import Text


class RateColumn(ProgressColumn):
    """`512/4,096 · 420 fits/s · 0:08 left`; nothing for tasks without a `counted`."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        """The text of one bar."""
        counted = task.fields.get("counted")
        if not counted or task.total is None:
            return Text("")
        parts = [f"{task.completed:,.0f}/{task.total:,.0f}"]
        speed = task.finished_speed or task.speed
        if speed:
            parts.append(f"{speed:,.0f} {counted}/s" if speed >= 10 else f"{speed:.2g} {counted}/s")
            left = task.time_remaining
            if left:
                parts.append(f"{_clock(left)} left")
        return Text(" · ".join(parts))


def _clock(seconds: float) -> str:
    """`1:02:03`, or `2:03` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
