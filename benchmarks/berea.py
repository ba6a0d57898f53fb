"""Berea sandstone: a real mask, blurred and noised; fits and labels against it and each other."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

import bimmjax
from benchmarks._report import Table, say
from benchmarks._volumes import REAL
from bimmjax import plot, segmentation, sim
from bimmjax.volumes import Volume, open_volume

_FILE = REAL / "berea_mask_400.zip"
_BLURS, _NOISE = (0.7, 1.0, 1.5, 2.0), 0.15


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Pores 0, grains 1; truth: voxels and Crofton counts of the mask."""
    if not _FILE.exists():
        return {"notes": [f"{_FILE.name} is not here"], "tables": []}
    truth = _mask()
    truth = truth[:128, :128, :128] if quick else truth
    records: list[dict[str, Any]] = []
    for blur in _BLURS:
        records += _compared(truth, blur, out)
    names = list(dict.fromkeys(r["by"] for r in records))
    tables = [
        Table(
            name,
            ["by", *(f"σ_b = {blur}" for blur in _BLURS)],
            [[by, *(_cell(records, by, blur, key) for blur in _BLURS)] for by in names],
        )
        for key, name in (
            ("porosity", "Porosity, %"),
            ("area", "Interface area, 1/voxel"),
            ("iou", "Mean IoU"),
        )
    ]
    notes = [
        f"mask of {'×'.join(map(str, truth.shape))}, grey values 0 and 1, σ_n = {_NOISE}; (=): "
        "within the fit's 95 % interval",
        f"pictures: {out}/berea_*.png",
    ]
    return {"tables": tables, "notes": notes, "records": records}


def _mask() -> np.ndarray:
    with zipfile.ZipFile(_FILE) as held, held.open(held.namelist()[0]) as file:
        import io

        import tifffile

        return (tifffile.imread(io.BytesIO(file.read())) > 0).astype(np.uint8)


def _compared(truth: np.ndarray, blur: float, out: Path) -> list[dict[str, Any]]:
    say(f"berea: blur {blur}")
    image = sim.blur(truth.astype(np.float32), blur)
    image = np.asarray(sim.add_noise(jax.random.key(0), image, _NOISE))
    fit = bimmjax.fit(image, 2)
    plain = bimmjax.fit(image, 2, model="gmm", intervals=False)
    labels: dict[str, Volume] = {
        "truth": open_volume(truth),
        "Otsu": segmentation.otsu(image),
        "GMM": segmentation.segment(image, plain),
        "BIMM-2D": segmentation.segment(image, fit),
        "BIMM-2D + MRF": segmentation.segment(image, fit, mrf=True),
    }
    checks = {name: bimmjax.cross_check(found, fit) for name, found in labels.items()}
    plot.cross_check(checks).savefig(out / f"berea_{blur}.png")
    first = checks["truth"].rows
    records = [
        {
            "by": "the fit",
            "blur": blur,
            "porosity": first[0].model,
            "area": first[2].model,
            "iou": None,
            "agrees": {"porosity": None, "area": None},
            "intervals": [row.interval for row in first],
            "warnings": list(fit.warnings),
            "fitted_blur": float(fit.scan.blur_std if fit.scan else fit.params.blur_std or 0.0),
        }
    ]
    for name, check in checks.items():
        scores = bimmjax.evaluate(labels[name], truth, classes=2)
        records.append(
            {
                "by": name,
                "blur": blur,
                "porosity": check.rows[0].measured,
                "area": check.rows[2].measured,
                "iou": scores.macro("iou"),
                "agrees": {"porosity": check.rows[0].agrees, "area": check.rows[2].agrees},
            }
        )
    return records


def _cell(records: list[dict[str, Any]], by: str, blur: float, key: str) -> str | None:
    (record,) = (r for r in records if (r["by"], r["blur"]) == (by, blur))
    value = record[key]
    if value is None:
        return None
    text = f"{100.0 * value:.2f}" if key == "porosity" else f"{value:.4f}"
    return text + (" (=)" if key != "iou" and record["agrees"][key] else "")
