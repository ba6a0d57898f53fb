"""`bimmjax segment` as a whole process, disk to disk: voxels per second and memory."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

import bimmjax
from benchmarks._process import run_child
from benchmarks._report import Table, say
from bimmjax import sim

_REPEATS = 3


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Three phases, uint8; the large volumes are the small one tiled."""
    del out
    edge = 64 if quick else 256
    rows: list[list[Any]] = []
    taken: dict[str, list[tuple[int, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="bimmjax-segmenting-") as folder:
        made = sim.artificial_volume(
            jax.random.key(0), (edge, edge, edge), fractions=(0.3, 0.4, 0.3), blur_std=1.5,
            noise_std=0.1, feature_length=8.0, with_area=False,
        )  # fmt: skip
        image = np.asarray(sim.to_integers(made.image, "uint8", scale=100.0, offset=75.0))
        fit = bimmjax.fit(image, 3, intervals=False, correct=False)
        path = Path(folder) / "fit.json"
        path.write_text(json.dumps(fit.to_dict()), encoding="utf-8")
        for shape in ((1, 1, 1), (2, 2, 2), (4, 2, 2)):
            grid = f"{folder}/{'-'.join(map(str, shape))}.zarr"
            bimmjax.convert(np.tile(image, shape), grid)
            size = tuple(edge * n for n in shape)
            say(f"segmenting: {size}")
            for how, words in (
                ("likelihood", ["--fit", str(path)]),
                ("Otsu, 3 classes", ["--method", "otsu", "--phases", "3"]),
                ("likelihood + MRF", ["--fit", str(path), "--mrf"]),
            ):
                slow = how.endswith("MRF")
                if slow and np.prod(shape) > 8:
                    continue  # a quarter of an hour, and nothing new
                runs = [
                    _run(grid, words, f"{folder}/labels.zarr")
                    for _ in range(1 if slow else _REPEATS)
                ]
                seconds = float(np.median([r.seconds for r in runs]))
                voxels = int(np.prod(size))
                taken.setdefault(how, []).append((voxels, seconds))
                peak = f"{max(r.peak_gib for r in runs):.2f}"
                rows.append([how, "×".join(map(str, size)), seconds, voxels / seconds / 1e6, peak])
    columns = ["how", "voxels", "seconds", "Mvoxel/s", "peak GiB"]
    notes = ["whole processes with start, compiled code kept, no pictures; median of 3, MRF once"]
    for how, ((few, short), *_, (many, long)) in taken.items():
        notes.append(f"{how}: {(many - few) / (long - short) / 1e6:.3g} Mvoxel/s without the start")
    return {"tables": [Table("bimmjax segment, disk to disk", columns, rows)], "notes": notes}


def _run(volume: str, words: list[str], out: str) -> Any:
    asked = ["segment", volume, *words, "--out", out, "--overwrite", "--quiet", "--no-pictures"]
    return run_child([sys.executable, "-m", "bimmjax", *asked])
