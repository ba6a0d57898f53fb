"""Two-point correlation and lineal path along three axes: seconds and memory, beside PoreSpy."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks._process import run_child
from benchmarks._report import Table, say
from bimmjax import sim

_RIVAL = "BIMMJAX_BENCH_PORESPY"


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Blob-like phases; 1024³ is 512³ tiled."""
    del out
    edge, large = (96, 192) if quick else (256, 1024)
    rows: list[list[Any]] = []
    records: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bimmjax-descriptors-") as folder:
        body = sim.artificial_volume(
            jax.random.key(0), (edge, edge, edge), feature_length=8.0, with_area=False
        )
        small = np.asarray(body.labels).astype(np.uint8)
        np.save(f"{folder}/small.npy", small)
        say(f"descriptors: {edge}³")
        ours, peak = _ours(folder, "small", edge // 2, 6)
        median = float(np.median(ours["seconds"][1:]))
        rows.append([f"{edge}³", "bimmjax, S2 and L, 3 axes", median, f"{peak:.2f}", ""])
        records["small"] = ours
        python = _python_with_porespy()
        for which, name in (("two_point", "S2, radial"), ("lineal_path", "L, 3 axes")):
            if python is None:
                continue
            say(f"descriptors: PoreSpy's {which}")
            script = Path(__file__).parent / "rivals" / "porespy_curves.py"
            told = f"{folder}/rival.json"
            finished = run_child([python, str(script), which, f"{folder}/small.npy", told])
            rival = json.loads(Path(told).read_text("utf-8"))
            records[which] = rival
            row = [f"{edge}³", f"PoreSpy {rival['version']}, {name}", rival["seconds"]]
            rows.append([*row, f"{finished.peak_gib:.2f}", f"{rival['seconds'] / median:.0f}"])
        say(f"descriptors: {large}³")
        np.save(f"{folder}/large.npy", np.tile(small, (large // edge,) * 3))
        ours, peak = _ours(folder, "large", large // 2, 2)
        rows.append(
            [f"{large}³", "bimmjax, S2 and L, 3 axes", ours["seconds"][-1], f"{peak:.2f}", ""]
        )
        records["large"] = ours
    columns = ["volume", "what", "seconds", "peak GiB of the process", "times ours"]
    notes = ["lags to half the edge; compiled before; ours reads a memory-mapped file"]
    if python is None:
        notes.append(f"PoreSpy is not here: {_RIVAL} may name a Python that has it")
    return {"tables": [Table("curves along lines", columns, rows)], "notes": notes, **records}


def _ours(folder: str, name: str, lags: int, repeats: int) -> tuple[dict[str, Any], float]:
    told = f"{folder}/ours.json"
    words = [sys.executable, "-m", "benchmarks._descriptors_child", f"{folder}/{name}.npy"]
    finished = run_child([*words, str(lags), str(repeats), told])
    return json.loads(Path(told).read_text("utf-8")), finished.peak_gib


def _python_with_porespy() -> str | None:
    if importlib.util.find_spec("porespy") is not None:
        return sys.executable
    return os.environ.get(_RIVAL)
