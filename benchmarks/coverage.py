"""How often the 95 % intervals hold the truth, each kind its own.

`confidence` is to hold this volume's own values, `sampling` those of the material. Volumes are
cut at the same levels of ever new fields, so that the material's values are known and each
volume's own scatter about them.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

import bimmjax
from benchmarks._report import Table, say
from benchmarks._volumes import known_volume
from bimmjax.fitting import Fit
from bimmjax.sim import expected_interface_areas, noise_correlation

EDGE, LENGTH, NOISE, SHARES = 96, 8.0, 0.1, (0.3, 0.7)
_NAMES = ("V1", "area", "I1", "I2", "noise", "blur", "rho")


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Coverage over many volumes, for sharp and blurred images, white and correlated noise."""
    volumes = 30 if quick else 200
    cases = [
        _case(blur, noise_length, volumes)
        for blur in (1.0, 1.5)
        for noise_length in ((0.0,) if quick else (0.0, 0.8))
    ]
    return {
        "tables": [_table(case, kind) for case in cases for kind in ("confidence", "sampling")],
        "notes": [
            f"{EDGE}³ voxels, V = {SHARES}, features of length {LENGTH:g}, noise {NOISE}; "
            f"{volumes} volumes a case, so a coverage is known to about "
            f"± {100 * np.sqrt(0.95 * 0.05 / volumes):.1f} %",
            "half-width: median of the intervals'; bias and spread of the fitted values are in "
            "units of it (spread 0.51 and bias 0 would give 95 %)",
        ],
        "cases": cases,
    }


def _case(blur: float, noise_length: float, volumes: int) -> dict[str, Any]:
    area = expected_interface_areas(SHARES, LENGTH)[0]
    rho = float(noise_correlation(noise_length)[1])
    shared = {"I1": 0.0, "I2": 1.0, "noise": NOISE, "blur": blur, "rho": rho}
    material = {"V1": SHARES[0], "area": float(area), **shared}
    values, bars, own = [], {"confidence": [], "sampling": []}, []
    before = time.perf_counter()
    for seed in range(volumes):
        known = known_volume(
            seed,
            EDGE,
            SHARES,
            blur_std=blur,
            noise_std=NOISE,
            noise_length=noise_length,
            feature_length=LENGTH,
            levels="ensemble",
        )
        assert known.areas is not None
        fit = bimmjax.fit(known.image, 2)
        values.append(_values(fit))
        own.append({"V1": known.fractions[0], "area": known.areas[0], **shared})
        for kind, listed in bars.items():
            listed.append(_intervals(getattr(fit, kind)))
        if (seed + 1) % 50 == 0:
            say(f"coverage: blur {blur}, correlation {rho:.2f}: {seed + 1} of {volumes} volumes")
    return {
        "blur": blur,
        "noise_length": noise_length,
        "correlation": rho,
        "volumes": volumes,
        "seconds": time.perf_counter() - before,
        "material": material,
        "own": own,
        "fitted": values,
        **bars,
    }


def _values(fit: Fit) -> dict[str, float]:
    params, areas = fit.params, fit.properties.interface_areas
    assert areas is not None
    assert params.blur_std is not None
    assert params.correlation is not None
    return {
        "V1": float(fit.properties.volume_fractions[0]),
        "area": float(areas[0]),
        "I1": float(params.intensities[0]),
        "I2": float(params.intensities[1]),
        "noise": float(params.noise_std),
        "blur": float(params.blur_std),
        "rho": float(params.correlation),
    }


def _intervals(found: dict[str, Any]) -> dict[str, list[float]]:
    return {
        "V1": found["volume_fractions"][0],
        "area": found["interface_areas"]["0-1"],
        "I1": found["intensities"][0],
        "I2": found["intensities"][1],
        "noise": found["noise_std"],
        "blur": found["blur_std"],
        "rho": found["correlation"],
    }


def _table(case: dict[str, Any], kind: str) -> Table:
    rows = []
    for name in _NAMES:
        fitted = np.array([x[name] for x in case["fitted"]])
        if kind == "confidence":
            truth = np.array([x[name] for x in case["own"]])
        else:
            truth = np.full(fitted.shape, case["material"][name])
        low, high = np.array([x[name] for x in case[kind]]).T
        held = (low <= truth) & (truth <= high)
        half = float(np.median(0.5 * (high - low)))
        widest = 0.5 * (high - low).max()
        error = fitted - truth
        rows.append(
            [
                name,
                f"{truth.mean():.5f}",
                f"{100 * held.mean():.1f}",
                f"{error.mean():+.5f}",
                f"{error.std(ddof=1):.5f}",
                f"{half:.5f}",
                f"{widest:.5f}",
                f"{error.mean() / half:+.2f}",
                f"{error.std(ddof=1) / half:.2f}",
            ]
        )
    columns = [
        "quantity",
        "truth",
        "coverage %",
        "mean error",
        "spread",
        "half-width",
        "widest",
        "bias / half-width",
        "spread / half-width",
    ]
    of = "this volume's own values" if kind == "confidence" else "the material's values"
    name = f"blur {case['blur']}, noise correlation {case['correlation']:.2f}: `{kind}`, for {of}"
    return Table(name, columns, rows)
