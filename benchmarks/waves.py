"""Levelled waves: against plain sums of cosines in NumPy, theory, and themselves; 1024³ to disk."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks._process import run_child
from benchmarks._report import Table, say, spread
from bimmjax import sim
from bimmjax.descriptors import line_counts
from bimmjax.volumes import open_volume, stream

_COUNT = 200
_WAVELENGTH = 20.0
_SOLID = 0.3
_REPEATS = 9


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Speed and error of one field, truth over seeds, and a large volume in a child process."""
    del out
    speed, wanted = _speed(64 if quick else 128)
    truth, axes = _truth(64 if quick else 128, 4 if quick else 16)
    large, figures = _large(256 if quick else 1024)
    notes = [
        f"{_COUNT} waves; after compilation (median of {_REPEATS}); the loop once",
        f"two-point correlation: largest of |axis - mean of axes| over lags is {axes['worst']:.2f} "
        f"of the scatter of one seed ({axes['in_errors']:.2f} standard errors of the mean)",
        "to disk: whole processes with start, no picture; voxels off: solid ones against the "
        "fraction asked for",
    ]
    wanted |= {"axes": axes, "large": figures}
    return {"tables": [speed, truth, large], "notes": notes, "figures": wanted}


def _speed(edge: int) -> tuple[Table, dict[str, Any]]:
    shape = (edge, edge, edge)
    waves = sim.draw_waves(jax.random.key(0), _WAVELENGTH, _COUNT)
    sim.wave_field(waves, shape).block_until_ready()
    taken = [_timed(lambda: sim.wave_field(waves, shape).block_until_ready())[0]
             for _ in range(_REPEATS)]  # fmt: skip
    field = np.asarray(sim.wave_field(waves, shape), float)
    say("waves: separable NumPy")
    halves = [_timed(lambda: separable(waves, shape)) for _ in range(_REPEATS)]
    say("waves: the plain loop")
    long, exact = _timed(lambda: plain(waves, shape))
    ours = statistics.median(taken)
    half = statistics.median(seconds for seconds, _ in halves)
    error = float(np.abs(field - exact).max())
    rows = [
        ["wave_field (float32)", ours * 1e3, spread(t * 1e3 for t in taken), 1.0, error],
        ["separable NumPy (float64)", half * 1e3, spread(s * 1e3 for s, _ in halves), half / ours,
         float(np.abs(halves[0][1] - exact).max())],
        ["plain NumPy loop (float64)", long * 1e3, "-", long / ours, 0.0],
    ]  # fmt: skip
    columns = ["field", "median ms", "range ms", "times ours", "largest error"]
    figures = {"loop_ratio": long / ours, "separable_ratio": half / ours, "error": error}
    return Table(f"{edge}³ voxels of a levelled wave", columns, rows), figures


def plain(waves: sim.Waves, shape: tuple[int, int, int]) -> np.ndarray:
    """The sum as it is written down: a cosine of every voxel for every wave."""
    z, y, x = np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij")
    total = np.zeros(shape)
    for (kz, ky, kx), phase in zip(
        np.asarray(waves.cycles, float), np.asarray(waves.phases, float), strict=True
    ):
        total += np.cos(2.0 * np.pi * (kz * z + ky * y + kx * x + phase))
    return total * np.sqrt(2.0 / len(waves.phases))


def separable(waves: sim.Waves, shape: tuple[int, int, int]) -> np.ndarray:
    """The same sum from complex factors of each axis, as one product of matrices."""
    cycles, phases = np.asarray(waves.cycles, float), np.asarray(waves.phases, float)
    z, y, x = (np.exp(2j * np.pi * np.arange(n)[:, None] * cycles[:, axis])
               for axis, n in enumerate(shape))  # fmt: skip
    planes = (z * np.exp(2j * np.pi * phases))[:, None] * y
    total = np.real(planes.reshape(-1, len(phases)) @ x.T).reshape(shape)
    return total * np.sqrt(2.0 / len(phases))


def _truth(edge: int, seeds: int) -> tuple[Table, dict[str, float]]:
    """Area against theory over seeds; how alike the two-point curves of the axes are."""
    rows, curves = [], []
    for share in (0.3, 0.5):
        found = []
        for seed in range(seeds):
            body = sim.levelled_wave(jax.random.key(seed), (edge, edge, edge), share, _WAVELENGTH)
            made = sim.label_structure(body)
            found.append(float(made.interface_areas[0]))
            if share == _SOLID:
                lines = line_counts(made.labels, 1, lags=edge // 2)
                curves.append([lines[1, axis].two_point for axis in "zyx"])
        theory = sim.wave_surface_density(share, _WAVELENGTH)
        error = np.std(found, ddof=1) / np.sqrt(seeds)
        rows.append([share, theory, np.mean(found), np.mean(found) / theory - 1.0, error / theory])
    each = np.array(curves)
    scatter = each.std(0, ddof=1).mean(0)[1:]
    off = np.abs(each.mean(0) - each.mean((0, 1)))[:, 1:]
    worst = float((off / scatter).max())
    columns = ["solid fraction", "S_V theory", "S_V mean", "relative error", "its standard error"]
    title = f"surface density, 1/voxel: {edge}³, {seeds} seeds, marching cubes"
    return Table(title, columns, rows), {"worst": worst, "in_errors": worst * np.sqrt(seeds)}


def _large(edge: int) -> tuple[Table, dict[str, Any]]:
    rows: list[list[Any]] = []
    figures: dict[str, Any] = {"edge": edge}
    with tempfile.TemporaryDirectory(prefix="bimmjax-waves-") as folder:
        for kind, lengths in (("wave", ["40"]), ("hierarchical", ["150", "20"])):
            say(f"waves: {kind} {edge}³ to disk")
            path = f"{folder}/{kind}.zarr"
            words = ["simulate", kind, "--shape", str(edge), "--solid-fraction", str(_SOLID)]
            words += ["--wavelength", *lengths, "--out", path, "--quiet", "--no-pictures"]
            done = run_child([sys.executable, "-m", "bimmjax", *words])
            solid = 0
            for block in stream(open_volume(path), (64, 512, 512), halo=0):
                solid += int(np.count_nonzero(block.data))
            off = solid - round(_SOLID * edge**3)
            told = json.loads((Path(path) / "simulate.json").read_text(encoding="utf-8"))["truth"]
            area, error = (told[key]["0-1"] for key in ("interface_areas", "interface_areas_std"))
            stored = sum(f.stat().st_size for f in Path(path).rglob("*") if f.is_file()) / 2**20
            rows.append([kind, done.seconds, edge**3 / done.seconds / 1e6, f"{done.peak_gib:.2f}",
                         off, f"{area:.5f} ± {error:.5f}", f"{stored:.0f}"])  # fmt: skip
            figures[kind] = done._asdict() | {"off": off}
    columns = ["kind", "seconds", "Mvoxel/s", "peak GiB", "voxels off", "S_V (measured)", "MiB"]
    return Table(f"{edge}³ labels streamed to OME-Zarr", columns, rows), figures


def _timed(job: Callable[[], Any]) -> tuple[float, Any]:
    before = time.perf_counter()
    result = job()
    return time.perf_counter() - before, result
