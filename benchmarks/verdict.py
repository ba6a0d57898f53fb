"""Whether announced errors, intervals and refusals hold, on random bodies of known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

import bimmjax
from benchmarks._bodies import KINDS, random_body, scanned
from benchmarks._report import Table, say
from bimmjax.properties import RISE_PER_BLUR

EDGE = 80
SEED = 2028
_NAMES = ("area", "fraction", "resolution")
_SMALLEST = 2.0
_GOOD = 5.0


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Fit random bodies of nine kinds, at random blurs and noises, white or correlated."""
    del out
    bodies = 18 if quick else 130
    records = []
    for number in range(bodies):
        kind = KINDS[number % len(KINDS)]
        if number % 9 == 0:
            say(f"verdict: {number} of {bodies} bodies")
        body = random_body(jax.random.key(SEED + number), kind, EDGE)
        records += [_record(body, kind, number, k) for k in range(4)]
    records = [r for r in records if r is not None]
    tables = [_coverage(records), _refusals(records)]
    notes = [
        f"{bodies} bodies at 4 random blurs (0.65 to 2.5) and noises (0.03 to 0.15, half of them "
        f"correlated) each, {EDGE}³ voxels; features of {_SMALLEST:g} blurs and more",
        f"good: not refused, features of {_GOOD:g} blurs and more as the fit finds them",
    ]
    return {"tables": tables, "notes": notes, "records": records}


def _record(body: Any, kind: str, number: int, k: int) -> dict[str, Any] | None:
    rng = np.random.default_rng([SEED, number, k])
    blur_std = float(np.exp(rng.uniform(np.log(0.65), np.log(2.5))))
    noise_std, length = float(rng.uniform(0.03, 0.15)), float(rng.choice([0.0, 0.0, 0.5, 0.8]))
    area, shares = float(body.truth.interface_areas[0]), body.truth.fractions
    size = float(4.0 * shares[0] * shares[1] / area)
    if size / blur_std < _SMALLEST:
        return None
    image = scanned(body, blur_std, noise_std, seed=10 * number + k, noise_length=length)
    fit = bimmjax.fit(image, 2)
    told, errors = fit.properties, fit.announced
    plain = fit.uncorrected
    assert plain is not None
    record: dict[str, Any] = {"kind": kind, "size": size / blur_std, "refused": bool(fit.refusals)}
    record["plain"] = float(np.asarray(plain.interface_areas)[0] / area - 1.0)
    if fit.refusals or errors is None:
        return record
    bars = fit.confidence
    assert bars is not None
    found = float(np.asarray(told.interface_areas)[0])
    width = float(np.asarray(told.resolution_10_90))
    fractions = told.volume_fractions
    room = float(4.0 * fractions[0] * fractions[1])
    record["seen"] = room / (found * width / RISE_PER_BLUR)
    record["good"] = record["seen"] >= _GOOD
    for name, value, true, error, (low, high) in (
        ("area", found, area, errors["interface_areas"]["0-1"], bars["interface_areas"]["0-1"]),
        (
            "fraction",
            float(fractions[0]),
            float(shares[0]),
            errors["volume_fractions"][0],
            bars["volume_fractions"][0],
        ),
        (
            "resolution",
            width,
            RISE_PER_BLUR * blur_std,
            errors["resolution_10_90"],
            bars["resolution_10_90"],
        ),
    ):
        record[name] = {
            "off": value - true if name == "fraction" else value / true - 1.0,
            "announced": error if name == "fraction" else error / true,
            "within": bool(abs(value - true) <= error),
            "held": bool(low <= true <= high),
        }
    return record


def _coverage(records: list[dict[str, Any]]) -> Table:
    told = [r for r in records if "area" in r]
    rows = []
    groups = [("all told", told), ("good", [r for r in told if r["good"]])]
    groups += [
        (f"seen as {low}-{high} blurs", [r for r in told if low <= r["seen"] < high])
        for low, high in ((3, 3.5), (3.5, 4), (4, 5))
    ]
    groups += [(kind, [r for r in told if r["kind"] == kind]) for kind in KINDS]
    for title, some in groups:
        for name in _NAMES:
            found = [r[name] for r in some]
            if found:
                off = np.abs([x["off"] for x in found])
                rows.append(
                    [
                        title,
                        name,
                        len(found),
                        f"{off.mean():.4f}",
                        f"{np.median([x['announced'] for x in found]):.4f}",
                        f"{100 * np.mean([x['within'] for x in found]):.1f}",
                        f"{100 * np.mean([x['held'] for x in found]):.1f}",
                    ]
                )
    columns = [
        "volumes",
        "quantity",
        "number",
        "mean error",
        "announced (median)",
        "within, % (90 wanted)",
        "in 95 % interval, %",
    ]
    return Table("errors announced and met", columns, rows)


def _refusals(records: list[dict[str, Any]]) -> Table:
    rows = []
    for title, some in (
        ("refused", [r for r in records if r["refused"]]),
        ("told", [r for r in records if not r["refused"]]),
    ):
        plain = np.abs([r["plain"] for r in some] or [np.nan])
        sizes = [r["size"] for r in some] or [np.nan]
        rows.append([title, len(some), np.median(sizes), 100 * plain.mean(), 100 * plain.max()])
    columns = ["areas", "number", "size, blurs", "plain model: mean error, %", "worst, %"]
    return Table("what is refused", columns, rows)
