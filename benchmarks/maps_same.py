"""The same maps however they were made: devices, processes, and kill -9 at random moments."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._report import Table, say
from benchmarks._volumes import known_volume
from bimmjax import Maps, open_maps, sim
from bimmjax.volumes import convert


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Map one volume in every way, and compare with the plainest."""
    edge, kills = (96, 4) if quick else (192, 20)
    made = known_volume(4, edge, (0.3, 0.7), blur_std=1.5, feature_length=8.0, with_areas=False)
    image = sim.to_integers(made.image, "uint8", scale=120.0, offset=60.0)
    rows: list[list[Any]] = []
    rng = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="bimmjax-same-") as folder:
        path = convert(image, f"{folder}/volume.zarr")
        cache = {"BIMMJAX_CACHE": f"{folder}/cache"}
        words = [sys.executable, "-m", "bimmjax", "map", str(path), "--phases", "2"]
        words += ["--block", "16", "--no-pictures", "--quiet", "--out"]

        def one(name: str, devices: int) -> Maps:
            say(f"maps_same: {name}")
            _finish([_start([*words, f"{folder}/{name}.zarr"], devices, cache)])
            return open_maps(f"{folder}/{name}.zarr")

        plain = one("devices-1", 1)
        made_on = {devices: one(f"devices-{devices}", devices) for devices in (2, 8)}
        for devices, found in made_on.items():
            rows.append([f"{devices} devices", *_difference(plain, found)])
        rows.append(["8 devices, against 2", *_difference(made_on[2], made_on[8])])
        for processes in (2, 4):
            say(f"maps_same: {processes} processes")
            address = f"127.0.0.1:{_free_port()}"
            team = ["--distributed", "--coordinator", address, "--processes", str(processes)]
            target = f"{folder}/processes-{processes}.zarr"
            _finish(
                [
                    _start([*words, target, *team, "--process", str(i)], 1, cache)
                    for i in range(processes)
                ]
            )
            rows.append([f"{processes} processes", *_difference(plain, open_maps(target))])
        for kill in range(kills):
            target = Path(f"{folder}/killed-{kill}.zarr")
            _strike(words, target, cache, rng)
            say(f"maps_same: kill {kill + 1} of {kills}")
            _finish([_start([*words, str(target)], 1, cache)])
            found = open_maps(target)
            rows.append([f"after kill {kill + 1}, resumed", *_difference(plain, found)])
    columns = [
        "made on",
        "largest difference",
        "99 % of differences below",
        "largest in standard errors",
        "differing flags",
        "differing counts",
    ]
    title = f"{plain.windows.count} blocks of 16³, against one device and one process"
    notes = [
        "differences of a value as a share of the largest in its map; standard errors included",
        "each kill -9 strikes a process that has written some blocks and not all, at random",
    ]
    return {"tables": [Table(title, columns, rows)], "notes": notes}


def _strike(words: list[str], target: Path, cache: dict[str, str], rng: random.Random) -> None:
    """Start a map and kill it after a random share of its chunks; again until that succeeds."""
    while True:
        shutil.rmtree(target, ignore_errors=True)
        child = _start([*words, str(target)], 1, cache)
        wanted = rng.random()
        while child.poll() is None:
            written, whole = _chunks_done(target)
            if written and written >= wanted * whole:
                break
            time.sleep(0.002)
        time.sleep(0.1 * rng.random())
        child.send_signal(signal.SIGKILL)
        child.communicate()
        if child.returncode == -signal.SIGKILL and not open_maps(target).complete:
            return


def _chunks_done(target: Path) -> tuple[int, int]:
    """Chunks of flags on disk, which are written last, and in all."""
    described = target / "flags" / "zarr.json"
    if not described.exists():
        return 0, 1
    told = json.loads(described.read_text(encoding="utf-8"))
    chunks = told["chunk_grid"]["configuration"]["chunk_shape"]
    whole = math.prod(-(-n // c) for n, c in zip(told["shape"], chunks, strict=True))
    return sum(1 for path in (target / "flags").rglob("*") if path.is_file()) - 1, whole


def _start(words: list[str], devices: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    own = {**os.environ, **environment, "JAX_NUM_CPU_DEVICES": str(devices)}
    return subprocess.Popen(words, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _finish(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        said, _ = child.communicate()
        if child.returncode:
            raise RuntimeError(f"exit {child.returncode}: {said.decode(errors='replace')}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _difference(ours: Maps, theirs: Maps) -> list[Any]:
    """How far values are apart: largest, 99 % quantile, in standard errors; what else differs."""
    shares, errors = [], []
    for name in set(ours.columns) - {"flags", "voxels", "steps"}:
        a, b = ours[name].astype(float), theirs[name].astype(float)
        if not np.array_equal(np.isnan(a), np.isnan(b)):
            return [float("inf")] * 3 + [None] * 2
        off = np.abs(a - b)
        shares.append((off / max(float(np.nanmax(np.abs(a))), 1e-30)).ravel())
        if f"{name}_stderr" in ours.columns:
            errors.append(float(np.nanmax(off / ours[f"{name}_stderr"])))
    every = np.concatenate(shares)
    return [
        float(np.nanmax(every)),
        float(np.nanquantile(every, 0.99)),
        max(errors),
        int((ours["flags"] != theirs["flags"]).sum()),
        int((ours["voxels"] != theirs["voxels"]).sum()),
    ]
