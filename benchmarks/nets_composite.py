"""The Modular U-Net paper on a simulated composite: rivals, learning curve, ablation, a crack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _net_sets
from benchmarks._net_pictures import beside
from benchmarks._net_runs import Run, compared, compared_tables, labelled
from benchmarks._report import Table, say
from bimmjax import nets, plot, segmentation

_NAMES = ("matrix", "fibre", "porosity")
# The paper's but for width (16), crops (160 square; 32 cubed), batches (10; 8 in 3D) and steps
# (2000).
_HOW: dict[str, Any] = {
    "network": "modular-unet", "classes": 3, "patch": (64, 64), "batch": 8, "epochs": 12,
    "steps": 25, "split": (0.62, 0.11, 0.27), "margin": 8, "tiles": 60, "normalise": "range",
}  # fmt: skip
_WIDTH = 8
_RIVALS: dict[str, dict[str, Any]] = {
    "2D": _HOW | {"settings": {"width": _WIDTH}},
    "2.5D": _HOW | {"settings": {"width": _WIDTH, "context": 5}},
    "3D": _HOW | {"settings": {"width": _WIDTH, "dims": 3}, "patch": (16, 32, 32), "batch": 2},
}
_SLICES = (1, 3, 10, 30, 100)
_ABLATE = (
    "dropout=0.0", "settings.noise=0.0", "residual=false", "norm=none", "norm=layer",
    "separable=true", "rigid=true", "depth=2", "depth=4",
)  # fmt: skip
# Tables D.4 and D.5: Jaccard index, %.
_PAPER = {
    "ZeroOC": (81.0, 0.0, 0.0, 27.0), "Bin-ZeroOC": (98.4, 94.2, 35.9, 76.2),
    "2D": (98.8, 95.3, 66.9, 87.0),
}  # fmt: skip


def run(quick: bool, out: Path) -> dict[str, Any]:
    """IoU by class, as in the paper's Figures 5 and 6 and Tables D.4 and D.5."""
    shape = (184, 96, 96) if quick else (184, 256, 256)
    less = {"epochs": 1, "steps": 4, "batch": 2} if quick else {}
    made = _net_sets.composite(shape)
    folder = out / "nets" / ("composite-quick" if quick else "composite")
    found = nets.compare(
        {name: how | less for name, how in _RIVALS.items()}, made.image, made.truth, folder,
        names=_NAMES, classical=("zeror", "bin-zeror", "otsu", "bimm"),
        slices=_SLICES[:1] if quick else _SLICES, ablate=_ABLATE[:2] if quick else _ABLATE,
        progress=told,
    )  # fmt: skip
    for name, drawn in plot.comparison(found).items():
        drawn.savefig(out / f"nets_composite_{name}.png")
    paper = [[name, *row] for name, row in _PAPER.items()]
    crack, crack_picture = _crack(folder, quick, out)
    grey = next(row for row in found.rows if row.name == "bin-zeror").by_class("iou")
    return {
        "tables": [
            *compared_tables(found),
            Table("The paper's, %", ["by", *_NAMES, "mean"], paper),
            crack,
        ],
        "notes": [
            f"{' x '.join(map(str, shape))} voxels, matrix/fibre/pore "
            + "/".join(f"{100 * (made.truth == k).mean():.2f}" for k in range(3))
            + " %; blocks along z, 8 slices between them",
            f"one budget: {_HOW['epochs'] * _HOW['steps']} steps, width {_WIDTH} (paper: 2000, 16)",
            "set before any network was trained: Bin-ZeroOC "
            + "/".join(f"{100 * (share or 0.0):.1f}" for share in grey)
            + " (wanted 98.4/94.2/35.9 within 3)",
            "learning curve: slices evenly spread (the paper's follow each other), and the 18 of "
            "the validation block choose the epoch at every point",
            f"pictures: {crack_picture} and nets_composite_*.png beside it; compare.md in {folder}",
        ],
    }


def told(what: str, done: int, total: int) -> None:
    """A line for each run."""
    if done == 0:
        say(what)


def _crack(folder: Path, quick: bool, out: Path) -> tuple[Table, Path]:
    """All networks on another specimen; a crack they never saw should be pore."""
    pair = _net_sets.cracked((64, 96, 96) if quick else (96, 192, 192))
    found = {name: labelled(Run(folder / name, 0, 0.0), pair.image)[0] for name in _RIVALS}
    # In order of intensity: pores, matrix, fibres.
    classes = np.array([2, 0, 1], np.uint8)
    by_grey = segmentation.otsu(pair.image, 3).read(*[slice(None)] * 3)
    found["Otsu"] = classes[by_grey.astype(np.int64)]
    rows = []
    for name, labels in found.items():
        scores = compared(labels, pair.truth)
        shares = [*scores.iou, np.mean(scores.iou), scores.recall[2], scores.precision[2]]
        rows.append([name, *(100.0 * float(share) for share in shares)])
    columns = ["by", *_NAMES, "mean", "recall of pores", "precision"]
    picture = beside(pair.image, pair.truth, found, out / "nets_crack.png", (40, "52 µm"))
    title = "Another specimen, with a crack, not learned from: IoU, %"
    return Table(title, columns, rows), picture
