"""Registration of slices: known drifts, real and simulated stacks, speed beside scikit-image."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tifffile
from scipy import ndimage
from scipy.stats import norm

from benchmarks._report import Table, say, spread
from benchmarks._shine_cases import ENERGIES, hierarchical
from bimmjax import fib, sim

_FLYEM = Path(__file__).resolve().parents[2] / "shared" / "data" / "flyem_fibsem_250.tif"
_MARGIN = 28
_SPACING = 5.0  # nm a pixel; slices are two apart
_REACH = 16
_NOISES = (0.05, 1.0)
_ROOM = 16  # pixels around a mark, for the drift
_RIVALS = 40  # pairs that the rival is timed on


class Stack(NamedTuple):
    """A structure at rest, larger than what is looked at."""

    name: str
    wide: np.ndarray


class Moved(NamedTuple):
    """What is looked at."""

    still: np.ndarray
    seen: np.ndarray
    truth: np.ndarray
    """(z, 2), by which each slice has to be moved back, slice 0 at (0, 0)."""


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Structures cut out of larger fields, walked by 0.3 px a slice and jittered by 0.3 px."""
    del out
    count, edge = (40, 128) if quick else (200, 256)
    same, chain, marks = [], [], []
    say("fib_register: stacks at rest")
    rest = _at_rest(count, edge)
    stacks = [
        ("levelled wave, ligaments 40 nm", lambda: _waves(count, edge, (40.0,))),
        ("hierarchical wave, 110 and 15 nm", lambda: _waves(count, edge, (110.0, 15.0))),
    ]
    if _FLYEM.is_file():
        stacks.append(("FlyEM, real", lambda: _flyem(quick)))
    for name, make in stacks:
        say(f"fib_register: {name}")
        moved = _drifted(Stack(name, make()))
        own = _own(moved)
        for noise in _NOISES:
            for how in ("edges", "grey"):
                same.append([name, noise, how, *_same_scene(moved, noise, how)])
            chain += [[name, noise, *row] for row in _chained(moved, own, noise)]
    say("fib_register: mark")
    for noise in _NOISES:
        marks += [[noise, *row] for row in _marks(count, noise)]
    say("fib_register: three voltages")
    voltages = _voltages(quick)
    say("fib_register: speed")
    speed = _speed(quick)
    notes = [
        "noise: std over the structure's std; all errors in pixels, rms over y and x",
        "same scene: a slice at rest against itself moved, noise fresh on both",
        "own: what registration finds on the same stack at rest, without noise: the structure's "
        "change from slice to slice, no drift. Positions are compared up to their mean.",
        "stacks at rest: one slice over and over under a known drift, noise fresh on each, through "
        "register_stack; of marks the structure around them changes from slice to slice",
        "smooth: what changes smoothly in the steps is taken off as the structure's own",
    ]
    return {
        "tables": [
            Table(
                f"Stacks at rest, {count} slices of {edge} x {edge}",
                ["what", "noise", "how", "steps", "positions", "refused"],
                rest,
            ),
            Table("Pairs of one scene", ["structure", "noise", "features", "rms", "worst"], same),
            Table(
                "Chains",
                ["structure", "noise", "how", "steps", "steps - own", "positions",
                 "positions - own", "refused"],
                chain,
            ),
            Table("A mark that stays, 96 x 96 px", ["noise", "compared with", "positions"], marks),
            Table(
                "1 and 4 kV onto 2 kV, instrument with drifts of their own",
                ["energy", "features", "smooth", "rms", "bias removed", "unregistered"],
                voltages,
            ),
            speed[0],
        ],
        "notes": notes + speed[1],
    }  # fmt: skip


def _waves(count: int, edge: int, ligaments: tuple[float, ...]) -> np.ndarray:
    """Slices 10 nm apart, pixels of 5 nm, edges soft by 0.8 pixels."""
    size = edge + 2 * _MARGIN
    share = 0.3 ** (1.0 / len(ligaments))
    body = np.ones((count, size, size), bool)
    for k, ligament in enumerate(ligaments):
        length = sim.ligament_wavelength(ligament / _SPACING, share)
        waves = sim.draw_waves(jax.random.key(40 + k), length)
        for i in range(count):
            field = np.asarray(sim.wave_field(waves, (1, size, size), (2 * i, 0, 0)))[0]
            body[i] &= field > norm.isf(share)
    return ndimage.gaussian_filter(body.astype(np.float32), (0, 0.8, 0.8))


def _flyem(quick: bool) -> np.ndarray:
    volume = tifffile.imread(_FLYEM)
    return volume[: 60 if quick else None].astype(np.float32)


def _cut(wide: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(wide[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN])


def _drifted(stack: Stack) -> Moved:
    count = len(stack.wide)
    _, shifts = sim.drift(jax.random.key(11), np.zeros((count, 1, 1)))
    known = np.asarray(shifts, np.float64)
    known -= known[0]
    return Moved(_cut(stack.wide), _cut(np.asarray(sim.shift_slices(stack.wide, known))), -known)


def _noisy(images: np.ndarray, noise: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    added = rng.standard_normal(images.shape, np.float32)
    return images + np.float32(noise * images.std()) * added


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


def _same_scene(moved: Moved, noise: float, features: str) -> list[Any]:
    still, seen = _noisy(moved.still, noise, 1), _noisy(moved.seen, noise, 2)
    found = fib.register_onto(seen, still, reach=_REACH, features=features)
    errors = (found.shifts - moved.truth)[~found.refused]
    return [_rms(errors), float(np.abs(errors).max())]


def _at_rest(count: int, edge: int) -> list[list[Any]]:
    """What the registration itself costs: no structure changes where it looks."""
    wide = _waves(count, edge, (40.0,))
    one = np.ascontiguousarray(np.broadcast_to(wide[:1], wide.shape))
    cases: list[tuple[str, Moved, list[tuple[str, dict[str, Any]]]]] = [
        ("one slice", _drifted(Stack("one slice", one)), [
            ("defaults (chain)", {}), ("chain, detrend none", {"detrend": "none"}),
            ("mean", {"reference": "mean"}),
        ]),
    ]  # fmt: skip
    for size in (24, 96):
        half = size // 2 + _ROOM
        box = (edge // 2 - half, edge // 2 + half)
        if box[0] < 0:
            continue
        marked = _drifted(Stack("mark", _with_mark(wide, size)))
        how = [("defaults (mean)", {"region": (box, box)})]
        cases.append((f"mark of {size} px in {2 * half} px", marked, how))
    rows = []
    for what, moved, hows in cases:
        for noise in _NOISES:
            seen = _noisy(moved.seen, noise, 6)
            for how, told in hows:
                found = fib.register_stack(seen, **told)
                left = found.shifts - moved.truth
                rows.append([what, noise, how, _step(left), _place(left), int(found.refused.sum())])
    return rows


def _with_mark(wide: np.ndarray, size: int) -> np.ndarray:
    """A disc with a cross cut out, on a flat ground amid the structure."""
    edge = wide.shape[1]
    y, x = np.mgrid[:edge, :edge] - edge // 2
    part = size / 24
    mark = (np.hypot(y, x) < size // 2) & (np.abs(y) > part) & (np.abs(x) > part)
    soft = ndimage.gaussian_filter(mark.astype(np.float32), 1.0)
    # As wide as its box and the drift: the structure stays out of sight.
    ground = np.maximum(np.abs(y), np.abs(x)) < size // 2 + 2 * _ROOM
    return np.where(ground, soft, wide)


def _own(moved: Moved) -> dict[str, np.ndarray]:
    return {
        how: fib.register_stack(moved.still, reach=_REACH, detrend="none", features=how).shifts
        for how in ("edges", "grey")
    }


def _chained(moved: Moved, own: dict[str, np.ndarray], noise: float) -> list[list[Any]]:
    seen = _noisy(moved.seen, noise, 3)
    rows: list[list[Any]] = [
        ["not registered", _step(moved.truth), None, _place(moved.truth), None, None]
    ]
    for how, lags in (("edges", (1, 2)), ("edges", (1,)), ("edges", (1, 2, 4)), ("grey", (1, 2))):
        told = fib.register_stack(seen, reach=_REACH, lags=lags, detrend="none", features=how)
        left = told.shifts - moved.truth
        rows.append([
            f"{how}, lags {', '.join(map(str, lags))}", _step(left), _step(left - own[how]),
            _place(left), _place(left - own[how]), int(told.refused.sum()),
        ])  # fmt: skip
    told = fib.register_stack(seen, reach=_REACH)
    left = told.shifts - moved.truth
    rows.append(
        ["edges, smooth (default)", _step(left), None, _place(left), None, int(told.refused.sum())]
    )
    return rows


def _step(errors: np.ndarray) -> float:
    return _rms(np.diff(errors, axis=0))


def _place(errors: np.ndarray) -> float:
    return _rms(errors - errors.mean(0))


def _marks(count: int, noise: float) -> list[list[Any]]:
    """A disc and a cross milled beside the structure."""
    size = 96 + 2 * _MARGIN
    y, x = np.mgrid[:size, :size] - size // 2
    mark = (np.hypot(y, x) < 30) & (np.abs(y) > 4) & (np.abs(x) > 4)
    wide = np.broadcast_to(
        ndimage.gaussian_filter(mark.astype(np.float32), 1.0), (count, size, size)
    )
    moved = _drifted(Stack("mark", np.ascontiguousarray(wide)))
    seen = _noisy(moved.seen, noise, 4)
    rows = []
    for how in ("chain", "first", "mean"):
        found = fib.register_stack(seen, reference=how, reach=24, detrend="none")
        rows.append([how, _place(found.shifts - moved.truth)])
    return rows


def _voltages(quick: bool) -> list[list[Any]]:
    slices, edge, below = (12, 96, 40) if quick else (60, 224, 40)
    body = hierarchical(7, (slices + below, edge, edge), 0.123, _SPACING)
    surface = jax.random.key(70)
    seen: dict[float, np.ndarray] = {}
    shifts: dict[float, np.ndarray] = {}
    for energy in ENERGIES:
        yields = sim.backscatter_images(body, ("epoxy", "gold"), energy, spacing=_SPACING)
        black, white = sim.detector_levels(("epoxy", "gold"), energy)
        told = sim.Instrument(black=black, white=white, drift_walk=0.1)
        key = jax.random.fold_in(jax.random.key(71), round(1000 * energy))
        made = sim.instrument(key, yields[:slices], told, surface=surface)
        seen[energy] = np.asarray(made.image)[:, 12:-12, 12:-12]
        shifts[energy] = np.asarray(made.shifts, np.float64)
    rows = []
    for energy in (1.0, 4.0):
        truth = shifts[2.0] - shifts[energy]
        for features in ("grey", "edges"):
            for smooth in (0.5, 1.0):
                found = fib.register_onto(seen[energy], seen[2.0], features=features, smooth=smooth)
                left = found.shifts - truth
                rows.append(
                    [f"{energy:g} kV", features, smooth, _rms(left), _place(left), _rms(truth)]
                )
    return rows


def _speed(quick: bool) -> tuple[Table, list[str]]:
    """The same float32 stack in memory; every other run is the rival's."""
    from skimage.registration import phase_cross_correlation

    count, edge, repeats = (20, 256, 3) if quick else (200, 512, 3)
    # There and back again: a quarter of the slices is soon made.
    turn = np.abs(np.arange(count) % (count // 2) - count // 4)
    moved = _drifted(Stack("speed", _waves(count // 4 + 1, edge, (40.0,))[turn]))
    seen = _noisy(moved.seen, 0.05, 5)
    sampled = min(_RIVALS, count - 1)

    # Its types say str; None is what its documentation has.
    told: dict[str, Any] = {"upsample_factor": 100, "normalization": None}

    def rival() -> np.ndarray:
        return np.array([
            phase_cross_correlation(one, next_, **told)[0]
            for one, next_ in pairwise(seen[: sampled + 1])
        ])  # fmt: skip

    def ours(lags: tuple[int, ...]) -> np.ndarray:
        return fib.register_stack(seen, reach=_REACH, lags=lags, detrend="none").shifts

    first = time.perf_counter()
    ours((1,))
    ours((1, 2))
    first = time.perf_counter() - first
    taken: dict[str, list[float]] = {"scikit-image": [], "lags 1": [], "lags 1, 2": []}
    found: dict[str, np.ndarray] = {}
    for _ in range(repeats):
        for name, call in (
            ("scikit-image", rival), ("lags 1", lambda: ours((1,))),
            ("lags 1, 2", lambda: ours((1, 2))),
        ):  # fmt: skip
            before = time.perf_counter()
            found[name] = call()
            part = sampled / (count - 1) if call is rival else 1.0
            taken[name].append((time.perf_counter() - before) / part)
    steps = np.diff(moved.truth, axis=0)
    own = np.diff(fib.register_stack(moved.still, reach=_REACH, detrend="none").shifts, axis=0)
    slow = float(np.median(taken["scikit-image"]))
    rows = []
    for name, seconds in taken.items():
        got = found[name] if name == "scikit-image" else np.diff(found[name], axis=0)
        middle = float(np.median(seconds))
        left = got - (steps + own)[: len(got)]
        rows.append([name, middle, spread(seconds), slow / middle, _rms(left)])
    title = f"Seconds for {count} slices of {edge} x {edge}"
    columns = ["how", "median s", "range", "times as fast", "steps - own, px"]
    return Table(title, columns, rows), [
        f"speed: edges, the default; first runs with compilation, {first:.1f} s, apart",
        "speed: float32 in memory, one process, the rival in turn with ours",
        f"speed: the rival timed on {sampled} of {count - 1} pairs, its seconds in proportion",
    ]
