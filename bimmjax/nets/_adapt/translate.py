"""Translate a volume of any size, slice by slice and tile by tile, without seams."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.nets._adapt.layers import measured
from bimmjax.nets._adapt.load import load_translator
from bimmjax.nets._adapt.patches import Patches
from bimmjax.nets._adapt.recipe import AdaptRecipe
from bimmjax.nets._adapt.run import SUMMARY, Progress
from bimmjax.nets._data.ahead import made_ahead
from bimmjax.nets._data.behind import Behind
from bimmjax.nets._data.normalise import Normalisation
from bimmjax.nets._predict.apply import Applied
from bimmjax.nets._predict.blocks import each_tile, read_for, shape_of, without_number
from bimmjax.nets._predict.given import Given
from bimmjax.nets._predict.images import Images, open_images
from bimmjax.nets._predict.plan import Plan, plan_of
from bimmjax.nets._train.checkpoint import hash_of
from bimmjax.volumes import Volume, open_volume
from bimmjax.volumes._unfinished import Box, Unfinished, begun_with, check_same, told_of, voxels_of

# Patches by which a volume's statistics are measured, pixels of them all, and their stream of
# random numbers, apart from those of training.
_PATCHES, _PIXELS, _STREAM = 64, 2**20, 7


def translate(
    run: str | os.PathLike[str],
    volume: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    back: bool = False,
    tile: Sequence[int] | None = None,
    devices: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Volume:
    """A volume as the other kind of image, by what a run of `adapt` has learned, streamed.

    Parameters
    ----------
    run : path
        The folder of `train_unpaired` or `train_paired`.
    volume : volume, or sequence of volumes
        Anything `open_volume` takes, (z, y, x), of any size; several are the channels, in the
        order of training. Its grey values are those of the training volumes' scale.
    out : path, optional
        The OME-Zarr to make. It appears when it is complete; interrupted, the same call goes on.
        Without it the result is kept in memory.
    back : bool
        From real to simulated.
    tile : two ints, optional
        Pixels (y, x) the network is given at once, halo included. Default: by memory.
    devices : int, optional
        Devices that share a batch of tiles. Default: all accelerators, or one CPU device.
    overwrite : bool
        Replace `out` if it is a zarr folder.
    progress : callable, optional
        `progress(voxels done, voxels in all)`.

    Returns
    -------
    Volume
        float32, in the grey values of the other kind; NaN where a channel is no number.

    Raises
    ------
    InputError
        No run, another number of channels, slices smaller than the network's grid, a way back of
        pairs, an `out` that exists or was begun with another run or volume.

    Notes
    -----
    In training, instance normalisation takes the statistics of each patch. Here all slices and
    tiles share one set, those of up to 64 patches drawn from this volume: results depend neither
    on tiles nor on the slice's own brightness, and tiles with their halo equal the whole slice.

    `adapt.json` in `out` tells what was applied, and how fast.

    Examples
    --------
    >>> from bimmjax.nets import translate
    >>> translate("adapted", "bse.zarr", "real-looking.zarr")  # doctest: +SKIP
    """
    net, recipe = load_translator(run, back)
    *entering, leaving = recipe.normalisations
    if back:
        entering, leaving = [leaving], entering[0]
    plain = open_images(volume, recipe.channels, "none")
    images = Images(plain.volumes, tuple(entering), (None,) * len(entering))
    first = images.volumes[0]
    found = _given(net, recipe, images)
    grid = replace(first, dtype=np.dtype(np.float32), name=f"{first.name} translated")
    told = {
        "weights": hash_of(found.net),
        "image": images.fingerprint(),
        "normalisations": [list(one) for one in (*entering, leaving)],
        "back": bool(back),
    }
    made = None if out is None or overwrite else told_of(Path(out))
    before = None if out is None else begun_with(Path(out))
    plan = plan_of(
        found,
        grid.shape,
        4 + sum(one.dtype.itemsize for one in images.volumes),
        tile=tile,
        devices=devices,
        before=before if before is not None and told.items() <= before.items() else None,
    )
    task = _Task(found, images, plan, leaving, progress or (lambda done, total: None))
    if out is None:
        whole = np.empty(grid.shape, np.float32)
        with closing(task.blocks(task.boxes)) as blocks:
            for box, part in blocks:
                whole[box] = part
        return replace(grid, reader=lambda z, y, x: whole[z, y, x], format="array")
    if made is not None:
        check_same(f"{os.fspath(out)}, made", made, told)
    else:
        _to_disk(task, grid, Path(out), told, overwrite)
    return open_volume(out)


def _given(net: Any, recipe: AdaptRecipe, images: Images) -> Given:
    """The network with the statistics of a volume."""
    step = net.multiple[0]
    side = min(recipe.patch, min(images.shape[1:]) // step * step)
    if side < 2 * step:
        raise InputError(
            f"volume: got slices of {images.shape[1:]}, wants at least {2 * step} pixels along "
            "both sides for this network"
        )
    count = min(_PATCHES, max(_PIXELS // side**2, 1))
    drawn = Patches(
        "volume", [images.volumes], images.normalisations, side, "none", recipe.seed, _STREAM
    )
    net = measured(net, jax.numpy.asarray(drawn.batch(0, count)))
    return Given(net, recipe.channels, 1, (recipe.patch,) * 2, "none", (recipe.kind,), None)


def _to_disk(task: _Task, grid: Volume, out: Path, told: dict[str, Any], overwrite: bool) -> None:
    store = Unfinished(
        out, grid, {"": np.float32}, told, shard=task.plan.shard, overwrite=overwrite
    )
    left = [box for box in task.boxes if not store.done(box)]
    with Behind("slices") as writing, closing(task.blocks(left)) as blocks:
        for box, part in blocks:
            writing.do(store.write, box, {"": part})
    text = json.dumps(task.summary(told), indent=2, allow_nan=False)
    store.finish({SUMMARY: text + "\n"})


class _Task:
    """Blocks that are translated, and how fast."""

    def __init__(
        self,
        found: Given,
        images: Images,
        plan: Plan,
        leaving: Normalisation,
        progress: Progress,
    ) -> None:
        self.plan, self.boxes = plan, plan.boxes(images.shape)
        self._found, self._images, self._leaving = found, images, leaving
        self._progress, self._seconds, self._voxels = progress, 0.0, 0

    def blocks(self, left: Sequence[Box]) -> Generator[tuple[Box, np.ndarray], None, None]:
        """Grey values of some blocks."""
        total = sum(map(voxels_of, self.boxes))
        done = float(total - sum(map(voxels_of, left)))
        self._progress(round(done), total)
        if not left:
            return
        (view,), (batch,) = self.plan.views, self.plan.batches
        net = Applied(self._found.net, batch, view.tiling.sizes, self.plan.devices)
        began = time.perf_counter()

        def tick(voxels: float) -> None:
            nonlocal done
            done += voxels
            self._progress(min(round(done), total), total)

        reading = made_ahead(lambda n: read_for(self._images, [view], left[n]), range(len(left)), 1)
        with closing(reading):
            for box in left:
                raw = next(reading)
                out = np.zeros(shape_of(box), np.float32)
                for one, values in each_tile(self._images, raw, view, net, box, net.logits, tick):
                    inner = tuple(
                        slice(p.start - b.start, p.stop - b.start)
                        for p, b in zip(one.core, box, strict=True)
                    )
                    out[inner] = values[..., 0] / self._leaving.factor + self._leaving.offset
                gaps = without_number(raw, box)
                if gaps is not None:
                    out[gaps] = np.nan
                del raw
                yield box, out
                self._voxels += voxels_of(box)
                self._seconds = time.perf_counter() - began

    def summary(self, told: dict[str, Any]) -> dict[str, Any]:
        """The content of adapt.json."""
        from bimmjax import __version__

        tiling = self.plan.views[0].tiling
        return {
            "voxels": sum(map(voxels_of, self.boxes)),
            "seconds": round(self._seconds, 3),
            "megavoxels_per_second": self._voxels / 1e6 / self._seconds if self._seconds else None,
            "tile": list(tiling.sizes),
            "halo": list(tiling.halo),
            "device": f"{self.plan.devices} x {jax.local_devices()[0].device_kind}",
            "identity": told,
            "versions": {"bimmjax": __version__, "jax": jax.__version__},
        }
