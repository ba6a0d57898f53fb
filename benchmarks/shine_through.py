"""Shine-through by the analytic model, beside Monte Carlo and beside Article III of the thesis.

Monte Carlo takes about an hour, once: its images stay in the folder `shine_through` of `--out`.
SHINE_ELECTRONS in the environment is the number of electrons per pixel.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import _shine_cuboids, _shine_growth, _shine_pictures
from benchmarks._report import Table, say, spread
from benchmarks._shine_cases import (
    ENERGIES,
    FILLINGS,
    Case,
    Counted,
    Fresh,
    analytic,
    counted,
    fresh_volumes,
    wave,
)
from bimmjax import sim

# The least r, and the largest root-mean-square error over the range, that are wanted.
_WANTED = {"epoxy": (0.985, 0.06), "vacuum": (0.96, 0.09)}
_TILTS = (0.0, 20.0, 52.0)
_PER_PIXEL = 220  # of the Monte Carlo that is timed
_REPEATS = 5


class Score(NamedTuple):
    """The model's image against the counted one; errors over the range P2 to P98 of the latter."""

    r: float
    error: float
    """Root mean square, counting noise and all."""
    counting: float
    """That of the counted image's own noise, which no model can undercut."""
    bias: float


class Pair(NamedTuple):
    """One surface, twice."""

    case: Case
    counted: Counted
    analytic: np.ndarray
    score: Score


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Agreement, tilt, speed, growth with voltage, and the cuboids; pictures of all in `out`."""
    per_pixel = int(os.environ.get("SHINE_ELECTRONS", 100 if quick else 3000))
    kept = out / "shine_through"
    volumes = fresh_volumes(quick)
    speed, ratios = _speed(quick)
    pairs = [
        pair(Case(volume, pores, energy), per_pixel, kept)
        for volume in volumes for pores in FILLINGS for energy in ENERGIES
    ]  # fmt: skip
    tilted = [
        pair(Case(volumes[0], pores, 2.0, tilt), per_pixel, kept)
        for pores in FILLINGS for tilt in _TILTS
    ]  # fmt: skip
    growth = _shine_growth.tables(pairs, quick)
    cuboids, cuboid_notes, cuboid_picture = _shine_cuboids.run(per_pixel, kept, out)
    tables = [_all(pairs), _worst(pairs), _tilts(tilted), *speed, *growth, cuboids]
    pictures = [*_shine_pictures.draw(pairs, out), cuboid_picture]
    notes = [
        f"{per_pixel} electrons per pixel; the first slice of each volume, "
        f"{' x '.join(str(n) for n in volumes[0].labels.shape[1:])} pixels; all errors over the "
        "range P2 to P98 of the Monte Carlo image",
        _books([p.counted for p in [*pairs, *tilted]]),
        *_shine_growth.NOTES,
        *cuboid_notes,
        *(f"picture {path}" for path in pictures),
    ]
    figures = {"scores": [_record(p) for p in pairs], "tilts": [_record(p) for p in tilted]}
    return {"tables": tables, "notes": notes, "figures": figures | ratios}


def pair(case: Case, per_pixel: int, kept: Path) -> Pair:
    """Both images of a case, and how they agree."""
    found, image = counted(case, per_pixel, kept), analytic(case)
    return Pair(case, found, image, score(found, image))


def score(found: Counted, image: np.ndarray) -> Score:
    """See `Score`."""
    truth = found.image.astype(float)
    low, high = np.quantile(truth, (0.02, 0.98))
    # Each pixel's count is binomial; n - 1 makes the variance that is told from it unbiased.
    variance = np.mean(truth * (1.0 - truth)) / (found.per_pixel - 1)
    off = image.astype(float) - truth
    return Score(
        float(np.corrcoef(truth.ravel(), image.ravel())[0, 1]),
        float(np.sqrt(np.mean(off**2)) / (high - low)),
        float(np.sqrt(variance) / (high - low)),
        float(off.mean() / (high - low)),
    )


def _met(p: Pair) -> bool:
    least, most = _WANTED[p.case.pores]
    return p.score.r >= least and p.score.error <= most


def _all(pairs: list[Pair]) -> Table:
    rows = [
        [p.case.volume.name, f"{p.case.volume.spacing:g}", f"{p.case.volume.labels.mean():.3f}",
         p.case.pores, f"{p.case.energy:g}", *_cells(p.score), "yes" if _met(p) else "no"]
        for p in pairs
    ]  # fmt: skip
    columns = ["volume", "nm", "solid", "pores", "kV", *_HEADS, "as wanted"]
    return Table("Analytic against Monte Carlo, fresh volumes", columns, rows)


_HEADS = ("r", "error %", "of it counting %", "bias %")


def _cells(s: Score) -> list[str]:
    percent = (f"{100 * s.error:.2f}", f"{100 * s.counting:.2f}", f"{100 * s.bias:+.2f}")
    return [f"{s.r:.4f}", *percent]


def _worst(pairs: list[Pair]) -> Table:
    rows = []
    for pores, (least, most) in _WANTED.items():
        own = [p for p in pairs if p.case.pores == pores]
        lowest, highest = min(own, key=lambda p: p.score.r), max(own, key=lambda p: p.score.error)
        rows.append([
            pores, f"≥ {least}", f"{lowest.score.r:.4f}", _name(lowest.case),
            f"≤ {100 * most:g}", f"{100 * highest.score.error:.2f}", _name(highest.case),
            f"{sum(map(_met, own))} of {len(own)}",
        ])  # fmt: skip
    columns = ["pores", "r wanted", "lowest", "of", "error wanted, %", "largest", "of", "as wanted"]
    return Table("The worst of each filling", columns, rows)


def _name(case: Case) -> str:
    return f"{case.volume.name} at {case.energy:g} kV"


def _tilts(pairs: list[Pair]) -> Table:
    rows = [[p.case.pores, f"{p.case.tilt:g}", f"{p.counted.image.mean():.3f}",
             f"{p.analytic.mean():.3f}", *_cells(p.score)] for p in pairs]  # fmt: skip
    columns = ["pores", "tilt °", "mean yield, Monte Carlo", "analytic", *_HEADS]
    return Table(f"Under a tilted beam: {_name(pairs[0].case)}", columns, rows)


def _books(found: list[Counted]) -> str:
    sent = sum(c.electrons for c in found)
    seconds = sum(c.seconds for c in found)
    return (
        f"Monte Carlo: {sent:.3g} electrons in {seconds:.0f} s when they were sent "
        f"({sent / seconds:.3g} per second, all volumes and voltages together); given up "
        f"{sum(c.truncated for c in found) / sent:.1g} of them; energy that the books miss, at "
        f"most {max(c.imbalance for c in found):.1g}"
    )


def _record(p: Pair) -> dict[str, Any]:
    volume, pores, energy, tilt = p.case
    return {
        "volume": volume.name, "spacing": volume.spacing, "solid": float(volume.labels.mean()),
        "pores": pores, "energy": energy, "tilt": tilt, **p.score._asdict(),
        "electrons": p.counted.electrons, "seconds": p.counted.seconds,
    }  # fmt: skip


def _speed(quick: bool) -> tuple[list[Table], dict[str, float]]:
    """Voxels per second of the model; pixels per second beside Monte Carlo, in one process."""
    edge = 64 if quick else 256
    cube = wave(9006, (edge, edge, edge), 0.3, 6.0)
    rows, each = [], 0.0
    for labels in (cube, np.tile(cube, (1, 2, 2))):
        floor = labels.size / _copied(labels.size) / 1e6
        for energies in ((2.0,), ENERGIES):
            say(f"shine_through: speed, {labels.shape}, {len(energies)} voltages")
            job = _imaging(labels, energies)
            job()
            taken = [_timed(job) for _ in range(_REPEATS)]
            rate = [labels.size * len(energies) / t / 1e6 for t in taken]
            rows.append(
                [
                    " x ".join(map(str, labels.shape)),
                    len(energies),
                    statistics.median(taken),
                    statistics.median(rate),
                    spread(rate),
                    floor,
                ]
            )
            if labels is cube and len(energies) == 1:
                each = statistics.median(taken) / labels.size  # fmt: skip
    columns = ["voxels", "voltages", "median s", "Mvoxel/s per voltage", "range", "floor"]
    title = (
        f"The model, every slice, epoxy, 5 nm; median of {_REPEATS}; at least 20 wanted; "
        "floor: labels read and images written at the pace of a copy"
    )
    small = Fresh("speed", cube[:96, :64, :64], 5.0)
    taken = [_timed(lambda: _followed(small, 2.0)) for _ in range(2)][1]
    pixels = small.labels.shape[1] * small.labels.shape[2]
    ratio = taken / pixels / each
    beside = [
        ["Monte Carlo", pixels, taken, pixels / taken, 1.0],
        ["analytic", cube.size, each * cube.size, 1.0 / each, ratio],
    ]
    second = Table(
        f"Beside Monte Carlo with {_PER_PIXEL} electrons per pixel, 2 kV; at least 10,000 wanted "
        f"(here {pixels * _PER_PIXEL / taken:.3g} electrons per second)",
        ["method", "pixels", "seconds", "pixels per second", "times"],
        beside,
    )
    return [Table(title, columns, rows), second], {"times_monte_carlo": ratio}


def _followed(volume: Fresh, energy: float) -> object:
    return sim.monte_carlo(
        jax.random.key(9901), volume.labels, ["epoxy", "gold"], energy, spacing=volume.spacing,
        electrons=_PER_PIXEL,
    )  # fmt: skip


def _imaging(labels: np.ndarray, energies: tuple[float, ...]) -> Callable[[], None]:
    def job() -> None:
        for energy in energies:
            made = sim.backscatter_images(labels, ["epoxy", "gold"], energy, spacing=5.0)
            made.block_until_ready()

    return job


def _copied(voxels: int) -> float:
    """Seconds to read a byte and write a float32 for every voxel, at the pace of a copy."""
    source = np.ones(voxels, np.float32)
    target = np.empty_like(source)
    np.copyto(target, source)
    taken = min(_timed(lambda: np.copyto(target, source)) for _ in range(_REPEATS))
    return taken * (1 + 4) / (4 + 4)


def _timed(job: Callable[[], Any]) -> float:
    before = time.perf_counter()
    job()
    return time.perf_counter() - before
