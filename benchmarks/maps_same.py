"""The same maps however they were made: devices, processes, and kill -9 at random moments."""

from __future__ import annotations

import os
import random
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
        for devices in (2, 8):
            found = one(f"devices-{devices}", devices)
            rows.append([f"{devices} devices", *_difference(plain, found)])
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
        before = time.perf_counter()
        one("timed", 1)
        whole = time.perf_counter() - before
        say(f"maps_same: kills within {whole:.1f} s")
        rng = random.Random(0)
        target = f"{folder}/killed.zarr"
        struck = 0
        alive = 0
        while struck < kills:
            child = _start([*words, target], 1, cache)
            time.sleep(rng.uniform(0.3, 1.0) * whole)
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
                alive += 1
            child.communicate()
            struck += 1
            if alive and Path(target).exists() and open_maps(target).complete:
                # Done before its time: begin another, so that each kill strikes work.
                rows.append([f"after {alive} kills", *_difference(plain, open_maps(target))])
                target, alive = f"{folder}/killed-{struck}.zarr", 0
        _finish([_start([*words, target], 1, cache)])
        rows.append([f"after {alive} kills, resumed", *_difference(plain, open_maps(target))])
    columns = ["made on", "largest relative difference", "differing flags", "differing counts"]
    title = f"{plain.windows.count} blocks of 16³, against one device and one process"
    return {"tables": [Table(title, columns, rows)], "notes": [f"{struck} kills in all"]}


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
    """Largest difference of any value, as a share of the map's spread or size; of flags, voxels."""
    worst = 0.0
    for name in ours.quantities:
        a, b = ours[name], theirs[name]
        if not np.array_equal(np.isnan(a), np.isnan(b)):
            return [float("inf"), None, None]
        scale = max(float(np.nanmax(np.abs(a))), 1e-30)
        worst = max(worst, float(np.nanmax(np.abs(a - b))) / scale)
    return [
        worst,
        int((ours["flags"] != theirs["flags"]).sum()),
        int((ours["voxels"] != theirs["voxels"]).sum()),
    ]
