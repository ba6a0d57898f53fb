"""From raw stacks at three voltages to a measured structure, end to end, beside k-means.

A simulated stack of hierarchical nanoporous gold with drift, noise, curtains and gamma-distributed
slices; networks learn from other bodies; the truth is the body itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _fib_stacks
from benchmarks._fib_stacks import SPACING, RawStack
from benchmarks._net_runs import Run, anisotropies, compared, trained
from benchmarks._report import Table, say
from bimmjax import fib, report
from bimmjax.volumes import open_volume

_EVERYTHING = (slice(None),) * 3
_CONTEXT = 3
_HOW: dict[str, Any] = {
    "classes": 2, "patch": (64, 64), "batch": 8, "loss": "dice", "optimiser": "adam",
    "learning_rate": 2e-3, "epochs": 24, "steps": 25, "foreground": 0.7,
    "normalise": "none", "split": (0.8, 0.2, 0.0),
    "brightness": 0.1, "stretch": 0.1, "tiles": 48,
}  # fmt: skip
_SETTINGS: dict[str, Any] = {"width": 12, "depth": 3, "residual": True, "context": _CONTEXT}
_SEEDS = (9301, 9302, 9303)


def networks(quick: bool, out: Path) -> tuple[dict[str, Run], Run]:
    """A network for each voltage, and the late fusion of them."""
    folder = out / "nets" / ("fib-stacks-quick" if quick else "fib-stacks")
    size = (60, 64) if quick else (240, 160)
    made = [_fib_stacks.learned(n, *size) for n in range(2 if quick else 4)]
    how = _HOW | ({"epochs": 2, "steps": 4, "batch": 2} if quick else {})
    truth = [labels for _, labels in made]
    recipe = {"network": "unet", "settings": _SETTINGS, **how}
    single = {
        name: trained(f"{name}kV", recipe, [[images[name]] for images, _ in made], truth, folder)
        for name in made[0][0]
    }
    recipe = {"network": "fusion-late", "settings": {**_SETTINGS, "combine": "voting"}, **how,
              "branches": [str(run.folder) for run in single.values()], "learning_rate": 2e-2,
              "epochs": 4}  # fmt: skip
    images = [list(images.values()) for images, _ in made]
    return single, trained("late", recipe, images, truth, folder)


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Scores of the whole, of what goes wrong in which step, and of k-means on the raw stack."""
    single, late = networks(quick, out)
    rows, drifts, depths, notes = [], [], [], []
    for seed in _SEEDS[:1] if quick else _SEEDS:
        made = _fib_stacks.raw(seed, *((60, 64) if quick else (240, 192)))
        folder = out / "fib_reconstruct" / str(seed)
        found = _reconstructed(made, folder, late)
        truth = _truth(made, found)
        rows += _scored(seed, made, found, truth, single)
        drifts.append(_drift(seed, made, found))
        depths.append(_depth(seed, made, found))
        notes.append(f"report: {report.write_reconstruction_report(found)}")
    columns = ["stack", "by", "fraction", "true", "mean Dice", "MP %", "e_TPCF", "e_LPF", "e_D",
               "true e_D"]  # fmt: skip
    tables = [
        Table("From raw stacks to labels on an even grid", columns, rows),
        Table("Drift, pixels rms against the truth",
              ["stack", "1 kV", "2 kV", "4 kV", "2 kV without the mark"], drifts),
        Table("Thickness by the ruler", ["stack", "rms error nm", "of the mean %", "bias %",
              "outliers"], depths),
    ]  # fmt: skip
    return {"tables": tables, "notes": notes}


def _reconstructed(made: RawStack, folder: Path, late: Run) -> fib.Reconstruction:
    return fib.reconstruct(
        made.images,
        folder,
        _plan(made, {"network": str(late.folder)}),
        on_step=lambda _, done: say(f"{done.name} of {folder.name}"),
    )


def _plan(made: RawStack, label: Mapping[str, Any]) -> dict[str, Any]:
    assert made.ruler is not None
    assert made.fiducial is not None
    y0, _, x0, _ = made.fiducial
    # The ruler's slope is in pixels per nm.
    angle = float(np.degrees(np.arctan(made.ruler.slope * SPACING)))
    return {
        "pixel": SPACING, "unit": "nm",
        "crop": (y0, made.images["2"].shape[1], 0, x0),
        "register": {"region": made.fiducial},
        "label": dict(label),
        "depth": {"source": "ruler", "ruler": (0, made.ruler.rows - 12, 0, x0), "angle": angle},
    }  # fmt: skip


def _truth(made: RawStack, found: fib.Reconstruction) -> np.ndarray:
    """The body where the reconstruction says that it lies."""
    y0, y1, x0, x1 = found.steps["register"].told["field"]
    return _fib_stacks.field(made)[:, y0:y1, x0:x1]


def _scored(
    seed: int, made: RawStack, found: fib.Reconstruction, truth: np.ndarray, single: dict[str, Run]
) -> list[list[Any]]:
    true = anisotropies(truth)[2]

    def row(name: str, labels: np.ndarray) -> list[Any]:
        # A layer more or less, where thicknesses add up to another depth.
        depth = min(labels.shape[0], truth.shape[0])
        got, right = labels[:depth], truth[:depth]
        scores = compared(got, right)
        return [seed, name, float(got.mean()), float(right.mean()), float(np.mean(scores.f1)),
                scores.misplaced, *anisotropies(got), true]  # fmt: skip

    rows = [row("reconstruct", found.labels.read(*_EVERYTHING))]
    # What each step costs: labels of the slices as they are, then at their true places.
    labels = found.steps["label"].volume("labels").read(*_EVERYTHING)
    perfect = truth[made.places]
    scores = compared(labels, perfect)
    rows.append([seed, "labels of the slices", float(labels.mean()), float(perfect.mean()),
                 float(np.mean(scores.f1)), scores.misplaced, None, None, None, None])  # fmt: skip
    rows.append(row("true labels of the slices, filled",
                    fib.fill_learned(perfect, made.places)))  # fmt: skip
    rows.append(row("true labels of the slices, spline", fib.fill_spline(perfect, made.places)))
    rows.append(row("k-means of the raw 2 kV stack", _kmeans(made, truth.shape)))
    return rows


def _kmeans(made: RawStack, shape: tuple[int, ...]) -> np.ndarray:
    """What is done without any of it: slices evenly thick, as they came, two means of grey."""
    from bimmjax import segmentation

    y0, _, x0 = 0, 0, 0
    assert made.ruler is not None
    y0 = made.ruler.rows
    image = made.images["2"][:, y0:, x0 : made.body.shape[2]]
    labels = segmentation.kmeans(image, 2).read(*_EVERYTHING)
    margin = (labels.shape[1] - shape[1]) // 2, (labels.shape[2] - shape[2]) // 2
    labels = labels[:, margin[0] : margin[0] + shape[1], margin[1] : margin[1] + shape[2]]
    nearest = np.rint(np.linspace(0, labels.shape[0] - 1, shape[0])).astype(int)
    return labels[nearest]


def _drift(seed: int, made: RawStack, found: fib.Reconstruction) -> list[Any]:
    told = found.steps["register"].told["shifts"]
    errors = [
        float(np.sqrt(((np.asarray(told[name]) + made.shifts[name]) ** 2).mean())) for name in told
    ]
    assert made.ruler is not None
    y0, x1 = made.ruler.rows, made.body.shape[2]
    free = fib.register_stack(made.images["2"][:, y0:, :x1])
    return [seed, *errors, float(np.sqrt(((free.shifts + made.shifts["2"]) ** 2).mean()))]


def _depth(seed: int, made: RawStack, found: fib.Reconstruction) -> list[Any]:
    told = found.steps["thickness"].told
    true = np.diff(made.places) * SPACING
    error = np.asarray(told["thickness"]) - true
    rms = float(np.sqrt((error**2).mean()))
    return [seed, rms, 100 * rms / true.mean(), 100 * float(error.mean() / true.mean()),
            int(np.sum(told["outliers"]))]  # fmt: skip


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


__all__ = ["networks", "open_volume", "run"]
