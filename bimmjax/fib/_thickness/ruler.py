"""Thicknesses from a ruler beside the images: one that is known, or one that is found."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError, real_number, whole_number
from bimmjax.fib._thickness.marks import follow_marks
from bimmjax.fib._thickness.result import Thickness, check_outliers, check_slices, finished
from bimmjax.sim import Ruler, read_ruler
from bimmjax.volumes import Volume, open_volume

_SLICES = 16  # that are read together
_VAGUE = 0.5  # of a mark's width, by which it may be off
_FEW = 0.5  # of slices that must tell something, and of a thickness as its error


def thickness_from_ruler(
    volume: Any,
    ruler: Ruler | None = None,
    *,
    rows: tuple[int, int] | None = None,
    angle: float | None = None,
    length_per_pixel: float | None = None,
    parallel_distance: float | None = None,
    reach: int = 16,
    outlier_rule: str = "robust",
    outlier_score: float | None = None,
    progress: Callable[[int, int], Any] | None = None,
    **options: Any,
) -> Thickness:
    """Thicknesses of slices from a ruler: two parallel marks, and two that come together.

    Source: FIB thesis, Article II, §2.1.1 (ruler-based method) with t = |d_i - d_(i+1)| /
    (2 tan angle), d the distance of the inclined marks; Article III, §2.1.1 (outliers).

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x), with the ruler's strip in each slice, as recorded: not registered.
    ruler : sim.Ruler, optional
        That was drawn on top of the images; thicknesses are in its length. Else the marks are
        found: four bright, or dark, lines along y in the strip of the first slice that has them,
        out of the first ten, which are then followed; the two that keep their distance are the
        parallel ones.
    rows : (int, int), optional
        First row of the strip, and the one after its last. Default: all rows; with a `ruler`, its
        own number of rows from the top. Leave out rows into which drift moves the images.
    angle : float
        Of each inclined mark to the direction of milling, degrees; wanted without a `ruler`.
    length_per_pixel : float, optional
        Width of a pixel; thicknesses are in this unit. Default: the volume's spacing along x.
    parallel_distance : float, optional
        Of the two parallel marks, which tells the width of a pixel instead.
    reach : int
        By how many pixels slices may jump along x.
    outlier_rule : str
        "robust": off the median of the cube roots of the thicknesses (in which gamma distributions
        are all but normal) by more than `outlier_score` times their robust standard deviation (of
        the median absolute deviation and of half the span from 16 % to 84 %, the larger one).
        "article": off the mean by more than `outlier_score` standard deviations, which
        drops 12 % of perfectly good slices and takes a quarter off their standard deviation. In
        both, what is not above 0, or has a standard error above half the median, is an outlier too.
    outlier_score : float, optional
        Default: 4 for "robust", 1.5 for "article".
    progress : callable, optional
        `progress(slices done, slices in all)`.
    **options
        `spacing`, `unit`, `dataset`, `dtype`: as in `open_volume`.

    Returns
    -------
    Thickness
        `source` is "ruler".

    Raises
    ------
    InputError
        A single slice, no ruler found, an angle not between 0 and 90 degrees, rows outside the
        volume.

    Examples
    --------
    >>> import math, numpy as np
    >>> from bimmjax.fib import thickness_from_ruler
    >>> from bimmjax.sim import draw_ruler, make_ruler
    >>> ruler = make_ruler(256, 100.0)
    >>> image = draw_ruler(np.zeros((4, 64, 256)), ruler, [0.0, 10.0, 25.0, 32.0])
    >>> thickness_from_ruler(image, ruler).thickness.round(2)
    array([10., 15.,  7.])
    >>> angle = math.degrees(math.atan(ruler.slope))
    >>> thickness_from_ruler(image, rows=(0, 48), angle=angle).thickness.round(2)
    array([10., 15.,  7.])
    """
    score = check_outliers(outlier_rule, outlier_score)
    opened = open_volume(volume, **options)
    check_slices("volume", opened.shape[0])
    reach = whole_number("reach", reach, 0, 1000)
    if ruler is not None:
        if angle is not None or length_per_pixel is not None or parallel_distance is not None:
            raise InputError(
                "angle, length_per_pixel, parallel_distance: got one beside a ruler, which tells "
                "them, wants None"
            )
        first, stop = (0, ruler.rows) if rows is None else _strip(rows, opened)
        measured, std = _known(opened, ruler, first, stop, reach, progress)
    else:
        if angle is None:
            raise InputError("angle: got None without a ruler, wants that of the inclined marks")
        degrees = real_number("angle", angle, 0.0, 90.0)
        if not 0.0 < degrees < 90.0:
            raise InputError(f"angle: got {degrees:g}, wants one between 0 and 90 degrees")
        pixel = opened.spacing[2] if length_per_pixel is None else length_per_pixel
        pixel = _length("length_per_pixel", pixel)
        first, stop = (0, opened.shape[1]) if rows is None else _strip(rows, opened)
        apart = None if parallel_distance is None else _length("parallel_distance",
                                                              parallel_distance)  # fmt: skip
        profiles = _profiles(opened, first, stop, progress)
        measured, std = _found(profiles, float(reach), pixel, apart)
        measured, std = (v / (2.0 * math.tan(math.radians(degrees))) for v in (measured, std))
    nothing = "volume: got a strip with no ruler found, wants marks that tell thicknesses"
    known = (measured > 0) & (std < _FEW * np.nanmedian(np.abs(measured)))
    if np.mean(known) < _FEW:
        raise InputError(nothing)
    return finished(measured, std, "ruler", outlier_rule, score, nothing)


def _length(name: str, value: float) -> float:
    found = real_number(name, value, 0.0, 1e30)
    if found == 0.0:
        raise InputError(f"{name}: got 0, wants a length above 0")
    return found


def _strip(rows: tuple[int, int], volume: Volume) -> tuple[int, int]:
    try:
        first, stop = rows
    except (TypeError, ValueError):
        raise InputError(f"rows: got {rows!r}, wants the first row and the one after the last"
                         ) from None  # fmt: skip
    first = whole_number("rows", first, 0, volume.shape[1] - 1)
    return first, whole_number("rows", stop, first + 1, volume.shape[1])


def _known(
    volume: Volume,
    ruler: Ruler,
    first: int,
    stop: int,
    reach: int,
    progress: Callable[[int, int], Any] | None,
) -> tuple[np.ndarray, np.ndarray]:
    slices = volume.shape[0]
    depths, stds = [], []
    for start in range(0, slices, _SLICES):
        end = min(start + _SLICES, slices)
        strip = volume.read(slice(start, end), slice(first, stop), slice(None))
        # Always as many slices, so that one program does for all.
        strip = np.pad(strip, ((0, _SLICES - len(strip)), (0, 0), (0, 0)), mode="edge")
        try:
            told = read_ruler(strip, ruler, reach=reach)
        except InputError as error:
            raise InputError(
                f"volume: got slices {start} to {end - 1} with no ruler found ({error}), wants the "
                "ruler's marks"
            ) from None
        depths.append(told.depths[: end - start])
        stds.append(told.depths_std[: end - start])
        if progress is not None:
            progress(end, slices)
    std = np.concatenate(stds)
    # Marks that are not there are not placed to within their own width.
    std = np.where(std * ruler.slope > _VAGUE * ruler.mark_std, np.inf, std)
    return np.diff(np.concatenate(depths)), np.hypot(std[1:], std[:-1])


def _profiles(
    volume: Volume, first: int, stop: int, progress: Callable[[int, int], Any] | None
) -> np.ndarray:
    """(n, x), means of the strip's rows."""
    slices = volume.shape[0]
    found = np.empty((slices, volume.shape[2]))
    for i in range(slices):
        strip = volume.read(slice(i, i + 1), slice(first, stop), slice(None))
        found[i] = strip[0].mean(0, dtype=np.float64)
        if not np.isfinite(found[i]).all():
            raise InputError(
                f"volume: got slice {i} with values that are not finite in the strip, wants numbers"
            )
        if progress is not None:
            progress(i + 1, slices)
    return found


def _found(
    profiles: np.ndarray, reach: float, pixel: float, parallel_distance: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """By how much the distance of the inclined marks changes, and its standard error."""
    marks = follow_marks(profiles, reach)
    if parallel_distance is not None:
        left, right = marks.parallel
        width = marks.places[:, right] - marks.places[:, left]
        pixel = parallel_distance / float(np.nanmedian(width))
    left, right = marks.inclined
    apart = marks.places[:, right] - marks.places[:, left]
    variance = marks.variances[:, right] + marks.variances[:, left]
    known = apart[np.isfinite(apart)]
    sign = 1.0 if known[-1] < known[0] else -1.0
    return -sign * np.diff(apart) * pixel, np.sqrt(variance[1:] + variance[:-1]) * pixel
