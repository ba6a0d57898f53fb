"""Labels and probabilities of a volume from a fitted model, worked out box by box as it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax import models
from bimmjax._core.checks import InputError, real_number, whole_number
from bimmjax.fitting._result import params_of
from bimmjax.models._nodes import Gradient
from bimmjax.segmentation._boxes import Box, around
from bimmjax.segmentation._given_fit import given_fit, sized_like
from bimmjax.segmentation._rule import NO_LABEL, Rule, bins_of, rule_of
from bimmjax.segmentation._smooth import (
    Progress,
    chosen_weight,
    costs_of,
    smooth_labels,
    smooth_probability,
    smoothed,
)
from bimmjax.volumes import Volume, open_volume, sample_blocks
from bimmjax.volumes._volume import loaded_once

# Bins of intensity in which volume and fit are compared, steps of expectation maximisation, and
# the share of voxels that may fit nowhere, beyond those which did not when it was fitted.
_COMPARED, _STEPS, _ANOTHER = 64, 100, 0.2
_MOST_KEPT = 2**26


def segment(
    volume: Any,
    fit: Any,
    *,
    weighted: bool = False,
    mrf: bool | float = False,
    keep: bool = True,
    progress: Progress | None = None,
    **options: Any,
) -> Volume:
    """Labels 0 ... N - 1 (by intensity) of a volume, as a volume that is worked out when read.

    Each voxel is given to the interior or interface that makes its intensity and gradient
    likeliest; those of an interface to the phase on their side of the middle of its two
    intensities. With `mrf` neighbours have a say, too.

    Source: BIMM paper, §4.3 and §4.4.

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x), grey values.
    fit : Fit, dict or path of fit.json
        Of this volume, by any model.
    weighted : bool
        Times the fitted weights: maximum a posteriori instead of maximum likelihood.
    mrf : bool or float
        Smooth by a Markov random field: labels of least energy, which is their -log likelihood
        plus this weight (nats per voxel face) times the area of their interfaces. True: the
        weight with which neighbours predict held-out voxels best (`mrf_weight`).
    keep : bool
        Work out what a field finds once, at the first reading, and keep it; volumes of more than
        2²⁶ voxels are worked out again each time they are read, so write them first.
    progress : callable, optional
        Called with the voxels of each part of a field that is done, from any thread.
    **options
        `spacing`, `unit`, `dataset`, `dtype`: as in `open_volume`.

    Returns
    -------
    Volume
        uint8; 255 where the volume is NaN. `bimmjax.convert(labels, "labels.zarr")` writes it,
        `labels.read(...)` gives an array. At the faces the missing neighbour is the voxel itself.

    Raises
    ------
    InputError
        What is no fit, or one of another volume, which expects other grey values; with a model
        of gradients voxels that are not cubic, or fewer than three of them along an axis.

    Examples
    --------
    >>> import jax, bimmjax
    >>> made = bimmjax.sim.artificial_volume(jax.random.key(0), (48, 48, 48), with_area=False)
    >>> fit = bimmjax.fit(made.image, 2, intervals=False, correct=False)
    >>> labels = bimmjax.segment(made.image, fit)
    >>> bool(bimmjax.evaluate(labels, made.labels).accuracy > 0.95)
    True
    """
    opened, rule = _prepared(volume, fit, weighted, options)
    if isinstance(mrf, bool | np.bool_) and not mrf:
        find = partial(_looked_up, opened, lambda data: _labels(data, rule))
    else:
        weight = _weight(opened, rule, mrf)
        find = _kept(
            opened, partial(smoothed, opened, rule, weight, smooth_labels, np.uint8, progress), keep
        )
    return _found(opened, find, np.uint8, "labels")


def phase_probability(
    volume: Any,
    fit: Any,
    phase: int,
    *,
    weighted: bool = True,
    mrf: bool | float = False,
    keep: bool = True,
    progress: Progress | None = None,
    **options: Any,
) -> Volume:
    """Probability of a phase in each voxel, float32 in a volume that is worked out when read.

    Parameters and errors as for `segment`; phase : its number. With `mrf` it is the probability
    in the mean field of the neighbours. NaN where the volume is.
    """
    opened, rule = _prepared(volume, fit, weighted, options)
    whole_number("phase", phase, 0, len(rule.posterior) - 1)
    if isinstance(mrf, bool | np.bool_) and not mrf:
        find = partial(_looked_up, opened, lambda data: _probability(data, rule, phase))
    else:
        weight = _weight(opened, rule, mrf)
        solver = partial(smooth_probability, phase)
        find = _kept(
            opened, partial(smoothed, opened, rule, weight, solver, np.float32, progress), keep
        )
    return _found(opened, find, np.float32, f"phase {phase}")


def label_costs(volume: Any, fit: Any, *, weighted: bool = False, **options: Any) -> np.ndarray:
    """What each label costs in each voxel: its -log likelihood, over that of the likeliest.

    What a field (`potts_labels`), or a graph cut, starts from. Parameters and errors as for
    `segment`; read whole, so for volumes that fit in memory N times over.

    Returns
    -------
    (N, z, y, x) float32, nats, at most 50. A phase holds its interior and its half of each
    interface, in the shares that were fitted; 0 where the volume is NaN.
    """
    opened, rule = _prepared(volume, fit, weighted, options)
    z, y, x = (slice(0, n) for n in opened.shape)
    data, inside = around(opened, (z, y, x), 1)
    return np.asarray(costs_of(data, rule, inside)[0])


def mrf_weight(volume: Any, fit: Any, *, weighted: bool = False, **options: Any) -> float:
    """Weight of the Markov random field that the volume itself asks for, nats per voxel face.

    The one with which neighbours predict held-out voxels best, in up to eight blocks of 50³
    (`potts_evidence`); between 1/4 and 16, and 1 where a sample has no number at all. Parameters
    and errors as for `segment`.
    """
    opened, rule = _prepared(volume, fit, weighted, options)
    return chosen_weight(opened, rule)


def _weight(volume: Volume, rule: Rule, mrf: bool | float) -> float:
    if isinstance(mrf, bool | np.bool_):
        return chosen_weight(volume, rule)
    return real_number("mrf", mrf, 0.0, 1e6)


def _looked_up(volume: Volume, find: Callable[[Array], Array], box: Box) -> np.ndarray:
    return np.asarray(find(jnp.asarray(around(volume, box, 1)[0])))


def _kept(
    volume: Volume, find: Callable[[Box], np.ndarray], keep: bool
) -> Callable[[Box], np.ndarray]:
    """What is found, once and for all for a volume that is not too large."""
    if not keep or volume.voxels > _MOST_KEPT:
        return find
    z, y, x = (slice(0, n) for n in volume.shape)
    whole = loaded_once(lambda: find((z, y, x)))
    return lambda box: whole(*box)


def _found(volume: Volume, find: Callable[[Box], np.ndarray], dtype: Any, what: str) -> Volume:
    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        return find((z, y, x))

    return replace(volume, reader=read, dtype=np.dtype(dtype), name=f"{volume.name} {what}")


def _prepared(
    volume: Any, fit: Any, weighted: bool, options: Mapping[str, Any]
) -> tuple[Volume, Rule]:
    told = given_fit(fit)
    params = params_of(told["params"])
    opened = sized_like(open_volume(volume, **options), told)
    model = told.get("model", "bimm2d")
    if getattr(models, model).USES_GRADIENT:
        _check_voxels(opened)
    gradient = cast(Gradient, told.get("gradient", "central_difference"))
    rule = rule_of(params, model, gradient, weighted=weighted)
    _check_intensities(
        opened, rule, np.asarray(params.intensities), told.get("goodness_of_fit") or 0.0
    )
    return opened, rule


def _check_voxels(volume: Volume) -> None:
    """Gradients are of cubic voxels with neighbours."""
    if min(volume.shape) < 3:
        raise InputError(
            f"volume: got shape {volume.shape}, wants at least three voxels along each axis for a "
            "fit with gradients"
        )
    if max(volume.spacing) > 1.001 * min(volume.spacing):
        raise InputError(
            f"volume: got voxels of {volume.spacing} {volume.unit}, wants cubic ones for a fit "
            "with gradients"
        )


def _check_intensities(volume: Volume, rule: Rule, means: np.ndarray, misfit: float) -> None:
    """A fit of another volume expects other grey values than there are."""
    sample = np.concatenate([b.ravel() for b in sample_blocks(volume)]).astype(float)
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return
    levels = np.unique(sample)
    if levels.size > 1:
        # Bins may be finer than grey levels: each stands for all values that it was rounded from.
        spread = np.random.default_rng(0).random(sample.size) - 0.5
        sample = sample + np.diff(levels).min() * spread
    bins = rule.intensities.shape[1]
    at = np.clip((sample - rule.low) / rule.step, 0, bins - 1).astype(int)
    there = np.bincount(at, minlength=bins).reshape(_COMPARED, -1).sum(1) / sample.size
    parts = np.asarray(rule.intensities, float).reshape(len(rule.intensities), _COMPARED, -1).sum(2)
    parts /= np.maximum(parts.sum(1, keepdims=True), 1e-30)
    # In the shares that suit the sample best: a part of the volume need not hold all phases.
    shares = np.full(len(parts), 1.0 / len(parts))
    for _ in range(_STEPS):
        shares *= parts @ (there / np.maximum(shares @ parts, 1e-30))
    off = 0.5 * float(np.abs(there - shares @ parts).sum())
    if off > misfit + _ANOTHER:
        low, high = np.quantile(sample, [0.001, 0.999])
        raise InputError(
            f"fit: got phases at {', '.join(f'{m:.6g}' for m in means)}, which {100.0 * off:.0f} % "
            f"of this volume's voxels (grey values {low:.6g} to {high:.6g}) do not fit, wants the "
            "fit of this very volume"
        )


@jax.jit
def _labels(data: Array, rule: Rule) -> Array:
    found = rule.labels.ravel()[bins_of(data, rule)]
    return jnp.where(jnp.isfinite(data[1:-1, 1:-1, 1:-1]), found, NO_LABEL)


@jax.jit
def _probability(data: Array, rule: Rule, phase: int) -> Array:
    found = rule.posterior[phase].ravel()[bins_of(data, rule)]
    return jnp.where(jnp.isfinite(data[1:-1, 1:-1, 1:-1]), found, jnp.nan)
