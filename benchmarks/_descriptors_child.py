"""Correlation and lineal path in a process of their own: EDGE or NPY, lags, repeats, OUT."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bimmjax.descriptors import line_counts


def main() -> None:
    """Seconds of `line_counts` along three axes; the first of the repeats compiles."""
    source, lags, repeats, told = sys.argv[1:]
    volume: Any = np.load(source, mmap_mode="r")
    seconds, curve = [], []
    for _ in range(int(repeats)):
        before = time.perf_counter()
        found = line_counts(volume, 1, lags=int(lags))
        seconds.append(time.perf_counter() - before)
        curve = found[1, "x"].two_point[:3].tolist()
    Path(told).write_text(json.dumps({"seconds": seconds, "curve": curve}), encoding="utf-8")


if __name__ == "__main__":
    main()
