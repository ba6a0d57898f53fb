"""The numbers of the shine-through model, found from Monte Carlo images of random structures."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax._core.checks import InputError, real_number, whole_number
from bimmjax.sim import _checks
from bimmjax.sim._electrons.materials import Material, known_material
from bimmjax.sim._electrons.montecarlo import monte_carlo
from bimmjax.sim._electrons.scattering import HIGHEST, LEAST
from bimmjax.sim._shine.images import escape_depth
from bimmjax.sim._shine.model import (
    STAGES,
    Layer,
    Plan,
    ShineThrough,
    layer,
    material_table,
    plan,
    shine_through,
)
from bimmjax.sim._structures.structure import structure_labels
from bimmjax.sim._structures.wave_volumes import hierarchical_wave
from bimmjax.sim._structures.waves import levelled_wave

_DEEP = 480.0  # nm
_FACE = 64  # voxels


class _Recipe(NamedTuple):
    spacing: float  # nm
    wavelengths: tuple[float, ...]  # voxels, of one wave or of two levels
    solid: float


# Coarse and fine, sparse and dense, of one level and of two.
_RECIPES = (
    _Recipe(5.0, (12.0,), 0.30),
    _Recipe(5.0, (24.0,), 0.20),
    _Recipe(5.0, (36.0, 6.0), 0.124),
    _Recipe(2.5, (16.0,), 0.50),
    _Recipe(2.5, (60.0, 12.0), 0.36),
    _Recipe(2.5, (64.0, 10.0), 0.25),
)


# Where fits begin: what was found for filled pores and for empty ones, between the voltages. From
# one alone some fits end in a poorer place.
_STARTS = (
    ShineThrough(0.22, 1.6, 1.2, 0.5, 4.5, 6.0, 1.0, 12.0, 0.3),
    ShineThrough(0.18, 1.5, 1.1, 0.6, 7.0, 13.0, 0.8, 90.0, 0.05),
)


class Calibration(NamedTuple):
    """Of one voltage.

    Attributes
    ----------
    model : ShineThrough
    misfit : float
        Root mean square of model less Monte Carlo over the range of grey values (2nd to 98th
        percentile) of each image, counting noise included.
    noise : float
        The counting noise alone.
    """

    model: ShineThrough
    misfit: float
    noise: float


def calibrate(
    key: Array,
    energies: Sequence[float],
    pore: str | Material = "epoxy",
    *,
    solid: str | Material = "gold",
    electrons: int = 600,
    scale: float = 1.0,
    progress: Callable[[int, int], object] | None = None,
) -> dict[float, Calibration]:
    """Fit the model of shine-through to Monte Carlo images of six random structures.

    Parameters
    ----------
    key
        Random key, of structures and electrons.
    energies
        keV, 0.5 to 30.
    pore
        Name or `Material`; it may be "vacuum".
    solid
        Name or `Material`.
    electrons
        Per pixel; six images of 64 x 64 pixels for each energy.
    scale
        All lengths of the structures, which at 1 have voxels of 2.5 and 5 nm and ligaments of
        15 to 110 nm, times this: more where electrons go further.
    progress
        Called as `progress(done, in all)`, of images and fits.

    Returns
    -------
    dict of Calibration, by energy.

    Raises
    ------
    InputError
        Unknown materials, energies out of range, structures too shallow for them.
    """
    key = _checks.random_key("key", key)
    materials = [known_material("pore", pore), known_material("solid", solid)]
    if not materials[1].elements:
        raise InputError("solid: got vacuum, wants something that scatters")
    wanted = [real_number("energies", energy, LEAST, HIGHEST) for energy in energies]
    if len(set(wanted)) < len(wanted):
        raise InputError(f"energies: got {wanted}, wants different ones")
    whole_number("electrons", electrons, 1, 2**24)
    real_number("scale", scale, 0.01, 100.0)
    # Through empty pores one sees that deep into the solid alone.
    sparse = 1.0 if materials[0].elements else min(recipe.solid for recipe in _RECIPES)
    deep = max((escape_depth(materials, energy) / sparse for energy in wanted), default=0.0)
    if deep > _DEEP * scale:
        raise InputError(
            f"scale: got {scale:g}, {_DEEP * scale:.4g} nm deep, where electrons of "
            f"{max(wanted):g} keV come back from {deep:.4g} nm; wants at least {deep / _DEEP:.3g}"
        )
    pairs: dict[float, list[Pair]] = {energy: [] for energy in wanted}
    done, total = 0, (len(_RECIPES) + 1) * len(wanted)

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    for at, recipe in enumerate(_RECIPES):
        own = jax.random.fold_in(key, at)
        labels = _structure(own, recipe)
        spacing = recipe.spacing * scale
        for energy in wanted:
            seen = monte_carlo(
                jax.random.fold_in(own, 1), labels, materials, energy,
                spacing=spacing, electrons=electrons,
            )  # fmt: skip
            pairs[energy].append(Pair(labels, spacing, seen.images[0]))
            step()
    found = {}
    for energy in wanted:
        found[energy] = fit_shine_through(pairs[energy], materials, energy, electrons)
        step()
    return found


def _structure(key: Array, recipe: _Recipe) -> np.ndarray:
    shape = (round(_DEEP / recipe.spacing), _FACE, _FACE)
    if len(recipe.wavelengths) == 1:
        body = levelled_wave(key, shape, recipe.solid, recipe.wavelengths[0])
        return np.asarray(structure_labels(body))
    return np.asarray(hierarchical_wave(key, shape, recipe.solid, recipe.wavelengths).labels)


class Pair(NamedTuple):
    """A structure and the Monte Carlo image of its first slice."""

    labels: np.ndarray
    spacing: float
    image: np.ndarray


def fit_shine_through(
    pairs: Sequence[Pair],
    materials: Sequence[Material],
    energy: float,
    electrons: int,
    starts: Sequence[ShineThrough] = _STARTS,
    rounds: int = 12,
) -> Calibration:
    """The model that is nearest to all images, each over its own range of grey values."""
    from scipy.optimize import least_squares

    table = jnp.asarray(material_table(materials, energy, 0.0))
    deepest = np.inf
    if all(m.elements for m in materials):
        deepest = 4.0 * escape_depth(materials, energy)
    parts = [_prepared(pair, table, deepest) for pair in pairs]
    ranges = [float(np.ptp(np.percentile(pair.image, (2, 98)))) for pair in pairs]

    def residuals(logs: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [
                (np.asarray(part(logs)) - pair.image).ravel() / range_
                for part, pair, range_ in zip(parts, pairs, ranges, strict=True)
            ]
        ).astype(np.float64)

    def slopes(logs: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [
                np.asarray(part(logs, slopes=True)).reshape(-1, logs.size) / range_
                for part, range_ in zip(parts, ranges, strict=True)
            ]
        ).astype(np.float64)

    # SciPy's own types know names of methods only.
    jacobian: Any = slopes
    fits = [
        least_squares(
            residuals,
            np.log(start),
            jac=jacobian,
            bounds=(np.log(start) - 3.0, np.log(start) + 3.0),
            x_scale=0.3,
            max_nfev=rounds,
        )
        for start in starts
    ]
    found = min(fits, key=lambda fit: fit.cost)
    counted = [
        np.mean(pair.image * (1.0 - pair.image)) / electrons / range_**2
        for pair, range_ in zip(pairs, ranges, strict=True)
    ]
    return Calibration(
        ShineThrough(*np.exp(found.x).tolist()),
        float(np.sqrt(np.mean(found.fun**2))),
        float(np.sqrt(np.mean(counted))),
    )


def _prepared(pair: Pair, table: Array, deepest: float) -> Callable[..., Array]:
    """The image of the first slice as a function of the logarithms of the model's numbers."""
    slices = int(min(len(pair.labels), max(np.ceil(deepest / pair.spacing), 1)))
    labels = jnp.asarray(pair.labels[:slices])

    def call(logs: np.ndarray, slopes: bool = False) -> Array:
        own = jnp.asarray(logs, jnp.float32)
        loops = plan(_layer(own, table, pair.spacing), (pair.spacing, pair.spacing))
        return _first(own, labels, table, jnp.float32(pair.spacing), loops, slopes)

    return call


# Structures are arguments, so that those of the same shape share what is compiled.
@functools.partial(jax.jit, static_argnames=("loops", "slopes"))
def _first(
    logs: Array, labels: Array, table: Array, spacing: Array, loops: Plan, slopes: bool
) -> Array:
    below = jnp.zeros((STAGES, *labels.shape[1:]), jnp.float32)

    def top(logs: Array) -> Array:
        own = _layer(logs, table, spacing)
        return shine_through(labels, below, own, jnp.stack([spacing, spacing]), loops)[0][0]

    return jax.jacfwd(top)(logs) if slopes else top(logs)


def _layer(logs: Array, table: Array, spacing: Array | float) -> Layer:
    upright = jnp.float32(0.0)
    return layer(ShineThrough(*jnp.exp(logs)), table, jnp.float32(spacing), upright)
