"""What can be refused before the first step, which may take hours."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.fib._fill.trained import load_inpainting
from bimmjax.fib._pipeline.align import specimen
from bimmjax.fib._pipeline.label import check_label
from bimmjax.fib._pipeline.naming import naming
from bimmjax.fib._pipeline.place import check_grid, grid_spacing, thickness_from_file
from bimmjax.fib._pipeline.plan import Depth, Plan, Region
from bimmjax.fib._thickness.result import even_thickness
from bimmjax.volumes import Volume, open_volume

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_stacks(plan: Plan, given: Mapping[str, Any], steps: Collection[str]) -> dict[str, Volume]:
    """The stacks, opened, with their pixel size; an `InputError` if the plan cannot be for them.

    steps : those that are to be done.
    """
    opened: dict[str, Volume] = {}
    for name, source in given.items():
        if not _NAME.fullmatch(name) or name == "labels":
            raise InputError(
                f"stacks: got name {name!r}, wants letters, digits, . _ - (not labels)"
            )
        opened[name] = open_volume(source, spacing=plan.pixel or None, unit=plan.unit or None)
    if plan.pixel and not plan.unit:
        raise InputError("unit: got none, wants that of the pixel size")
    first_name, first = next(iter(opened.items()))
    for name, volume in opened.items():
        if volume.shape != first.shape:
            raise InputError(
                f"stacks: got {name} of shape {volume.shape} and {first_name} of {first.shape}, "
                "wants stacks of one shape"
            )
        alike = np.allclose(volume.spacing[1:], first.spacing[1:], rtol=1e-6, atol=0.0)
        if not alike or volume.unit != first.unit:
            raise InputError(
                f"stacks: got {name} with pixels of {volume.spacing[1:]} {volume.unit} and "
                f"{first_name} of {first.spacing[1:]} {first.unit}, wants one pixel size"
            )
    if first.unit == "voxel":
        raise InputError("pixel: got none, and stacks that tell none; wants it, and its unit")
    if plan.register.reference and plan.register.reference not in opened:
        raise InputError(
            f"register.reference: got {plan.register.reference}, wants one of {', '.join(opened)}"
        )
    count = first.shape[0] - plan.register.drop
    if count < 2:
        dropped = f" ({plan.register.drop} dropped)" if plan.register.drop else ""
        raise InputError(f"stacks: got {first.shape[0]} slices{dropped}, wants at least two")
    regions = {
        "register.region": plan.register.region,
        "depth.ruler": plan.depth.ruler,
        "crop": specimen(plan, first),
    }
    for name, region in regions.items():
        if region is not None:
            _check_within(name, region, first)
    if "label" in steps:
        check_label(plan)
    if "thickness" in steps:
        _check_complete(plan.depth)
        _check_thickness(plan, first)
    if "fill" in steps and plan.fill.network:
        with naming("fill.network", "network"):
            load_inpainting(plan.fill.network)
    return opened


def _check_within(name: str, region: Region, volume: Volume) -> None:
    y0, y1, x0, x1 = region
    height, width = volume.shape[1:]
    if y1 > height or x1 > width or y0 >= y1 or x0 >= x1:
        raise InputError(
            f"{name}: got {y0} {y1} {x0} {x1}, wants a box within {height} rows and {width} columns"
        )


def _check_thickness(plan: Plan, first: Volume) -> None:
    """As far as it is known before any step."""
    slices = (plan.register.drop, first.shape[0])
    if plan.depth.source == "even":
        found = even_thickness(slices[1] - slices[0], plan.depth.mean)
    elif plan.depth.source == "file":
        found = thickness_from_file(plan, first, slices)
    else:
        return
    check_grid(found.thickness, grid_spacing(plan, first.spacing[2]))


def _check_complete(depth: Depth) -> None:
    """Refuse a source of thicknesses that lacks what it is told by."""
    if depth.source == "even" and depth.mean == 0:
        raise InputError("depth.mean: got none, wants the thickness of slices (or another source)")
    if depth.source == "file" and not depth.file:
        raise InputError("depth.file: got none, wants a file of thicknesses")
    if depth.source == "ruler":
        if depth.ruler is None:
            raise InputError("depth.ruler: got none, wants the box that shows the ruler's marks")
        if not 0 < depth.angle < 90:
            raise InputError(
                f"depth.angle: got {depth.angle:g}, wants the degrees between an inclined mark "
                "and the milling direction"
            )
