"""Thicknesses of slices from images alone and from rulers, and what clean-up does to them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter

from benchmarks._report import Table, say
from bimmjax import fib, sim
from bimmjax.fib._thickness.result import find_outliers

_DEPTH = 600.0  # nm: some 60 slices
_EDGE = 256


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Images, blur and shine-through, rulers, outliers, curtains and brightness."""
    del out
    seeds = 2 if quick else 6
    images, figures = _images(seeds, quick)
    tables = [
        images,
        _soft(1 if quick else 3),
        _rulers(seeds),
        _outliers(),
        _clean(1 if quick else 3),
    ]
    notes = [
        f"slices of {_EDGE} x {_EDGE} pixels over {_DEPTH:g} nm, gamma thicknesses of mean 10.16 "
        "and std 3.12 nm, cut at their exact depths; errors are in % of the mean thickness, of all "
        "stacks together; worst bias is that of a single stack",
        "waves: number of plane waves of a field; 200 of them are not isotropic to 3 % themselves",
        "plain: the semivariogram of pixels inverted slice by slice, nothing else",
        "noise, in units of the contrast of the phases or of the marks",
    ]
    return {"tables": tables, "notes": notes, "figures": figures}


def wave_slices(
    key: jax.Array, wavelength: float, positions: np.ndarray, count: int, edge: int = _EDGE
) -> np.ndarray:
    """A field of waves cut at any depth; lengths in pixels."""
    waves = sim.draw_waves(key, wavelength, count)
    cycles, phases = np.asarray(waves.cycles, float), np.asarray(waves.phases, float)
    y, x = (np.exp(2j * np.pi * np.arange(edge)[:, None] * cycles[:, k]).astype(np.complex64)
            for k in (1, 2))  # fmt: skip
    turns = np.exp(2j * np.pi * (positions[:, None] * cycles[:, 0] + phases)).astype(np.complex64)
    return np.stack([((y * turn) @ x.T).real for turn in turns])


def structure(
    seed: int, pixel: float, ligaments: tuple[float, ...], solid: float, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a levelled wave or a hierarchy of two, and the thicknesses of its slices, nm."""
    key = jax.random.key(seed)
    positions = sim.draw_positions(jax.random.fold_in(key, 1), _DEPTH)
    share = solid ** (1.0 / len(ligaments))
    labels = np.ones((positions.size, _EDGE, _EDGE), bool)
    for part, ligament in zip(jax.random.split(key, len(ligaments)), ligaments, strict=True):
        length = sim.ligament_wavelength(ligament, share) / pixel
        field = wave_slices(part, length, positions / pixel, count)
        labels &= field >= np.quantile(field[::4], 1.0 - share)
    return labels.astype(np.uint8), np.diff(positions)


_CASES = [
    ("HNPG, 110 and 15 nm", 5.0, (110.0, 15.0), 0.25),
    ("HNPG, 110 and 15 nm", 2.5, (110.0, 15.0), 0.25),
    ("wave, 30 nm", 5.0, (30.0,), 0.3),
    ("wave, 30 nm", 2.5, (30.0,), 0.3),
    ("wave, 60 nm", 5.0, (60.0,), 0.3),
    ("wave, 110 nm", 5.0, (110.0,), 0.3),
]


def _noisy(labels: np.ndarray, noise: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return labels + noise * rng.standard_normal(labels.shape, dtype=np.float32)


class _Errors:
    """Of stacks that belong together, in shares of the mean thickness."""

    def __init__(self) -> None:
        self.stacks: list[np.ndarray] = []
        self.scores: list[np.ndarray] = []
        self.outliers = 0

    def add(self, found: fib.Thickness, true: np.ndarray) -> None:
        self.stacks.append((found.thickness - true) / true.mean())
        self.scores.append((found.measured - true) / found.std)
        self.outliers += int(found.outliers.sum())

    def add_plain(self, found: np.ndarray, true: np.ndarray) -> None:
        self.stacks.append((found - true) / true.mean())

    def row(self) -> list[float]:
        """Rms, bias and the worst bias of a stack, %."""
        every = np.concatenate(self.stacks)
        worst = max((float(s.mean()) for s in self.stacks), key=abs)
        return [100 * float(np.sqrt(np.mean(every**2))), 100 * float(every.mean()), 100 * worst]


def _plain(labels: np.ndarray, pixel: float) -> np.ndarray:
    """The method in its plainest form, for comparison."""
    image = labels.astype(np.float32)
    lags = np.arange(0, int(60 / pixel) + 1)
    curve = np.zeros(lags.size)
    for h in lags[1:]:
        along = np.mean((image[:, h:] - image[:, :-h]) ** 2)
        curve[h] = 0.25 * (along + np.mean((image[:, :, h:] - image[:, :, :-h]) ** 2))
    fine = np.linspace(0, lags[-1], 20 * lags.size)
    known = PchipInterpolator(lags, curve)(fine)
    top = int(known.argmax()) + 1
    between = 0.5 * np.mean((image[1:] - image[:-1]) ** 2, axis=(1, 2))
    return np.interp(between, np.maximum.accumulate(known[:top]), fine[:top]) * pixel


def _images(seeds: int, quick: bool) -> tuple[Table, dict[str, Any]]:
    rows, figures, taken = [], {}, []
    for count in (800,) if quick else (200, 800):
        for name, pixel, ligaments, solid in _CASES:
            say(f"fib_thickness: {name} at {pixel} nm, {count} waves")
            plain, kinds = _Errors(), {n: _Errors() for n in (0.0, 0.1)}
            for seed in range(seeds):
                labels, true = structure(100 + seed, pixel, ligaments, solid, count)
                plain.add_plain(_plain(labels, pixel), true)
                for noise, errors in kinds.items():
                    image = _noisy(labels, noise, seed) if noise else labels
                    before = time.perf_counter()
                    found = fib.thickness_from_images(image, spacing=(10.0, pixel, pixel))
                    taken.append((time.perf_counter() - before) / len(labels))
                    errors.add(found, true)
            for noise, errors in kinds.items():
                score = float(np.nanstd(np.concatenate(errors.scores)))
                rows.append([name, pixel, count, noise, *errors.row(), plain.row()[0],
                             errors.outliers, score])  # fmt: skip
                figures[f"{name} {pixel} {count} {noise}"] = errors.row()
    columns = ["structure", "pixel, nm", "waves", "noise", "rms, %", "bias, %", "worst bias, %",
               "plain rms, %", "outliers", "error / std"]  # fmt: skip
    title = f"from images alone: {seeds} stacks each, {1e3 * np.median(taken):.0f} ms a slice"
    return Table(title, columns, rows), figures


def _soft(seeds: int) -> Table:
    """Grey images: blurred within slices, and with what shines through them."""
    rows = []
    for name, pixel, ligaments, solid in _CASES[:3]:
        for blur in (0.5, 1.0):
            say(f"fib_thickness: {name} at {pixel} nm, blur of {blur} pixels")
            told, untold, cut = _Errors(), _Errors(), _Errors()
            for seed in range(seeds):
                labels, true = structure(100 + seed, pixel, ligaments, solid, 800)
                soft = np.stack([gaussian_filter(s.astype(np.float32), blur) for s in labels])
                image, spacing = _noisy(soft, 0.05, seed), (10.0, pixel, pixel)
                found = fib.thickness_from_images(image, spacing=spacing, blur_std=blur * pixel)
                told.add(found, true)
                untold.add(fib.thickness_from_images(image, spacing=spacing), true)
                whole = (image > 0.5).astype(np.uint8)
                cut.add(fib.thickness_from_images(whole, spacing=spacing), true)
            rows += [[name, pixel, f"blur of {blur} pixels", "blur told", *told.row()],
                     [name, pixel, f"blur of {blur} pixels", "not told", *untold.row()],
                     [name, pixel, f"blur of {blur} pixels", "labels", *cut.row()]]  # fmt: skip
    name, pixel, ligaments, solid = _CASES[2]
    for kilovolts in (1.0, 2.0):
        say(f"fib_thickness: shine-through at {kilovolts} kV")
        grey = _Errors()
        for seed in range(seeds):
            image, true = _shining(seed, pixel, ligaments[0], solid, kilovolts)
            grey.add(fib.thickness_from_images(image, spacing=(10.0, pixel, pixel)), true)
        rows.append([name, pixel, f"shine-through, {kilovolts:g} kV", "grey values", *grey.row()])
    columns = ["structure", "pixel, nm", "images", "read as", "rms, %", "bias, %", "worst bias, %"]
    return Table(f"grey images, noise 0.05; {seeds} stacks each", columns, rows)


def _shining(
    seed: int, pixel: float, ligament: float, solid: float, kilovolts: float
) -> tuple[np.ndarray, np.ndarray]:
    """Back-scatter images of gold in epoxy, made on fine slices and cut out of those."""
    fine = 2.5
    key = jax.random.key(100 + seed)
    depth = 300.0
    positions = sim.draw_positions(jax.random.fold_in(key, 1), depth, step=fine)
    places = np.arange(int(depth / fine) + 60) * fine
    length = sim.ligament_wavelength(ligament, solid) / pixel
    field = wave_slices(key, length, places / pixel, 400)
    labels = (field >= np.quantile(field, 1.0 - solid)).astype(np.uint8)
    materials, spacing = ["epoxy", "gold"], (fine, pixel, pixel)
    image = np.asarray(sim.backscatter_images(labels, materials, kilovolts, spacing=spacing))
    return image[np.rint(positions / fine).astype(int)], np.diff(positions)


def _rulers(seeds: int) -> Table:
    rows = []
    for width in (256, 512, 1024):
        ruler = sim.make_ruler(width, _DEPTH)
        angle = math.degrees(math.atan(ruler.slope))
        for noise in (0.05, 0.1):
            given, found = _Errors(), _Errors()
            for seed in range(seeds):
                positions = sim.draw_positions(jax.random.key(seed), _DEPTH)
                image = np.full((positions.size, 16, width), 0.5, np.float32)
                drawn = sim.draw_ruler(image, ruler, positions)
                moved = np.asarray(sim.drift(jax.random.key(seed), drawn)[0])
                seen = _noisy(moved, noise, seed)
                true = np.diff(positions)
                given.add(fib.thickness_from_ruler(seen, ruler), true)
                found.add(fib.thickness_from_ruler(seen, rows=(0, 44), angle=angle), true)
            for kind, errors in (("given", given), ("found", found)):
                rows.append([width, round(angle, 1), noise, kind, *errors.row(), errors.outliers])
    columns = [
        "pixels",
        "angle",
        "noise",
        "ruler",
        "rms, %",
        "bias, %",
        "worst bias, %",
        "outliers",
    ]
    return Table(
        f"from a ruler of 48 rows, drift of 0.3 pixels; {seeds} stacks each", columns, rows
    )


def _outliers() -> Table:
    rows = []
    none = np.full(316, np.nan)
    for rule, score in (("robust", 4.0), ("robust", 3.0), ("article", 1.5), ("article", 3.0)):
        dropped, kept, missed = [], [], []
        for seed in range(50):
            thickness = sim.draw_thickness(jax.random.key(seed), 316)
            bad = find_outliers(thickness, none, rule, score)
            dropped.append(bad.mean())
            kept.append(thickness[~bad].std() / thickness.std())
            spoiled = thickness.copy()
            rng = np.random.default_rng(seed)
            wrong = rng.choice(316, 16, replace=False)
            spoiled[wrong] = rng.choice([0.5, 40.0], 16)
            missed.append(1.0 - find_outliers(spoiled, none, rule, score)[wrong].mean())
        rows.append([rule, score, 100 * np.mean(dropped), np.mean(kept), 100 * np.mean(missed)])
    columns = ["rule", "score", "good dropped, %", "std left", "bad missed, %"]
    return Table("outliers of 316 gamma thicknesses; 5 % replaced by 0.5 or 40 nm", columns, rows)


def _clean(seeds: int) -> Table:
    rows = []
    cleaners: dict[str, tuple[Callable, Callable]] = {
        "curtains of 0.08": (
            lambda key, image: sim.curtains(key, image, strength=0.08, slices=1e6)[0],
            fib.remove_curtains,
        ),
        "gain 0.05, offset 0.02": (
            lambda key, image: sim.brightness(key, image, gain_std=0.05, offset_std=0.02)[0],
            lambda v: fib.equalise_brightness(v, window=101).volume,
        ),
    }
    for name, pixel, ligaments, solid in _CASES[:3]:
        for blur in (0.0, 1.0):
            for what, (spoil, clean) in cleaners.items():
                before, after, unspoiled = [], [], []
                for seed in range(seeds):
                    labels, _ = structure(100 + seed, pixel, ligaments, solid, 500)
                    soft = np.stack([gaussian_filter(s.astype(np.float32), blur) for s in labels])
                    image = _noisy(0.2 + 0.5 * soft[:20], 0.02, seed)
                    spoiled = np.asarray(spoil(jax.random.key(seed), image))
                    before.append(np.std(spoiled - image))
                    after.append(np.std(np.asarray(clean(spoiled)) - image))
                    unspoiled.append(np.std(np.asarray(clean(image)) - image))
                b, a, u = (float(np.mean(v)) for v in (before, after, unspoiled))
                rows.append([name, pixel, blur, what, b, a, b / a, u])
    columns = ["structure", "pixel, nm", "blur, pixels", "spoiled by", "off before", "off after",
               "factor", "change of a good stack"]  # fmt: skip
    return Table("clean-up: rms off grey values 0.2 and 0.7, noise 0.02", columns, rows)
