"""What a network sees that labels every layer of a grid: the slices around it, and how far off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError, real_number, whole_number
from bimmjax.fib._fill.given import check_given
from bimmjax.nets import normalisation
from bimmjax.volumes import Volume, open_volume

REACH = 2
# Distances are in pixels over this, so that they are about as large as normalised grey values.
_PIXELS = 8.0


def surroundings(
    stacks: Sequence[Any], places: Any, *, reach: int = REACH, spacing: float | None = None
) -> list[Volume]:
    """Channels of a network that labels every layer of the grid at once, gaps and all.

    Electrons come from below the face that is imaged, at 4 kV from deeper than slices are thick:
    images tell of the gap beneath them what labels of slices do not. A layer is seen as the
    slices before and after it at all voltages, and as its distance to each of them.

    Source: none; the thesis labels slices and fills gaps between labels (Articles II and III).

    Parameters
    ----------
    stacks : sequence of volumes (n, y, x)
        Registered images of the same n slices, one for each voltage.
    places : (n,) whole numbers
        Layers of the grid that the slices lie on, ascending; see `reposition`.
    reach : int
        So many slices before the layer (the one that lies on it among them) and after it.
    spacing : float, optional
        Distance of layers. Default: the x spacing of the first stack.

    Returns
    -------
    list of Volume
        2 · reach · (len(stacks) + 1), float32, (places[-1] + 1, y, x), made as they are read: for
        each slice, from before to after, the images in the order of `stacks`, each stack with mean
        0 and standard deviation 1 over all slices; then the distances to these slices along z, in
        units of 8 pixels, above 0 where the slice lies deeper. At the ends of the stack the
        outermost slice stands again. To be trained and applied with `normalise="none"`.

    Raises
    ------
    InputError
        No stack, stacks of different shapes, places that are not ascending or not one for each
        slice.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.fib import surroundings
    >>> stack = np.arange(12.0).reshape(3, 2, 2)
    >>> found = surroundings([stack], [0, 3, 4], reach=1)
    >>> len(found), found[0].shape
    (4, (5, 2, 2))
    >>> [round(8 * float(v)) for v in np.asarray(found[3])[:, 0, 0]]
    [3, 2, 1, 1, 0]
    """
    opened = [open_volume(stack) for stack in stacks]
    if not opened:
        raise InputError("stacks: got none, wants at least one")
    whole_number("reach", reach, 1, 16)
    for volume in opened:
        if volume.shape != opened[0].shape:
            raise InputError(
                f"stacks: got shapes {opened[0].shape} and {volume.shape}, wants the same"
            )
    first, given = check_given(opened[0], places, None)
    apart = first.spacing[2] if spacing is None else real_number("spacing", spacing, 1e-12, 1e12)
    at = np.asarray(given.places)
    before = np.searchsorted(at, np.arange(given.depth), side="right") - 1
    scales = [normalisation(volume) for volume in opened]
    found, distances = [], []
    for offset in range(1 - reach, reach + 1):
        numbers = np.clip(before + offset, 0, at.size - 1)
        for volume, scale in zip(opened, scales, strict=True):
            found.append(_images(volume, numbers, scale, apart))
        away = (at[numbers] - np.arange(given.depth)) * (apart / first.spacing[2] / _PIXELS)
        distances.append(_distances(first, away, apart))
    return [*found, *distances]


def _images(volume: Volume, numbers: np.ndarray, scale: Any, apart: float) -> Volume:
    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        wanted = numbers[z]
        if not wanted.size:
            return np.empty((0, y.stop - y.start, x.stop - x.start), np.float32)
        low = int(wanted.min())
        part = scale(volume.read(slice(low, int(wanted.max()) + 1), y, x))
        return part[wanted - low]

    return _like(volume, read, numbers.size, apart)


def _distances(volume: Volume, away: np.ndarray, apart: float) -> Volume:
    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        size = (z.stop - z.start, y.stop - y.start, x.stop - x.start)
        return np.broadcast_to(away[z, None, None], size).astype(np.float32)

    return _like(volume, read, away.size, apart)


def _like(volume: Volume, read: Any, depth: int, apart: float) -> Volume:
    return replace(
        volume,
        shape=(depth, *volume.shape[1:]),
        dtype=np.dtype(np.float32),
        reader=read,
        spacing=(apart, *volume.spacing[1:]),
        chunks=(1, *volume.chunks[1:]),
        format=f"surroundings in {volume.format}",
    )
