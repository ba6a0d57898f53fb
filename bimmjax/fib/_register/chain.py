"""Positions of slices from shifts between pairs of them."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solveh_banded

_ROUNDS = 8
_STEEP = 4
_LEAST = 0.03
_TIE = 1e-9
"""Weight of "as its neighbour" where nothing was measured: refused slices lie between theirs."""


def chained(
    shifts: np.ndarray, correlations: np.ndarray, lags: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Least squares over all pairs, robust to single wrong ones.

    Minimises Σ w (p_i - p_{i-lag} - s)², weights w by Huber's rule on what is left over and
    by each pair's correlation ρ: the fourth power of ρ² / (1 - ρ²), whose first is what the
    variance of a shift has. A structure's own change grows with the lag and is no noise; with the
    fourth power longer lags hardly count but where the nearest slices do not resemble.

    Parameters
    ----------
    shifts : (lags, n, 2), pixels, laying slice i on slice i - lag; NaN where there is none.
    correlations : (lags, n)

    Returns
    -------
    positions : (n, 2) float64, slice 0 at (0, 0).
    refused : (n,) bool, slices that no measured pair joins to an earlier one.
    """
    count = shifts.shape[1]
    seen = np.asarray(np.isfinite(shifts).all(2) & np.isfinite(correlations))
    for k, lag in enumerate(lags):
        seen[k, :lag] = False
    square = np.where(seen, np.clip(correlations, 0.01, 0.9999), 0.0) ** 2
    sure = square / (1.0 - square)
    usual = float(np.median(sure[0][seen[0]])) if seen[0].any() else 1.0
    # Within bounds: no pair may be so sure that others fall below the ties.
    sure = np.where(seen, np.clip(sure / usual, _LEAST, 1.0) ** _STEEP, 0.0)
    given = np.where(seen[..., None], shifts, 0.0)
    weights = sure
    places = np.zeros((count, 2))
    for _ in range(_ROUNDS if len(lags) > 1 else 1):
        places = _solved(weights, given, lags)
        left = np.zeros(seen.shape)
        for k, lag in enumerate(lags):
            left[k, lag:] = np.hypot(*(places[lag:] - places[:-lag] - given[k, lag:]).T)
        scaled = left * np.sqrt(sure)
        scale = 1.5 * np.median(scaled[seen]) if seen.any() else 0.0
        weights = sure * np.minimum(1.0, 1.5 * scale / np.maximum(scaled, 1e-12))
        weights = np.where(seen, np.maximum(weights, np.maximum(1e-4 * sure, 10.0 * _TIE)), 0.0)
    return places, _refused(seen, lags)


def _solved(weights: np.ndarray, given: np.ndarray, lags: tuple[int, ...]) -> np.ndarray:
    count = weights.shape[1]
    reach = max(*lags, 1)
    bands = np.zeros((reach + 1, count))  # lower: bands[k, i] couples i and i + k
    right = np.zeros((count, 2))
    ties = np.full(count, _TIE)
    for lag, w, s in [*zip(lags, weights, given, strict=True), (1, ties, np.zeros((count, 2)))]:
        w = w[lag:]
        bands[0, lag:] += w
        bands[0, : count - lag] += w
        bands[lag, : count - lag] -= w
        right[lag:] += w[:, None] * s[lag:]
        right[: count - lag] -= w[:, None] * s[lag:]
    # Slice 0 stays where it is.
    left = bands[: min(reach, count - 2) + 1, 1:]
    return np.concatenate([np.zeros((1, 2)), solveh_banded(left, right[1:], lower=True)])


def _refused(seen: np.ndarray, lags: tuple[int, ...]) -> np.ndarray:
    back = np.asarray(seen.any(0))
    onward = np.zeros(seen.shape[1], bool)
    for k, lag in enumerate(lags):
        onward[:-lag] |= seen[k, lag:]
    first = int(np.argmax(back | onward))
    refused = np.asarray(~back)
    # A chain begins somewhere: with the first slice that any other is joined to.
    refused[first] = not (back | onward)[first]
    return refused
