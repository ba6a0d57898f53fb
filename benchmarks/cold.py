"""`bimmjax fit` as a whole process: nothing kept from before, and with compiled code kept."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import tifffile

from benchmarks._process import Finished, run_child
from benchmarks._report import Table, spread
from benchmarks._volumes import real_volume

_OPTIONS = {"as it is": [], "without pictures": ["--no-pictures"]}


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Median of several processes each; the first of each folder finds no compiled code."""
    repeats = 1 if quick else 3
    volume, label = real_volume("cement")
    rows, records = [], []
    with tempfile.TemporaryDirectory(prefix="bimmjax-cold-") as folder:
        path = Path(folder) / "volume.tif"
        tifffile.imwrite(path, volume)
        start = [run_child([sys.executable, "-c", "import jax"]) for _ in range(repeats)]
        rows.append(_row("python -c 'import jax', for comparison", start))
        for name, options in _OPTIONS.items():
            found: dict[str, list[Finished]] = {"cold": [], "warm": []}
            for number in range(repeats):
                cache = {"BIMMJAX_CACHE": f"{folder}/cache-{name}-{number}"}
                for state, listed in found.items():
                    to = f"{folder}/{name}-{number}-{state}"
                    words = ["fit", str(path), "--phases", "2", "--out", to, "--quiet", *options]
                    words = [sys.executable, "-m", "bimmjax", *words]
                    listed.append(run_child(words, cache))
            for state, listed in found.items():
                rows.append(_row(f"fit {name}, {state}", listed))
                records.append({"options": options, "state": state, "runs": _plain(listed)})
    columns = ["process", "median s", "range s", "processor s", "peak GiB"]
    return {
        "tables": [Table(f"`bimmjax fit` of {label}, whole process", columns, rows)],
        "notes": [
            f"cold: empty folder of compiled code; warm: what the cold run left; {repeats} of each",
            "Python's own byte code and the files of the libraries are warm in both",
        ],
        "runs": records,
    }


def _row(name: str, runs: list[Finished]) -> list[Any]:
    return [
        name,
        statistics.median(run.seconds for run in runs),
        spread(run.seconds for run in runs),
        statistics.median(run.processor_seconds for run in runs),
        f"{max(run.peak_gib for run in runs):.2f}",
    ]


def _plain(runs: list[Finished]) -> list[dict[str, float]]:
    return [run._asdict() for run in runs]
