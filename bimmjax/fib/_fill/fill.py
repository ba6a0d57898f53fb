"""Gaps between slices filled: whole arrays, or volumes that are filled as they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError, choice, whole_number
from bimmjax.fib._fill.curves import grey_box
from bimmjax.fib._fill.given import Given, Way, check_given, check_labels
from bimmjax.fib._fill.nearest import nearest_box
from bimmjax.fib._fill.spline import spline_box
from bimmjax.volumes import Volume

HOLES = 20
"""Pixels that a hole has at least to be one (FIB thesis, Article II, supplement §4)."""
_MOST_HOLES = 10_000
_METHODS = {"labels": ("nearest", "spline"), "grey": ("nearest", "linear", "spline")}


def fill(
    slices: Any,
    places: Any,
    *,
    method: str = "spline",
    kind: str = "labels",
    depth: int | None = None,
    spacing: float | None = None,
    holes: int = HOLES,
) -> Volume:
    volume, given = check_given(slices, places, depth)
    choice("kind", kind, tuple(_METHODS))
    choice("method", method, _METHODS[kind])
    if kind == "labels":
        check_labels(volume)
    whole_number("holes", holes, 0, _MOST_HOLES)
    dtype = np.dtype(np.float32) if kind == "grey" and method != "nearest" else volume.dtype
    return _lazily(volume, given, _way(method, kind, holes), dtype, spacing)


def _way(method: str, kind: str, holes: int) -> Way:
    if method == "nearest":
        return nearest_box
    if kind == "grey":
        return partial(grey_box, order=1 if method == "linear" else 3)
    return partial(spline_box, holes=holes)


def _lazily(volume: Volume, given: Given, way: Way, dtype: np.dtype, spacing: float | None) -> Volume:
    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        return way(volume, given, z, y, x)

    apart = volume.spacing[0] if spacing is None else spacing
    return replace(
        volume,
        shape=(given.depth, *volume.shape[1:]),
        dtype=dtype,
        reader=read,
        spacing=(apart, *volume.spacing[1:]),
        format=f"filled {volume.format}",
    )
