"""Where slices lie in depth, and what lies between them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.fib._fill.fill import fill
from bimmjax.fib._pipeline.align import like
from bimmjax.fib._pipeline.gaps import NO_LABEL, labelled_everywhere
from bimmjax.fib._pipeline.naming import naming
from bimmjax.fib._pipeline.plan import Plan
from bimmjax.fib._pipeline.slabs import in_slabs
from bimmjax.fib._pipeline.step import Work
from bimmjax.fib._register.field import drop_slices
from bimmjax.fib._register.registration import cut_region
from bimmjax.fib._reposition import check_grid_spacing, own_places, reposition
from bimmjax.fib._thickness.file import read_thickness
from bimmjax.fib._thickness.images import thickness_from_images
from bimmjax.fib._thickness.result import Thickness, even_thickness, fit_gamma
from bimmjax.fib._thickness.ruler import thickness_from_ruler
from bimmjax.segmentation import otsu
from bimmjax.volumes import Volume

_MOST_LAYERS = 100


def thickness(
    work: Work, plan: Plan, raw: Volume, images: Volume, slices: tuple[int, int]
) -> dict[str, Any]:
    """Thicknesses between all neighbouring slices.

    raw : the reference stack as it came, in which a ruler is read.
    images : registered slices, labels or grey values, from which thickness is told without one.
    slices : first and last (not included) slice that is used.
    """
    found = _measured(work, plan, raw, images, slices)
    check_grid(found.thickness, grid_spacing(plan, images.spacing[2]))
    good = found.measured[~found.outliers]
    return {
        **found._asdict(),
        "mean": float(np.mean(found.thickness)),
        "spread": float(np.std(good)) if good.size else None,
        "unit": images.unit,
    }


def _measured(
    work: Work, plan: Plan, raw: Volume, images: Volume, slices: tuple[int, int]
) -> Thickness:
    told, count = plan.depth, images.shape[0]
    if told.source == "even":
        return even_thickness(count, told.mean)
    if told.source == "file":
        return thickness_from_file(plan, raw, slices)
    if told.source == "ruler":
        assert told.ruler is not None
        y0, y1, x0, x1 = told.ruler
        strip = cut_region(drop_slices(raw, slices[0]), ((y0, y1), (x0, x1)))
        return thickness_from_ruler(
            strip, angle=told.angle, outlier_rule=told.outliers, progress=work.tell("ruler")
        )
    # Grey values hang together in depth by what shines through, labels hardly.
    seen = images if plan.order == "labels" else labelled_everywhere(otsu(images))
    with naming("depth.largest", "largest"), naming("depth.blur", "blur_std"):
        return thickness_from_images(
            in_slabs(seen),
            largest=told.largest or None,
            blur_std=told.blur,
            outlier_rule=told.outliers,
            progress=work.tell("images"),
        )


def thickness_from_file(plan: Plan, raw: Volume, slices: tuple[int, int]) -> Thickness:
    """What a file tells of the slices that are used.

    It has a thickness between each two of all slices of the raw stack, or of those that are used.
    """
    with naming("depth.file", "path"):
        found = read_thickness(plan.depth.file, unit=raw.unit)
    count, told, used = raw.shape[0], found.thickness.size, slices[1] - slices[0]
    if told == used - 1:
        return found
    if told != count - 1:
        raise InputError(
            f"depth.file: got {told} thicknesses, wants {count - 1} for {count} slices: one "
            "between each two"
        )
    return _of(found, slices)


def _of(found: Thickness, slices: tuple[int, int]) -> Thickness:
    """Thicknesses of some of the slices."""
    part = slice(slices[0], slices[1] - 1)
    return found._replace(
        thickness=found.thickness[part],
        measured=found.measured[part],
        std=found.std[part],
        outliers=found.outliers[part],
        gamma=fit_gamma(found.thickness[part][~found.outliers[part]]),
    )


def check_grid(thickness: Any, spacing: float) -> None:
    """Refuse a grid coarser than the slices, or one so fine that a unit must be mistaken."""
    with naming("fill.spacing", "spacing"):
        check_grid_spacing(thickness, spacing)
    mean = float(np.mean(thickness))
    if mean > _MOST_LAYERS * spacing:
        raise InputError(
            f"depth: got slices {mean:g} thick on average on a grid of {spacing:g}, wants at most "
            f"{_MOST_LAYERS} layers each; is the unit the same?"
        )


def grid_spacing(plan: Plan, pixel: float) -> float:
    """Spacing of the grid along z."""
    return plan.fill.spacing or pixel


def places(
    work: Work, plan: Plan, told: dict[str, Any], slices: dict[str, Volume]
) -> dict[str, Any]:
    """Put slices on the grid; what lies between them has no label, or grey value 0."""
    first = next(iter(slices.values()))
    spacing = grid_spacing(plan, first.spacing[2])
    positions = np.concatenate([[0.0], np.cumsum(told["thickness"])])
    found = reposition(positions, spacing)
    moved = np.abs(found - own_places(positions, spacing))
    # Layers are labelled from the stacks themselves: one is enough to look at.
    shown = dict(list(slices.items())[:1]) if plan.order == "layers" else slices
    for name, volume in shown.items():
        work.write(
            name, _with_gaps(volume, found, spacing, NO_LABEL if plan.order == "labels" else 0)
        )
    return {
        "places": found,
        "positions": positions,
        "depth": int(found[-1]) + 1,
        "spacing": spacing,
        "moved": int((moved > 0).sum()),
        "displacement": float(moved.sum() * spacing),
        "gaps": 1.0 - found.size / (int(found[-1]) + 1.0),
        "unit": first.unit,
    }


def filled(
    work: Work, plan: Plan, told: dict[str, Any], slices: dict[str, Volume], phases: int
) -> dict[str, Any]:
    """Fill the gaps between slices at their places; labels of two `phases` by the network."""
    labels = plan.order == "labels"
    usual = ("learned" if phases == 2 else "distance") if labels else "spline"
    method = plan.fill.method or usual
    for name, volume in slices.items():
        made = fill(
            volume, np.asarray(told["places"]), method=method,
            kind="labels" if labels else "grey", spacing=told["spacing"],
            network=plan.fill.network or None,
        )  # fmt: skip
        work.write(name, like(made, volume.dtype))
    return {"method": method}


def _with_gaps(volume: Volume, at: np.ndarray, spacing: float, empty: int) -> Volume:
    depth = int(at[-1]) + 1

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        size = (z.stop - z.start, y.stop - y.start, x.stop - x.start)
        made = np.full(size, empty, volume.dtype)
        held = np.flatnonzero((at >= z.start) & (at < z.stop))
        if held.size:
            part = volume.read(slice(int(held[0]), int(held[-1]) + 1), y, x)
            made[at[held] - z.start] = part
        return made

    return replace(
        volume,
        shape=(depth, *volume.shape[1:]),
        reader=read,
        spacing=(spacing, *volume.spacing[1:]),
        chunks=(1, *volume.chunks[1:]),
    )
