"""What of a drift curve is the structure's own change from slice to slice."""

from __future__ import annotations

import numpy as np
from scipy.fft import dct, idct
from scipy.ndimage import gaussian_filter1d, median_filter
from scipy.optimize import minimize

_FEWEST = 24
_SMOOTHED = 3.0  # slices
_STEADY = 4.0
_AROUND = 9  # steps
_ALONE = 5.0  # standard deviations of the other steps
_STARTS = ((-2.0, 3.0), (0.0, 3.0), (0.0, 8.0), (2.0, 3.0), (2.0, 8.0))


def without_structure(positions: np.ndarray) -> np.ndarray:
    """Positions without what a structure pretends that runs obliquely through the slices.

    A shift from slice to slice is a drift step (white), a jitter's difference, and what the
    structure seems to move, which changes smoothly over some slices. The power of each is fitted
    to the cosine transform of the measured steps (Whittle's likelihood), and the steps are
    filtered by the share of the first two (Wiener). The mean step goes too, unless it is four
    times as large as the smoothed steps scatter: no structure runs that steadily aside. What
    a step has beyond those around it (a jump of the stage, a slice that was not found) takes no
    part in this and stays, or it would be spread over all slices. Stacks below 24 slices are
    returned as they are.

    Parameters
    ----------
    positions : (n, 2) float64, pixels, slice 0 at (0, 0).
    """
    if len(positions) < _FEWEST:
        return positions
    steps = np.diff(positions, axis=0)
    kept = np.stack([_filtered(column) for column in steps.T], 1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(kept, 0)])


def _filtered(steps: np.ndarray) -> np.ndarray:
    # Of those around it, not of all: what a structure seems to move may be large, but not at once.
    usual = median_filter(steps, _AROUND, mode="mirror")
    beyond = steps - usual
    limit = _ALONE * 1.4826 * np.median(np.abs(beyond))  # of normal steps the standard deviation
    beyond = np.where(np.abs(beyond) > limit, beyond, 0.0)
    mean = (steps - beyond).mean()
    around = steps - beyond - mean
    scatter = gaussian_filter1d(around, _SMOOTHED, mode="reflect").std()
    kept = mean if abs(mean) > _STEADY * scatter else 0.0
    waves = np.asarray(dct(around, norm="ortho"))
    power = waves[1:] ** 2
    unit = power.mean()
    if unit < 1e-16:
        return steps
    omega = np.pi * np.arange(steps.size) / steps.size
    walk, jitter, own = _fitted(omega[1:], power / unit, omega)
    share = (walk + jitter) / (walk + jitter + own)
    return kept + np.asarray(idct(share * waves, norm="ortho")) + beyond


def _fitted(
    omega: np.ndarray, power: np.ndarray, wanted: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Power spectra of walk, jitter and structure that suit `power` best, at `wanted`."""

    def spectra(told: np.ndarray, at: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        walk, jitter, own, length = np.exp(np.clip(told, -16.0, 8.0))
        own = own * length * np.exp(-0.5 * (at * length) ** 2)
        return float(walk), jitter * 4.0 * np.sin(at / 2.0) ** 2, own

    def loss(told: np.ndarray) -> float:
        total = sum(spectra(told, omega)) + 1e-9
        # Weak beliefs: lengths of some slices, nothing absurdly small.
        belief = 0.5 * ((told[3] - np.log(4.0)) / 1.0) ** 2 + 1e-3 * float((told[:3] ** 2).sum())
        return float(0.5 * np.sum(np.log(total) + power / total) + belief)

    best = min(
        (
            minimize(loss, [-1.0, -1.0, own, np.log(length)], method="L-BFGS-B")
            for own, length in _STARTS
        ),
        key=lambda found: found.fun,
    )
    return spectra(best.x, wanted)
