"""Areas, fractions and blur of bodies with a sharp truth: how far each model is off."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

import bimmjax
from benchmarks._bodies import HELD_OUT, LOOKED_AT, Maker, cube, scanned
from benchmarks._report import Table, say
from bimmjax import sim
from bimmjax.models import phase_pairs

BLURS = (0.7, 1.0, 1.5, 2.0)
NOISES = (0.05, 0.1)
MODELS: dict[str, dict[str, Any]] = {
    "paper": {"interface": "flat", "gradient": "plain", "correct": False},
    "curved": {"correct": False},
    "corrected": {},
}


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Fit every body at every blur and noise; tables of mean and worst errors."""
    edge = 64 if quick else 96
    tables, records = [], []
    for title, bodies in (("looked at while models were made", LOOKED_AT), ("held out", HELD_OUT)):
        found = list(_fits(bodies, edge, (0.1,) if quick else NOISES))
        records += found
        tables += [_by_blur(title, found), _by_body(title, found)]
    tables.append(_by_blur("all of them", records))
    tables.append(_by_size(records))
    three = list(_three(edge, 6 if quick else 48))
    tables.append(_by_pair(three))
    tables.append(_cost(edge))
    _picture(records, out / "areas.png")
    notes = [
        f"{edge}³ voxels, noise {'0.1' if quick else '0.05 and 0.1'} of the contrast, white",
        "areas and blur: fitted over true, less 1, in %; fractions: fitted less true",
        "corrected: where an area is refused there is no number (see volumes)",
        "l/s: 4 V₁V₂ / (area · blur), the size of features in blurs",
    ]
    return {"tables": tables, "notes": notes, "records": records, "three": three}


def _fits(bodies: dict[str, Maker], edge: int, noises: tuple[float, ...]) -> Iterator[dict]:
    for name, make in bodies.items():
        say(f"areas: {name}")
        body = make(edge)
        truth = body.truth
        area, share = float(truth.interface_areas[0]), float(truth.fractions[0])
        for blur_std in BLURS:
            for noise_std in noises:
                image = scanned(body, blur_std, noise_std)
                for model, options in MODELS.items():
                    fit = bimmjax.fit(image, phases=2, intervals=False, **options)
                    found, blur = fit.properties, fit.params.blur_std
                    if fit.scan is not None:
                        blur = fit.scan.blur_std
                    assert found.interface_areas is not None
                    assert blur is not None
                    yield {
                        "body": name,
                        "blur_std": blur_std,
                        "noise_std": noise_std,
                        "model": model,
                        "size": 4.0 * share * (1.0 - share) / (area * blur_std),
                        "area": 100.0 * (float(found.interface_areas[0]) / area - 1.0),
                        "area_std": 100.0 * float(truth.interface_areas_std[0]) / area,
                        "fraction": float(found.volume_fractions[0]) - share,
                        "blur": 100.0 * (float(blur) / blur_std - 1.0),
                    }


def _row(some: list[dict[str, Any]]) -> list[Any]:
    told = [r for r in some if np.isfinite(r["area"])]
    areas, shares, blurs = (
        np.abs([r[key] for r in told] or [np.nan]) for key in ("area", "fraction", "blur")
    )
    return [
        f"{len(told)} of {len(some)}",
        areas.mean(),
        areas.max(),
        shares.max(),
        blurs.mean(),
        blurs.max(),
    ]


_COLUMNS = ["volumes", "area, mean", "worst", "fraction, worst", "blur, mean", "worst "]


def _by_blur(title: str, records: list[dict[str, Any]]) -> Table:
    rows = [
        [model, blur, *_row([r for r in records if (r["model"], r["blur_std"]) == (model, blur)])]
        for model in MODELS
        for blur in BLURS
    ]
    return Table(f"two phases, {title}: absolute errors", ["model", "blur", *_COLUMNS], rows)


def _by_size(records: list[dict[str, Any]]) -> Table:
    rows = []
    for model in MODELS:
        for low, high in ((0, 3), (3, 4), (4, 5), (5, 7), (7, 10), (10, 99)):
            some = [r for r in records if r["model"] == model and low <= r["size"] < high]
            if some:
                rows.append([model, f"{low}-{high}", *_row(some)])
    return Table("two phases, by size of features in blurs", ["model", "l/s", *_COLUMNS], rows)


def _by_body(title: str, records: list[dict[str, Any]]) -> Table:
    rows = []
    for body in dict.fromkeys(r["body"] for r in records):
        for model in MODELS:
            row: list[Any] = [body, model]
            for blur in BLURS:
                key = (body, model, blur)
                some = [r for r in records if (r["body"], r["model"], r["blur_std"]) == key]
                row += [np.mean([r[k] for r in some]) for k in ("size", "area")]
            rows.append(row)
    columns = ["body", "model", *(f"{what} {b}" for b in BLURS for what in ("l/s", "area"))]
    return Table(f"two phases, {title}: area, mean of the noises", columns, rows)


def _three(edge: int, count: int) -> Iterator[dict[str, Any]]:
    """Random bodies of three phases that all touch, and nested ones."""
    for number in range(count):
        rng = np.random.default_rng([99, number])
        key = jax.random.key(900 + number)
        kind = ("mixed", "contest", "mixed", "contest", "nested", "shell")[number % 6]
        if kind == "contest":
            body = sim.contest_body(
                key, cube(edge), 3, rng.uniform(4, 8), rng.uniform(-0.3, 0.3, 3).tolist()
            )
        elif kind == "shell":
            thickness = rng.uniform(3.5, 5.0)
            body = sim.shell_body(key, cube(edge), rng.uniform(8, 12), thickness, 0.2)
        else:
            shares = np.maximum(rng.dirichlet([4, 4, 4]), 0.15)
            shares = (shares / shares.sum()).tolist()
            body = sim.field_body(key, cube(edge), shares, rng.uniform(4, 8), arrangement=kind)
        blur_std, noise_std = float(rng.uniform(1, 2)), float(rng.choice([0.03, 0.05, 0.08]))
        say(f"areas: three phases, {kind}")
        fit = bimmjax.fit(scanned(body, blur_std, noise_std), phases=3, intervals=False)
        plain = fit.uncorrected
        assert plain is not None
        fractions = np.abs(fit.properties.volume_fractions - body.truth.fractions).max()
        for pair, told, model, true in zip(
            phase_pairs(3),
            np.asarray(fit.properties.interface_areas),
            np.asarray(plain.interface_areas),
            body.truth.interface_areas,
            strict=True,
        ):
            yield {
                "volume": number,
                "kind": kind,
                "pair": f"{pair[0]}-{pair[1]}",
                "touches": bool(true > 0),
                "told": bool(np.isfinite(told)),
                "area": 100.0 * (told / true - 1.0) if true > 0 else float(told),
                "plain": 100.0 * (model / true - 1.0) if true > 0 else float(model),
                "fraction": float(fractions),
            }


def _by_pair(records: list[dict[str, Any]]) -> Table:
    rows = []
    for kinds in (("mixed", "contest"), ("nested",), ("shell",)):
        for pair in ("0-1", "0-2", "1-2"):
            some = [r for r in records if r["kind"] in kinds and r["pair"] == pair and r["touches"]]
            if not some:
                continue
            told = [r for r in some if r["told"]]
            off, plain = (np.abs([r[k] for r in told] or [np.nan]) for k in ("area", "plain"))
            rest = np.abs([r["plain"] for r in some if not r["told"]] or [np.nan])
            rows.append(
                [
                    " and ".join(kinds),
                    pair,
                    f"{len(told)} of {len(some)}",
                    off.mean(),
                    off.max(),
                    plain.mean(),
                    plain.max(),
                    rest.mean(),
                    max([r["fraction"] for r in told] or [np.nan]),
                ]
            )
    columns = [
        "bodies",
        "pair",
        "told",
        "area, mean",
        "worst",
        "plain",
        "worst ",
        "refused: plain",
        "fraction, worst",
    ]
    return Table("three phases, blurs 1 to 2, noise 0.03 to 0.08: absolute errors", columns, rows)


def _cost(edge: int) -> Table:
    """Seconds of a fit of two phases with what has been compiled; medians of five."""
    body = HELD_OUT["field 9"](edge)
    rows = []
    small = scanned(body, 1.5, 0.1)
    large = np.tile(small[1:-1, 1:-1, 1:-1], (3, 3, 3))
    for volume in (small, large):
        seconds = {}
        for intervals in (False, True):
            for correct in (False, True):
                times = []
                for _ in range(6):
                    before = time.perf_counter()
                    bimmjax.fit(volume, 2, correct=correct, intervals=intervals)
                    times.append(time.perf_counter() - before)
                seconds[intervals, correct] = float(np.median(times[1:]))
        for intervals in (False, True):
            plain, mended = seconds[intervals, False], seconds[intervals, True]
            name = "with intervals" if intervals else "no intervals"
            rows.append([f"{volume.shape[0]}³", name, plain, mended, mended / plain])
    return Table("cost, seconds", ["volume", "", "plain", "corrected", "ratio"], rows)


def _picture(records: list[dict[str, Any]], path: Path) -> None:
    """Bias of areas over the size of features, for the plain and the corrected model."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8.0, 3.6), sharey=True, layout="constrained")
    colours = {"looked at": "#0072B2", "held out": "#D55E00"}
    for axis, (model, title) in zip(
        axes, (("paper", "the paper's model"), ("corrected", "bimmjax, corrected")), strict=True
    ):
        for name, bodies in (("looked at", LOOKED_AT), ("held out", HELD_OUT)):
            some = [r for r in records if r["model"] == model and r["body"] in bodies]
            axis.plot(
                [r["size"] for r in some],
                [r["area"] for r in some],
                "o" if name == "looked at" else "^",
                color=colours[name],
                markersize=4,
                alpha=0.7,
                label=name,
            )
        axis.axhline(0.0, color="0.4", linewidth=0.8)
        axis.axvspan(2, 3, color="0.9")
        axis.set(xscale="log", xlim=(2, 40), ylim=(-45, 20), title=title)
        axis.set_xticks([2, 3, 5, 7, 10, 20, 40], ["2", "3", "5", "7", "10", "20", "40"])
        axis.minorticks_off()
        axis.set_xlabel("size of features, blurs")
    axes[0].set_ylabel("area: error, %")
    axes[0].legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)
    plt.close(figure)
