"""Learn a translation: from unpaired images, or from pairs."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.nets._adapt.patches import Patches, kept, normalisations, opened
from bimmjax.nets._adapt.recipe import recipe_for
from bimmjax.nets._adapt.run import Adapted, Progress, Run, check_folder
from bimmjax.nets._data.specimen import check_same


def train_unpaired(
    simulated: Any,
    real: Any,
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Adapted:
    """Learn to make simulated slices look like real ones, and back, without pairs: CycleGAN.

    Two generators and two critics of patches; least-squares losses, the way there and back, and
    images that are already of the wanted kind. A CycleGAN is free to move, add or remove what
    critics do not miss, and labels of simulated slices would be wrong then. Against that, networks
    here learn a change that begins at zero, and a loss (`shape`) keeps edges where they are;
    `shapes_kept` measures it.

    Source: Zhu et al. 2017, arXiv:1703.10593; FIB thesis, §6.1.

    Parameters
    ----------
    simulated, real : volume, or list of volumes
        Anything `open_volume` takes, (z, y, x); slices are alike in pixel size.
    out : path
        Folder for recipe.json, log.csv, checkpoints and adapt.json. A run that was interrupted
        there goes on after its last epoch and ends, on one CPU device, with the same bits.
    overwrite : bool
        Begin anew where a run is.
    progress : callable, optional
        `progress(done, steps)`, after each step.
    settings
        Of `AdaptRecipe`: width, blocks, patch, epochs, steps, shape, seed ...

    Returns
    -------
    Adapted

    Raises
    ------
    InputError
        Bad settings or volumes, slices smaller than a patch, a folder with another run.
    Diverged
        A loss or a slope that is no number. The checkpoint before it stays.

    Notes
    -----
    With the paper's weights a network that begins as the identity leaves it slowly: some hundreds
    of steps change little but mean and spread. `cycle=1, identity=0` lets images differ sooner, and
    shapes and flat areas suffer sooner, too: look at the examples, and at `shapes_kept`
    (`python -m benchmarks fib_adapt`). A translation is a function of the slice: noise that nothing
    in a perfect image tells of cannot be made; give images their counting noise first
    (`bimmjax.sim.instrument`).

    Examples
    --------
    >>> from bimmjax.nets import train_unpaired, translate
    >>> train_unpaired("bse.zarr", "stack.tif", "adapted", width=16)  # doctest: +SKIP
    >>> translate("adapted", "bse.zarr", "real-looking.zarr")  # doctest: +SKIP
    """
    recipe = recipe_for("unpaired", settings)
    there, here = opened("simulated", simulated, False), opened("real", real, False)
    how = *normalisations(there, recipe.normalise), *normalisations(here, recipe.normalise)
    recipe = replace(recipe, normalisations=how)
    check_folder(Path(out), recipe, overwrite)
    drawn = [
        Patches(name, kept(entries), [one], recipe.patch, recipe.symmetries, recipe.seed, stream)
        for stream, (name, entries, one) in enumerate(
            (("simulated", there, how[0]), ("real", here, how[1]))
        )
    ]

    def batch(number: int) -> tuple[np.ndarray, ...]:
        return tuple(one.batch(number, recipe.batch) for one in drawn)

    return Run(recipe, batch, Path(out), [*there, *here], overwrite).to_the_end(progress)


def train_paired(
    inputs: Any,
    targets: Any,
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Adapted:
    """Learn to make one image of another of the same slice: a learned BSE simulator.

    From the analytic image of shine-through to that of Monte Carlo, say. What is learned is the
    change of the first channel; others (the labels, `depth_below`) tell what the physics knows.
    The loss is the mean absolute difference, beside that of a critic if it has a weight (pix2pix).

    Source: Isola et al. 2017, arXiv:1611.07004; FIB thesis, §6.2.

    Parameters
    ----------
    inputs : volume, or sequence of volumes
        Several are the channels of one input. Where `targets` is a list, as many such entries.
    targets : volume, or list of volumes
        Of the same grids.
    out
        As for `train_unpaired`.
    overwrite
        As for `train_unpaired`.
    progress
        As for `train_unpaired`.
    settings
        As for `train_unpaired`.

    Returns
    -------
    Adapted

    Raises
    ------
    InputError, Diverged
        As for `train_unpaired`, and grids that differ.

    Examples
    --------
    >>> from bimmjax.nets import depth_below, train_paired
    >>> inputs = ["analytic.zarr", "labels.zarr", depth_below("labels.zarr", 16)]  # doctest: +SKIP
    >>> train_paired(inputs, "montecarlo.zarr", "simulator")  # doctest: +SKIP
    """
    recipe = recipe_for("paired", settings)
    if not isinstance(targets, list | tuple):
        inputs, targets = [inputs], [targets]
    given, wanted = opened("inputs", inputs, True), opened("targets", targets, False)
    if len(given) != len(wanted):
        raise InputError(f"inputs: got {len(given)} for {len(wanted)} targets, wants as many")
    for entry, (target,) in zip(given, wanted, strict=True):
        check_same("targets", target, entry[0])
    pairs = [(*entry, target) for entry, (target,) in zip(given, wanted, strict=True)]
    how = normalisations(pairs, recipe.normalise)
    recipe = replace(recipe, channels=len(given[0]), normalisations=how)
    check_folder(Path(out), recipe, overwrite)
    drawn = Patches(
        "inputs", kept(pairs), how, recipe.patch, recipe.symmetries, recipe.seed, stream=0
    )

    def batch(number: int) -> tuple[np.ndarray, ...]:
        found = drawn.batch(number, recipe.batch)
        return found[..., :-1], found[..., -1:]

    return Run(recipe, batch, Path(out), pairs, overwrite).to_the_end(progress)
