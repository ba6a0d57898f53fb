"""Thicknesses as every way of measuring them delivers them: checked, outliers replaced."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from bimmjax._core.checks import InputError, choice, real_number, whole_number

# A single slice above so many medians is a slip of the pen rather than a slice.
_ABSURD = 20.0
# Of median and robust spread of cube roots, which are all but normal if thicknesses come from a
# gamma distribution (Wilson and Hilferty 1931): good slices are next to never beyond it.
_ROBUST_SCORE = 4.0
_ARTICLE_SCORE = 1.5
# Above this share of the median thickness, a standard error says that nothing was measured.
_UNKNOWN = 0.5


class Thickness(NamedTuple):
    """How thick the slices of a stack of n are: n - 1 distances of neighbouring faces.

    Attributes
    ----------
    thickness : array
        (n - 1,) float64, above 0. Outliers are replaced by the median of the (up to) two good
        ones on either side.
    measured : array
        (n - 1,) float64, as read; NaN where nothing was found.
    std : array
        (n - 1,) float64, standard errors of `measured`; NaN where unknown.
    outliers : array
        (n - 1,) bool.
    gamma : tuple[float, float]
        Shape and scale of the gamma distribution of the good ones, see `fit_gamma`.
    source : str
        "ruler", "images", "file" or "even".
    """

    thickness: np.ndarray
    measured: np.ndarray
    std: np.ndarray
    outliers: np.ndarray
    gamma: tuple[float, float]
    source: str

    @property
    def positions(self) -> np.ndarray:
        """(n,) float64, depths of the faces below the first one."""
        return np.concatenate([[0.0], np.cumsum(self.thickness)])


def fit_gamma(thickness: Any) -> tuple[float, float]:
    """Shape and scale of the gamma distribution that thicknesses come from: maximum likelihood.

    Source: FIB thesis, Article II, §2.1.2.

    Parameters
    ----------
    thickness
        (n,) above 0.

    Returns
    -------
    shape, scale : float
        Mean shape · scale, variance shape · scale². Thicknesses that are all the same (or a single
        one) have an infinite shape and the scale 0.

    Raises
    ------
    InputError
        No numbers, or one that is not above 0.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.fib import fit_gamma
    >>> from bimmjax.sim import draw_thickness
    >>> shape, scale = fit_gamma(draw_thickness(jax.random.key(0), 4000))
    >>> round(shape), round(scale)
    (11, 1)
    """
    found = checked("thickness", thickness)
    mean = found.mean()
    # What the shape solves: log k - digamma(k) = log of the mean - mean of the logs.
    lack = math.log(mean) - np.log(found).mean()
    if lack < 1e-12:
        return math.inf, 0.0
    from scipy.optimize import brentq
    from scipy.special import digamma

    # log k - digamma(k) lies between 1/(2k) and 1/k.
    shape: Any = brentq(lambda k: math.log(k) - digamma(k) - lack, 0.49 / lack, 1.01 / lack)
    return float(shape), float(mean / shape)


def even_thickness(count: int, value: float) -> Thickness:
    """Slices that are all as thick as they were meant to be.

    Parameters
    ----------
    count
        Number of slices, at least 2; there is one thickness less.
    value
        Above 0.

    Raises
    ------
    InputError
        A single slice, or a thickness that is not above 0.

    Examples
    --------
    >>> from bimmjax.fib import even_thickness
    >>> even_thickness(3, 10.0).positions
    array([ 0., 10., 20.])
    """
    count = whole_number("count", count, 2, 2**31 - 1)
    value = real_number("value", value, 0.0, 1e30)
    if value == 0.0:
        raise InputError("value: got 0, wants a thickness above 0")
    each = np.full(count - 1, value)
    none = np.zeros(count - 1, bool)
    return Thickness(each, each.copy(), np.full(count - 1, np.nan), none, (math.inf, 0.0), "even")


def checked(name: str, thickness: Any) -> np.ndarray:
    """`thickness` as float64 (n,), or an `InputError` that names the first bad value."""
    try:
        found = np.asarray(thickness, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: got {thickness!r}, wants numbers above 0") from None
    if found.ndim != 1 or found.size == 0:
        raise InputError(f"{name}: got an array of shape {found.shape}, wants numbers above 0")
    bad = np.flatnonzero(~(np.isfinite(found) & (found > 0)))
    if bad.size:
        raise InputError(
            f"{name}: got {found[bad[0]]:g} as thickness {bad[0] + 1} of {found.size}, wants "
            "numbers above 0"
        )
    return found


def check_absurd(name: str, found: np.ndarray, where: str = "") -> None:
    """Refuse a thickness that no slice of the stack can have; `where` they are from is told."""
    middle = float(np.median(found))
    if found.size > 1 and found.max() > _ABSURD * middle:
        worst = int(found.argmax())
        raise InputError(
            f"{name}: got {found[worst]:g} as thickness {worst + 1} of {found.size}{where}, "
            f"wants at most {_ABSURD:g} times the median, {middle:g}"
        )


def check_slices(name: str, slices: int) -> None:
    """Refuse a stack of a single slice."""
    if slices < 2:
        raise InputError(f"{name}: got a single slice, wants at least 2 for a thickness")


def check_outliers(rule: str, score: float | None) -> float:
    """The score of a rule for outliers, or an `InputError`."""
    choice("outlier_rule", rule, ("robust", "article"))
    usual = _ROBUST_SCORE if rule == "robust" else _ARTICLE_SCORE
    return usual if score is None else real_number("outlier_score", score, 0.1, 1e9)


def find_outliers(measured: np.ndarray, std: np.ndarray, rule: str, score: float) -> np.ndarray:
    """(n,) bool. Never a good one: not finite, not above 0, or too uncertain to tell anything."""
    good = np.isfinite(measured) & (measured > 0)
    if not good.any():
        return ~good
    good &= ~(std > _UNKNOWN * np.median(measured[good]))
    if not good.any():
        return ~good
    if rule == "article":
        values = np.where(good, measured, np.nan)
        middle, spread = np.nanmean(values), np.nanstd(values)
    else:
        values = np.cbrt(np.where(good, measured, np.nan))
        middle = np.nanmedian(values)
        # Of few slices the middle half may happen to lie close together: the wider one counts.
        low, high = np.nanquantile(values, (0.159, 0.841))
        spread = max(1.4826 * np.nanmedian(np.abs(values - middle)), 0.5 * (high - low))
    # Even slices have no spread but that of rounding.
    return ~good | (np.abs(values - middle) > max(score * spread, 1e-6 * middle))


def finished(
    measured: np.ndarray,
    std: np.ndarray,
    source: str,
    rule: str,
    score: float,
    nothing: str,
) -> Thickness:
    """A measurement with its outliers replaced; an `InputError`, `nothing`, without good ones."""
    outliers = find_outliers(measured, std, rule, score)
    good = np.flatnonzero(~outliers)
    if good.size == 0:
        raise InputError(nothing)
    filled = measured.copy()
    for i in np.flatnonzero(outliers):
        at = int(np.searchsorted(good, i))
        filled[i] = np.median(measured[good[max(at - 2, 0) : at + 2]])
    std = np.where(np.isfinite(std), std, np.nan)
    return Thickness(filled, measured, std, outliers, fit_gamma(measured[good]), source)
