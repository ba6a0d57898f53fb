"""Logits of tiles against those of the whole slice or volume, for every network that is local.

Random networks, narrow and shallow, whose running averages are unlike those of untrained ones; a
tile is as small as the halo lets it be, and the volume half as large again along each axis, and no
multiple of what the network halves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from benchmarks._report import Table, say
from benchmarks.predicting import logits_of
from bimmjax.nets import build
from bimmjax.nets._predict.given import given
from bimmjax.nets._predict.images import open_images
from bimmjax.nets._predict.plan import plan_of
from bimmjax.nets._predict.tiling import ends_of, whole

_CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("modular-unet", {"depth": 2}),
    ("modular-unet", {"depth": 2, "rigid": True, "separable": True}),
    ("modular-unet", {"depth": 1, "context": 5}),
    ("modular-unet", {"depth": 1, "dims": 3}),
    ("unet", {"depth": 2}),
    ("unet", {"depth": 2, "context": 7, "residual": True}),
    ("unet++", {"levels": 3}),
    ("fusion-early", {"depth": 1, "context": 3}),
    ("fusion-intermediate", {"depth": 1, "context": 3}),
    ("fusion-late", {"depth": 1, "context": 3, "combine": "voting"}),
    ("unet3d", {"depth": 1}),
    ("resunet3d", {"depth": 1}),
    ("xy-unet3d", {"depth": 1}),
    ("vnet", {"depth": 1}),
)


def run(quick: bool, out: Path) -> dict[str, Any]:
    """The largest difference, over the spread of the logits."""
    del out
    rows = [_row(*case) for case in (_CASES[:4] if quick else _CASES)]
    columns = [
        "network",
        "settings",
        "volume",
        "tile",
        "tiles",
        "halo",
        "difference",
        "same labels",
    ]
    return {
        "tables": [Table("Tiles against the whole, by the deviation of logits", columns, rows)],
        "notes": [f"largest difference: {max(float(row[6]) for row in rows):.1e}"],
    }


def _row(name: str, settings: dict[str, Any]) -> list[Any]:
    say(f"nets_tiles: {name} {settings}")
    channels = 3 if name.startswith("fusion") else 1
    net = _lively(build(name, channels=channels, classes=3, width=2, **settings))
    tile = tuple(
        whole(2 * halo + multiple, multiple)
        for halo, multiple in zip(net.halo, net.multiple, strict=True)
    )
    shape = (*(2,) * (3 - net.dims), *(n + n // 2 + 1 for n in tile))
    rng = np.random.default_rng(1)
    volumes = [rng.normal(size=shape).astype(np.float32) for _ in range(channels)]
    known, images = given(net), open_images(volumes, channels, "none")
    (view,) = plan_of(known, images.shape, 4 * channels, tile=tile).views
    ends = ends_of([shape[axis] for axis in view.axes], view.tiling.multiple)
    at_once = view._replace(tiling=view.tiling._replace(sizes=ends))
    wanted, found = logits_of(known, images, at_once), logits_of(known, images, view)
    off = float(np.abs(found - wanted).max() / wanted.std())
    same = float((found.argmax(-1) == wanted.argmax(-1)).mean())
    tiles = np.prod(
        [len(view.tiling.pieces(i, shape[axis], slice(0, shape[axis]))) for i, axis in
         enumerate(view.axes)]
    )  # fmt: skip
    told = ", ".join(f"{key} {value}" for key, value in settings.items())
    sizes = ["×".join(map(str, one)) for one in (shape, tile)]
    halo = max(net.halo)
    return [name, told, *sizes, int(tiles), halo, f"{off:.1e}", f"{100 * same:.4f} %"]


def _lively(net: Any) -> Any:
    rng = np.random.default_rng(0)
    for _, module in nnx.iter_modules(net):
        if isinstance(module, nnx.BatchNorm):
            mean, var = module.mean, module.var
            assert mean is not None
            assert var is not None
            mean[...] = rng.normal(0, 0.3, mean.shape).astype(np.float32)
            var[...] = rng.uniform(0.5, 1.5, var.shape).astype(np.float32)
    net.eval()
    return net
