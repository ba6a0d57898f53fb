"""How far local fits are off, learnt on a stand-in of known truth.

The curvature of the posterior gives standard errors for independent voxels that the model
describes exactly. Neither holds: noise is correlated, interfaces curve in other ways than the
model's, and what is blurred into a block or out of it is counted with the wrong one. So a volume
with the fractions, areas, blur and noise of the global fit is made, its blocks are fitted like
those of the real one, and their errors against the truth are explained as

    variance = a · (variance by the curvature) + b · (interface area) + c

with three numbers for each quantity: it is through interfaces that blocks leak.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import jax
import numpy as np
from scipy.optimize import minimize

from bimmjax.fitting._local import BlockFits
from bimmjax.maps._counting import window_counts
from bimmjax.maps._fitting import Fitter
from bimmjax.maps._source import open_source
from bimmjax.maps._stand_in import StandIn, stand_in
from bimmjax.maps._windows import Windows
from bimmjax.models import Params, phase_pairs
from bimmjax.properties import resolution_10_90
from bimmjax.volumes import Grid

_BLOCKS = 512
_VOXELS = 2**24
_LARGEST_EDGE = 64
_FEWEST = 20
_ROUNDS = 3
_CUT = 4.0

Columns = dict[str, np.ndarray]


class Calibration(NamedTuple):
    """What explains the variance of each column, and how well stand-in blocks fit.

    terms : (a, b, c) by column. misplaced : 99.9 % quantile of the misplaced share of blocks that
    the model describes. blocks : stand-in blocks behind it; 0 if there was no calibration.
    edge : theirs, voxels.
    """

    terms: dict[str, tuple[float, float, float]]
    misplaced: float
    blocks: int
    edge: int

    def errors(self, values: Columns, errors: Columns, widths: dict[str, float]) -> Columns:
        """Standard errors (n,) by column, from those by the curvature.

        widths : stds of the priors. Blocks of the stand-in are where the priors say, so of a
        number that only the prior tells it knows no error: there the curvature's stays.
        """
        area = _area(values)
        calibrated = {}
        for name, error in errors.items():
            explained = _terms(error, area) @ np.array(self.terms.get(name, (1.0, 0.0, 0.0)))
            untold = np.minimum(error / max(widths[name], 1e-300), 1.0) ** 2
            calibrated[name] = np.sqrt((1.0 - untold) * explained + untold * error**2)
        return calibrated


UNCALIBRATED = Calibration({}, 0.0, 0, 0)


def calibrate(
    fitter: Fitter,
    params: Params,
    grid: Grid,
    *,
    edge: int,
    spacing: float,
    seed: int,
    unbiased: Collection[str] = (),
) -> Calibration:
    """Fit the blocks of a stand-in as those of the volume, and compare with its truth.

    params : the global fit, grey values. edge : of the volume's blocks, voxels; larger ones than
    64 are calibrated at 64, which errs on the safe side. unbiased : columns whose bias is taken
    off elsewhere: that of the stand-in, which is another, is none of their scatter. The fitter
    itself corrects nothing.
    """
    edge = min(edge, _LARGEST_EDGE)
    along = int(np.clip(np.cbrt(min(_BLOCKS, _VOXELS / edge**3)), 3, 16))
    made = stand_in(
        jax.random.key(seed), params, blocks=(along, along, along), edge=edge, step=grid.step
    )
    found = _fit(made, fitter, grid, edge)
    values, errors = fitter.columns(found)
    truth = _truth(made, params, spacing)
    area = _area(values)
    terms = {}
    for name, right in truth.items():
        if name in values:
            good = found.converged & np.isfinite(values[name]) & np.isfinite(errors[name])
            if good.sum() >= _FEWEST:
                off = (values[name] - right)[good]
                if name in unbiased:
                    off = off - off.mean()
                terms[name] = _explain(off**2, _terms(errors[name], area)[good])
    at_rest = found.misplaced[found.converged]
    misplaced = float(np.quantile(at_rest, 0.999)) if at_rest.size else 0.0
    return Calibration(terms, misplaced, along**3, edge)


def _fit(made: StandIn, fitter: Fitter, grid: Grid, edge: int) -> BlockFits:
    # The stand-in is periodic, so no block need lack neighbours.
    source = open_source(np.pad(made.image, 1, mode="wrap"))
    block = (edge, edge, edge)
    windows = Windows(source.volume.shape, block, block, origin=(1, 1, 1))
    numbers = np.arange(windows.count).reshape(windows.shape)
    order, parts = [], []
    for found in window_counts(source, grid, windows, windows.units(), join=fitter.local.join):
        order.append(numbers[found.unit.box].ravel())
        parts.append(fitter(found.counts))
    back = np.argsort(np.concatenate(order))
    return jax.tree.map(lambda *part: np.concatenate(part)[back], *parts)


def _truth(made: StandIn, params: Params, spacing: float) -> dict[str, np.ndarray | float]:
    phases = made.volume_fractions.shape[1]
    truth: dict[str, np.ndarray | float] = {
        f"volume_fraction_{i}": made.volume_fractions[:, i] for i in range(phases)
    }
    for at, (i, j) in enumerate(phase_pairs(phases)):
        truth[f"interface_area_{i}-{j}"] = made.interface_areas[:, at] / spacing
    for i, grey in enumerate(np.asarray(params.intensities, float)):
        truth[f"intensity_{i}"] = float(grey)
    noise = np.asarray(params.noise_std, float)
    for i, std in enumerate(noise.ravel()):
        truth[f"noise_std_{i}" if noise.ndim else "noise_std"] = float(std)
    return truth | {
        "blur_std": float(params.blur_std),  # type: ignore[arg-type]
        "resolution_10_90": float(resolution_10_90(params, spacing)),  # type: ignore[arg-type]
        "correlation": made.correlation,
    }


def _explain(squares: np.ndarray, table: np.ndarray) -> tuple[float, float, float]:
    """Terms that make squared errors (n,) likeliest, as squares of normal numbers."""
    unit = np.maximum(table.mean(0), 1e-300)
    table = table / unit
    # A few blocks that went astray must not set the errors of all others. The median of a
    # squared standard normal number is 0.455.
    typical = max(float(np.median(squares)) / 0.455, 1e-300)
    found = np.full(3, typical / 3.0)
    for _ in range(_ROUNDS):
        capped = np.minimum(squares, _CUT**2 * (table @ found))
        found = _likeliest(capped / typical, table, found / typical) * typical
    a, b, c = (found / unit).tolist()
    return a, b, c


def _likeliest(squares: np.ndarray, table: np.ndarray, start: np.ndarray) -> np.ndarray:
    def loss(logs: np.ndarray) -> tuple[float, np.ndarray]:
        terms = np.exp(logs)
        variance = table @ terms
        slope = (1.0 - squares / variance) / variance
        value = np.mean(np.log(variance) + squares / variance)
        return float(value), (slope @ table) * terms / len(squares)

    found = minimize(
        loss, np.log(start), jac=True, method="L-BFGS-B", bounds=[(-12.0, 6.0)] * len(start)
    )
    return np.exp(found.x)


def _terms(errors: np.ndarray, area: np.ndarray) -> np.ndarray:
    return np.stack([errors**2, area, np.ones_like(area)], -1)


def _area(values: Columns) -> np.ndarray:
    return np.sum([x for name, x in values.items() if name.startswith("interface_area_")], axis=0)
