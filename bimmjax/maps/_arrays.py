"""The arrays of a map set as TensorStore keeps them: on disk or in memory, by the same code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.maps._metadata import Description
from bimmjax.volumes._volume import one_line

META = "zarr.json"


class Place(NamedTuple):
    """Where keys are kept: a TensorStore key-value store as JSON, and what it lives in."""

    spec: dict[str, Any]
    context: Any

    def keys(self) -> Any:
        """The key-value store."""
        import tensorstore as ts

        return ts.KvStore.open(self.spec, context=self.context).result()

    def array(self, name: str) -> Any:
        """A future of the array."""
        import tensorstore as ts

        spec = {
            "driver": "zarr3",
            "kvstore": {**self.spec, "path": f"{self.spec.get('path', '')}{name}/"},
            # A chunk exists once it is written, whatever stands in it.
            "store_data_equal_to_fill_value": True,
        }
        return ts.open(spec, context=self.context, open=True, read=True, write=True)


def memory() -> Place:
    """A place of its own in memory."""
    import tensorstore as ts

    # Its own context, because that is what holds the memory.
    return Place({"driver": "memory"}, ts.Context())


def files(folder: Path) -> Place:
    """A folder that exists."""
    import tensorstore as ts

    return Place({"driver": "file", "path": f"{folder}/"}, ts.Context())


def encode(meta: Mapping[str, Any]) -> bytes:
    """The content of a `zarr.json`."""
    return (json.dumps(meta, allow_nan=False) + "\n").encode()


def write_structure(place: Place, group: Mapping[str, Any]) -> None:
    """Metadata of all arrays, then of the group."""
    keys = place.keys()
    arrays = group["consolidated_metadata"]["metadata"]
    try:
        writing = [keys.write(f"{name}/{META}", encode(meta)) for name, meta in arrays.items()]
        for future in writing:
            future.result()
        keys.write(META, encode(group)).result()
    except Exception as error:
        raise OSError(one_line(error)) from error


def open_arrays(place: Place, description: Description, argument: str) -> dict[str, Any]:
    """All arrays at once; an `InputError` that names the first which is not as described."""
    arrays: dict[str, Any] = {}
    opening = {name: place.array(name) for name in description.columns}
    for name, future in opening.items():
        try:
            array = arrays[name] = future.result()
            found = (array.shape, array.dtype.numpy_dtype, array.chunk_layout.write_chunk.shape)
            dtype = np.dtype(description.columns[name])
            if found != (description.shape, dtype, description.chunk):
                raise ValueError("its metadata and those of the group differ")
        except Exception as error:
            raise InputError(
                f"{argument}: got {place.spec.get('path', 'maps in memory').rstrip('/')}, whose "
                f"map {name} is missing or damaged ({one_line(error)}); wants a whole map set or "
                "a new folder"
            ) from error
    return arrays
