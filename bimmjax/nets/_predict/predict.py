"""Labels of a volume by a trained network, streamed."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bimmjax._core.checks import InputError, choice
from bimmjax.nets._data.ahead import made_ahead
from bimmjax.nets._data.behind import Behind
from bimmjax.nets._data.normalise import WAYS
from bimmjax.nets._predict.apply import Applied
from bimmjax.nets._predict.blocks import (
    found_directly,
    found_together,
    read_for,
    shape_of,
    without_number,
)
from bimmjax.nets._predict.given import Given, given
from bimmjax.nets._predict.identity import identity_of
from bimmjax.nets._predict.images import Images, open_images
from bimmjax.nets._predict.plan import Plan, plan_of
from bimmjax.nets.losses import IGNORED
from bimmjax.volumes import Volume, open_volume
from bimmjax.volumes._unfinished import (
    Box,
    Unfinished,
    begun_with,
    check_same,
    told_of,
    voxels_of,
)

Progress = Callable[[int, int], object]
SUMMARY = "predict.json"
UNCERTAINTY = "uncertainty"


def predict(
    net: Any,
    image: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    which: str = "best",
    normalise: str | None = None,
    uncertainty: bool = False,
    consensus: bool = False,
    prune: int | None = None,
    tile: Sequence[int] | None = None,
    devices: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Volume:
    """Labels 0 ... classes - 1 of a volume by a trained network, streamed from disk to disk.

    Parameters
    ----------
    net : path, Network, or (Network, Recipe)
        The folder that `train` has left, or a network (with what it was trained by).
    image : volume, or sequence of volumes
        Anything `open_volume` takes, (z, y, x), of any size; several are the channels, in the
        order of training.
    out : path, optional
        The OME-Zarr to make. It appears when it is complete; what an interruption leaves is a
        hidden folder beside it, `.NAME.partial`, which the same call goes on with, to the same
        labels. Without it labels are kept in memory.
    which : str
        Of a folder: "best" or "last", the epoch to take.
    normalise : str, optional
        How grey values are normalised, by what all of this volume holds: "std", "range" or
        "none". Default: as in training; "std" for a network without its recipe.
    uncertainty : bool
        Write the image `uncertainty` into `out`, too (`open_volume(out, dataset="uncertainty")`).
    consensus : bool
        Apply a 2D network to the slices across all three axes, and take the class of the highest
        mean probability. For cubic voxels.
    prune : int, optional
        Of a UNet++: apply only its first levels, 1 to all, which is faster and coarser
        (`UNetPlusPlus.pruned`).
    tile : sequence of int, optional
        Size along the network's axes of what it is given at once, halo included; multiples of
        its `multiple`. Larger ones are faster and take more memory. Default: by what memory
        there is.
    devices : int, optional
        Devices that share a batch of tiles. Default: all accelerators, or one CPU device.
    overwrite : bool
        Replace `out` if it is a zarr folder, at the very end; what was begun with another network,
        image or way is dropped, and with the same ones gone on with.
    progress : callable, optional
        `progress(voxels done, voxels in all)`.

    Returns
    -------
    Volume
        uint8, of the image's shape and voxel size; 255 where a channel is no number.

    Raises
    ------
    InputError
        No run, another number of channels than in training, a volume smaller than the network's
        `multiple`, a tile that cannot be, a consensus of a 3D network, a `prune` of other networks
        or beyond the levels, an `out` that exists or was begun with another network, image or way.

    Warns
    -----
    UserWarning
        A run that has not finished; a consensus in voxels that are not cubic; a local network with
        a halo too thick for exact tiles; a tile by which each voxel is looked at more than 8 times.

    Notes
    -----
    Tiles of a local network (`Network.local`) have its halo of real neighbours around what they
    answer for, begin on multiples of its `multiple` from the volume's origin, and end at the
    volume's faces, where the network pads with zeros as in training: labels are those of the
    whole slice, or the whole volume in 3D, at once. Where a size is no multiple, voxels are
    repeated beyond the far face up to the next one. Networks that pool over the whole image
    (PSPNet, DeepLab v3+) see tiles of the size of their training patches that overlap by half or
    more; the probabilities are blended by Gaussian weights of an eighth of a tile (Isensee et
    al. 2021, nnU-Net, Methods), and labels depend on the tile.

    Exact tiles of 3D networks have to be much larger than the halo, or each voxel is looked at many
    times. Where there is no memory for them, and no `tile` is given, local networks are blended,
    too, with a warning, and labels then depend on the tile. In a volume of 1024³ the 3D Modular
    U-Net of usual depth (halo 65) looks 15 times at each voxel with the exact tiles that 64 GB
    allow for, 4 times with those of 512 GB, and is blended in 24 GB; V-Net (halo 275) would look 34
    times with tiles of 832³, which take terabytes: it is blended in all but volumes that it can be
    given at once.

    Slices stacked as channels stop at the volume's ends, where the outermost one stands again.

    Uncertainty is the entropy of the class probabilities over that of equal ones, uint8: 0 is
    sure, 255 is no idea (or no number).

    `predict.json` in `out` tells volume fractions, speed, normalisation and what was applied.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.nets import build, predict
    >>> net = build("modular-unet", channels=1, classes=2, width=2, depth=1)
    >>> labels = predict(net, np.random.default_rng(0).random((4, 16, 16)))
    >>> labels.shape, labels.dtype
    ((4, 16, 16), dtype('uint8'))
    """
    found = given(net, which, prune)
    how = choice("normalise", normalise or found.normalise, WAYS)
    if uncertainty and out is None:
        raise InputError("uncertainty: got no out to write it to, wants one")
    images = open_images(image, found.channels, how)
    first = images.volumes[0]
    grid = replace(first, dtype=np.dtype(np.uint8), name=f"{first.name} labels")
    if consensus and max(grid.spacing) > 1.001 * min(grid.spacing):
        warnings.warn(
            f"consensus: got voxels of {grid.spacing} {grid.unit}, wants cubic ones: slices "
            "across y and x look other than those the network knows",
            stacklevel=2,
        )
    made = None if out is None or overwrite else told_of(Path(out))
    told = {} if out is None else identity_of(found, images, how, uncertainty, consensus)
    before = None if out is None else made or begun_with(Path(out))
    plan = plan_of(
        found,
        grid.shape,
        sum(volume.dtype.itemsize for volume in images.volumes),
        consensus=consensus,
        tile=tile,
        devices=devices,
        before=before if before is not None and told.items() <= before.items() else None,
    )
    run = _Run(found, images, plan, uncertainty, progress or (lambda done, total: None))
    if out is None:
        return _in_memory(run, grid)
    told["blended"] = run.plan.blended
    if made is not None:
        check_same(f"{os.fspath(out)}, made", made, told)
    else:
        _on_disk(run, grid, Path(out), told, overwrite)
    return open_volume(out)


def _in_memory(run: _Run, grid: Volume) -> Volume:
    labels = np.empty(grid.shape, np.uint8)
    with closing(run.blocks(run.boxes)) as blocks:
        for box, parts in blocks:
            labels[box] = parts[0]
    held = open_volume(labels)
    return replace(held, spacing=grid.spacing, unit=grid.unit, name=grid.name)


def _on_disk(run: _Run, grid: Volume, out: Path, told: dict[str, Any], overwrite: bool) -> None:
    names = ["", UNCERTAINTY][: 1 + run.uncertainty]
    store = Unfinished(
        out,
        grid,
        dict.fromkeys(names, np.uint8),
        told,
        shard=run.plan.shard,
        overwrite=overwrite,
    )
    counts = np.zeros(256, np.int64)
    left = []
    for box in run.boxes:
        if store.done(box):
            counts += _counts(store.read("", box))
        else:
            left.append(box)
    try:
        with Behind("labels") as writing, closing(run.blocks(left)) as blocks:
            for box, parts in blocks:
                counts += _counts(parts[0])
                writing.do(store.write, box, dict(zip(names, parts, strict=True)))
                del parts
    except KeyboardInterrupt as error:
        kept = sum(map(store.done, run.boxes))
        error.add_note(f"{kept} of {len(run.boxes)} blocks are kept")
        raise
    text = json.dumps(run.summary(counts, told), indent=2, allow_nan=False)
    store.finish({SUMMARY: text + "\n"})


def _counts(labels: np.ndarray) -> np.ndarray:
    """Voxels of each label; by slices, of which NumPy makes eight times as many bytes."""
    return np.sum([np.bincount(one.ravel(), minlength=256) for one in labels], 0)


class _Run:
    """Blocks that are worked out, and how fast."""

    def __init__(
        self, found: Given, images: Images, plan: Plan, uncertainty: bool, progress: Progress
    ) -> None:
        self.plan, self.uncertainty = plan, uncertainty
        self.boxes = plan.boxes(images.shape)
        self._given, self._images, self._progress = found, images, progress
        self._done, self._voxels, self._seconds = 0.0, 0, 0.0

    def blocks(self, left: Sequence[Box]) -> Generator[tuple[Box, np.ndarray], None, None]:
        """Labels, and their uncertainty if wanted, (1 or 2, z, y, x) uint8, of some blocks."""
        total = sum(map(voxels_of, self.boxes))
        finished = total - sum(map(voxels_of, left))
        self._progress(finished, total)
        if not left:
            return
        views = self.plan.views
        # Compiled once for all views whose tiles are alike.
        kinds = [(n, view.tiling.sizes) for n, view in zip(self.plan.batches, views, strict=True)]
        made = {kind: Applied(self._given.net, *kind, self.plan.devices) for kind in set(kinds)}
        nets = [made[kind] for kind in kinds]

        def tick(voxels: float) -> None:
            self._done += voxels
            self._progress(min(round(self._done), total), total)

        began = time.perf_counter()
        reading = made_ahead(lambda n: read_for(self._images, views, left[n]), range(len(left)), 1)
        with closing(reading):
            for box in left:
                raw = next(reading)  # `zip` would keep the one before
                self._done = finished
                if self.plan.together:
                    found = np.empty((1 + self.uncertainty, *shape_of(box)), np.uint8)
                    for part in self.plan.summed(box):
                        z = slice(part[0].start - box[0].start, part[0].stop - box[0].start)
                        found[:, z] = found_together(
                            self._images, raw, views, nets, part, self.uncertainty, tick
                        )
                else:
                    found = found_directly(
                        self._images, raw, views[0], nets[0], box, self.uncertainty, tick
                    )
                gaps = without_number(raw, box)
                if gaps is not None:
                    found[:, gaps] = IGNORED
                yield box, found
                del found, raw  # or they would be kept until the next ones are there
                finished += voxels_of(box)
                self._voxels += voxels_of(box)
                self._seconds = time.perf_counter() - began

    def summary(self, counts: np.ndarray, told: dict[str, Any]) -> dict[str, Any]:
        """The content of predict.json."""
        from bimmjax import __version__

        known = counts[: self._given.classes]
        tiling = self.plan.views[0].tiling
        speed = self._voxels / 1e6 / self._seconds if self._seconds else None
        return {
            "classes": self._given.classes,
            "volume_fractions": (known / max(int(known.sum()), 1)).tolist(),
            "voxels": int(counts.sum()),
            "labelled": int(known.sum()),
            "seconds": round(self._seconds, 3),
            "megavoxels_per_second": speed,
            # Of slices across each axis, or of the volume.
            "tiles": [list(view.tiling.sizes) for view in self.plan.views],
            "halo": list(tiling.halo) if tiling.exact else None,
            "passes": self.plan.passes,
            "device": f"{self.plan.devices} x {jax.local_devices()[0].device_kind}",
            "identity": told,
            "versions": {"bimmjax": __version__, "jax": jax.__version__},
        }
