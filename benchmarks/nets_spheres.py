"""The Spheres paper: a 3D U-Net that pools in x and y only, learned from a tenth of a composite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _net_sets
from benchmarks._net_pictures import beside
from benchmarks._net_runs import compared, labelled, trained
from benchmarks._net_sets import Pair
from benchmarks._report import Table
from bimmjax import segmentation

_EVERYTHING = (slice(None),) * 3
# The paper's but for its width (32), rate (1e-4), batch (4), budget (100 epochs on four GPUs), and
# variation of grey values. Nothing but the tenth is annotated: no block chooses the epoch.
_HOW: dict[str, Any] = {
    "network": "xy-unet3d", "settings": {"width": 8}, "classes": 2, "patch": (10, 80, 80),
    "batch": 2, "loss": "dice", "optimiser": "adam", "learning_rate": 1e-3, "epochs": 10,
    "steps": 20, "normalise": "std", "symmetries": "plane", "brightness": 0.3, "stretch": 0.1,
    "split": (0.1, 0.0, 0.9), "margin": 4,
}  # fmt: skip
_DEPTH_OF = 5  # slices seen together by a depth map
_PAPER = {"network": 0.934, "shale": "0.921, 0.918", "wood": 0.929}


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Dice on what was not learned from, and on two unlike materials."""
    shape = (140, 64, 64) if quick else (140, 192, 192)
    how = _HOW | ({"epochs": 1, "steps": 4, "patch": (10, 32, 32)} if quick else {})
    made = _net_sets.spheres(shape)
    folder = out / "nets" / ("spheres-quick" if quick else "spheres")
    net = trained("xy-unet3d", how, [made.image], [made.truth], folder)
    first = _first(net.folder)
    test = Pair(made.image[first:], made.truth[first:])
    found = {"network": _left(made.image, net, first)}
    found |= {name: one[first:] for name, one in _classical(made.image).items()}
    rows = [[name, _dice(one, test.truth), _PAPER.get(name)] for name, one in found.items()]
    unlike: dict[str, Pair] = {"shale": _net_sets.shale(shape), "wood": _net_sets.wood(shape)}
    others = []
    for name, pair in unlike.items():
        own = labelled(net, pair.image)[0]
        otsu = segmentation.otsu(pair.image).read(*_EVERYTHING)
        row = [name, _dice(own, pair.truth), _dice(otsu, pair.truth), _PAPER[name]]
        others.append(row)
        path = out / f"nets_spheres_{name}.png"
        beside(pair.image, pair.truth, {"network": own, "Otsu": otsu}, path, (20, "60 µm"))
    picture = beside(test.image, test.truth, found, out / "nets_spheres.png", (20, "60 µm"))
    return {
        "tables": [
            Table("Dice on the slices not learned from", ["by", "Dice", "paper"], rows),
            Table("Dice on unlike materials", ["material", "network", "Otsu", "paper"], others),
        ],
        "notes": [
            f"{' x '.join(map(str, shape))} voxels; a tenth of them to learn from; width "
            f"{how['settings']['width']} of the paper's 32, {net.parameters:,} parameters, "
            f"{how['epochs'] * how['steps']} steps of {how['batch']} chunks, {net.minutes:.2g} min",
            "the paper's truth is CLAHE with Otsu's threshold; here it is known",
            f"pictures: {picture} and two beside it",
        ],
    }


def _first(folder: Path) -> int:
    """Where the test block begins."""
    import json

    return json.loads((folder / "train.json").read_text("utf-8"))["blocks"][0]["test"][0]


def _left(image: np.ndarray, net: Any, first: int) -> np.ndarray:
    return labelled(net, image)[0][first:]


def _classical(image: np.ndarray) -> dict[str, np.ndarray]:
    grouped = segmentation.spatial_kmeans(image, 3).read(*_EVERYTHING)
    depth = np.zeros(image.shape, np.uint8)
    for at in range(0, image.shape[0], _DEPTH_OF):
        part = image[at : at + _DEPTH_OF]
        depth[at : at + _DEPTH_OF] = segmentation.depth_map(part).objects > 0
    return {
        "k-means": (segmentation.kmeans(image, 2).read(*_EVERYTHING) == 1).astype(np.uint8),
        # Above Otsu's threshold all clusters are spheres.
        "k-means and place": np.minimum(grouped, 1).astype(np.uint8),
        "depth map": depth,
        "CLAHE + Otsu": segmentation.clahe_otsu(image).read(*_EVERYTHING),
        "Otsu": segmentation.otsu(image).read(*_EVERYTHING),
    }


def _dice(labels: np.ndarray, truth: np.ndarray) -> float:
    return float(compared(labels, truth).f1[1])
