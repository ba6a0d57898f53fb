"""A part of a volume, as a volume."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bimmjax._core.checks import InputError
from bimmjax.volumes._volume import Volume

_ALL = slice(None)


def crop(volume: Volume, z: slice = _ALL, y: slice = _ALL, x: slice = _ALL) -> Volume:
    """A box of a volume, that is read when it is wanted.

    Parameters
    ----------
    volume : Volume
    z, y, x : slice
        Of voxels, with step 1; negative indices count from the end as usual.

    Raises
    ------
    InputError
        A slice with a step, or one that holds nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.volumes import crop, open_volume
    >>> part = crop(open_volume(np.arange(60).reshape(3, 4, 5)), y=slice(1, 3))
    >>> part.shape, np.asarray(part)[0, :, 0].tolist()
    ((3, 2, 5), [5, 10])
    """
    ends = [part.indices(size) for part, size in zip((z, y, x), volume.shape, strict=True)]
    if any(step != 1 or stop <= start for start, stop, step in ends):
        raise InputError(
            f"crop: got {z}, {y}, {x} of {volume.shape} voxels, wants slices with step 1 that hold "
            "some"
        )
    (z0, z1, _), (y0, y1, _), (x0, x1, _) = ends

    def read(z: slice, y: slice, x: slice) -> npt.NDArray[np.generic]:
        return volume.read(
            slice(z.start + z0, z.stop + z0),
            slice(y.start + y0, y.stop + y0),
            slice(x.start + x0, x.stop + x0),
        )

    shape = (z1 - z0, y1 - y0, x1 - x0)
    deep, tall, wide = (min(c, n) for c, n in zip(volume.chunks, shape, strict=True))
    return replace(volume, shape=shape, reader=read, chunks=(deep, tall, wide))
