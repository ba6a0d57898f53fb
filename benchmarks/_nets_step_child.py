"""Training steps in a process of their own: `python -m benchmarks._nets_step_child FILE`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmarks.nets_speed import SIZES, step_of


def main() -> None:
    """Write the seconds of five steps after the first, as JSON."""
    step = step_of(2, *SIZES[2], stock=False)
    step()
    seconds = []
    for _ in range(5):
        before = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - before)
    Path(sys.argv[1]).write_text(json.dumps(seconds), encoding="utf-8")


if __name__ == "__main__":
    main()
