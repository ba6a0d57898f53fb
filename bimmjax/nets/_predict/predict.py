"""Labels of a volume by a trained network, streamed."""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from bimmjax._core.checks import InputError
from bimmjax.nets._data.ahead import made_ahead
from bimmjax.nets._network import Network
from bimmjax.nets._predict.apply import Applied
from bimmjax.nets._predict.blocks import (
    NO_LABEL,
    found_directly,
    found_together,
    read_for,
    without_number,
)
from bimmjax.nets._predict.images import Images, open_images
from bimmjax.nets._predict.plan import Plan, plan_of
from bimmjax.nets._train.checkpoint import named_arrays
from bimmjax.nets._train.load import load
from bimmjax.nets._train.recipe import Recipe
from bimmjax.volumes import Volume, open_volume
from bimmjax.volumes._unfinished import Box, Unfinished, check_same, plain, told_of, voxels_of

Progress = Callable[[int, int], object]
SUMMARY = "predict.json"


def predict(
    net: Any,
    image: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    which: str = "best",
    normalise: str | None = None,
    uncertainty: bool = False,
    consensus: bool = False,
    tile: Sequence[int] | None = None,
    devices: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Volume:
    """Labels 0 ... classes - 1 of a volume by a trained network."""
    found, recipe = _given(net, which)
    how = normalise or (recipe.normalise if recipe is not None else "std")
    if uncertainty and out is None:
        raise InputError("uncertainty: got no out to write it to beside the labels, wants one")
    images = open_images(image, found.channels, how)
    grid = replace(
        images.volumes[0], dtype=np.dtype(np.uint8), name=f"{images.volumes[0].name} labels"
    )
    if consensus:
        _warn_of_flat_voxels(grid)
    patch = recipe.patch if recipe is not None else ()
    itemsize = sum(volume.dtype.itemsize for volume in images.volumes)
    plan = plan_of(
        found, grid.shape, itemsize, patch, consensus=consensus, tile=tile, devices=devices
    )
    told = _identity(found, recipe, images, plan, how, uncertainty)
    run = _Run(found, images, plan, uncertainty, progress or (lambda done, total: None))
    if out is None:
        labels = np.empty(grid.shape, np.uint8)
        for box, parts in run.blocks(lambda box: False):
            labels[box] = parts["labels"]
        return (
            open_volume(labels, spacing=grid.spacing, unit=grid.unit)
            if grid.unit != "voxel"
            else open_volume(labels)
        )
    before = told_of(Path(out))
    if before is not None and not overwrite:
        check_same(str(out), before, plain(told))
        return open_volume(out)
    images_told = {"": np.uint8} | ({"uncertainty": np.uint8} if uncertainty else {})
    store = Unfinished(out, grid, images_told, told, shard=plan.shard, overwrite=overwrite)
    counts = np.zeros(256, np.int64)
    for box in plan.boxes(grid.shape):
        if store.done(box):
            counts += np.bincount(store.read("", box).ravel(), minlength=256)
    for box, parts in run.blocks(store.done):
        counts += np.bincount(parts["labels"].ravel(), minlength=256)
        parts[""] = parts.pop("labels")
        store.write(box, parts)
    store.finish({SUMMARY: json.dumps(run.summary(counts, told), indent=2, allow_nan=False) + "\n"})
    return open_volume(out)


class _Run:
    """Blocks that are worked out, and how fast."""

    def __init__(
        self, net: Network, images: Images, plan: Plan, uncertainty: bool, progress: Progress
    ) -> None:
        self._net, self._images, self._plan = net, images, plan
        self._uncertainty, self._progress = uncertainty, progress
        self.voxels, self.seconds = 0, 0.0

    def blocks(self, done: Callable[[Box], bool]) -> Iterator[tuple[Box, dict[str, np.ndarray]]]:
        """All blocks that are not done, each with its labels and their uncertainty."""
        images, plan = self._images, self._plan
        boxes = list(plan.boxes(images.shape))
        left = [box for box in boxes if not done(box)]
        total = sum(map(voxels_of, boxes))
        finished = total - sum(map(voxels_of, left))
        self._progress(finished, total)
        if not left:
            return
        nets = [
            Applied(self._net, batch, view.tiling.sizes, plan.devices)
            for view, batch in zip(plan.views, plan.batches, strict=True)
        ]
        began = time.perf_counter()
        reading = made_ahead(lambda n: read_for(images, plan.views, left[n]), range(len(left)), 1)
        with closing(reading):
            for box, raw in zip(left, reading, strict=True):
                if plan.together:
                    found = found_together(
                        images, raw, plan.views, nets, box, self._net.classes, self._uncertainty
                    )
                else:
                    found = found_directly(
                        images, raw, plan.views[0], nets[0], box, self._uncertainty
                    )
                gaps = without_number(images, raw, box)
                if gaps is not None:
                    found[:, gaps] = NO_LABEL
                yield box, dict(zip(("labels", "uncertainty"), found, strict=False))
                finished += voxels_of(box)
                self.voxels += voxels_of(box)
                self.seconds = time.perf_counter() - began
                self._progress(finished, total)

    def summary(self, counts: np.ndarray, told: dict[str, Any]) -> dict[str, Any]:
        """The content of predict.json."""
        from bimmjax import __version__

        known = counts[: self._net.classes]
        return {
            "classes": self._net.classes,
            "volume_fractions": (known / max(int(known.sum()), 1)).tolist(),
            "voxels": int(counts.sum()),
            "seconds": round(self.seconds, 3),
            "voxels_this_time": self.voxels,
            "megavoxels_per_second": self.voxels / 1e6 / self.seconds if self.seconds else None,
            "device": f"{self._plan.devices} x {jax.local_devices()[0].device_kind}",
            "identity": told,
            "versions": {"bimmjax": __version__, "jax": jax.__version__},
        }


def _given(net: Any, which: str) -> tuple[Network, Recipe | None]:
    if isinstance(net, str | os.PathLike):
        found, recipe = load(net, which)
    elif isinstance(net, tuple):
        found, recipe = net
    else:
        found, recipe = net, None
    if not isinstance(found, Network):
        raise InputError(
            f"net: got {type(found).__name__}, wants the folder of a run, a network, or a network "
            "and its recipe"
        )
    return found, recipe


def _identity(
    net: Network, recipe: Recipe | None, images: Images, plan: Plan, how: str, uncertainty: bool
) -> dict[str, Any]:
    weights = hashlib.sha256()
    for name, array in sorted(named_arrays(nnx.state(net)).items()):
        weights.update(f"{name} {array.shape} {array.dtype} ".encode())
        weights.update(array.tobytes())
    settings = [] if recipe is None else [recipe.network, recipe.settings]
    return {
        "network": [type(net).__name__, *settings],
        "weights": weights.hexdigest(),
        "normalise": how,
        "image": images.fingerprint(),
        "normalisations": [list(one) for one in images.normalisations],
        "uncertainty": bool(uncertainty),
        "consensus": len(plan.views) > 1,
        "tile": None if plan.views[0].tiling.exact else list(plan.views[0].tiling.sizes),
    }


def _warn_of_flat_voxels(grid: Volume) -> None:
    if max(grid.spacing) > 1.001 * min(grid.spacing):
        warnings.warn(
            f"consensus: got voxels of {grid.spacing} {grid.unit}, wants cubic ones: slices across "
            "y and x look other than those the network knows",
            stacklevel=3,
        )
