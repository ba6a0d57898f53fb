"""Fit by all the data: the joint histogram, several starts, second-order steps, a node check."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax import models
from bimmjax._core.quadrature import points_needed
from bimmjax.fitting._flat import flatten
from bimmjax.fitting._scale import Scale, binned, coarse, scale_of, weak_prior
from bimmjax.fitting._scoring import (
    Binned,
    Outcome,
    Prior,
    Setting,
    assess,
    maximise,
)
from bimmjax.fitting._start import distinct, starting_points
from bimmjax.models import Params, Unconstrained, from_unconstrained, to_unconstrained
from bimmjax.volumes import JointHistogram

_TRIAL_STEPS = 8
_ROUGHLY = 1e-4
_CLOSELY = 1e-5
_JOINED = 4
_MOST_STEPS = 150
_FIRST_NODES = 64
_TOLERANCE = 3e-9
_NODE_ERROR = 1e-5

# Compiled, because op by op their first call would compile each operation alone.
physical = jax.jit(from_unconstrained)
_free = jax.jit(to_unconstrained)


class HistogramFit(NamedTuple):
    """An optimum with all that is needed to go on from it; everything in the units of the fit."""

    outcome: Outcome
    probability: Array
    data: Binned
    prior: Prior
    setting: Setting
    scale: Scale
    first_guess: Unconstrained


def fit_histogram(
    histogram: JointHistogram,
    phases: int,
    *,
    model: str,
    gradient: str,
    noise: str,
    interface: str = "curved",
    start: Params | None = None,
    blur_std: float | None = None,
) -> HistogramFit:
    """Maximum likelihood of a joint histogram; `start` (grey values) replaces the search, and a
    known `blur_std` (voxels) is held.
    """
    scale = scale_of(histogram)
    counts = histogram.counts
    uses_gradient = getattr(models, model).USES_GRADIENT
    data = binned(histogram, counts, scale, uses_gradient=uses_gradient)
    if start is None:
        edges = np.asarray(data.u_edges, float), np.asarray(data.v_edges, float)
        guesses = distinct(starting_points(counts, *edges, phases))
    else:
        guesses = [scale.into(start)]
    if blur_std is not None:
        guesses = [guess._replace(blur_std=np.asarray(blur_std)) for guess in guesses]
    thetas = [_free(shaped(guess, model, noise, interface)) for guess in guesses]
    prior = weak_prior(thetas[0], blur_std=blur_std)
    best, theta = 0, thetas[0]
    if len(thetas) > 1:
        setting = Setting(model, gradient, points_needed(0.0, 0.0, 0.0))
        # Interfaces stay nearly flat in the trials: far from the optimum their curvature would
        # only imitate what the other parameters have yet to find.
        stiff = weak_prior(thetas[0], curvature=1.0, blur_std=blur_std)
        rough = coarse(data, _JOINED)
        tried = [maximise(t, rough, stiff, _ROUGHLY, _TRIAL_STEPS, setting) for t in thetas]
        losses = np.array([float(outcome.loss) for outcome in tried])
        best = int(np.argmin(np.where(np.isfinite(losses), losses, np.inf)))
        theta = maximise(tried[best].theta, rough, prior, _CLOSELY, _MOST_STEPS, setting).theta
    return _polish(theta, data, prior, model, gradient, scale, thetas[best])


def optimum_at(fit: HistogramFit, params: Params) -> HistogramFit:
    """`fit` moved to parameters found by other means, in the units of the fit."""
    theta = _free(params)
    loss, probability = assess(theta, fit.data, fit.prior, fit.setting)
    outcome = fit.outcome._replace(theta=theta, loss=loss, converged=jnp.isfinite(loss))
    return fit._replace(outcome=outcome, probability=probability)


def blur_of_the_data(fit: HistogramFit) -> float | None:
    """Where a blur that is held would go, voxels, by one Newton step; None if that says nothing."""
    theta = fit.outcome.theta
    marked = jax.tree.map(np.zeros_like, theta)._replace(log_blur_std=np.ones(()))
    at = int(np.argmax(flatten(marked)))
    held = float(fit.prior.precision[at])
    pull = held * float(flatten(theta)[at] - fit.prior.mean[at])
    information = np.asarray(fit.outcome.information, float).copy()
    information[at, at] -= held
    step = np.linalg.lstsq(information, pull * np.eye(len(information))[at], rcond=1e-6)[0][at]
    value = float(np.exp(float(fit.prior.mean[at]) + np.clip(step, -3.0, 3.0)))
    return value if np.isfinite(value) else None


def _polish(
    theta: Unconstrained,
    data: Binned,
    prior: Prior,
    model: str,
    gradient: str,
    scale: Scale,
    first_guess: Unconstrained,
) -> HistogramFit:
    """Optimise on all bins with as many nodes as the parameters found turn out to need."""
    # A rough start may ask for many more nodes than the optimum does.
    size = min(_nodes_for(theta, data, gradient), _FIRST_NODES)
    while True:
        setting = Setting(model, gradient, size)
        outcome = maximise(theta, data, prior, _TOLERANCE, _MOST_STEPS, setting)
        wanted = _nodes_for(outcome.theta, data, gradient)
        if wanted <= size:
            finer = Setting(model, gradient, 2 * size)
            loss, probability = assess(outcome.theta, data, prior, finer)
            if not abs(float(loss - outcome.loss)) > _NODE_ERROR or size >= 256:
                return HistogramFit(outcome, probability, data, prior, setting, scale, first_guess)
            wanted = 2 * size
        theta, size = outcome.theta, wanted


def _nodes_for(theta: Unconstrained, data: Binned, gradient: str) -> int:
    params = jax.tree.map(np.asarray, physical(theta))
    if params.interface_weights.shape[0] == 0:
        return 16
    contrast = float(params.intensities[-1] - params.intensities[0])
    noise = float(np.min(params.noise_std))
    halfwidth = 2.0 if params.interface_halfwidth is None else float(params.interface_halfwidth)
    steepness = 0.0
    if params.blur_std is not None and params.correlation is not None:
        width = float(params.blur_std) ** 2 + (0.2 if gradient == "central_difference" else 0.0)
        variance = noise**2 * (1.0 - float(params.correlation)) + float(data.rounding) ** 2 / 12.0
        steepness = contrast / np.sqrt(2.0 * np.pi * width * variance)
    if not np.isfinite(contrast / noise + steepness + halfwidth):
        return 16
    return points_needed(contrast / noise, steepness, halfwidth)


def shaped(guess: Params, model: str, noise: str, interface: str) -> Params:
    """A guess of BIMM-2D parameters cut down to what `model` has, as JAX arrays."""
    phases = np.shape(guess.intensities)[0]
    family = getattr(models, model)
    std = np.asarray(guess.noise_std, float)
    if noise == "per_phase":
        std = np.broadcast_to(std, (phases,))
    else:
        std = np.mean(std)
    interior = np.asarray(guess.interior_weights, float)
    between = np.asarray(guess.interface_weights, float)
    if not family.HAS_INTERFACES:
        interior, between = interior / interior.sum(), between[:0]
    blurred = model in ("bimm1d", "bimm2d") and phases > 1
    curved = model == "bimm2d" and interface == "curved" and phases > 1
    flat = np.zeros(between.shape) if curved else None
    fields = {
        "intensities": guess.intensities,
        "noise_std": std,
        "correlation": guess.correlation if family.USES_GRADIENT else None,
        "blur_std": guess.blur_std if family.USES_GRADIENT and phases > 1 else None,
        "interface_halfwidth": guess.interface_halfwidth if blurred else None,
        "interior_weights": interior,
        "interface_weights": between,
        "interface_tilt": flat
        if guess.interface_tilt is None or not curved
        else guess.interface_tilt,
        "interface_bend": flat
        if guess.interface_bend is None or not curved
        else guess.interface_bend,
    }
    return Params(**{k: None if v is None else jnp.asarray(v, float) for k, v in fields.items()})  # type: ignore[arg-type]
