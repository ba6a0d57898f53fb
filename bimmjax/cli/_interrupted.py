"""Ctrl-C, and the end that queues send, heeded wherever they come and told as they should be."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """The user stopped the work; the text is told, and the status is that of Ctrl-C."""


def with_notes(text: str, error: BaseException) -> str:
    """A text, and what else an error tells: what was lost when it came."""
    return "; ".join([text, *getattr(error, "__notes__", ())])


@contextmanager
def heeding_ctrl_c() -> Iterator[Callable[[], None]]:
    """Give a function that raises `KeyboardInterrupt` if there has been one within the block.

    Python drops one that comes during a callback of its garbage collector, of which JAX has one:
    the work would go on. To be called now and then. SIGTERM, by which queues end a job, counts as
    Ctrl-C.
    """
    came = False

    def heed(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.default_int_handler(number, frame)

    def check() -> None:
        if came:
            raise KeyboardInterrupt

    # Another handler is somebody's choice: a shell's, for work in the background, say.
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    ours = [number for number, one in usual.items() if signal.getsignal(number) is one]
    try:
        for number in ours:
            signal.signal(number, heed)
    except ValueError:  # not in the main thread
        ours = []
    try:
        yield check
    finally:
        for number in ours:
            signal.signal(number, usual[number])
