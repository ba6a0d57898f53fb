"""What lies below a face: the part of the physics that a learned simulator is given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError, whole_number
from bimmjax.nets._data.specimen import open_named
from bimmjax.volumes import Volume


def depth_below(labels: Any, most: int, *, solid: int = 1) -> Volume:
    """How many slices below the face of each slice solid begins, made as it is read.

    Electrons from solid that lies below a pore shine through it the fainter the deeper it lies:
    beside the analytic image this is what a learned simulator of backscattered-electron images is
    given of the structure (FIB thesis, §6.2).

    Parameters
    ----------
    labels : volume
        Anything `open_volume` takes, whole numbers; z is depth.
    most : int
        Slices that are looked at; the depth where none of them is solid. Of a beam's energy:
        `bimmjax.sim.escape_depth` over the spacing.
    solid : int
        The label of solid.

    Returns
    -------
    Volume
        float32 of the same grid: 0 in solid, 1 where the next slice is solid, ..., `most`.

    Raises
    ------
    InputError
        Labels that are no whole numbers, a depth below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.nets import depth_below
    >>> labels = np.array([0, 0, 1, 0, 0, 0]).reshape(6, 1, 1)
    >>> np.asarray(depth_below(labels, 2)).ravel().tolist()
    [2.0, 1.0, 0.0, 2.0, 2.0, 2.0]
    """
    volume = open_named("labels", labels)
    if volume.dtype.kind not in "iu":
        raise InputError(f"labels: got dtype {volume.dtype}, wants whole numbers")
    whole_number("most", most, 1, 2**16)
    whole_number("solid", solid, 0, 2**31 - 1)

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        found = volume.read(slice(z.start, min(z.stop + most, volume.shape[0])), y, x) == solid
        depth = np.full(found.shape[1:], float(most), np.float32)
        out = np.empty((z.stop - z.start, *depth.shape), np.float32)
        for at in range(found.shape[0] - 1, -1, -1):
            depth = np.where(found[at], np.float32(0), np.minimum(depth + 1, np.float32(most)))
            if at < out.shape[0]:
                out[at] = depth
        return out

    return replace(
        volume, reader=read, dtype=np.dtype(np.float32), name=f"depth below {volume.name}"
    )
