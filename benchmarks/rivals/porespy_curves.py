"""PoreSpy's two-point correlation and lineal path, by itself: python porespy_curves.py NPY OUT.

A script for any Python that has PoreSpy: it imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np


def main() -> None:
    """Seconds of each, after a small run that compiles."""
    import porespy

    which, source, told = sys.argv[1:]
    image = np.load(source).astype(bool)
    calls = {
        "two_point": lambda im: porespy.metrics.two_point_correlation(im, bins=im.shape[0] // 2),
        "lineal_path": lambda im: [
            porespy.metrics.lineal_path_distribution(
                porespy.filters.distance_transform_lin(im, axis=axis, mode="both")
            )
            for axis in range(3)
        ],
    }
    calls[which](image[:32, :32, :32])
    before = time.perf_counter()
    calls[which](image)
    seconds = time.perf_counter() - before
    about = {"seconds": seconds, "version": porespy.__version__}
    Path(told).write_text(json.dumps(about), encoding="utf-8")


if __name__ == "__main__":
    main()
