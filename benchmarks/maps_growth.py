"""How time and memory of a map grow with the volume, which is generated as it is read."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._report import Table, say
from benchmarks.maps import BLOCK, mapped, tile_of


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Volumes of 512 to 32768 blocks, each in a process of its own."""
    rows, records = [], {}
    with tempfile.TemporaryDirectory(prefix="bimmjax-growth-") as folder:
        np.save(f"{folder}/tile.npy", tile_of(2, 128 if quick else 256))
        for edge in (128, 256) if quick else (256, 512, 1024):
            say(f"maps_growth: {edge}³")
            source = {"volume": None, "tile": f"{folder}/tile.npy", "edge": edge}
            options = {"phases": 2, "block": BLOCK}
            finished, runs = mapped(folder, source, options, repeats=1)
            blocks = runs[0]["blocks"]
            local = runs[0]["seconds"] - runs[0]["preparing"]
            rows.append([f"{edge}³", blocks, local, 1e3 * local / blocks, finished.peak_gib])
            records[f"{edge} cubed"] = [*runs, finished._asdict()]
    columns = ["volume", "blocks", "local fits s", "ms a block", "peak GiB of the process"]
    title = f"two phases, blocks of {BLOCK}³, maps on disk"
    notes = ["one run each; local fits are compiled before they are timed, counting is not"]
    return {"tables": [Table(title, columns, rows)], "notes": notes, "runs": records}
