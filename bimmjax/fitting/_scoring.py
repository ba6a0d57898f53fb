"""Maximum likelihood on a histogram by damped Fisher scoring: pure, jitted, vmappable.

The likelihood is grouped: each bin has its exact probability under the model, so it holds for
bins of any width. The expected information of the bins serves as the second-order matrix, with
Levenberg's damping.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from bimmjax import models
from bimmjax._core.quadrature import gauss_legendre
from bimmjax.fitting._slopes import joint_slopes
from bimmjax.models import Params, Unconstrained, from_unconstrained

# Share of voxels that may lie anywhere: keeps the log finite where the model has no density.
_OUTLIERS = 1e-8
_MAX_DAMPING = 1e8
_LOCAL_MOVE = 0.15
_ROUNDING = 1e-6


class Setting(NamedTuple):
    """What is fitted, and how finely; hashable, so that it can steer compilation.

    `free` lists the flat parameters that may move; all of them if None. `patience` is the number
    of steps after which curvature is learnt from the way: long first steps teach a curvature that
    is not the optimum's, which fits that scoring brings there by itself can do without.
    """

    model: str
    gradient: Any
    nodes: int
    free: tuple[int, ...] | None = None
    patience: int = 0


class Binned(NamedTuple):
    """A histogram in the units of the fit.

    frequencies : (n_u, n_v), or (n_u,) for models of the intensity alone; sums to 1.
    u_edges (n_u+1,), v_edges (n_v+1,), rounding (), lattice (n_v,) : see `volumes.Grid`.
    """

    frequencies: Array
    u_edges: Array
    v_edges: Array
    rounding: Array
    lattice: Array


class Prior(NamedTuple):
    """Normal prior on the flat unconstrained parameters, per voxel: means and precisions (p,)."""

    mean: Array
    precision: Array


class Outcome(NamedTuple):
    """Where the optimiser ended.

    theta : Unconstrained. loss : mean log-ratio of data to model, plus the prior's share.
    decrement : predicted fall of the loss by one more step. steps : taken. converged : bool.
    slope : (f,) of the loss by the free flat parameters; information : (f, f) per voxel,
    expected, prior included.
    """

    theta: Unconstrained
    loss: Array
    decrement: Array
    steps: Array
    converged: Array
    slope: Array
    information: Array


def bin_probability(theta: Unconstrained, data: Binned, setting: Setting) -> Array:
    """Model probability of each bin, of the shape of `data.frequencies`; sums to 1."""
    mass = bin_mass(from_unconstrained(theta), data, setting)
    return _with_outliers(mass / jnp.sum(mass))


def _with_outliers(share: Array) -> Array:
    return (1.0 - _OUTLIERS) * share + _OUTLIERS / share.size


def bin_mass(params: Params, data: Binned, setting: Setting) -> Array:
    """What the model expects in each bin, not normalised; linear in the weights."""
    model = getattr(models, setting.model)
    rule = gauss_legendre(setting.nodes)
    if not model.USES_GRADIENT:
        return model.bin_probability(params, data.u_edges, rule=rule)
    return data.lattice * model.bin_probability(
        params,
        data.u_edges,
        data.v_edges,
        rule=rule,
        gradient=setting.gradient,
        rounding=data.rounding,
    )


@partial(jax.jit, static_argnames="setting")
def assess(
    theta: Unconstrained, data: Binned, prior: Prior, setting: Setting
) -> tuple[Array, Array]:
    """Mean log-ratio of data to model per voxel (>= 0) with the prior's share; the model's bins."""
    flat, _ = ravel_pytree(theta)
    probability = bin_probability(theta, data, setting)
    pull = jnp.sum(prior.precision * (flat - prior.mean) ** 2)
    return _divergence(data.frequencies, probability) + 0.5 * pull, probability


@partial(jax.jit, static_argnames="setting")
def score(theta: Unconstrained, data: Binned, setting: Setting) -> tuple[Array, Array]:
    """Bin probabilities, and the derivative (f, bins...) of their logs by each free parameter."""
    mass, moved = _masses(theta, data, setting)
    axes = tuple(range(1, moved.ndim))
    total = jnp.sum(mass)
    share = mass / total
    value = _with_outliers(share)
    moved = (1.0 - _OUTLIERS) * (moved - share * jnp.sum(moved, axes, keepdims=True)) / total
    return value, moved / value


def _masses(theta: Unconstrained, data: Binned, setting: Setting) -> tuple[Array, Array]:
    """What is expected in each bin, and its derivative (f, bins...) by each free parameter."""
    whole, unravel = ravel_pytree(theta)
    free = np.arange(whole.size) if setting.free is None else np.array(setting.free)

    def rebuild(x: Array) -> Unconstrained:
        return unravel(whole.at[free].set(x))

    if not getattr(models, setting.model).USES_GRADIENT:
        return _slopes_one_by_one(
            lambda x: bin_mass(from_unconstrained(rebuild(x)), data, setting), whole[free]
        )
    mass, moved = joint_slopes(
        whole[free],
        rebuild,
        data.u_edges,
        data.v_edges,
        data.rounding,
        gradient=setting.gradient,
        size=setting.nodes,
    )
    return mass * data.lattice, moved * data.lattice


def _slope_and_information(
    mass: Array, moved: Array, frequencies: Array
) -> tuple[Array, Array, Array]:
    """Bin probabilities, the slope (f,) of the divergence, the expected information (f, f).

    The same as by `score`, but the large array goes into products as it is: probabilities are
    normalised afterwards, in the small ones.
    """
    total = jnp.sum(mass)
    share = mass / total
    value = _with_outliers(share)
    table = moved.reshape(moved.shape[0], -1)
    # The bins' probabilities sum to 1, so the gap may stand for the frequencies: it is small.
    gap = ((value - frequencies) / value).ravel()
    ratio = (share / value).ravel()
    beside = jnp.stack([gap, ratio, jnp.ones_like(gap)], axis=1)
    along, across, sums = jnp.matmul(table, beside, precision=jax.lax.Precision.HIGHEST).T
    raw = jnp.matmul(table / value.ravel(), table.T, precision=jax.lax.Precision.HIGHEST)
    mixed = jnp.outer(across, sums)
    both = jnp.dot(ratio, share.ravel()) * jnp.outer(sums, sums)
    scale = (1.0 - _OUTLIERS) / total
    slope = scale * (along - sums * jnp.dot(gap, share.ravel()))
    return value, slope, scale**2 * (raw - mixed - mixed.T + both)


def _slopes_one_by_one(mass: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
    return jax.vmap(lambda direction: jax.jvp(mass, (x,), (direction,)), out_axes=(None, 0))(
        jnp.eye(x.size, dtype=x.dtype)
    )


@partial(jax.jit, static_argnames="setting")
def maximise(
    start: Unconstrained,
    data: Binned,
    prior: Prior,
    tolerance: Array | float,
    max_steps: Array | int,
    setting: Setting,
) -> Outcome:
    """Maximise the likelihood from `start`; nothing raises, the outcome is data.

    Damped scoring steps. Where the model does not quite describe the data the expected
    information is not the curvature (by up to a factor of two on real volumes) and scoring
    creeps; so the difference is learnt from the slopes met on the way, by symmetric rank-one
    updates, as structured quasi-Newton methods for least squares do.

    `tolerance` is the predicted gain per voxel below which no further step is worth taking. The
    first step only evaluates the start: with `max_steps` = 1 the outcome tells of it.
    """
    whole, unravel = ravel_pytree(start)
    free = np.arange(whole.size) if setting.free is None else np.array(setting.free)
    flat, size = whole[free], free.size
    prior = Prior(prior.mean[free], prior.precision[free])

    def rebuild(x: Array) -> Unconstrained:
        return unravel(whole.at[free].set(x))

    def evaluate(x: Array) -> tuple[Array, Array, Array]:
        probability, slope, information = _slope_and_information(
            *_masses(rebuild(x), data, setting), data.frequencies
        )
        pull = prior.precision * (x - prior.mean)
        value = _divergence(data.frequencies, probability) + 0.5 * jnp.dot(pull, x - prior.mean)
        return value, slope + pull, information + jnp.diag(prior.precision)

    def step(state: _State) -> _State:
        move = -_solve(state.curvature + state.learnt, state.slope, state.damping)
        proposal = state.x + move
        value, slope, curvature = evaluate(proposal)
        # Near the optimum gains drown in rounding: a step that costs no more than that is taken.
        good = jnp.isfinite(value) & (value <= state.value + _ROUNDING * (0.05 + state.value))
        learnt = _learn(state.learnt, move, slope - state.slope, curvature)
        usable = jnp.isfinite(state.value) & jnp.isfinite(value) & (state.steps >= setting.patience)
        learnt = jnp.where(usable, learnt, state.learnt)
        slope = jnp.where(good, slope, state.slope)
        curvature = jnp.where(good, curvature, state.curvature)
        predicted = _decrement(slope, curvature, learnt)
        damping = jnp.where(good, state.damping * 0.2, state.damping * 4.0)
        return _State(
            x=jnp.where(good, proposal, state.x),
            value=jnp.where(good, value, state.value),
            slope=slope,
            curvature=curvature,
            learnt=learnt,
            damping=jnp.clip(damping, 1e-7, _MAX_DAMPING),
            decrement=predicted,
            steps=state.steps + 1,
            done=(predicted >= 0.0) & (predicted < tolerance),
        )

    def going(state: _State) -> Array:
        return ~state.done & (state.damping < _MAX_DAMPING) & (state.steps < max_steps)

    # With no slope the first proposal is the start itself: one evaluation in the code, not two.
    first = _State(
        x=flat,
        value=jnp.asarray(jnp.inf, flat.dtype),
        slope=jnp.zeros(size, flat.dtype),
        curvature=jnp.eye(size, dtype=flat.dtype),
        learnt=jnp.zeros((size, size), flat.dtype),
        damping=jnp.asarray(0.1, flat.dtype),
        decrement=jnp.asarray(jnp.inf, flat.dtype),
        steps=jnp.asarray(0),
        done=jnp.asarray(False),
    )
    last = jax.lax.while_loop(going, step, first)
    return Outcome(
        rebuild(last.x),
        last.value,
        last.decrement,
        last.steps,
        last.done,
        last.slope,
        last.curvature,
    )


def _decrement(slope: Array, curvature: Array, learnt: Array) -> Array:
    """Gain that a full step promises; by scoring alone where what was learnt is not convex."""
    none = jnp.zeros((), slope.dtype)
    promised = 0.5 * jnp.dot(slope, _solve(curvature + learnt, slope, none))
    cautious = 0.5 * jnp.dot(slope, _solve(curvature, slope, none))
    return jnp.where(promised >= 0.0, promised, cautious)


def _learn(learnt: Array, move: Array, change: Array, curvature: Array) -> Array:
    """Rank-one update of the part of the curvature that the expected information misses."""
    scale = jnp.sqrt(jnp.diag(curvature))
    missed = (change - (curvature + learnt) @ move) / scale
    length = move * scale
    along = jnp.dot(missed, length)
    squared = jnp.dot(length, length)
    # Too long a move meets another curvature, too short a one tells rounding, and one too
    # oblique to what was missed would blow up.
    usable = (squared > 1e-9) & (squared < _LOCAL_MOVE**2)
    usable &= jnp.abs(along) > 1e-2 * jnp.linalg.norm(missed) * jnp.linalg.norm(length)
    update = jnp.outer(missed * scale, missed * scale) / jnp.where(usable, along, 1.0)
    return jnp.where(usable, learnt + update, learnt)


class _State(NamedTuple):
    x: Array
    value: Array
    slope: Array
    curvature: Array
    learnt: Array
    damping: Array
    decrement: Array
    steps: Array
    done: Array


def _divergence(frequencies: Array, probability: Array) -> Array:
    seen = frequencies > 0
    ratio = jnp.where(seen, frequencies, 1.0) / jnp.where(seen, probability, 1.0)
    return jnp.sum(frequencies * jnp.log(ratio))


def _solve(curvature: Array, slope: Array, damping: Array) -> Array:
    scale = jnp.sqrt(jnp.abs(jnp.diag(curvature)) + 1e-12)
    unit = curvature / scale / scale[:, None]
    unit = unit + (damping + 1e-6) * jnp.eye(slope.size, dtype=slope.dtype)
    return jax.scipy.linalg.solve(unit, slope / scale, assume_a="pos") / scale
