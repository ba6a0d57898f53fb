"""Whether blocks differ by more than their errors."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bimmjax.maps._windows import Windows
from bimmjax.plot._maps_view import Estimates

# Standard errors are themselves right to a fifth or so: below this a variance may still be theirs.
_ABOVE_ERRORS = 1.5


class Spread(NamedTuple):
    """Of one quantity over the blocks that can be used and tell it themselves.

    blocks : blocks with a value. mean, std : over them. stderr : median standard error, NaN if
    there is none. noise : root mean squared standard error. ratio : observed variance over mean
    squared standard error. beyond : spread beyond the errors, 0 if there is none. real : whether
    the variance is more than the errors and chance explain; None if there is no telling.
    """

    blocks: int
    mean: float
    std: float
    stderr: float
    noise: float
    ratio: float
    beyond: float
    real: bool | None


def spread(read: Estimates) -> Spread:
    """The spread of a quantity.

    Examples
    --------
    >>> import numpy as np
    >>> value, stderr = np.float32([[[[1, 3, 5, 7] * 9]]]), np.full((1, 1, 1, 36), 0.1, np.float32)
    >>> found = spread(Estimates(value, stderr, np.zeros(value.shape, bool)))
    >>> found.blocks, found.mean, found.real
    (36, 4.0, True)
    """
    nan = float("nan")
    own = np.isfinite(read.value) & ~read.borrowed
    values = read.value[own].astype(float)
    if values.size == 0:
        return Spread(0, nan, nan, nan, nan, nan, nan, None)
    mean = float(values.mean())
    std = float(values.std(ddof=1)) if values.size > 1 else nan
    errors = read.stderr[own].astype(float)
    paired = np.isfinite(errors)
    if not paired.any():
        return Spread(values.size, mean, std, nan, nan, nan, nan, None)
    stderr = float(np.median(errors[paired]))
    noise = math.sqrt(float(np.mean(errors[paired] ** 2)))
    if paired.sum() < 2 or noise == 0.0:
        return Spread(values.size, mean, std, stderr, noise, nan, nan, None)
    variance = float(values[paired].var(ddof=1))
    ratio = variance / noise**2
    # Three standard deviations of a variance that so many blocks estimate.
    chance = 1.0 + 3.0 * math.sqrt(2.0 / (int(paired.sum()) - 1))
    beyond = math.sqrt(max(variance - noise**2, 0.0))
    real = ratio > max(_ABOVE_ERRORS, chance)
    return Spread(values.size, mean, std, stderr, noise, ratio, beyond, real)


def independent_share(windows: Windows) -> float:
    """Blocks that share no voxels, per block: below 1 where blocks overlap.

    Examples
    --------
    >>> independent_share(Windows((64, 64, 64), (32, 32, 32), (16, 16, 16)))
    0.125
    """
    pairs = zip(windows.stride, windows.block, strict=True)
    return math.prod(min(s / b, 1.0) for s, b in pairs)


def mean_error(std: float, count: int, windows: Windows) -> float:
    """Standard error of the mean over `count` blocks, of which overlapping ones count once."""
    if count < 2:
        return float("nan")
    return std / math.sqrt(max(count * independent_share(windows), 1.0))
