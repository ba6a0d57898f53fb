"""Predicts until somebody kills it: python child.py NET VOLUME OUT."""

from __future__ import annotations

import sys
import time

import numpy as np

from bimmjax.nets import predict


def main() -> None:
    net, volume, out = sys.argv[1:]

    def progress(done: int, total: int) -> None:
        print(done, flush=True)
        time.sleep(0.02)

    predict(net, np.load(volume), out, uncertainty=True, progress=progress)


if __name__ == "__main__":
    main()
