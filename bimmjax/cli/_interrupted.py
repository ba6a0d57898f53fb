"""Ctrl-C, heeded wherever it comes, and told with what is to be told."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """The user stopped the work; the text is told, and the status is that of Ctrl-C."""


@contextmanager
def heeding_ctrl_c() -> Iterator[Callable[[], None]]:
    """Give a function that raises `KeyboardInterrupt` if there has been one within the block.

    Python drops one that comes during a callback of its garbage collector, of which JAX has one:
    the work would go on. To be called now and then.
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
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        if ours:
            signal.signal(signal.SIGINT, heed)
    except ValueError:  # not in the main thread
        ours = False
    try:
        yield check
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
