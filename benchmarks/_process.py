"""Run a command as a child process: seconds and peak memory of the whole of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple


class Finished(NamedTuple):
    """Wall-clock seconds, processor seconds and peak resident GiB of a child process."""

    seconds: float
    processor_seconds: float
    peak_gib: float


def run_child(words: Sequence[str], environment: dict[str, str] | None = None) -> Finished:
    """Run `words`; a failing command raises RuntimeError with what it said."""
    before = time.perf_counter()
    child = subprocess.Popen(
        words,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert child.stdout is not None
    said = child.stdout.read().decode(errors="replace")
    # Not RUSAGE_CHILDREN, whose peak is that of the largest child so far.
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - before
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stdout.close()
    if child.returncode:
        raise RuntimeError(f"{' '.join(words)}: exit {child.returncode}\n{said}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Finished(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 2**30)
