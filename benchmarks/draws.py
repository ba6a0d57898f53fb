"""The paper's §5.2: what batch size and Monte Carlo draws do to bias, spread and time.

The paper's procedure, with the draws replaced by quadrature as the reference. Repeats are
vmapped over keys. A key gives the same batches whatever the draws, so the bias against
quadrature is a mean of paired differences.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks._report import Table
from benchmarks._volumes import known_volume
from bimmjax.fitting import Schedule
from bimmjax.fitting._minibatch import GRADIENT_FLOOR, descend
from bimmjax.fitting._scoring import Setting
from bimmjax.models import Params, Unconstrained, bimm2d, to_unconstrained
from bimmjax.properties import properties
from bimmjax.volumes import gradient_magnitude

BLUR, NOISE = 3.0, 0.1
_NODES = 48


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Repeated fits of one artificial volume; bias, spread and seconds."""
    edge, iterations = (96, 400) if quick else (256, 2000)
    known = known_volume(30, edge, (0.3, 0.7), blur_std=BLUR, noise_std=NOISE)
    assert known.areas is not None
    u, v = jnp.asarray(known.image[1:-1, 1:-1, 1:-1].ravel()), _gradients(known.image)
    truth = {
        "V1": known.fractions[0],
        "area": known.areas[0],
        "I1": 0.0,
        "I2": 1.0,
        "noise": NOISE,
        "blur": BLUR,
        "rho": 0.0,
    }
    repeats = {10: 30, 100: 30, 1000: 30, 10_000: 6, 0: 30}
    if quick:
        repeats = {10: 8, 100: 8, 1000: 4, 0: 8}
    cases = []
    for batch in (50, 100):
        for draws, count in repeats.items():
            schedule = Schedule(iterations, batch, draws, iterations // 4)
            found, seconds, compiling = _repeat(u, v, schedule, count)
            cases.append(
                {
                    "batch": batch,
                    "draws": draws,
                    "repeats": count,
                    "seconds_per_fit": seconds / count,
                    "seconds_compiling": compiling,
                    "values": found,
                }
            )
    exact = {case["batch"]: case["values"] for case in cases if case["draws"] == 0}
    return {
        "tables": [_bias(cases, exact, list(truth)), _spread(cases, truth)],
        "notes": [
            f"{edge}³ voxels, V1 = 0.3, blur {BLUR}, noise {NOISE}; {iterations} iterations, mean "
            f"of the last {iterations // 4}; the paper's start and gradient",
            "bias: mean difference from quadrature over the same batches, ± its standard error",
            "the density whose log is taken is a mean over draws; the log of too few is biased",
        ],
        "truth": truth,
        "cases": cases,
    }


def authors_start() -> Unconstrained:
    """Where the authors' code starts, for two phases on the scale from 0 to 1."""
    return to_unconstrained(
        bimm2d.init(
            np.array([0.0, 1.0]), 0.1, correlation=0.0, blur_std=2.0, interface_halfwidth=2.0
        )
    )


def _gradients(image: np.ndarray) -> Array:
    return jnp.maximum(gradient_magnitude(image).ravel(), GRADIENT_FLOOR)


def _repeat(
    u: Array, v: Array, schedule: Schedule, count: int
) -> tuple[dict[str, np.ndarray], float, float]:
    """`count` independent fits: values (count,) by name, seconds of all, seconds of compiling."""
    setting = Setting("bimm2d", "plain", _NODES)

    def one(key: Array, u: Array, v: Array) -> tuple[Params, Array]:
        found = descend(key, authors_start(), u, v, setting, schedule)
        return found.params, found.loss

    # Not `split`, whose keys depend on how many there are.
    keys = jax.vmap(lambda n: jax.random.fold_in(jax.random.key(1), n))(jnp.arange(count))
    before = time.perf_counter()
    compiled = jax.jit(jax.vmap(one, (0, None, None))).lower(keys, u, v).compile()
    compiling = time.perf_counter() - before
    before = time.perf_counter()
    params, loss = jax.block_until_ready(compiled(keys, u, v))
    seconds = time.perf_counter() - before
    means = jax.vmap(properties)(params)
    assert means.interface_areas is not None
    assert params.blur_std is not None
    assert params.correlation is not None
    values = {
        "V1": means.volume_fractions[:, 0],
        "area": means.interface_areas[:, 0],
        "I1": params.intensities[:, 0],
        "I2": params.intensities[:, 1],
        "noise": params.noise_std,
        "blur": params.blur_std,
        "rho": params.correlation,
        "loss": loss,
    }
    return {k: np.asarray(x, float) for k, x in values.items()}, seconds, compiling


def _name(draws: int) -> str:
    return str(draws) if draws else f"quadrature ({_NODES})"


def _bias(
    cases: list[dict[str, Any]], exact: dict[int, dict[str, np.ndarray]], names: list[str]
) -> Table:
    rows = []
    for case in cases:
        if case["draws"] == 0:
            continue
        row: list[Any] = [case["batch"], _name(case["draws"]), case["repeats"]]
        for name in [*names, "loss"]:
            size = case["repeats"]
            gaps = case["values"][name] - exact[case["batch"]][name][:size]
            gaps = gaps[np.isfinite(gaps)]
            row.append(f"{gaps.mean():+.5f} ± {gaps.std(ddof=1) / np.sqrt(gaps.size):.5f}")
        rows.append(row)
    columns = ["batch", "draws", "repeats", *names, "loss"]
    return Table("Bias against quadrature", columns, rows)


def _spread(cases: list[dict[str, Any]], truth: dict[str, float]) -> Table:
    rows = []
    for case in cases:
        values = case["values"]
        rows.append(
            [
                case["batch"],
                _name(case["draws"]),
                *(
                    f"{values[k].mean() - true:+.4f} ± {values[k].std(ddof=1):.4f}"
                    for k, true in truth.items()
                ),
                f"{case['seconds_per_fit']:.3f}",
            ]
        )
    columns = ["batch", "draws", *truth, "s per fit"]
    return Table("Mean error against the truth ± spread of single fits; time", columns, rows)
