"""Trains until somebody kills it: python child.py GREY LABELS OUT SETTINGS."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from bimmjax import nets


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    import tiny

    nets.NETWORKS["tiny"] = tiny.Tiny
    grey, labels, out, settings = sys.argv[1:]
    nets.train(
        json.loads(settings),
        np.load(grey),
        np.load(labels),
        out,
        progress=lambda done, total: time.sleep(0.05),
    )


if __name__ == "__main__":
    main()
