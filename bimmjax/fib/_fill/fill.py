"""Gaps between slices filled: whole arrays, or volumes that are filled as they are read."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from bimmjax._core.checks import choice, real_number, whole_number
from bimmjax.fib._fill.article import article_box
from bimmjax.fib._fill.article_network import InpaintNetwork
from bimmjax.fib._fill.curves import grey_box
from bimmjax.fib._fill.distances import distance_box
from bimmjax.fib._fill.given import Given, Way, check_given, check_labels
from bimmjax.fib._fill.learned import learned_box
from bimmjax.fib._fill.nearest import nearest_box
from bimmjax.fib._fill.slice_network import SliceNetwork
from bimmjax.fib._fill.spline import spline_box
from bimmjax.fib._fill.trained import load_inpainting
from bimmjax.volumes import Volume

HOLES = 20
"""Pixels that make a hole too large to be one (FIB thesis, Article II, supplement §4)."""
_MOST_HOLES = 10_000
_METHODS = {
    "labels": ("nearest", "spline", "distance", "learned"),
    "grey": ("nearest", "linear", "spline"),
}


def fill(
    slices: Any,
    places: Any,
    *,
    method: str | None = None,
    kind: str = "labels",
    depth: int | None = None,
    spacing: float | None = None,
    holes: int = HOLES,
    network: Any = None,
) -> Volume:
    """A volume of all places, whose gaps between slices are filled as it is read.

    Any size is fine: a box needs the slices around it, and a label is the same whatever box it is
    read in. Before the first slice and after the last there is the nearest one.

    ==========  ==============================================================================
    "nearest"   the nearest slice as it is
    "spline"    labels by cubic splines along z, as in Article II; holes that this leaves are
                filled. Hardly better than the nearest slice where ligaments are as thin as gaps
    "distance"  cubic splines of the distances from outlines: better than those of labels, at
                a little more cost, with nothing learned
    "learned"   a network that was trained on simulated slices, the default of labels: the best in
                `python -m benchmarks fib_fill`, by far where ligaments are hardly thicker than
                gaps; takes ten times as long
    "linear"    for grey values: a straight line between slices
    ==========  ==============================================================================

    Source: FIB thesis, Article II, §2.2.3 and supplement.

    Parameters
    ----------
    slices : array or Volume (n, y, x)
        Labels as uint8 (bool is fine), or grey values.
    places : (n,) whole numbers
        Of the slices in the volume, ascending; see `reposition`.
    method : str, optional
        See above. Default: "learned" for labels, "spline" for grey values.
    kind : str
        "labels" or "grey".
    depth : int, optional
        Places in all. Default: up to the last slice.
    spacing : float, optional
        Distance of places, kept in the volume. Default: the y spacing of a Volume.
    holes : int
        "spline": pores of fewer pixels that are solid all around, in a zx plane, are filled where
        slices are missing; 0: none.
    network : network or path, optional
        "learned": of `load_inpainting`. Default: the one that ships.

    Returns
    -------
    Volume
        uint8 labels; grey values are float32, but for "nearest", which keeps the dtype.

    Raises
    ------
    InputError
        Places that are not ascending or not as many as slices, a depth that is too small, labels
        that are not uint8, a method that is not one of the kind.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.fib import fill
    >>> slices = np.zeros((2, 4, 4), np.uint8)
    >>> slices[:, :2] = 1
    >>> filled = fill(slices, [0, 3], method="distance")
    >>> filled.shape, filled.read(slice(1, 2), slice(None), slice(0, 1)).ravel().tolist()
    ((4, 4, 4), [1, 1, 0, 0])
    """
    volume, given = check_given(slices, places, depth)
    methods = _METHODS[choice("kind", kind, tuple(_METHODS))]
    named = choice("method", method or ("learned" if kind == "labels" else "spline"), methods)
    if kind == "labels":
        check_labels(volume)
    whole_number("holes", holes, 0, _MOST_HOLES)
    apart = volume.spacing[1] if spacing is None else real_number("spacing", spacing, 1e-12, 1e12)
    way = _way(named, kind, holes, network)

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        return way(volume, given, z, y, x)

    return replace(
        volume,
        shape=(given.depth, *volume.shape[1:]),
        dtype=np.dtype(np.float32) if kind == "grey" and named != "nearest" else volume.dtype,
        reader=read,
        spacing=(apart, *volume.spacing[1:]),
        chunks=_chunks(volume, given),
        format=f"filled {volume.format}",
    )


def fill_nearest(slices: Any, places: Any, depth: int | None = None) -> np.ndarray:
    """Every missing slice as the nearest one there is; the former of two.

    Parameters and errors as for `fill`; all is read into memory.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.fib import fill_nearest
    >>> fill_nearest(np.array([3, 8], np.uint8).reshape(2, 1, 1), [0, 3]).ravel().tolist()
    [3, 3, 8, 8]
    """
    return np.asarray(fill(slices, places, method="nearest", depth=depth))


def fill_spline(
    slices: Any, places: Any, depth: int | None = None, *, holes: int = HOLES, kind: str = "labels"
) -> np.ndarray:
    """Missing slices by cubic splines along z, through six slices on either side of a gap.

    Labels: the one whose share is highest (of two, above one half). Parameters and errors as
    for `fill`; all is read into memory.

    Source: FIB thesis, Article II, §2.2.3 and supplement §4.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.fib import fill_spline
    >>> squares = np.array([0.0, 4.0, 9.0, 25.0]).reshape(4, 1, 1)
    >>> fill_spline(squares, [0, 2, 3, 5], kind="grey").ravel().round(4).tolist()
    [0.0, 1.0, 4.0, 9.0, 16.0, 25.0]
    """
    method: dict[str, Any] = {"method": "spline", "kind": kind, "holes": holes}
    return np.asarray(fill(slices, places, depth=depth, **method))


def fill_distance(slices: Any, places: Any, depth: int | None = None) -> np.ndarray:
    """Missing slices by cubic splines of the distances from outlines.

    Parameters and errors as for `fill`; all is read into memory.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.fib import fill_distance
    >>> edge = np.arange(9) < np.array([2, 6])[:, None, None]
    >>> fill_distance(edge, [0, 4]).sum(2).ravel().tolist()
    [2, 3, 4, 5, 6]
    """
    return np.asarray(fill(slices, places, method="distance", depth=depth))


def fill_learned(
    slices: Any, places: Any, depth: int | None = None, *, network: Any = None
) -> np.ndarray:
    """Missing slices by a trained network.

    Parameters and errors as for `fill`; all is read into memory.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.fib import fill_learned
    >>> edge = np.arange(9) < np.array([2, 6])[:, None, None]
    >>> fill_learned(np.repeat(edge, 9, 1), [0, 4]).shape
    (5, 9, 9)
    """
    return np.asarray(fill(slices, places, method="learned", depth=depth, network=network))


def _way(method: str, kind: str, holes: int, network: Any) -> Way:
    if method == "nearest":
        return nearest_box
    if kind == "grey":
        return partial(grey_box, order=1 if method == "linear" else 3)
    if method == "spline":
        return partial(spline_box, holes=holes)
    if method == "distance":
        return distance_box
    net = network
    if not isinstance(net, SliceNetwork | InpaintNetwork):
        net = load_inpainting(network)
    if isinstance(net, InpaintNetwork):
        return partial(article_box, network=net)
    return partial(learned_box, network=net)


def _chunks(volume: Volume, given: Given) -> tuple[int, int, int]:
    """As deep as the slices that are read together."""
    each = -(-given.depth // volume.shape[0])
    return (min(each * volume.chunks[0], given.depth), *volume.chunks[1:])
