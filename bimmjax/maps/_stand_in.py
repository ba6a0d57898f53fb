"""A volume like the one mapped, of known truth block by block."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.optimize import brentq

from bimmjax import sim
from bimmjax.models import Params, phase_pairs
from bimmjax.properties import properties

_RAREST = 0.003
_LENGTHS = (1.5, 60.0)


class StandIn(NamedTuple):
    """An artificial volume, and what is true of each of its blocks (n in C order).

    image : (z, y, x) float32, grey values. volume_fractions : (n, N).
    interface_areas : (n, N(N-1)/2), per volume, 1/voxel. correlation : of the noise two voxels
    apart, which cannot be negative as that of a sharpened scan can.
    """

    image: np.ndarray
    volume_fractions: np.ndarray
    interface_areas: np.ndarray
    correlation: float


def stand_in(
    key: Array, params: Params, *, blocks: tuple[int, int, int], edge: int, step: float = 0.0
) -> StandIn:
    """Blob-like phases with the fractions, the area, the blur and the noise of a global fit.

    params : NumPy arrays, grey values and voxels. blocks : number of blocks along (z, y, x), each
    of `edge` voxels. step : of the grey levels of integer data.
    """
    told = properties(params, 1.0)
    fractions = np.maximum(np.asarray(told.volume_fractions, float), _RAREST)
    fractions = fractions / fractions.sum()
    area = max(float(np.sum(np.asarray(told.interface_areas))), 1e-4)
    length = float(np.clip(sim.expected_interface_areas(fractions, 1.0).sum() / area, *_LENGTHS))
    shape = (blocks[0] * edge, blocks[1] * edge, blocks[2] * edge)
    structure_key, noise_key = jax.random.split(key)
    structure = sim.gaussian_structure(structure_key, shape, fractions.tolist(), length)
    blur = float(params.blur_std)  # type: ignore[arg-type]
    image = sim.blur(sim.image_of(structure, jnp.asarray(params.intensities, float)), blur)
    noise = np.asarray(params.noise_std, float)
    std: Array | np.ndarray = noise
    if noise.ndim:
        variance = sim.blur(sim.image_of(structure, jnp.asarray(noise**2, float)), blur)
        std = jnp.sqrt(jnp.maximum(variance, 0.0))
    noise_length = _noise_length(float(params.correlation))  # type: ignore[arg-type]
    image = sim.add_noise(noise_key, image, std, noise_length=noise_length)
    if step > 0:
        image = jnp.rint(image / step) * step
    fractions, areas = (np.asarray(x, float) for x in _truth(structure, blocks, edge))
    made = float(sim.noise_correlation(noise_length)[1])
    return StandIn(np.asarray(image, np.float32), fractions, areas, made)


def _noise_length(correlation: float) -> float:
    """Std of the filter whose noise has this correlation two voxels apart."""
    if correlation < 0.01:
        return 0.0
    wanted = min(correlation, 0.9)
    found: Any = brentq(lambda x: sim.noise_correlation(x)[1] - wanted, 0.2, 10.0)
    return float(found)


def _truth(
    structure: sim.Structure, blocks: tuple[int, int, int], edge: int
) -> tuple[Array, Array]:
    """Fractions (n, N) of voxels, and areas per volume (n, pairs) by the coarea formula.

    A voxel whose centre is s from the surface, |s| < 1, stands for 1 - |s| of surface.
    """
    labels = sim.structure_labels(structure)
    phases = structure.levels.size + 1

    def means(x: Array) -> Array:
        shape = (blocks[0], edge, blocks[1], edge, blocks[2], edge)
        return x.astype(jnp.float32).reshape(shape).mean((1, 3, 5)).ravel()

    fractions = jnp.stack([means(labels == i) for i in range(phases)], -1)
    areas = []
    for i, j in phase_pairs(phases):
        field = structure.fields[i] - structure.levels[i]
        steps = jnp.stack(
            [0.5 * (jnp.roll(field, -1, axis) - jnp.roll(field, 1, axis)) for axis in range(3)]
        )
        distance = field / jnp.maximum(jnp.sqrt((steps**2).sum(0)), 1e-12)
        on = jnp.maximum(1.0 - jnp.abs(distance), 0.0)
        # The surface of field i counts where no phase before has taken the place, and where the
        # fields after it say j.
        for k in range(i):
            on = jnp.where(structure.fields[k] >= structure.levels[k], on, 0.0)
        for k in range(i + 1, j):
            on = jnp.where(structure.fields[k] >= structure.levels[k], on, 0.0)
        if j < phases - 1:
            on = jnp.where(structure.fields[j] < structure.levels[j], on, 0.0)
        areas.append(means(on))
    return fractions, jnp.stack(areas, -1)
