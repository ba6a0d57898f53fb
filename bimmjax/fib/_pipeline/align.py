"""From raw stacks to clean ones that lie on each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bimmjax.fib._clean.brightness import equalise_brightness
from bimmjax.fib._clean.curtains import remove_curtains
from bimmjax.fib._clean.denoise import denoise
from bimmjax.fib._pipeline.naming import naming
from bimmjax.fib._pipeline.plan import Plan, Region
from bimmjax.fib._pipeline.step import Done, Work
from bimmjax.fib._register.field import common_field, drop_slices, move_slices
from bimmjax.fib._register.onto import register_onto
from bimmjax.fib._register.registration import cut_region
from bimmjax.fib._register.stack import register_stack
from bimmjax.fib._register.tilt import untilt
from bimmjax.volumes import Volume


def register(work: Work, plan: Plan, stacks: Mapping[str, Volume]) -> dict[str, Any]:
    """Move all slices of all stacks to where the first one of the reference lies; cut and write."""
    raw = {name: drop_slices(volume, plan.register.drop) for name, volume in stacks.items()}
    cut = {name: cut_region(volume, _sides(specimen(plan, volume))) for name, volume in raw.items()}
    told: dict[str, Any] = {"slices": next(iter(raw.values())).shape[0]}
    if plan.register.skip:
        moved = cut
        told |= {"shifts": {}, "refused": {}}
    else:
        found = _shifts(work, plan, raw, cut)
        told |= {
            "shifts": {name: one.shifts for name, one in found.items()},
            "refused": {name: np.flatnonzero(one.refused) for name, one in found.items()},
            "correlation": {name: one.correlation for name, one in found.items()},
            "reference": reference_of(plan),
        }
        shape = next(iter(cut.values())).shape
        field = common_field([one.shifts for one in found.values()], shape)
        # In pixels of the raw images.
        y0, _, x0, _ = specimen(plan, next(iter(raw.values())))
        told["field"] = [y0 + field[0].start, y0 + field[0].stop,
                         x0 + field[1].start, x0 + field[1].stop]  # fmt: skip
        moved = {
            name: like(move_slices(cut[name], one.shifts, field), cut[name].dtype)
            for name, one in found.items()
        }
    for name, volume in moved.items():
        level = volume
        if plan.register.tilt < 90.0:
            level = like(untilt(volume, plan.register.tilt), volume.dtype)
        work.write(name, level, whole_slices=True)
    return told


def reference_of(plan: Plan) -> str:
    """Name of the stack that the others are moved onto: the middle one unless told."""
    names = list(plan.stacks)
    return plan.register.reference or names[len(names) // 2]


def specimen(plan: Plan, volume: Volume) -> Region:
    """The pixels of the raw images that show the specimen."""
    if plan.crop is not None:
        return plan.crop
    first = 0
    # A ruler lies on top of the specimen.
    if plan.depth.source == "ruler" and plan.depth.ruler is not None:
        first = plan.depth.ruler[1]
    return first, volume.shape[1], 0, volume.shape[2]


def clean(work: Work, plan: Plan, registered: Done) -> dict[str, Any]:
    """Equalise, take stripes out, denoise; each stack by itself."""
    told: dict[str, Any] = {"brightness": {}}
    for name in plan.stacks:
        volume = before = registered.volume(name)
        if plan.clean.brightness and volume.shape[0] > 1:
            found = equalise_brightness(volume, progress=work.tell(f"brightness of {name}"))
            volume = found.volume
            told["brightness"][name] = {"gain": found.gains, "offset": found.offsets}
        if plan.clean.curtains:
            volume = remove_curtains(volume)
        if plan.clean.denoise != "none":
            volume = denoise(volume, plan.clean.denoise)
        work.write(name, like(volume, before.dtype), whole_slices=True)
    return told


def like(volume: Volume, dtype: np.dtype[Any]) -> Volume:
    """A lazy volume in the type of grey values that its source has, rounded and cut to its range.

    Interpolation makes floats of 8-bit images, four times as large, for no more than their noise.
    """
    whole = dtype.kind in "iu"
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if whole else (-np.inf, np.inf)

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        found = np.empty([s.stop - s.start for s in (z, y, x)], dtype)
        # Slice by slice: floats take much more memory.
        for k, i in enumerate(range(z.start, z.stop)):
            values = volume.read(slice(i, i + 1), y, x)[0]
            if whole and values.dtype.kind == "f":
                values = np.clip(np.rint(np.nan_to_num(values)), low, high)
            found[k] = values
        return found

    return replace(volume, dtype=dtype, reader=read)


def _sides(region: Region) -> tuple[tuple[int, int], tuple[int, int]]:
    y0, y1, x0, x1 = region
    return (y0, y1), (x0, x1)


def _shifts(
    work: Work, plan: Plan, raw: Mapping[str, Volume], cut: Mapping[str, Volume]
) -> dict[str, Any]:
    """Of every slice of every stack, against the first slice of the reference."""
    told = plan.register
    region = None if told.region is None else _sides(told.region)
    reach = told.reach or None
    seen = cut if region is None else raw
    with naming("register.region", "region"), naming("register.reach", "reach"):
        return _compared(work, plan, seen, region, reach)


def _compared(
    work: Work, plan: Plan, seen: Mapping[str, Volume], region: Any, reach: int | None
) -> dict[str, Any]:
    told, reference = plan.register, reference_of(plan)
    base = register_stack(
        seen[reference],
        region=region,
        reach=reach,
        detrend=told.detrend or None,
        progress=work.tell(f"drift of {reference}"),
    )
    found = {reference: base}
    for name, volume in seen.items():
        if name != reference:
            onto = register_onto(
                volume, seen[reference], region=region, reach=reach,
                progress=work.tell(f"{name} onto {reference}"),
            )  # fmt: skip
            found[name] = onto._replace(
                shifts=onto.shifts + base.shifts, refused=onto.refused | base.refused
            )
    return {name: found[name] for name in seen}
