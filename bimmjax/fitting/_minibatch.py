"""The BIMM paper's own procedure: Adadelta on small random batches, Monte Carlo interfaces.

Kept to compare with the paper; the histogram fit uses all the data and takes a fraction of the
time. BIMM paper §3.6, §4, A.4-A.5; Adadelta's settings are those usual in torch.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax import models
from bimmjax._core.quadrature import Quadrature, gauss_legendre, monte_carlo
from bimmjax.fitting._scoring import Setting
from bimmjax.models import Params, Unconstrained, from_unconstrained
from bimmjax.volumes import Grid, Volume, gradient_magnitude, sample_blocks

# Where v = 0 (flat spots of integer data) the log density is -inf; on the unit intensity scale.
GRADIENT_FLOOR = 1e-3

_MOST_HELD = 2**23


class Schedule(NamedTuple):
    """How long and how finely: the paper's values are the defaults.

    Attributes
    ----------
    iterations : int
        Steps of the descent.
    batch : int
        Voxels of a step.
    draws : int
        Of the Monte Carlo estimate; 0: quadrature instead.
    averaged : int
        Steps at the end whose parameters the result is the mean of.
    """

    iterations: int = 2000
    batch: int = 50
    draws: int = 1000
    averaged: int = 500


class Descent(NamedTuple):
    """Parameters averaged over the last iterations, and the mean loss there."""

    params: Params
    loss: Array


def sample_voxels(volume: Volume, grid: Grid, count: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Intensities and gradients on the unit scale, (n,) float32: of all voxels where these are
    few enough to hold, else of blocks spread over the volume.
    """
    origin, unit = grid.u_edges[0], grid.u_edges[-1] - grid.u_edges[0]
    pairs = []
    everything = (slice(None),) * 3
    whole = volume.voxels <= _MOST_HELD
    for block in [volume.read(*everything)] if whole else sample_blocks(volume, count):
        scaled = ((block - origin) / unit).astype(np.float32)
        v = np.asarray(gradient_magnitude(scaled))
        pairs.append((scaled[1:-1, 1:-1, 1:-1].ravel(), v.ravel()))
    u = np.concatenate([u for u, _ in pairs])
    v = np.concatenate([v for _, v in pairs])
    finite = np.isfinite(u) & np.isfinite(v)
    return u[finite], np.maximum(v[finite], GRADIENT_FLOOR)


@partial(jax.jit, static_argnames=("setting", "schedule"))
def descend(
    key: Array,
    start: Unconstrained,
    u: Array,
    v: Array,
    setting: Setting,
    schedule: Schedule,
) -> Descent:
    """One fit to random batches of u, v (n,); vmap over `key` for repeats.

    Each iteration draws a batch of voxels and, as the authors' code does, one set of positions
    across the interfaces that the whole batch shares.
    """
    import optax  # only here: half a second that no other fit should pay

    optimiser = optax.adadelta(learning_rate=1.0, rho=0.9, eps=1e-6)

    def loss(theta: Unconstrained, rule: Quadrature, batch: Array) -> Array:
        params = from_unconstrained(theta)
        if not getattr(models, setting.model).USES_GRADIENT:
            logs = getattr(models, setting.model).log_prob(params, u[batch], rule=rule)
        else:
            logs = models.bimm2d.log_prob(
                params,
                u[batch],
                v[batch],
                rule=rule,
                gradient=setting.gradient,
            )
        return -jnp.mean(logs)

    def iterate(carry: Any, step_key: Array) -> Any:
        theta, memory = carry
        batch_key, rule_key = jax.random.split(step_key)
        batch = jax.random.randint(batch_key, (schedule.batch,), 0, u.shape[0])
        if schedule.draws:
            rule = monte_carlo(rule_key, schedule.draws)
        else:
            rule = gauss_legendre(setting.nodes)
        value, slope = jax.value_and_grad(loss)(theta, rule, batch)
        updates, memory = optimiser.update(slope, memory, theta)
        theta = optax.apply_updates(theta, updates)
        return (theta, memory), (from_unconstrained(theta), value)  # type: ignore[arg-type]

    keys = jax.random.split(key, schedule.iterations)
    _, (path, losses) = jax.lax.scan(iterate, (start, optimiser.init(start)), keys)  # type: ignore[arg-type]
    last = slice(schedule.iterations - schedule.averaged, None)
    return Descent(jax.tree.map(lambda x: x[last].mean(0), path), losses[last].mean())
