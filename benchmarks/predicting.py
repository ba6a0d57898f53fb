"""Networks on volumes larger than they can see: whether tiles show, how fast, how much memory."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import bimmjax
from benchmarks._process import run_child
from benchmarks._report import Table, say
from benchmarks._volumes import REAL, real_volume
from benchmarks.stream import tiled
from bimmjax import nets, segmentation
from bimmjax.nets._predict.apply import Applied
from bimmjax.nets._predict.blocks import each_tile, read_for
from bimmjax.nets._predict.given import given
from bimmjax.nets._predict.images import open_images
from bimmjax.nets._predict.plan import plan_of
from bimmjax.nets._predict.seams import seam_score
from bimmjax.nets._predict.tiling import ends_of
from bimmjax.nets._predict.views import View

# The paper's, on a Quadro P2000 (Modular U-Net paper).
_PAPER = 3.0
# A detector's threshold, in standard errors.
_SEAM = 4.0


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Seams first, then time and memory of the paper's 2D network in a process of its own."""
    del out
    with tempfile.TemporaryDirectory(prefix="bimmjax-predicting-") as folder:
        seams = _seams(quick, Path(folder))
        speed, notes = _speed(quick, Path(folder))
    return {
        "tables": [seams, speed],
        "notes": [
            "score: standard errors by which changes across borders of tiles exceed those "
            f"elsewhere; {_SEAM:g} or more is a seam; labels, then logits",
            "difference: largest between logits of tiles and of the whole, over their deviation",
            *notes,
        ],
    }


@dataclass(frozen=True)
class _Case:
    """A network, and tiles that are as small as its halo lets them be."""

    network: str
    settings: dict[str, Any]
    patch: tuple[int, ...]
    tile: tuple[int, ...]


_CASES = (
    _Case("modular-unet", {"width": 4, "depth": 2}, (64, 64), (72, 72)),
    _Case("unet", {"width": 4, "depth": 2, "context": 3}, (64, 64), (64, 64)),
    _Case("modular-unet", {"width": 2, "depth": 1, "dims": 3}, (16, 32, 32), (40, 40, 40)),
)


def _seams(quick: bool, folder: Path) -> Table:
    """Trained for a moment on Otsu's labels, so that logits are those of a network that learned."""
    rows: list[list[Any]] = []
    for name in ("cement",) if quick else ("cement", "flyem"):
        found = sorted(REAL.glob(f"{name}_*.tif"))
        if not found and name != "cement":
            continue
        volume, told = real_volume(name) if not found else (_read(found[0]), f"{name}, real")
        volume = volume[:64] if quick else volume[:128]
        labels = np.asarray(segmentation.otsu(volume, 2).read(*[slice(None)] * 3))
        for number, case in enumerate(_CASES):
            say(f"predicting: seams of {case.network} {case.settings} on {told}")
            steps = {"epochs": 1, "steps": 5} if quick else {"epochs": 5, "steps": 20}
            recipe = {
                "network": case.network, "settings": case.settings, "classes": 2, "batch": 4,
                "patch": case.patch, "split": (1.0, 0.0, 0.0), "learning_rate": 0.01, **steps,
            }  # fmt: skip
            trained = nets.train(recipe, volume, labels, folder / f"{name}-{number}")
            rows += _scores(trained, volume, case, told)
    columns = [
        "network", "volume", "tile", "halo", "difference", "score of labels", "of logits", "seam",
    ]  # fmt: skip
    return Table("Borders of tiles on a real volume", columns, rows)


def _scores(trained: Any, volume: np.ndarray, case: _Case, told: str) -> list[list[Any]]:
    known = given((trained.net, trained.recipe))
    images = open_images(volume, 1, known.normalise)
    (view,) = plan_of(known, images.shape, 1, tile=case.tile).views
    ends = ends_of([images.shape[axis] for axis in view.axes], view.tiling.multiple)
    at_once = view._replace(tiling=view.tiling._replace(sizes=ends))
    cut = view._replace(tiling=view.tiling._replace(halo=(0,) * len(ends)))
    whole = logits_of(known, images, at_once)
    rows = []
    for how, one in (("whole", view), ("cut on purpose", cut)):
        found = logits_of(known, images, one)
        off = float(np.abs(found - whole).max() / whole.std())
        scores = []
        for values in (found.argmax(-1).astype(np.uint8), found):
            along = [_score(values, one, axis, images.shape) for axis in one.axes]
            scores.append(max((s for s in along if np.isfinite(s)), default=math.nan))
        seen = seam_told(scores)
        name = f"{case.network}, {len(ends)}D"
        tile = "×".join(map(str, case.tile))
        shown = [f"{s:.1f}" if np.isfinite(s) else "-" for s in scores]
        rows.append([name, told, tile, how, f"{off:.1e}", *shown, seen])
    return rows


def seam_told(scores: Sequence[float]) -> str:
    """Whether a seam shows in any of some scores; NaN where there is nothing to compare."""
    if any(s >= _SEAM for s in scores):
        return "yes"
    return "not known" if all(map(math.isnan, scores)) else "no"


def _score(values: np.ndarray, view: View, axis: int, shape: Sequence[int]) -> float:
    along = view.axes.index(axis)
    pieces = view.tiling.pieces(along, shape[axis], slice(0, shape[axis]))
    borders = [piece.core.start for piece in pieces[1:]]
    return seam_score(values, borders, axis, view.tiling.multiple[along])


def logits_of(known: Any, images: Any, view: View) -> np.ndarray:
    """(z, y, x, classes) float32 of all of the images, by the tiles of a view."""
    box = (slice(0, images.shape[0]), slice(0, images.shape[1]), slice(0, images.shape[2]))
    applied = Applied(known.net, 1, view.tiling.sizes, 1)
    out = np.empty((*images.shape, known.classes), np.float32)
    raw = read_for(images, [view], box)
    for tile, values in each_tile(images, raw, view, applied, box, applied.logits):
        out[tile.core] = values
    return out


def _speed(quick: bool, folder: Path) -> tuple[Table, list[str]]:
    """`bimmjax predict` as a whole process, from disk to disk."""
    edge = 128 if quick else 1024
    volume, told = real_volume("cement")
    whole = tiled(volume, edge)
    labels = (volume[:16] > volume.mean()).astype(np.uint8)
    rows: list[list[Any]] = []
    # At full width some slices of that size, which a CPU gets through in minutes.
    for width, slices, words in ((2, edge, []), (16, edge // 16, ["--uncertainty"])):
        say(f"predicting: {slices} x {edge}² by the 2D Modular U-Net of width {width}")
        part = replace(whole, shape=(slices, edge, edge))
        path = bimmjax.convert(part, folder / "volume.zarr", overwrite=bool(rows))
        net = folder / f"width-{width}"
        recipe = {
            "network": "modular-unet", "settings": {"width": width, "depth": 3}, "classes": 3,
            "patch": (32, 32), "batch": 2, "epochs": 1, "steps": 1, "split": (1.0, 0.0, 0.0),
        }  # fmt: skip
        nets.train(recipe, volume[:16], labels, net)
        to = folder / f"{len(rows)}.zarr"
        asked = ["predict", str(net), str(path), "--out", str(to), *words, "--quiet"]
        child = run_child([sys.executable, "-m", "bimmjax", *asked, "--no-pictures"])
        found = json.loads((to / "predict.json").read_text(encoding="utf-8"))
        speed, tile = found["megavoxels_per_second"], "×".join(map(str, found["tiles"][0]))
        peak = f"{child.peak_gib:.2f}"
        size = f"{slices} × {edge}²"
        rows.append([width, " ".join(words) or "-", size, tile, child.seconds, speed, peak])
    columns = ["width", "besides", "voxels", "tile", "seconds", "Mvoxel/s", "peak GiB"]
    title = "2D Modular U-Net of depth 3, disk to disk (the paper's width is 16)"
    notes = [
        f"{told}, tiled to {edge}³; seconds of the whole process, Mvoxel/s without start and "
        f"normalisation but with compiling; on {found['device']}",
        f"the paper tells of {_PAPER:g} Mvoxel/s on a Quadro P2000",
    ]
    return Table(title, columns, rows), notes


def _read(path: Path) -> np.ndarray:
    import tifffile

    return tifffile.imread(path)
