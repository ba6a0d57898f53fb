"""Which phases a voxel's intensity and gradient speak for, blurred as the voxels are."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr

from bimmjax._core.quadrature import gauss_legendre
from bimmjax._core.special import log_gradient_kernel, log_normal
from bimmjax.models import Params, phase_pairs
from bimmjax.models._nodes import Gradient, nodes
from bimmjax.volumes import gradient_magnitude

_ACROSS = 32
_BINS = 96, 64


def phase_shares(volume: Array, params: Params, gradient: Gradient) -> Array:
    """Expected share (N, z, y, x) of each phase, blurred, in voxels of a volume (z, y, x).

    params : of BIMM-2D, of this very volume. The mean over all places in the mixture that a
    voxel's pair of intensity and gradient leaves possible (BIMM paper, Eqs. 3-12, and Bayes).
    """
    u = volume
    v = jnp.pad(gradient_magnitude(volume), 1, mode="edge")
    low, high = jnp.min(u), jnp.max(u)
    steepest = jnp.maximum(jnp.max(v), 1e-6)
    rows, columns = _BINS
    grid_u = low + (high - low) * (jnp.arange(rows) / (rows - 1.0))
    grid_v = steepest * ((jnp.arange(columns) + 0.5) / columns)
    table = _table(params, grid_u, grid_v, gradient)
    at = jnp.stack([(u - low) / (high - low) * (rows - 1.0), v / steepest * columns - 0.5])
    places = [at[0], jnp.clip(at[1], 0.0, columns - 1.0)]
    look = jax.vmap(lambda x: jax.scipy.ndimage.map_coordinates(x, places, order=1, mode="nearest"))
    return look(table)


def _table(params: Params, u: Array, v: Array, gradient: Gradient) -> Array:
    """Expected shares (N, n_u, n_v) on a grid."""
    phases = params.intensities.shape[0]
    rule = gauss_legendre(_ACROSS)
    at = nodes(params, rule, "blurred", gradient)
    assert params.correlation is not None
    assert params.interface_halfwidth is not None
    spread = at.noise_std * jnp.sqrt(1.0 - params.correlation)
    rows = log_normal(u[:, None], at.intensity, at.noise_std)
    columns = log_gradient_kernel(v[:, None], at.gradient, spread)
    logs = jnp.log(jnp.maximum(at.weight, 1e-30))
    rows_top, columns_top = (x.max(1, keepdims=True) for x in (rows + logs, columns))
    brighter = ndtr(params.interface_halfwidth * (2.0 * rule.points - 1.0))
    held = np.zeros((phases, phases + len(phase_pairs(phases)) * _ACROSS))
    held[:, :phases] = np.eye(phases)
    holds = jnp.asarray(held)
    for k, (i, j) in enumerate(phase_pairs(phases)):
        own = slice(phases + k * _ACROSS, phases + (k + 1) * _ACROSS)
        holds = holds.at[i, own].set(1.0 - brighter).at[j, own].set(brighter)
    likely = jnp.exp((rows + logs - rows_top)[:, None, :] + (columns - columns_top)[None, :, :])
    total = jnp.maximum(likely.sum(-1), 1e-30)
    return jnp.einsum("pr,uvr->puv", holds, likely) / total
