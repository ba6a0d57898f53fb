"""Two kinds of error bars, both from the influence of each voxel on the fit.

To first order a fit is a mean over voxels: each adds the influence of its histogram bin, the
inverse curvature times the bin's score. What remains is how sums of influences scatter.

- sampling: between cells of the volume. Cells are correlated with their neighbours, so the
  scatter is taken at two cell sizes and extrapolated to large ones.
- confidence: with the structure held fixed and the noise drawn anew. A stand-in for the
  structure, from the data, is given fresh noise of the correlation that the data show. As its
  truth is known, a fit to it also tells how far off the model is on such a structure.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from bimmjax.fitting._flat import flatten, unflatten
from bimmjax.fitting._histogram_fit import HistogramFit
from bimmjax.fitting._quantities import Quantity, flat_quantities
from bimmjax.fitting._reference import Reference
from bimmjax.fitting._restore import inside
from bimmjax.fitting._scoring import Binned, maximise, score
from bimmjax.models import Params, Unconstrained, from_unconstrained
from bimmjax.volumes import gradient_magnitude

_DRAWS = 24
_STEP = 3e-2
_NEVER = 0.0
# A stand-in is not the volume: what is found off on it counts half as much again.
_MARGIN = 1.5


class Influence(NamedTuple):
    """First-order effect of one voxel on each quantity, by its bin.

    table : (q, n_u, n_v) or (q, n_u); quantity change = sum over voxels / number of voxels.
    values : (q,) the quantities themselves.
    """

    table: np.ndarray
    values: np.ndarray


def influence(fit: HistogramFit, spacing: float) -> Influence:
    """Influence tables of all quantities of a fit, in the units of the fit.

    The curvature is the exact one, by central differences of the slope; its steps are in units
    of each parameter's information.
    """
    values, derivatives = _report(fit.outcome.theta, spacing)
    _, slopes = score(fit.outcome.theta, fit.data, fit.setting)
    scale = np.sqrt(np.diag(np.asarray(fit.outcome.information, float)) + 1e-6)

    def slope(x: np.ndarray) -> np.ndarray:
        outcome = maximise(
            unflatten(x, fit.outcome.theta), fit.data, fit.prior, _NEVER, 1, fit.setting
        )
        return np.asarray(outcome.slope, float)

    at = flatten(fit.outcome.theta).astype(float)
    steps = np.diag(_STEP / scale)
    curvature = np.array([(slope(at + h) - slope(at - h)) / (2.0 * h.sum()) for h in steps])
    unit = 0.5 * (curvature + curvature.T) / scale / scale[:, None]
    # A parameter that the data do not tell gets a wide interval, not an infinite one.
    unit = unit + 1e-6 * np.eye(at.size)
    sensitivity = np.linalg.solve(unit, np.asarray(derivatives, float).T / scale[:, None])
    rows = np.asarray(slopes, float).reshape(at.size, -1)
    table = (sensitivity / scale[:, None]).T @ rows
    shape = (table.shape[0], *fit.data.frequencies.shape)
    return Influence(table.reshape(shape), np.asarray(values, float))


@jax.jit
def _report(theta: Unconstrained, spacing: Array | float) -> tuple[Array, Array]:
    """All quantities (q,), and their derivatives (q, p) by the flat parameters."""
    flat, rebuild = ravel_pytree(theta)

    def report(x: Array) -> Array:
        return flat_quantities(from_unconstrained(rebuild(x)), spacing)

    return report(flat), jax.jacfwd(report)(flat)


def sampling_errors(table: np.ndarray, cell_counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors (q,) for the material, and the degrees of freedom (q,) behind them.

    table (q, bins...), cell_counts (cz, cy, cx, bins...).
    """
    cells = cell_counts.shape[:3]
    counts = cell_counts.reshape(*cells, -1).astype(float)
    sums = counts @ table.reshape(table.shape[0], -1).T
    voxels = counts.sum(-1)
    total = voxels.sum()
    fine = _scatter(sums, voxels, total)
    merged = float(np.prod([-(-n // 2) for n in cells]))
    if min(cells) < 2 or merged < 2:
        return np.sqrt(fine), np.full(fine.shape, max(voxels.size - 1.0, 1.0))
    wide = _scatter(_merged(sums), _merged(voxels), total)
    # Cells of edge b see the share 1 - c/b of the variance along each axis (to first order, for
    # any correlation that dies out), so cube roots extrapolate linearly in 1/b.
    root = np.cbrt(wide)
    large = np.maximum(2.0 * root - np.cbrt(fine), root)
    freedom = np.maximum((merged - 1.0) * (large / np.maximum(2.0 * root, 1e-300)) ** 2, 2.0)
    return np.sqrt(large**3), freedom


def observed_scatter(table: np.ndarray, cell_counts: np.ndarray) -> float:
    """How many times more the cells' sums scatter than those of independent voxels would."""
    errors, _ = sampling_errors(table, cell_counts)
    rows = table.reshape(table.shape[0], -1)
    counts = cell_counts.sum((0, 1, 2)).ravel().astype(float)
    alone = (rows**2) @ counts / counts.sum() ** 2
    ratio = errors**2 / np.maximum(alone, 1e-300)
    known = ratio[np.isfinite(ratio)]
    return float(max(np.median(known), 1.0)) if known.size else 1.0


def _scatter(sums: np.ndarray, voxels: np.ndarray, total: float) -> np.ndarray:
    flat = sums.reshape(-1, sums.shape[-1])
    if flat.shape[0] < 2:
        return np.full(flat.shape[1], np.nan)
    mean = flat.sum(0) / total
    deviation = flat - voxels.reshape(-1, 1) * mean
    return (deviation**2).sum(0) * flat.shape[0] / (flat.shape[0] - 1) / total**2


def _merged(values: np.ndarray) -> np.ndarray:
    """Sums over pairs of neighbours along the three leading axes (a last odd one stays alone)."""
    for axis in range(3):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], 2), axis=axis)
    return values


class Known(NamedTuple):
    """What fits to stand-ins of known truth tell: each (q,).

    errors : standard errors of the whole volume's fit, its structure held fixed.
    shifts : by how much the fit is off, whatever the noise.
    """

    errors: np.ndarray
    shifts: np.ndarray


def known_errors(
    effect: Influence,
    order: list[Quantity],
    references: list[Reference],
    fit: HistogramFit,
    params: Params,
    *,
    spacing: float,
    voxels: int,
    seed: int,
) -> tuple[Known, float]:
    """Errors against stand-ins for this volume (`params` in the units of the fit), and the
    degrees of freedom behind the standard errors.
    """
    table = effect.table.reshape(effect.table.shape[0], -1)
    variance, shift = np.zeros(len(table)), np.zeros(len(table))
    for number, reference in enumerate(references):
        key = jax.random.fold_in(jax.random.key(seed), number)
        counts = drawn_counts(key, _DRAWS, reference, fit.data)
        size = counts[0].sum()
        variance += (counts @ table.T).var(0, ddof=1) / size / len(references)
        shift += _off(counts.mean(0) / size, order, reference, fit, params, spacing) / len(
            references
        )
    return Known(np.sqrt(variance / voxels), _MARGIN * np.abs(shift)), float(
        len(references) * (_DRAWS - 1)
    )


def _off(
    frequencies: np.ndarray,
    order: list[Quantity],
    reference: Reference,
    fit: HistogramFit,
    params: Params,
    spacing: float,
) -> np.ndarray:
    """What a fit to a stand-in gives, less what was put in, (q,); 0 where that is not known.

    Curvature that the model does not see makes the blur too wide, and areas too small by twice
    the share, which stands in for the areas' unknown truth.
    """
    shape = fit.data.frequencies.shape
    data = fit.data._replace(frequencies=jnp.asarray(frequencies.reshape(shape), float))
    found = maximise(fit.outcome.theta, data, fit.prior, 1e-8, 60, fit.setting)
    values = np.asarray(_report(found.theta, spacing)[0], float)
    put_in = {
        **params._asdict(),
        "correlation": reference.correlation,
        "volume_fractions": reference.volume_fractions,
    }
    known = ("intensities", "noise_std", "correlation", "blur_std", "volume_fractions")
    off, at, blur = np.zeros(values.size), 0, 0.0
    for name, shape, _ in order:
        part = slice(at, at + int(np.prod(shape)))
        at = part.stop
        if name in known:
            off[part] = values[part] - np.ravel(put_in[name])
        if name == "blur_std":
            blur = float(off[part][0] / values[part][0])
        if name == "resolution_10_90":
            off[part] = blur * values[part]
        if name == "interface_areas":
            off[part] = -2.0 * blur * values[part]
    return off


def drawn_counts(key: Array, draws: int, reference: Reference, data: Binned) -> np.ndarray:
    """Histograms (draws, bins) of a block of known truth, its noise drawn anew."""
    arrays = reference.expected, reference.noise_std, reference.amplitude
    block = [jnp.asarray(x, float) for x in arrays]
    # One by one: any number of draws is compiled once.
    keys = jax.random.split(key, draws)
    return np.array([_drawn(one, *block, reference.margin, data) for one in keys], float)


@jax.jit
def _drawn(
    key: Array, expected: Array, noise_std: Array, amplitude: Array, margin: int, data: Binned
) -> Array:
    """Voxels nearer than `margin` (1 at least) to a face are not counted."""
    inner = (slice(1, -1),) * 3
    white = jnp.fft.rfftn(jax.random.normal(key, expected.shape))
    volume = expected + noise_std * jnp.fft.irfftn(white * amplitude, expected.shape)
    step = data.rounding
    # The scale starts at the edge of a bin, half a step below a grey level.
    rounded = (jnp.floor(volume / jnp.where(step > 0, step, 1.0)) + 0.5) * step
    volume = jnp.where(step > 0, rounded, volume)
    bins = jnp.searchsorted(data.u_edges[1:-1], volume[inner].ravel(), side="right")
    if data.frequencies.ndim == 2:
        width = data.v_edges.size - 1
        v = gradient_magnitude(volume).ravel() * (width / data.v_edges[-1])
        bins = bins * width + jnp.minimum(v, width - 1).astype(jnp.int32)
    counted = inside(expected.shape, margin)[inner].astype(jnp.int32)
    return jnp.zeros(data.frequencies.size, jnp.int32).at[bins].add(counted.ravel())
