"""Fits in one process, in one run: a torch port of the paper's procedure, and ours.

Ours by the same algorithm (same voxels, start, batch, draws, steps), the same with quadrature
in place of the draws, and as it comes (all voxels, from the array in memory to the finished
fit). Every variant is called once first, apart; then all take turns.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bimmjax
from benchmarks._report import Table, spread
from benchmarks._volumes import real_volume
from benchmarks.draws import authors_start
from bimmjax.fitting import Fit, Schedule
from bimmjax.fitting._histogram_fit import physical, shaped
from bimmjax.fitting._minibatch import Descent, descend
from bimmjax.fitting._scoring import Setting
from bimmjax.models import to_unconstrained

MODELS = ("bimm2d", "bimm1d", "pvmm", "gmm")
_NODES = 48
_TORCH, _SAME, _NODED, _OURS, _BARS = (
    "torch port",
    "same algorithm",
    "same, quadrature",
    "default",
    "default, with intervals",
)


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Medians over interleaved repetitions, and how many times faster than the port."""
    repeats = 1 if quick else 5
    volume, label = real_volume("cement")
    threads = port_threads(volume)
    variants = _variants(volume, threads)
    first, seconds, results = {}, {key: [] for key in variants}, {}
    for key, call in variants.items():
        if key[1] == _TORCH:
            continue
        before = time.perf_counter()
        call()
        first[key] = time.perf_counter() - before
    for _ in range(repeats):
        for key, call in variants.items():
            before = time.perf_counter()
            results[key] = call()
            took = time.perf_counter() - before
            # The port's own clock leaves out its preparation of the volume, as it should.
            seconds[key].append(getattr(results[key], "seconds", took) if _is_port(key) else took)
    floor = _floor(volume)
    fit = results["bimm2d", _OURS]
    return {
        "tables": [
            _times(seconds, first),
            _breakdown(volume, fit, floor, seconds["bimm2d", _OURS]),
            _agreement(results, volume),
        ],
        "notes": [
            f"{label}, 2 phases; port and same algorithm: 2000 iterations, batch 50, 1000 draws, "
            "from u and v at hand",
            f"default: `bimmjax.fit` from the array in memory; {repeats} repetitions in turn",
            "first call: compilation and one run; the torch port needs none",
            f"torch on {threads} thread(s), which was the faster here",
        ],
        "seconds": {" | ".join(key): listed for key, listed in seconds.items()},
        "first_call_seconds": {" | ".join(key): took for key, took in first.items()},
    }


def port_threads(volume: np.ndarray) -> int:
    """With how many threads torch is faster: its operations here are small."""
    import torch

    from benchmarks.rivals import torch_bimm

    u, v = torch_bimm.prepare(volume)
    taken = {}
    for threads in {1, torch.get_num_threads()}:
        fits = [torch_bimm.fit(u, v, iterations=200, threads=threads) for _ in range(3)]
        taken[threads] = min(fit.seconds for fit in fits)
    return min(taken, key=lambda threads: taken[threads])


def _variants(volume: np.ndarray, threads: int) -> dict[tuple[str, str], Callable[[], Any]]:
    """Everything that is timed, by (model, variant), as calls that end when the result is there."""
    from benchmarks.rivals import torch_bimm

    u, v = torch_bimm.prepare(volume)
    u32, v32 = jnp.asarray(u, jnp.float32), jnp.asarray(v, jnp.float32)
    keys = iter(range(10**6))
    calls: dict[tuple[str, str], Callable[[], Any]] = {}
    for model in MODELS:

        def port(model: Any = model) -> Any:
            return torch_bimm.fit(u, v, model=model, phases=2, seed=next(keys), threads=threads)

        def same(draws: int, model: str = model) -> Descent:
            start = authors_start() if model == "bimm2d" else _start(model)
            found = descend(
                jax.random.key(next(keys)),
                start,
                u32,
                v32,
                Setting(model, "plain", _NODES),
                Schedule(draws=draws),
            )
            return jax.block_until_ready(found)

        def ours(intervals: bool, model: Any = model) -> Fit:
            return bimmjax.fit(volume, 2, model=model, intervals=intervals)

        calls[model, _TORCH] = port
        calls[model, _SAME] = functools.partial(same, 1000)
        calls[model, _NODED] = functools.partial(same, 0)
        calls[model, _OURS] = functools.partial(ours, False)
        if model == "bimm2d":
            calls[model, _BARS] = functools.partial(ours, True)
    return calls


def _start(model: str) -> Any:
    """The authors' start, cut down to what a model of the intensities has."""
    noise = "per_phase" if model == "gmm" else "shared"
    return to_unconstrained(shaped(physical(authors_start()), model, noise, "flat"))


def _is_port(key: tuple[str, str]) -> bool:
    return key[1] == _TORCH


def _floor(volume: np.ndarray) -> float:
    """Seconds to read every byte of the array and write it elsewhere."""
    taken = []
    for _ in range(7):
        before = time.perf_counter()
        volume.copy()
        taken.append(time.perf_counter() - before)
    return min(taken)


def _times(
    seconds: dict[tuple[str, str], list[float]], first: dict[tuple[str, str], float]
) -> Table:
    rows = []
    for (model, variant), taken in seconds.items():
        median = statistics.median(taken)
        ratio = statistics.median(seconds[model, _TORCH]) / median
        rows.append(
            [
                model,
                variant,
                first.get((model, variant)),
                median,
                spread(taken),
                f"{ratio:.1f}",
            ]
        )
    columns = ["model", "fit", "first call s", "median s", "range s", "times faster than port"]
    return Table("Seconds a fit, compiled", columns, rows)


def _breakdown(volume: np.ndarray, fit: Fit, floor: float, seconds: list[float]) -> Table:
    stages = fit.seconds
    counted = stages["read"] + stages["histogram"]
    rows = [
        ["gradient and histogram", 1e3 * counted, f"{volume.size / counted / 1e6:.0f}"],
        ["starts, convergence, node check", 1e3 * stages["fit"], None],
        ["the whole fit, median", 1e3 * statistics.median(seconds), None],
        ["copying the array, for comparison", 1e3 * floor, f"{volume.size / floor / 1e6:.0f}"],
    ]
    return Table("Where the default BIMM-2D fit spends its time", ["stage", "ms", "Mvoxel/s"], rows)


def _agreement(results: dict[tuple[str, str], Any], volume: np.ndarray) -> Table:
    """The last result of each BIMM-2D variant, in grey values."""
    low, unit = float(volume.min()), float(volume.max()) - float(volume.min())
    rows = []
    for (model, variant), found in results.items():
        if model != "bimm2d":
            continue
        if isinstance(found, Fit):
            params, scale, origin, nll = found.params._asdict(), 1.0, 0.0, found.nll
        else:
            scale, origin = unit, low
            params = found.params if isinstance(found.params, dict) else found.params._asdict()
            nll = found.nll if hasattr(found, "nll") else float(found.loss)
            nll += 2.0 * np.log(unit)
        grey = origin + scale * np.asarray(params["intensities"])
        weights = [
            *np.asarray(params["interior_weights"]),
            *np.asarray(params["interface_weights"]),
        ]
        rows.append(
            [
                variant,
                " ".join(f"{x:.2f}" for x in grey),
                f"{scale * float(params['noise_std']):.3f}",
                f"{float(params['correlation']):.3f}",
                f"{float(params['blur_std']):.3f}",
                f"{float(params['interface_halfwidth']):.3f}",
                " ".join(f"{x:.3f}" for x in weights),
                f"{nll:.3f}",
            ]
        )
    columns = ["fit", "I", "noise", "rho", "blur", "d", "weights", "NLL"]
    return Table("BIMM-2D, the last result of each, in grey values", columns, rows)
