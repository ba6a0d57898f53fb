"""From raw stacks at three voltages to a measured structure, end to end, beside k-means.

A simulated stack of hierarchical nanoporous gold with drift, noise, curtains and gamma-distributed
slices; networks learn from other bodies; the truth is the body itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import _fib_stacks
from benchmarks._fib_stacks import SPACING, RawStack
from benchmarks._net_runs import Run, anisotropies, compared, trained
from benchmarks._report import Table, say
from bimmjax import fib, plot, report
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
_LAYERS: dict[str, Any] = {
    "epochs": 50, "steps": 50, "loss": "dice+cross-entropy", "brightness": 0.0, "stretch": 0.0,
}  # fmt: skip
_SEEDS = (9301, 9302, 9303)


class Learned(NamedTuple):
    """What has been trained."""

    single: dict[str, Run]
    """Slices of one voltage each."""
    late: Run
    """The late fusion of these."""
    layers: Run
    """Every layer of the grid, from the slices around it at all voltages."""


def networks(quick: bool, out: Path) -> Learned:
    """All networks, each from the same stacks."""
    folder = out / "nets" / ("fib-stacks-quick" if quick else "fib-stacks")
    size = (60, 64) if quick else (240, 160)
    made = [_fib_stacks.learned(n, *size) for n in range(2 if quick else 4)]
    how = _HOW | ({"epochs": 2, "steps": 4, "batch": 2} if quick else {})
    truth = [one.body[one.places] for one in made]
    recipe = {"network": "unet", "settings": _SETTINGS, **how}
    single = {
        name: trained(f"{name}kV", recipe, [[one.images[name]] for one in made], truth, folder)
        for name in made[0].images
    }
    recipe = {
        "network": "fusion-late", "settings": {**_SETTINGS, "combine": "voting"}, **how,
        "branches": [str(run.folder) for run in single.values()], "learning_rate": 2e-2,
        "epochs": 4,
    }  # fmt: skip
    images = [list(one.images.values()) for one in made]
    late = trained("late", recipe, images, truth, folder)
    recipe = {"network": "unet", "settings": _SETTINGS | {"context": 1}, **how, **_LAYERS}
    if quick:
        recipe |= {"epochs": 2, "steps": 4}
    around = [fib.surroundings(list(one.images.values()), one.places) for one in made]
    inside = [_fib_stacks.field(one) for one in made]
    return Learned(single, late, trained("layers", recipe, around, inside, folder))


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Scores of the whole, of what goes wrong in which step, and of k-means on the raw stack."""
    known = networks(quick, out)
    rows, drifts, depths, notes = [], [], [], []
    for seed in _SEEDS[:1] if quick else _SEEDS:
        made = _fib_stacks.raw(seed, *((60, 64) if quick else (280, 224)))
        folder = out / "fib_reconstruct" / str(seed)
        found = {
            order: _reconstructed(made, folder / order, order, known)
            for order in ("labels", "layers")
        }
        rows += _scored(seed, made, found)
        drifts.append(_drift(seed, made, found["layers"]))
        depths.append(_depth(seed, made, found["layers"]))
        if seed == _SEEDS[0]:
            notes.append(f"picture: {_picture(made, found, out)}")
        notes += [f"report: {report.write_reconstruction_report(one)}" for one in found.values()]
    columns = ["stack", "by", "fraction", "true", "mean Dice", "MP %", "MGP %", "e_TPCF", "e_LPF",
               "e_D"]  # fmt: skip
    means = [
        ["mean", name, *np.mean([row[2:] for row in rows if row[1] == name], axis=0)]
        for name in dict.fromkeys(row[1] for row in rows)
    ]
    tables = [
        Table("From raw stacks to labels on an even grid", columns, rows + means),
        Table(
            "Drift, pixels rms against the truth",
            ["stack", "1 kV", "2 kV", "4 kV", "2 kV without the mark", "2 kV not registered"],
            drifts,
        ),
        Table(
            "Thickness by the ruler",
            ["stack", "rms error nm", "of the mean %", "bias %", "outliers"],
            depths,
        ),
    ]
    return {"tables": tables, "notes": notes}


def _reconstructed(made: RawStack, folder: Path, order: str, known: Learned) -> fib.Reconstruction:
    """Of one order, with a picture of each step."""
    network = known.layers if order == "layers" else known.late
    raw = {
        name: open_volume(image, spacing=SPACING, unit="nm") for name, image in made.images.items()
    }

    def draw(so_far: fib.Reconstruction, done: fib.Done) -> None:
        say(f"{done.name} of {folder}")
        report.draw_step(so_far, done, raw)

    plan = _plan(made, {"network": str(network.folder)}) | {"order": order}
    return fib.reconstruct(made.images, folder, plan, on_step=draw)


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
    assert made.ruler is not None
    top = made.ruler.rows
    return _fib_stacks.field(made)[:, y0 - top : y1 - top, x0:x1]


def _scored(seed: int, made: RawStack, found: dict[str, fib.Reconstruction]) -> list[list[Any]]:
    truth = _truth(made, found["labels"])

    def row(name: str, labels: np.ndarray, right: np.ndarray = truth) -> list[Any]:
        # A layer more or less, where thicknesses add up to another depth.
        depth = min(labels.shape[0], right.shape[0])
        got, true = labels[:depth], right[:depth]
        scores = compared(got, true)
        return [
            seed, name, float(got.mean()), float(true.mean()), float(np.mean(scores.f1)),
            scores.misplaced, scores.misplaced_of(1), *anisotropies(got),
        ]  # fmt: skip

    labels = np.asarray(found["labels"].steps["label"].volume("labels"))
    perfect = truth[made.places]
    return [
        row("reconstruct --order layers", np.asarray(found["layers"].labels)),
        row("reconstruct (late fusion, then filled)", np.asarray(found["labels"].labels)),
        # What each step costs.
        row("its labels of the slices, as they lie", labels, perfect),
        row("true labels of the slices, learned", fib.fill_learned(perfect, made.places)),
        row("true labels of the slices, distance", fib.fill_distance(perfect, made.places)),
        row("true labels of the slices, spline", fib.fill_spline(perfect, made.places)),
        row("k-means of the raw 2 kV stack", _kmeans(made, truth.shape)),
        row("the truth itself", truth),
    ]


def _picture(made: RawStack, found: dict[str, fib.Reconstruction], out: Path) -> Path:
    """The stack as it came, k-means, both ways of reconstruction, and the truth."""
    truth = _truth(made, found["labels"])
    _, across = truth.shape[1:]
    assert made.ruler is not None
    raw = made.images["2"][:, made.ruler.rows :, : made.body.shape[2]]
    edge = (raw.shape[2] - across) // 2
    cut = raw[:, edge : edge + truth.shape[1], edge : edge + across]
    thick = SPACING * truth.shape[0] / cut.shape[0]
    cubes: dict[str, Any] = {"spacing": SPACING, "unit": "nm"}
    rows = {
        "2 kV, raw": open_volume(cut, spacing=(thick, SPACING, SPACING), unit="nm"),
        "k-means": open_volume(_kmeans(made, truth.shape), **cubes),
        "filled": found["labels"].labels,
        "layers": found["layers"].labels,
        "truth": open_volume(truth, **cubes),
    }
    path = out / "fib_reconstruct.png"
    plot.stacks(rows, labels=list(rows)[1:], phases=2).savefig(path)
    return path


def _kmeans(made: RawStack, shape: tuple[int, ...]) -> np.ndarray:
    """What is done without any of it: slices evenly thick, as they came, two means of grey."""
    from bimmjax import segmentation

    assert made.ruler is not None
    image = made.images["2"][:, made.ruler.rows :, : made.body.shape[2]]
    labels = np.asarray(segmentation.kmeans(image, 2))
    margin = (labels.shape[1] - shape[1]) // 2, (labels.shape[2] - shape[2]) // 2
    labels = labels[:, margin[0] : margin[0] + shape[1], margin[1] : margin[1] + shape[2]]
    nearest = np.rint(np.linspace(0, labels.shape[0] - 1, shape[0])).astype(int)
    return labels[nearest]


def _drift(seed: int, made: RawStack, found: fib.Reconstruction) -> list[Any]:
    told = found.steps["register"].told["shifts"]
    errors = [_rms(np.asarray(told[name]) + made.shifts[name]) for name in told]
    assert made.ruler is not None
    y0, x1 = made.ruler.rows, made.body.shape[2]
    free = fib.register_stack(made.images["2"][:, y0:, :x1])
    return [seed, *errors, _rms(free.shifts + made.shifts["2"]), _rms(made.shifts["2"])]


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).mean()))


def _depth(seed: int, made: RawStack, found: fib.Reconstruction) -> list[Any]:
    told = found.steps["thickness"].told
    true = np.diff(made.places) * SPACING
    error = np.asarray(told["thickness"]) - true
    rms, mean = _rms(error), float(true.mean())
    return [seed, rms, 100 * rms / mean, 100 * float(error.mean()) / mean,
            int(np.sum(told["outliers"]))]  # fmt: skip
