"""Starting values from the joint histogram alone: any intensity unit, any number of phases."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from bimmjax.models import Params, phase_pairs

_FLAT_SHARE = 0.25


def starting_points(
    counts: np.ndarray, u_edges: np.ndarray, v_edges: np.ndarray, phases: int
) -> list[Params]:
    """Several complete guesses of BIMM-2D parameters, in the units of the edges.

    counts (n_u, n_v), u_edges (n_u+1,), v_edges (n_v+1,). Phases are sought as peaks of the
    intensities of the flattest voxels, of all voxels, and as clusters; each way of looking
    catches volumes that another misses (few interior voxels, a rare phase, a comb of grey levels).
    """
    u = 0.5 * (u_edges[1:] + u_edges[:-1])
    everything = counts.sum(1).astype(float)
    flat = _flattest(counts)
    found = [
        _peaks(flat, u, phases),
        _peaks(np.sqrt(flat), u, phases),
        _peaks(everything, u, phases),
        _clusters(flat, u, phases),
        _clusters(everything, u, phases),
        _clusters(np.sqrt(flat), u, phases),
    ]
    spread = _noise_spread(counts, v_edges)
    return [_complete(_apart(means, u), counts, flat, u, v_edges, spread) for means in found]


def distinct(guesses: list[Params], within: float = 0.05) -> list[Params]:
    """Guesses whose intensities differ, by more than `within` of the intensity range."""
    kept: list[Params] = []
    for guess in guesses:
        means = np.asarray(guess.intensities)
        if all(np.abs(means - np.asarray(other.intensities)).max() > within for other in kept):
            kept.append(guess)
    return kept


def _flattest(counts: np.ndarray) -> np.ndarray:
    """Intensities of the quarter of voxels with the smallest gradient, as a histogram (n_u,)."""
    below = np.cumsum(counts.sum(0)) / counts.sum()
    last = int(np.searchsorted(below, _FLAT_SHARE)) + 1
    return counts[:, :last].sum(1).astype(float)


def _peaks(weights: np.ndarray, u: np.ndarray, phases: int) -> np.ndarray:
    """The `phases` peaks that survive the widest smoothing."""
    width = 1.0
    best = np.array([], int)
    while width < u.size / 4:
        smooth = gaussian_filter1d(weights, width, mode="constant")
        rising = np.diff(smooth, prepend=0.0, append=0.0)
        peaks = np.flatnonzero((rising[:-1] > 0) & (rising[1:] <= 0))
        if peaks.size >= phases:
            best = peaks[np.argsort(smooth[peaks])[::-1][:phases]]
        if peaks.size <= phases:
            break
        width *= 1.15
    if best.size < phases:
        return _clusters(weights, u, phases)
    return np.sort(u[best])


def _clusters(weights: np.ndarray, u: np.ndarray, phases: int) -> np.ndarray:
    """Weighted k-means of the intensities, from evenly spaced quantiles."""
    below = np.cumsum(weights) / weights.sum()
    means = u[np.searchsorted(below, (np.arange(phases) + 0.5) / phases).clip(0, u.size - 1)]
    means = means.astype(float)
    for _ in range(30):
        nearest = np.abs(u[:, None] - means).argmin(1)
        mass = np.bincount(nearest, weights, minlength=phases)
        moment = np.bincount(nearest, weights * u, minlength=phases)
        means = np.where(mass > 0, moment / np.maximum(mass, 1e-300), means)
    return np.sort(means)


def _apart(means: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Means at least two bins apart, so that a guess is never degenerate."""
    least = 2.0 * (u[1] - u[0])
    for k in range(1, means.size):
        means[k] = max(means[k], means[k - 1] + least)
    return means


def _noise_spread(counts: np.ndarray, v_edges: np.ndarray) -> float:
    """S = noise_std √(1 - ρ): where the gradients of flat voxels peak (their density is
    v² exp(-v²/s²)).
    """
    v = 0.5 * (v_edges[1:] + v_edges[:-1])
    smooth = gaussian_filter1d(counts.sum(0).astype(float), 1.0)
    rising = np.flatnonzero(np.diff(smooth) <= 0)
    return float(v[rising[0]] if rising.size else v[v.size // 4])


def _complete(
    means: np.ndarray,
    counts: np.ndarray,
    flat: np.ndarray,
    u: np.ndarray,
    v_edges: np.ndarray,
    spread: float,
) -> Params:
    phases = means.size
    nearest = np.abs(u[:, None] - means).argmin(1)
    bin_width = u[1] - u[0]
    widths = [_half_width(flat, u, mean, nearest == k) for k, mean in enumerate(means)]
    # Correlation is seldom negative, so the noise is at least about 0.8 s.
    noise = max(min(widths), 0.8 * spread, 0.7 * bin_width)
    rho = float(np.clip(1.0 - (spread / noise) ** 2, -0.5, 0.9))
    v = 0.5 * (v_edges[1:] + v_edges[:-1])
    blur = 1.5
    if phases > 1:
        low = int(np.argmax(np.diff(means)))
        half = 0.5 * (means[low] + means[low + 1])
        row = counts[np.argsort(np.abs(u - half))[:5]].sum(0).astype(float)
        if row.sum() > 0:
            steep = v[np.searchsorted(np.cumsum(row) / row.sum(), 0.7).clip(0, v.size - 1)]
            blur = np.clip((means[low + 1] - means[low]) / (2.5 * steep), 0.7, 5.0)
    shares = np.bincount(nearest, counts.sum(1), minlength=phases) / counts.sum()
    pairs = len(phase_pairs(phases))
    interface = np.full(pairs, 0.3 / max(pairs, 1))
    interior = np.maximum(shares, 1e-3)
    interior *= (1.0 - interface.sum()) / interior.sum()
    fields: dict[str, Any] = {
        "intensities": means,
        "noise_std": np.asarray(noise),
        "correlation": np.asarray(rho),
        "blur_std": np.asarray(blur) if pairs else None,
        "interface_halfwidth": np.asarray(2.0) if pairs else None,
        "interior_weights": interior,
        "interface_weights": interface,
    }
    return Params(**fields)


def _half_width(weights: np.ndarray, u: np.ndarray, mean: float, own: np.ndarray) -> float:
    """Std of the peak at `mean`, from the weighted median of the distances to it."""
    mass = np.where(own, weights, 0.0)
    if mass.sum() == 0:
        return float(u[1] - u[0])
    order = np.argsort(np.abs(u - mean))
    below = np.cumsum(mass[order]) / mass.sum()
    return 1.4826 * float(np.abs(u - mean)[order][np.searchsorted(below, 0.5)])
