"""A volume too large to look at whole: 512³ voxels of OME-Zarr, from disk to fit.json."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._process import run_child
from benchmarks._report import Table, spread
from benchmarks._volumes import known_volume
from bimmjax import sim
from bimmjax.volumes import Volume, convert


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Write the volume chunk by chunk, then fit it in child processes."""
    edge, repeats = (256, 1) if quick else (512, 3)
    made = known_volume(
        3, 128 if quick else 256, (0.3, 0.7), blur_std=1.5, feature_length=10.0, with_areas=False
    )
    tile = sim.to_integers(made.image, "uint8", scale=120.0, offset=60.0)
    rows, records = [], []
    with tempfile.TemporaryDirectory(prefix="bimmjax-stream-") as folder:
        before = time.perf_counter()
        path = convert(tiled(tile, edge), f"{folder}/volume.zarr")
        writing = time.perf_counter() - before
        stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        for name, options in (("", []), (" without intervals", ["--no-intervals"])):
            cache = {"BIMMJAX_CACHE": f"{folder}/cache{name}"}
            for state, count in (("cold", 1), ("warm", repeats)):
                runs, stages = [], {}
                for number in range(count):
                    to = Path(folder) / f"{name}-{state}-{number}"
                    words = ["fit", str(path), "--phases", "2", "--no-pictures", "--quiet"]
                    words += ["--out", str(to), *options]
                    runs.append(run_child([sys.executable, "-m", "bimmjax", *words], cache))
                    found = json.loads((to / "fit.json").read_text(encoding="utf-8"))
                    stages = found["seconds"]
                median = statistics.median(run.seconds for run in runs)
                rows.append(
                    [
                        f"fit{name}, {state}",
                        median,
                        spread(run.seconds for run in runs),
                        f"{max(run.peak_gib for run in runs):.2f}",
                        *(stages[key] for key in _STAGES),
                    ]
                )
                listed = [run._asdict() for run in runs]
                records.append({"name": name, "state": state, "runs": listed, "stages": stages})
    columns = ["process", "median s", "range s", "peak GiB", *_STAGES]
    title = f"{edge}³ uint8 OME-Zarr to fit.json, no pictures: whole process, and its stages"
    return {
        "tables": [Table(title, columns, rows)],
        "notes": [
            f"{edge**3 / 2**20:.0f} MiB of voxels, {stored / 2**20:.0f} MiB on disk, simulated "
            f"(tiles of a periodic volume); written by `convert` in {writing:.1f} s",
            "the file is in the system's cache; cold and warm are about compiled code",
        ],
        "runs": records,
        "writing_seconds": writing,
        "stored_bytes": stored,
    }


_STAGES = ("read", "histogram", "compile", "fit", "intervals")


def tiled(tile: np.ndarray, edge: int) -> Volume:
    """A periodic tile repeated to `edge`³, made box by box as it is read."""

    def read(*box: slice) -> np.ndarray:
        places = [
            np.arange(part.start, part.stop) % n for part, n in zip(box, tile.shape, strict=True)
        ]
        return tile[np.ix_(*places)]

    return Volume((edge, edge, edge), tile.dtype, read, name="tiles", chunks=(64, 64, 64))
