"""Slices of labels imaged electron by electron."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jax
    import numpy as np

    from bimmjax.cli._simulate_bse_run import BseRun
    from bimmjax.volumes import Volume

_LONG = 60.0  # seconds that are announced
_FATES = ("electrons", "backscattered", "absorbed", "truncated")


def follow_slices(
    run: BseRun,
    labels: Volume,
    voxel: list[float],
    energy: float,
    places: list[int],
    progress: Callable[[int, int], object],
    warn: Callable[[str], object],
) -> tuple[np.ndarray, dict[str, int]]:
    """Images (n, y, x) float32 of the slices `places`, and what became of the electrons.

    Each slice has a key by its number: its image does not depend on which others are wanted.
    """
    import jax
    import numpy as np

    from bimmjax import sim

    key = key_of(run.seed, energy)
    deep = _reach(run, labels, voxel, energy)
    scattering = [label for label, material in enumerate(run.materials) if material.elements]
    each = labels.shape[1] * labels.shape[2] * run.electrons
    total = len(places) * each
    unasked = run.slices is None and run.every is None and len(places) > 1
    images = np.zeros((len(places), *labels.shape[1:]), np.float32)
    fates: dict[str, int] = dict.fromkeys(_FATES, 0)
    progress(0, total)
    for number, place in enumerate(places):
        first = min(place, labels.shape[0] - deep)
        slab = labels.read(slice(first, first + deep), slice(None), slice(None))
        if not np.isin(slab[place - first :], scattering).any():
            continue  # nothing but vacuum: nothing comes back

        def follow(
            electrons: int,
            place: int = place,
            first: int = first,
            slab: np.ndarray = slab,
            before: int = number * each,
        ) -> sim.MonteCarlo:
            return sim.monte_carlo(
                jax.random.fold_in(key, place), slab, run.materials, energy, spacing=voxel,
                surface=place - first, tilt=run.tilt, electrons=electrons,
                progress=lambda done, _: progress(before + done, total),
            )  # fmt: skip

        if unasked:
            follow(1)  # compiles, which is no measure of the rest
        begin = time.perf_counter()
        found = follow(run.electrons)
        images[number] = found.images[0]
        for name in _FATES:
            fates[name] += getattr(found, name)
        left = (time.perf_counter() - begin) * (len(places) - number - 1)
        if unasked and left > _LONG:
            warn(
                f"all {len(places)} slices at {energy:g} kV take about {_duration(left)}; "
                "--every and --slices image fewer"
            )
        unasked = False
    return images, fates


def key_of(seed: int, energy: float) -> jax.Array:
    """The random key of the images at a voltage."""
    import jax

    return jax.random.fold_in(jax.random.key(seed), round(1000.0 * energy))


def _reach(run: BseRun, labels: Volume, voxel: list[float], energy: float) -> int:
    """Slices that take part in an image; the same for all, so that one program does for all."""
    from bimmjax.sim import escape_depth

    if not all(material.elements for material in run.materials):
        return labels.shape[0]  # electrons may fly far through empty pores
    # Twice as deep as half the range: no electron comes back from deeper.
    return min(labels.shape[0], math.ceil(2.0 * escape_depth(run.materials, energy) / voxel[0]) + 1)


def _duration(seconds: float) -> str:
    if seconds < 7200:
        return f"{math.ceil(seconds / 60)} minutes"
    return f"{math.ceil(seconds / 3600)} hours"
