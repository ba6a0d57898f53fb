"""The TXM paper on simulated particles: four networks, and UNet++ pruned."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from benchmarks import _net_sets
from benchmarks._net_runs import compared, compared_tables
from benchmarks._report import Table
from benchmarks.nets_composite import told
from bimmjax import nets, plot
from bimmjax.descriptors._confusion import scores as scores_of
from bimmjax.volumes import open_volume

_NAMES = ("matrix", "precipitate", "inclusion")
# Loss and optimiser are the paper's (rate 1e-4, dropout 0.5, 550 images of 768 square, ten epochs
# of batch 1 there). Widths are such that all have about as many parameters.
_HOW: dict[str, Any] = {
    "classes": 3, "patch": (96, 96), "batch": 8, "epochs": 20, "steps": 20,
    "loss": "cross-entropy+dice", "optimiser": "adam", "learning_rate": 1e-3, "normalise": "std",
    "split": (0.68, 0.08, 0.24), "margin": 4, "tiles": 60,
}  # fmt: skip
_DROPOUT = 0.1
_RIVALS: dict[str, dict[str, Any]] = {
    "U-Net": {"network": "unet", "settings": {"width": 9, "dropout": _DROPOUT}},
    "UNet++": {"network": "unet++", "settings": {"width": 8, "dropout": _DROPOUT}},
    "PSPNet": {
        "network": "pspnet",
        "settings": {"width": 8, "layers": (2, 2, 4, 2), "dropout": _DROPOUT},
    },
    "DeepLab v3+": {
        "network": "deeplabv3+",
        "settings": {"width": 7, "rates": (3, 6, 9), "dropout": _DROPOUT},
    },
}
# Table II: training, hours; a prediction, seconds; mean IoU, %.
_PAPER = {
    "U-Net": (12.0, 1.9, 92.2), "UNet++": (8.0, 1.1, 95.1), "PSPNet": (5.0, 0.9, 88.2),
    "DeepLab v3+": (4.0, 0.8, 89.1),
}  # fmt: skip
_TIMED = 5
# One run of each tells little: U-Net and UNet++ are trained from another seed, too.
_AGAIN = (1,)


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Table II, confusion matrices, and what pruning costs and saves."""
    shape = (100, 96, 96) if quick else (128, 256, 256)
    less = {"epochs": 1, "steps": 4, "batch": 2} if quick else {}
    made = _net_sets.particles(shape)
    folder = out / "nets" / ("particles-quick" if quick else "particles")
    found = nets.compare(
        {name: _HOW | rival | less for name, rival in _RIVALS.items()}, made.image, made.truth,
        folder, names=_NAMES, classical=("bin-zeror", "otsu", "kmeans", "bimm"), progress=told,
    )  # fmt: skip
    for name, drawn in plot.comparison(found).items():
        drawn.savefig(out / f"nets_particles_{name}.png")
    paper = [[name, *row] for name, row in _PAPER.items()]
    return {
        "tables": [
            *compared_tables(found),
            _again(folder, made, less, quick),
            _pruned(folder / "UNet++", made),
            Table("The paper's Table II", ["by", "training h", "image s", "mean IoU %"], paper),
        ],
        "notes": [
            f"{' x '.join(map(str, shape))} voxels; a third of the particles are composite",
            f"one budget: {_HOW['epochs'] * _HOW['steps']} steps of {_HOW['batch']} crops of 96 "
            f"square, dropout {_DROPOUT:g}, no pretraining, ResNet of 2, 2, 4, 2 blocks (paper: "
            "3, 8, 36, 3)",
            f"pictures: nets_particles_*.png in {out}; compare.md in {folder}",
        ],
    }


def _again(folder: Path, made: _net_sets.Pair, less: dict[str, Any], quick: bool) -> Table:
    """U-Net and UNet++ from other seeds: whether what is between them is more than chance."""
    rows = []
    for seed in (0, *_AGAIN[: 0 if quick else None]):
        means = []
        for name in ("U-Net", "UNet++"):
            if seed == 0:
                scores = json.loads((folder / name / "test.json").read_text("utf-8"))
                iou = scores_of(np.array(scores["confusion"])).iou
            else:
                how = _HOW | _RIVALS[name] | less | {"seed": seed}
                one = nets.compare(
                    {name: how}, made.image, made.truth, folder / f"seed-{seed}-{name}",
                    progress=told,
                )  # fmt: skip
                iou = np.array(one.rows[0].by_class("iou"), float)
            means.append(100.0 * float(np.mean(iou)))
        rows.append([seed, *means, means[1] - means[0]])
    return Table("Mean IoU by seed, %", ["seed", "U-Net", "UNet++", "difference"], rows)


def _pruned(folder: Path, made: _net_sets.Pair) -> Table:
    """Each level of a trained UNet++ on the last slices, whole ones, compile time apart."""
    net, recipe = nets.load(folder)
    scale = nets.normalisation(open_volume(made.image), recipe.normalise)
    test = slice(made.image.shape[0] * 4 // 5, None)
    images = scale(made.image[test])[..., None]
    rows = []
    for level in range(1, 5):
        part = net.pruned(level)  # pyright: ignore[reportAttributeAccessIssue]
        graph, state = nnx.split(part)

        @jax.jit
        def labels(state: Any, image: Any, graph: Any = graph) -> Any:
            return nnx.merge(graph, state)(image).argmax(-1)

        found = [np.asarray(labels(state, image[None]))[0] for image in images]
        seconds = []
        for _ in range(_TIMED):
            before = time.perf_counter()
            jax.block_until_ready(labels(state, images[:1]))
            seconds.append(time.perf_counter() - before)
        scores = compared(np.stack(found), made.truth[test])
        ious = [100.0 * float(x) for x in scores.iou]
        parameters = nets.count_parameters(part)
        rows.append([f"L{level}", parameters, float(np.median(seconds)), *ious, np.mean(ious)])
    columns = ["level", "parameters", "s a slice", *(f"IoU {n}" for n in _NAMES), "mean"]
    return Table("UNet++ pruned", columns, rows)
