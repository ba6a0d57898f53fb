"""The paper's artificial series (§4.1): every model against the truth, figures 6 to 10 redrawn.

Nineteen volumes with V1 = 0.05 ... 0.95, blur 3 voxels, noise 0.1; some again with blur 1 and
1.5; and three phases with all three interfaces.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

import bimmjax
from benchmarks import _artificial_pictures
from benchmarks._report import Table, say
from benchmarks._volumes import Known, known_volume
from bimmjax.models import phase_pairs

Record = dict[str, Any]

VARIANTS: dict[str, dict[str, Any]] = {
    "GMM": {"model": "gmm", "noise": "per_phase"},
    "GMM, shared noise": {"model": "gmm"},
    "PVMM": {"model": "pvmm"},
    "BIMM-1D": {"model": "bimm1d"},
    "BIMM-2D": {"model": "bimm2d"},
    "BIMM-2D, flat": {"model": "bimm2d", "interface": "flat"},
    "BIMM-2D, paper's": {"model": "bimm2d", "interface": "flat", "gradient": "plain"},
}
_JOINT = ("BIMM-2D", "BIMM-2D, flat", "BIMM-2D, paper's")
_NOISE = 0.1


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Fit all volumes; tables of errors, and PNGs."""
    edge, seeds = (128, 1) if quick else (256, 3)
    series = np.arange(1, 10, 2) / 10 if quick else np.arange(1, 20) / 20
    few = [0.1, 0.3, 0.5, 0.7, 0.9]
    records = [
        record
        for blur, shares, repeats in ((3.0, series, seeds), (1.0, few, 1), (1.5, few, 1))
        for share in shares
        for seed in range(repeats)
        for record in _two_phases(seed, edge, float(share), blur)
    ]
    three = [
        record
        for blur in (1.0, 1.5, 2.0)
        for noise in (0.05, 0.1)
        for fractions in ((0.3, 0.3, 0.4), (0.2, 0.5, 0.3), (0.1, 0.3, 0.6), (0.45, 0.1, 0.45))
        for record in _three_phases(edge, fractions, blur, noise)
    ]
    main = [r for r in records if r["blur_std"] == 3.0]
    pictures = _artificial_pictures.draw(main, known_volume(0, edge, (0.2, 0.8)), VARIANTS, out)
    return {
        "tables": [
            _summary(main),
            _areas(main),
            *(_by_volume(main, name) for name in _JOINT),
            _sharper(records),
            _three_table(three),
        ],
        "notes": [
            f"{edge}³ voxels, features of length 20, noise {_NOISE}, uncorrelated; "
            f"{seeds} volume(s) for each V1",
            "the truth is that of the counted voxels (without the outermost layer); areas are "
            "those of the continuous interfaces",
            "BIMM-2D: the default, curved interfaces, central differences; flat: flat interfaces; "
            "paper's: flat, and the gradient as a derivative",
            "errors are fitted minus true; areas and blur in percent of the truth",
            *(f"picture {path}" for path in pictures),
        ],
        "records": records,
        "three_phases": three,
    }


def _two_phases(seed: int, edge: int, share: float, blur: float) -> Iterable[Record]:
    known = known_volume(
        seed * 1000 + round(100 * share),
        edge,
        (share, 1.0 - share),
        blur_std=blur,
        noise_std=_NOISE,
        with_mask_areas=True,
    )
    say(f"artificial: blur {blur}, V1 {share}, volume {seed}")
    for name, options in VARIANTS.items():
        if blur == 3.0 or name in _JOINT:
            record = {"v1": share, "seed": seed, "blur_std": blur, "variant": name}
            yield record | _errors(known, blur, _NOISE, options)


def _three_phases(
    edge: int, fractions: tuple[float, ...], blur: float, noise: float
) -> Iterable[Record]:
    known = known_volume(5, edge, fractions, blur_std=blur, noise_std=noise)
    say(f"artificial: blur {blur}, noise {noise}, three phases {fractions}")
    for name in _JOINT:
        record = {"wanted": list(fractions), "blur_std": blur, "noise_std": noise, "variant": name}
        yield record | _errors(known, blur, noise, VARIANTS[name])


def _errors(known: Known, blur: float, noise: float, options: dict[str, Any]) -> Record:
    """One fit, as differences from the truth."""
    phases = known.fractions.size
    before = time.perf_counter()
    fit = bimmjax.fit(known.image, phases, intervals=False, **options)
    seconds = time.perf_counter() - before
    params = fit.params
    found: Record = {
        "fractions": known.fractions,
        "areas": known.areas,
        "mask_areas": known.mask_areas,
        "fraction_errors": fit.properties.volume_fractions - known.fractions,
        "intensity_errors": params.intensities - np.linspace(0.0, 1.0, phases),
        "noise_error": float(np.mean(params.noise_std)) - noise,
        "halfwidth": None,
        "goodness_of_fit": fit.goodness_of_fit,
        "nll": fit.nll,
        "converged": fit.converged,
        "warnings": fit.warnings,
        "seconds": seconds,
    }
    if params.interface_halfwidth is not None:
        found["halfwidth"] = float(params.interface_halfwidth)
    if params.blur_std is not None and params.correlation is not None and known.areas is not None:
        found["blur_error"] = 100 * (float(params.blur_std) / blur - 1)
        found["correlation_error"] = float(params.correlation) - known.correlation
        fitted = np.asarray(fit.properties.interface_areas)
        found["fitted_areas"] = fitted
        found["area_errors"] = 100 * (fitted / known.areas - 1)
        if known.mask_areas is not None:
            found["mask_area_errors"] = 100 * (known.mask_areas / known.areas - 1)
    return found


def _of(records: Iterable[Record], key: str, index: int | None = None) -> np.ndarray:
    return np.array([r[key] if index is None else r[key][index] for r in records], float)


def _summary(records: list[Record]) -> Table:
    """One row per model over the whole series."""
    rows = []
    for name in VARIANTS:
        own = [r for r in records if r["variant"] == name]
        share = _of(own, "fraction_errors", 0)
        low, high = _of(own, "intensity_errors", 0), _of(own, "intensity_errors", 1)
        joint = name in _JOINT
        blur = _of(own, "blur_error") if joint else None
        rho = _of(own, "correlation_error") if joint else None
        rows.append(
            [
                name,
                f"{np.abs(share).mean():.5f}",
                f"{np.abs(share).max():.5f}",
                f"{low.mean():+.4f}, {high.mean():+.4f}",
                f"{max(np.abs(low).max(), np.abs(high).max()):.4f}",
                f"{_of(own, 'noise_error').mean():+.5f}",
                None
                if blur is None
                else f"{blur.mean():+.2f} ({blur.min():+.2f}..{blur.max():+.2f})",
                None if rho is None else f"{rho.mean():+.4f} ({np.abs(rho).max():.4f})",
                f"{sum(r['converged'] for r in own)}/{len(own)}",
            ]
        )
    columns = [
        "model",
        "mean |dV1|",
        "max |dV1|",
        "mean dI1, dI2",
        "max |dI|",
        "mean d noise",
        "d blur % (range)",
        "d rho (max)",
        "converged",
    ]
    return Table("Two phases, blur 3: errors over the series", columns, rows)


def _areas(records: list[Record]) -> Table:
    """Area errors where features are large, and where they are small."""
    ranges: dict[str, Callable[[float], bool]] = {
        "V1 in 0.2 ... 0.8": lambda v: 0.195 < v < 0.805,
        "V1 below 0.2 or above 0.8": lambda v: not 0.195 < v < 0.805,
    }
    rows = []
    for name in (*_JOINT, "marching cubes on the mask"):
        for where, inside in ranges.items():
            variant, key = (
                (name, "area_errors") if name in _JOINT else ("BIMM-2D", "mask_area_errors")
            )
            own = [r for r in records if r["variant"] == variant and inside(r["v1"])]
            errors = _of(own, key, 0)
            rows.append(
                [
                    name,
                    where,
                    f"{errors.mean():+.2f}",
                    f"{errors.min():+.2f}",
                    f"{errors.max():+.2f}",
                ]
            )
    columns = ["method", "where", "mean %", "lowest %", "highest %"]
    return Table("Two phases, blur 3: interface area against the true one", columns, rows)


def _by_volume(records: list[Record], name: str) -> Table:
    """One row per V1: means over its volumes."""
    rows = []
    for share in sorted({r["v1"] for r in records}):
        own = [r for r in records if r["variant"] == name and r["v1"] == share]
        rows.append(
            [
                f"{share:.2f}",
                f"{_of(own, 'fraction_errors', 0).mean():+.5f}",
                f"{_of(own, 'intensity_errors', 0).mean():+.5f}",
                f"{_of(own, 'intensity_errors', 1).mean():+.5f}",
                f"{_of(own, 'blur_error').mean():+.2f}",
                f"{_of(own, 'noise_error').mean():+.5f}",
                f"{_of(own, 'correlation_error').mean():+.4f}",
                f"{_of(own, 'halfwidth').mean():.3f}",
                f"{_of(own, 'area_errors', 0).mean():+.2f}",
                f"{_of(own, 'mask_area_errors', 0).mean():+.2f}",
                f"{_of(own, 'goodness_of_fit').mean():.4f}",
            ]
        )
    columns = [
        "V1",
        "dV1",
        "dI1",
        "dI2",
        "d blur %",
        "d noise",
        "d rho",
        "d",
        "d area %",
        "mask area %",
        "misfit",
    ]
    return Table(f"{name}, blur 3, by V1 (means over volumes)", columns, rows)


def _sharper(records: list[Record]) -> Table:
    rows = [
        [
            r["blur_std"],
            r["v1"],
            r["variant"],
            f"{r['fraction_errors'][0]:+.5f}",
            f"{r['intensity_errors'][0]:+.4f}, {r['intensity_errors'][1]:+.4f}",
            f"{r['blur_error']:+.2f}",
            f"{r['correlation_error']:+.4f}",
            f"{r['halfwidth']:.2f}",
            f"{r['area_errors'][0]:+.2f}",
        ]
        for r in records
        if r["blur_std"] != 3.0
    ]
    columns = ["blur", "V1", "model", "dV1", "dI1, dI2", "d blur %", "d rho", "d", "d area %"]
    return Table("Two phases, sharper volumes", columns, rows)


def _three_table(records: list[Record]) -> Table:
    rows = [
        [
            r["blur_std"],
            r["noise_std"],
            "/".join(f"{f:g}" for f in r["wanted"]),
            r["variant"],
            " ".join(f"{e:+.4f}" for e in r["fraction_errors"]),
            " ".join(f"{e:+.4f}" for e in r["intensity_errors"]),
            f"{r['blur_error']:+.2f}",
            f"{r['correlation_error']:+.3f}",
            " ".join(f"{e:+.1f}" for e in r["area_errors"]),
            f"{r['goodness_of_fit']:.3f}",
        ]
        for r in records
    ]
    pairs = " ".join(f"{i}-{j}" for i, j in phase_pairs(3))
    columns = [
        "blur",
        "noise",
        "V",
        "model",
        "dV",
        "dI",
        "d blur %",
        "d rho",
        f"d area % ({pairs})",
        "misfit",
    ]
    return Table("Three phases at 0, 0.5, 1, every two of them touching", columns, rows)
