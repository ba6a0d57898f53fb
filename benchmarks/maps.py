"""Local fits per second, from an OME-Zarr volume to maps on disk."""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._process import Finished, run_child
from benchmarks._report import Table, say
from benchmarks._volumes import known_volume
from benchmarks.stream import tiled
from bimmjax import sim
from bimmjax.volumes import convert

BLOCK = 32


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Maps of two and three phases beside the torch port."""
    tables, notes, records = [], [], {}
    with tempfile.TemporaryDirectory(prefix="bimmjax-maps-") as folder:
        rows = []
        tiles = {phases: tile_of(phases, 128 if quick else 256) for phases in (2, 3)}
        for phases, tile in tiles.items():
            say(f"maps: {phases} phases")
            edge = 256 if quick else 512
            path = convert(tiled(tile, edge), f"{folder}/{phases}.zarr")
            options = {"phases": phases, "block": BLOCK}
            _, runs = mapped(folder, {"volume": str(path)}, options, repeats=2 if quick else 3)
            seconds = statistics.median(r["seconds"] for r in runs[1:])
            preparing = statistics.median(r["preparing"] for r in runs[1:])
            blocks = runs[0]["blocks"]
            torch = _torch(tile, phases)
            rows.append(
                [
                    phases,
                    blocks,
                    runs[0]["seconds"] - seconds,
                    seconds,
                    preparing,
                    blocks / seconds,
                    blocks / (seconds - preparing),
                    torch,
                    blocks / seconds / torch,
                    runs[1]["steps"],
                ]
            )
            records[f"{phases} phases"] = runs
        columns = [
            "phases",
            "blocks",
            "compiling s",
            "whole map s",
            "of it global fit, calibration s",
            "fits/s, whole",
            "fits/s, local fits alone",
            "torch port fits/s",
            "ratio",
            "steps",
        ]
        title = f"BIMM-2D in blocks of {BLOCK}³, OME-Zarr to maps on disk, all parameters free"
        tables.append(Table(title, columns, rows))
    notes += [
        f"ours on {os.cpu_count()} processor cores, one JAX device each; the torch port, "
        "one process with the threads that suit it, fits the voxels of one block in memory",
        "whole map: opening, global fit, calibration of errors, reading, counting, fitting, "
        "writing; compiled code kept in the process",
    ]
    return {"tables": tables, "notes": notes, "runs": records}


def tile_of(phases: int, edge: int) -> np.ndarray:
    fractions = (0.3, 0.7) if phases == 2 else (0.3, 0.3, 0.4)
    made = known_volume(
        phases,
        edge,
        fractions,
        blur_std=1.5,
        noise_std=0.1 if phases == 2 else 0.05,
        feature_length=8.0,
        with_areas=False,
    )
    return sim.to_integers(made.image, "uint8", scale=120.0, offset=60.0)


def mapped(
    folder: str, source: dict[str, Any], options: dict[str, Any], repeats: int
) -> tuple[Finished, list[dict[str, Any]]]:
    name = f"{folder}/run-{time.monotonic_ns()}"
    asked = {**source, "options": options, "repeats": repeats, "out": name, "told": f"{name}.json"}
    cores = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    finished = run_child(
        [sys.executable, "-m", "benchmarks._map_child", json.dumps(asked)],
        {"JAX_NUM_CPU_DEVICES": cores},
    )
    return finished, json.loads(Path(f"{name}.json").read_text(encoding="utf-8"))


def _torch(tile: np.ndarray, phases: int) -> float:
    """Fits per second of the port on the voxels of one block."""
    from benchmarks.rivals import torch_bimm
    from benchmarks.speed import port_threads

    block = tile[:BLOCK, :BLOCK, :BLOCK]
    u, v = torch_bimm.prepare(block)
    threads = port_threads(block)
    before = time.perf_counter()
    torch_bimm.fit(u, v, model="bimm2d", phases=phases, seed=0, threads=threads)
    return 1.0 / (time.perf_counter() - before)
