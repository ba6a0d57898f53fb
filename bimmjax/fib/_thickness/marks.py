"""Four marks of a ruler that nobody has described: found in one slice, then followed."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from bimmjax._core.checks import InputError

_WIDTHS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # pixels, std of marks that are looked for
_NOISES = 6.0  # above which a peak is a mark
_ALIKE = 0.3  # of the strongest mark: what is weaker is none
_STEPS = 12
_GAP = 0.45  # of the distance to the next mark: further off it would be that one
_FIRST = 10  # slices, in one of which the marks must be found
_TRAVEL = 2.0  # pixels at least, from the first slice to the last


class Marks(NamedTuple):
    """Where the marks of n slices are, in pixels."""

    places: np.ndarray
    """(n, 4) float64, ascending where they were found; NaN where they were lost."""
    variances: np.ndarray
    """(n, 4) float64, of the places."""
    parallel: tuple[int, int]
    """Which two stay as far apart as they were."""
    inclined: tuple[int, int]
    """Which two come together, or move apart."""


class _Start(NamedTuple):
    places: np.ndarray
    width: float
    sign: float


def find_marks(profile: np.ndarray) -> _Start | None:
    """Four bright, or dark, peaks of a profile along x, and nothing else that looks like them."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    flat = profile - np.median(profile)
    best: tuple[float, _Start] | None = None
    for sign, width in itertools.product((1.0, -1.0), _WIDTHS):
        # A difference of Gaussians: blind to what changes slowly, and half-blind to noise.
        seen = sign * (gaussian_filter1d(flat, width) - gaussian_filter1d(flat, 3.0 * width))
        peaks, told = find_peaks(seen, prominence=0.0)
        if peaks.size < 4:
            continue
        order = np.argsort(told["prominences"])[::-1]
        heights = told["prominences"][order]
        # The fifth and later are the noise; heights of peaks of noise are some 2 std.
        rest = np.median(heights[4:]) if heights.size > 4 else 0.0
        fifth = heights[4] if heights.size > 4 else 0.0
        if heights[3] < _ALIKE * heights[0] or heights[3] < max(_NOISES * rest / 2.0, 2.0 * fifth):
            continue
        # The width at which marks stand out most from the rest, times what a filter leaves.
        score = heights[:4].mean() * np.sqrt(width)
        places = np.sort(peaks[order[:4]]).astype(np.float64)
        if best is None or score > best[0]:
            best = score, _Start(places, width, sign)
    return None if best is None else best[1]


def follow_marks(profiles: np.ndarray, reach: float) -> Marks:
    """The marks of each slice: looked for where the last ones lead, then fitted to a fraction.

    Parameters
    ----------
    profiles : (n, x) means of the strip's rows.
    reach : by how many pixels a mark may be off where it is expected.
    """
    count, tried = len(profiles), min(_FIRST, len(profiles))
    starts = ((i, find_marks(profiles[i])) for i in range(tried))
    first, start = next(((i, found) for i, found in starts if found is not None), (0, None))
    if start is None:
        raise InputError(
            f"volume: got a strip with no ruler found in the first {tried} slices, wants four marks"
        )
    places, variances = np.full((count, 4), np.nan), np.full((count, 4), np.nan)
    _follow(profiles[first:], start, reach, places[first:], variances[first:])
    # Back from where they were found, which is slice 0 but for spoiled ones.
    back = slice(first, None, -1)
    _follow(profiles[back], start, reach, places[back], variances[back])
    kept = np.isfinite(places).all(1)
    if kept.sum() < max(2, count // 2):
        raise InputError(
            f"volume: got a strip with no ruler found: {kept.sum()} of {count} slices have its "
            "marks, wants four marks in at least half of them"
        )
    return Marks(places, variances, *_told_apart(places[kept]))


def _follow(
    profiles: np.ndarray, start: _Start, reach: float, places: np.ndarray, variances: np.ndarray
) -> None:
    """Fill in `places` and `variances`, slice by slice from one that has the marks of `start`."""
    width, last, speed, at = start.width, start.places, np.zeros(4), 0
    for i, profile in enumerate(profiles):
        since = i - at
        # Marks of a steep ruler may move further than they are apart: where they cannot be taken
        # for anything else, they are found anew. They never cross, so their order tells them.
        anew = find_marks(profile)
        if anew is not None and anew.sign == start.sign:
            guess = anew.places
        else:
            guess = _nearby(start.sign * profile, last + since * speed, width, reach)
        fitted = _fitted(start.sign * profile, guess, width)
        if fitted is None or np.abs(fitted[0] - guess).max() > reach:
            continue
        places[i], variances[i], width = fitted
        # Drift jumps back and forth: what a mark did on average is what it will do.
        speed = 0.8 * speed + 0.2 * (places[i] - last) / since if since else speed
        last, at = places[i], i


def _nearby(profile: np.ndarray, places: np.ndarray, width: float, reach: float) -> np.ndarray:
    """All marks moved by what suits them best together, then each to its own peak."""
    from scipy.ndimage import gaussian_filter1d

    like = gaussian_filter1d(profile - np.median(profile), width)
    columns = np.arange(profile.size)
    shifts = np.arange(-int(reach), int(reach) + 1)
    both = [np.interp(places + shift, columns, like).sum() for shift in shifts]
    moved = places + shifts[int(np.argmax(both))]
    found = []
    for k, place in enumerate(moved):
        gap = np.abs(np.delete(moved, k) - place).min()
        far = int(max(min(reach, _GAP * gap), 2.0 * width))
        own = np.arange(-far, far + 1)
        near = np.interp(place + own, columns, like)
        found.append(place + own[int(np.argmax(near))])
    return np.array(found, np.float64)


def _fitted(
    profile: np.ndarray, places: np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Gaussians of one width on a sloping ground: places, their variances, width."""
    x = np.arange(profile.size, dtype=np.float64)
    tilt = (x - x.mean()) / x.size
    places, scale = places.copy(), float(width)
    residual, jacobian, heights = np.zeros_like(x), np.zeros((x.size, 11)), np.zeros(6)
    for _ in range(_STEPS):
        away = (x - places[:, None]) / scale
        shapes = np.exp(-0.5 * away**2)
        # Heights and ground are linear in the profile: solved for, so that four starts suffice.
        linear = np.concatenate([shapes, [np.ones_like(x), tilt]])
        heights = np.linalg.lstsq(linear.T, profile, rcond=None)[0]
        residual = profile - heights @ linear
        slopes = heights[:4, None] * shapes * away / scale
        wider = (slopes * away).sum(0)
        jacobian = np.concatenate([slopes, [wider], linear]).T
        change = np.linalg.lstsq(jacobian, residual, rcond=None)[0]
        places += np.clip(change[:4], -1.0, 1.0)
        scale = float(np.clip(scale + np.clip(change[4], -0.3, 0.3), 0.5, 4.0 * width))
        if np.abs(change[:4]).max() < 1e-7:
            break
    if not np.isfinite(places).all() or places.min() < 0 or places.max() > x.size - 1:
        return None
    normal = jacobian.T @ jacobian
    if np.linalg.cond(normal) > 1e14 or heights[:4].min() <= 0:
        return None
    noise = float((residual**2).sum() / max(x.size - 11, 1))
    return places, noise * np.diag(np.linalg.inv(normal))[:4], scale


def _told_apart(places: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """The pair that keeps its distance, and the other one, which must not."""
    pairs = list(itertools.combinations(range(4), 2))
    spreads = [np.std(places[:, b] - places[:, a]) for a, b in pairs]
    still = pairs[int(np.argmin(spreads))]
    left, right = (k for k in range(4) if k not in still)
    travel = places[-1, right] - places[-1, left] - places[0, right] + places[0, left]
    if abs(travel) < max(_TRAVEL, 4.0 * min(spreads)):
        raise InputError(
            "volume: got a strip with no ruler found: four marks, of which none come together or "
            "move apart, wants two that do"
        )
    return still, (left, right)
