"""One map in a process of its own: `python -m benchmarks._map_child JSON`, its story as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.stream import tiled
from bimmjax import map_fits


def main() -> None:
    """`repeats` runs of `map_fits(**options)`, the first of which compiles."""
    asked = json.loads(sys.argv[1])
    volume: Any = asked["volume"]
    if "tile" in asked:
        # Made box by box as it is read: no disk, no memory.
        volume = tiled(np.load(asked["tile"]), asked["edge"])
    runs = []
    for number in range(asked["repeats"]):
        marks: list[tuple[float, int]] = []
        before = time.perf_counter()

        def note(
            done: int, total: int, marks: list[tuple[float, int]] = marks, before: float = before
        ) -> None:
            marks.append((time.perf_counter() - before, done))

        maps = map_fits(
            volume, out=f"{asked['out']}-{number}.zarr", progress=note, **asked["options"]
        )
        runs.append(
            {
                "seconds": time.perf_counter() - before,
                "preparing": marks[0][0],
                "blocks": maps.windows.count,
                "usable": int(maps.usable.sum()),
                "steps": float(maps["steps"].mean()),
            }
        )
    Path(asked["told"]).write_text(json.dumps(runs), encoding="utf-8")


if __name__ == "__main__":
    main()
