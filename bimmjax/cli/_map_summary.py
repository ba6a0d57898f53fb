"""What `map.json` holds."""

from __future__ import annotations

import math
from typing import Any

from bimmjax import __version__
from bimmjax.cli._text import strict_json
from bimmjax.maps import MEANING, Maps
from bimmjax.maps._flags import UNUSABLE
from bimmjax.maps._windows import SMALLEST_BLOCK, Windows


def map_summary(maps: Maps, command: str) -> dict[str, Any]:
    """Options, whole-volume fits, counts, means, times and the legend of the table; strict JSON."""
    windows = maps.windows
    summary = maps.summary()
    by_time = {}
    if maps.series:
        by_time["by_time"] = [
            {"time": moment, **maps.summary(index)} for index, moment in enumerate(maps.times or ())
        ]
    return strict_json(
        {
            "bimmjax": __version__,
            "command": command,
            "options": maps.store.identity,
            "blocks": {
                "block": windows.block,
                "stride": windows.stride,
                "shape": windows.shape,
                "count": windows.count,
                "volume_shape": windows.volume_shape,
                "voxels_in_no_block": left_over(windows),
            },
            "spacing": maps.spacing,
            "units": {"length": maps.length_unit},
            "times": maps.times,
            "summary": {**summary, **by_time},
            "seconds": maps.attributes.get("seconds"),
            "fits_per_second": fits_per_second(maps),
            "columns": {
                **_places(maps),
                **{
                    name: {"unit": maps.unit(name), "meaning": maps.meaning(name)}
                    for name in maps.columns
                },
            },
            "flags": {
                str(flag.name): {
                    "code": int(flag),
                    "meaning": meaning,
                    "usable": not flag & UNUSABLE,
                }
                for flag, meaning in MEANING.items()
            },
            "global_fit": maps.attributes.get("global_fit"),
            "correction": maps.attributes.get("correction"),
        }
    )


def left_over(windows: Windows) -> int:
    """Voxels that are in no block: beyond the last of them, and between them if they lie apart.

    Examples
    --------
    >>> left_over(Windows((70, 64, 64), (32, 32, 32), (32, 32, 32)))
    24576
    """
    covered = (
        min(b, s) * (n - 1) + b
        for b, s, n in zip(windows.block, windows.stride, windows.shape, strict=True)
    )
    return math.prod(windows.volume_shape) - math.prod(covered)


def fitting_block(windows: Windows) -> tuple[int, int, int]:
    """Edges near those of the blocks, by which the volume divides with hardly a rest.

    Examples
    --------
    >>> fitting_block(Windows((160, 144, 144), (64, 64, 64), (64, 64, 64)))
    (53, 72, 72)
    """
    z, y, x = map(_fitting_edge, windows.volume_shape, windows.block)
    return z, y, x


def _fitting_edge(length: int, edge: int) -> int:
    """The nearer, as a ratio, of as many whole parts as fit now and of one more."""
    parts = length // edge
    edges = [length // n for n in (parts, parts + 1) if length // n >= SMALLEST_BLOCK]
    return min(edges, key=lambda e: max(e / edge, edge / e))


def fits_per_second(maps: Maps) -> float | None:
    """Over all runs that ended well, compilation included; None if they are not known."""
    seconds = (maps.attributes.get("seconds") or {}).get("blocks")
    fits = maps.attributes.get("fits")
    return fits / seconds if fits and seconds else None


def _places(maps: Maps) -> dict[str, dict[str, str]]:
    """The columns of the table that tell which block it is."""
    time = {} if maps.times is None else {"time": {"unit": "", "meaning": "That of the volume"}}
    return time | {
        axis: {"unit": "voxel", "meaning": f"First voxel of the block along {axis}"}
        for axis in "zyx"
    }
