"""Phases of the voxels of one or several stacks: networks, a fitted model, a classical method."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.fib._pipeline.gaps import NO_LABEL, labelled_everywhere
from bimmjax.fib._pipeline.naming import naming
from bimmjax.fib._pipeline.plan import MODELS, Plan
from bimmjax.fib._pipeline.slabs import in_slabs
from bimmjax.fib._pipeline.step import Work
from bimmjax.fib._surroundings import REACH, surroundings
from bimmjax.nets import fuse, recipe_of
from bimmjax.segmentation._given_fit import given_fit
from bimmjax.volumes import Volume, open_volume, stream


def label(work: Work, plan: Plan, stacks: Mapping[str, Volume]) -> dict[str, Any]:
    """Write `labels.zarr` of these stacks, 0 ... N - 1 in order of intensity.

    Where voxels have none, and slices are to be filled in between, also `whole.zarr`, in which they
    have that of their nearest neighbour.
    """
    told: dict[str, Any]
    if plan.label.network or plan.label.networks:
        labels, phases, told = _by_networks(work, plan, stacks)
    else:
        volume = stacks[looked_at(plan)]
        if plan.label.fit:
            found, phases, told = _by_fit(work, plan, volume)
        else:
            phases, told = plan.label.phases, {"method": plan.label.method}
            found = _by_method(plan.label.method, phases, volume)
            # What lies below its threshold is one more.
            phases += plan.label.method == "spatial-kmeans"
        told["stack"] = looked_at(plan)
        labels = work.write("labels", found)
    told |= shares(labels, phases)
    if plan.order == "labels" and told["without_label"] > 0:
        work.write("whole", labelled_everywhere(in_slabs(labels)), whole_slices=True)
    return told


def looked_at(plan: Plan) -> str:
    """The stack that a fit or a method labels."""
    return plan.label.stack or next(iter(plan.stacks))


def shares(labels: Volume, phases: int) -> dict[str, Any]:
    """Shares of the phases, and of voxels without a label (255)."""
    counts = np.zeros(256, np.int64)
    for block in stream(labels, (64, 512, 512), halo=0):
        # By slices: NumPy makes eight times as many bytes of what it counts.
        for plane in block.data:
            counts += np.bincount(plane.ravel(), minlength=256)
    held = counts[:phases]
    return {
        "phases": phases,
        "volume_fractions": held / max(int(held.sum()), 1),
        "without_label": float(counts[NO_LABEL]) / max(int(counts.sum()), 1),
    }


def _by_networks(
    work: Work, plan: Plan, stacks: Mapping[str, Volume]
) -> tuple[Volume, int, dict[str, Any]]:
    """As `_by_fit`."""
    from bimmjax import nets

    if plan.label.network:
        net: Any = plan.label.network
        images = list(stacks.values())
    else:
        names = [name for name in stacks if name in plan.label.networks]
        folders = [plan.label.networks[name] for name in names]
        images = [stacks[name] for name in names]
        net = folders[0] if len(folders) == 1 else fuse(folders)
    path = work.folder / "labels.zarr"
    nets.predict(
        net,
        images,
        path,
        uncertainty=plan.label.uncertainty,
        progress=work.tell("labels"),
    )
    told = json.loads((path / "predict.json").read_text("utf-8"))
    return open_volume(path), told["classes"], {}


def _by_fit(work: Work, plan: Plan, volume: Volume) -> tuple[Volume, int, dict[str, Any]]:
    """Labels, how many there are, and what is told of the fit."""
    from bimmjax import segmentation
    from bimmjax.fitting import fit

    given: Any = plan.label.fit
    told: dict[str, Any] = {"fit": given}
    if given in MODELS:
        given = fit(volume, plan.label.phases, model=given, progress=work.tell("fit"))
        told |= {"nll": given.nll, "warnings": list(given.warnings)}
        return segmentation.segment(volume, given), plan.label.phases, told
    return segmentation.segment(volume, given), _phases_of(given), told


def _phases_of(path: str) -> int:
    with naming("label.fit", "fit"):
        return int(np.size(given_fit(path)["params"]["intensities"]))


def _by_method(method: str, phases: int, volume: Volume) -> Volume:
    from bimmjax import segmentation

    ways = {
        "otsu": segmentation.otsu,
        "kmeans": segmentation.kmeans,
        "spatial-kmeans": segmentation.spatial_kmeans,
        "clahe-otsu": segmentation.clahe_otsu,
    }
    return ways[method](volume, phases)


def check_label(plan: Plan) -> None:
    """Refuse networks and fits that are not there, or that want other stacks, before any work."""
    told, names = plan.label, list(plan.stacks)
    if not (told.network or told.networks or told.fit or told.method):
        raise InputError("label: got none, wants a network, a fit or a method")
    if told.stack and told.stack not in names:
        raise InputError(f"label.stack: got {told.stack}, wants one of {', '.join(names)}")
    for name in told.networks:
        if name not in names:
            raise InputError(
                f"label.networks: got one for stack {name}, wants them for {', '.join(names)}"
            )
    if plan.order == "layers":
        _check_layers(plan, len(names))
    elif told.network:
        _check_channels("label.network", told.network, len(names), names)
    for name, folder in told.networks.items():
        _check_channels(f"label.networks.{name}", folder, 1, [name])
    if told.stack and (told.network or told.networks):
        raise InputError(f"label.stack: got {told.stack} with networks, wants a fit or a method")
    if len(told.networks) > 1:
        with naming("label.networks", "branches", "folders"):
            fuse(list(told.networks.values()))
    if told.fit == "bimm2d" and plan.order == "labels":
        raise InputError(
            'label.fit: got "bimm2d" for slices, whose voxels are not cubic; wants "bimm1d" or '
            '"gmm", or order "grey"'
        )
    if told.fit and told.fit not in MODELS:
        if not Path(told.fit).is_file():
            raise InputError(
                f"label.fit: got {told.fit}, wants a fit.json or one of {', '.join(MODELS)}"
            )
        _phases_of(told.fit)


def around(
    plan: Plan, stacks: Mapping[str, Volume], placed: Mapping[str, Any]
) -> dict[str, Volume]:
    """The channels of a network that labels every layer of the grid."""
    places = np.asarray(placed["places"])
    found = surroundings(list(stacks.values()), places, spacing=placed["spacing"])
    return {str(number): volume for number, volume in enumerate(found)}


def _check_layers(plan: Plan, stacks: int) -> None:
    name, folder = "label.network", plan.label.network
    if not folder:
        raise InputError(f'{name}: got none, wants a run of train --layers for order "layers"')
    channels = recipe_of(_recipe(name, folder)).channels
    # Another reach would be another network: nothing else tells how many slices it has seen.
    wanted = 2 * REACH * (stacks + 1)
    if channels != wanted:
        raise InputError(
            f"{name}: got a network of {channels} channels, wants one of train --layers for "
            f"{stacks} stack{'s' if stacks > 1 else ''}, which has {wanted}"
        )


def _recipe(name: str, folder: str | os.PathLike[str]) -> Path:
    path = Path(folder) / "recipe.toml"
    if not path.is_file():
        raise InputError(f"{name}: got {folder}, wants the folder of a run of train")
    return path


def _check_channels(
    name: str, folder: str | os.PathLike[str], count: int, names: list[str]
) -> None:
    channels = recipe_of(_recipe(name, folder)).channels
    if channels != count:
        hint = " (or order layers)" if channels == 2 * REACH * (count + 1) else ""
        raise InputError(
            f"{name}: got a network of {channels} channels, wants one of {count}, for stack "
            f"{', '.join(names)}{hint}"
        )
