"""The metadata of a map set: a zarr 3 group, OME-Zarr 0.5, and what only we know.

The group's own attributes are, besides `ome`, all below `bimmjax`, `map`:

`version`, `columns` (dtype, unit and meaning of each), `flags` (code and meaning of each name),
`windows` (volume_shape, block, stride, origin), `times`, `spacing` and `unit` of the volume's
voxels, `identity` (the options that made it), `attributes` (whatever else, the global fit
included).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bimmjax.maps._columns import unit_of
from bimmjax.maps._flags import MEANING, Flag
from bimmjax.maps._meaning import meaning_of
from bimmjax.maps._windows import Windows
from bimmjax.volumes._units import Spacing, udunits

VERSION = 1


@dataclass(frozen=True)
class Description:
    """What a map set is, apart from its numbers.

    Attributes
    ----------
    windows : Windows
    columns : dict
        dtype by name, in order.
    times : tuple of float or None
        One per volume.
    spacing, unit
        Of the volume's voxels, (z, y, x).
    identity, attributes : dict
        JSON-able.
    """

    windows: Windows
    columns: dict[str, str]
    times: tuple[float, ...] | None
    spacing: Spacing
    unit: str
    identity: dict[str, Any]
    attributes: dict[str, Any]

    @property
    def volumes(self) -> int:
        """How many volumes were mapped."""
        return 1 if self.times is None else len(self.times)

    @property
    def series(self) -> bool:
        """Whether the maps have an axis of time."""
        return self.volumes > 1

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes of every map."""
        return (*("t" if self.series else ""), "z", "y", "x")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of every map."""
        return (*([self.volumes] if self.series else []), *self.windows.shape)

    @property
    def chunk(self) -> tuple[int, ...]:
        """Of every map: one unit of one time."""
        return (*([1] if self.series else []), *self.windows.chunk)

    @property
    def step(self) -> Spacing:
        """From one window to the next, (z, y, x), in `unit`."""
        z, y, x = (n * s for n, s in zip(self.windows.stride, self.spacing, strict=True))
        return (z, y, x)

    @property
    def origin(self) -> Spacing:
        """Centre of the first window, where the first voxel's centre is at 0; in `unit`."""
        z, y, x = (
            (first + (n - 1) / 2) * s
            for first, n, s in zip(
                self.windows.origin, self.windows.block, self.spacing, strict=True
            )
        )
        return (z, y, x)

    @property
    def time_step(self) -> tuple[float, float]:
        """First time and even step of a series; (0, 1), its indices, where steps are uneven."""
        times = np.asarray(self.times, float)
        steps = np.diff(times)
        even = steps.size > 0 and steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-6, atol=0)
        return (float(times[0]), float(steps[0])) if even else (0.0, 1.0)

    def unit_of(self, column: str) -> str:
        """The unit of a column in words; "" for pure numbers."""
        return unit_of(column, self.unit, str(self.attributes.get("intensity_unit", "grey value")))

    def with_attributes(self, extra: Mapping[str, Any]) -> Description:
        """The same with some attributes added or replaced."""
        return replace(self, attributes={**self.attributes, **plain(extra)})


def group_metadata(of: Description, name: str) -> dict[str, Any]:
    """The content of the group's `zarr.json`.

    Metadata of all arrays stand in it too, as zarr-python consolidates them: readers need not list
    the folder, in which there are files that are not zarr's.
    """
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"ome": _ome(of, name), "bimmjax": {"map": _ours(of)}},
        "consolidated_metadata": {
            "kind": "inline",
            "must_understand": False,
            "metadata": {column: array_metadata(of, column) for column in of.columns},
        },
    }


def array_metadata(of: Description, column: str) -> dict[str, Any]:
    """The content of one array's `zarr.json`."""
    dtype = np.dtype(of.columns[column])
    fill: Any = "NaN" if dtype.kind == "f" else 0
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(of.shape),
        "data_type": str(dtype),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(of.chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "zstd", "configuration": {"level": 1, "checksum": True}},
        ],
        "fill_value": int(Flag.PENDING) if column == "flags" else fill,
        "dimension_names": list(of.axes),
        "storage_transformers": [],
        "attributes": {"unit": of.unit_of(column), "long_name": meaning_of(column)},
    }


def described(group: Mapping[str, Any]) -> Description | None:
    """What a group's `zarr.json` tells, None if it is not a map set's.

    Raises
    ------
    ValueError
        It is a map set's, and something is missing or of another version.
    """
    attributes = group.get("attributes")
    ours = attributes.get("bimmjax") if isinstance(attributes, dict) else None
    told = ours.get("map") if isinstance(ours, dict) else None
    if not isinstance(told, dict):
        return None
    if told.get("version") != VERSION:
        raise ValueError(f"its format is version {told.get('version')}, known is {VERSION}")
    try:
        windows = Windows(**{name: _triple(three) for name, three in told["windows"].items()})
        if min(windows.shape) < 1 or "flags" not in told["columns"]:
            raise ValueError
        z, y, x = (float(s) for s in told["spacing"])
        return Description(
            windows=windows,
            columns={name: str(np.dtype(c["dtype"])) for name, c in told["columns"].items()},
            times=None if told["times"] is None else tuple(float(t) for t in told["times"]),
            spacing=(z, y, x),
            unit=str(told["unit"]),
            identity=dict(told["identity"]),
            attributes=dict(told["attributes"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError("its attributes do not make sense") from error


def plain(value: Any) -> Any:
    """The same with nothing but what JSON knows: lists for tuples and arrays, None for NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _ours(of: Description) -> dict[str, Any]:
    return {
        "version": VERSION,
        "columns": {
            name: {"dtype": dtype, "unit": of.unit_of(name), "meaning": meaning_of(name)}
            for name, dtype in of.columns.items()
        },
        "flags": {
            str(flag.name): {"code": int(flag), "meaning": meaning}
            for flag, meaning in MEANING.items()
        },
        "windows": plain({**asdict(of.windows), "stored_chunk": of.windows.chunk}),
        "times": plain(of.times),
        "spacing": list(of.spacing),
        "unit": of.unit,
        "identity": of.identity,
        "attributes": of.attributes,
    }


def _ome(of: Description, name: str) -> dict[str, Any]:
    """OME-Zarr 0.5: one image a map, placed so that its voxels are centred on the windows."""
    unit = udunits(of.unit)
    space = {"type": "space"} | ({"unit": unit} if unit else {})
    axes: list[dict[str, str]] = [{"name": axis, **space} for axis in "zyx"]
    scale, shift = list(of.step), list(of.origin)
    if of.series:
        start, step = of.time_step
        axes.insert(0, {"name": "t", "type": "time"})
        scale.insert(0, step)
        shift.insert(0, start)
    transforms = [
        {"type": "scale", "scale": scale},
        {"type": "translation", "translation": shift},
    ]
    images = [
        {
            "name": column,
            "axes": axes,
            "datasets": [{"path": column, "coordinateTransformations": transforms}],
        }
        for column in of.columns
    ]
    return {"version": "0.5", "name": name, "multiscales": images}


def _triple(three: Sequence[int]) -> tuple[int, int, int]:
    z, y, x = (int(n) for n in three)
    return (z, y, x)
