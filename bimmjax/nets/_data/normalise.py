"""Grey values as networks take them: normalised by what the whole volume holds, not a patch."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bimmjax._core.checks import InputError, choice
from bimmjax.volumes import Volume, stream

WAYS = ("std", "range", "none")
# Voxels of a slab, and of the sample that percentiles are taken of.
_SLAB = 2**24
_SAMPLE = 2**22
_TAIL = 0.5  # %


class Normalisation(NamedTuple):
    """Grey values become (grey - offset) * factor.

    Attributes
    ----------
    offset : float
        In grey values.
    factor : float
        In 1 / grey value.
    """

    offset: float
    factor: float

    def __call__(self, grey: np.ndarray) -> np.ndarray:
        """The same normalised, float32; what is no number becomes 0.

        Examples
        --------
        >>> import numpy as np
        >>> from bimmjax.nets import Normalisation
        >>> Normalisation(10.0, 0.5)(np.array([10.0, 14.0, np.nan])).tolist()
        [0.0, 2.0, 0.0]
        """
        # Subtracted in double precision: large grey values may differ by little.
        values = ((grey.astype(np.float64) - self.offset) * self.factor).astype(np.float32)
        return values if grey.dtype.kind in "iu" else np.nan_to_num(values, posinf=0.0, neginf=0.0)


def normalisation(volume: Volume, how: str = "std") -> Normalisation:
    """What to normalise the whole of a volume by, from one streamed pass.

    Parameters
    ----------
    volume : Volume
    how : str
        "std": to mean 0 and standard deviation 1. "range": the range of grey values, without half
        a per cent at either end, to 0 ... 1. "none": as they are. What is no number does not
        count.

    Returns
    -------
    Normalisation

    Raises
    ------
    InputError
        An unknown way, or a volume that is constant or without a finite voxel.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax import open_volume
    >>> from bimmjax.nets import normalisation
    >>> normalisation(open_volume(np.array([[[10, 14]]], np.uint8)))
    Normalisation(offset=12.0, factor=0.5)
    """
    choice("normalise", how, WAYS)
    if how == "none":
        return Normalisation(0.0, 1.0)
    _, y, x = volume.shape
    slab = (max(_SLAB // (y * x), 1), y, x)
    step = max(volume.voxels // _SAMPLE, 1)
    count, mean, squares, samples = 0, 0.0, 0.0, []
    rng = np.random.default_rng(0)
    for block in stream(volume, slab, halo=0):
        values = np.asarray(block.data[np.isfinite(block.data)], np.float64)
        if values.size == 0:
            continue
        if how == "range":
            # One of each `step`, drawn: those at a fixed distance may all lie in one column.
            at = np.arange(0, values.size, step)
            at += rng.integers(step, size=at.size)
            samples.append(values[np.minimum(at, values.size - 1)])
            continue
        # Slabs' moments are joined: one sum of squares over all would cancel (Chan 1979).
        own = float(values.mean())
        apart, total = own - mean, count + values.size
        squares += float(np.sum((values - own) ** 2))
        squares += apart**2 * count * values.size / total
        mean += apart * values.size / total
        count = total
    if how == "range":
        low, high = np.percentile(np.concatenate(samples or [[0]]), [_TAIL, 100.0 - _TAIL])
        offset, spread = float(low), float(high) - float(low)
    else:
        offset, spread = mean, math.sqrt(squares / max(count, 1))
    if spread <= 0.0:
        raise InputError(
            f"images: got {volume.name}, which is constant or holds no number; wants grey values"
        )
    return Normalisation(offset, 1.0 / spread)
