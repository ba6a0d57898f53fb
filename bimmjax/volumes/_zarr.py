"""Chunked arrays by TensorStore: OME-Zarr 0.4 and 0.5, zarr 2 and 3, N5, precomputed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bimmjax._core.checks import InputError
from bimmjax.volumes._arrays import store_volume
from bimmjax.volumes._paths import file_store
from bimmjax.volumes._units import UNKNOWN, Spacing, from_metadata
from bimmjax.volumes._volume import Volume, check_grid, one_line

CACHE_BYTES = 2**28
"""Decoded chunks kept per open volume, so that the halo of a block is not decoded twice."""

_MARKS = ("zarr.json", ".zarray", ".zgroup", ".zattrs", "attributes.json", "info")


def is_chunked(folder: Path) -> bool:
    """Whether a folder holds the metadata of a format read here."""
    return any((folder / mark).is_file() for mark in _MARKS)


def open_chunked(
    location: str | Path, dataset: str | None = None, *, fill_missing: bool = True
) -> Volume:
    """A lazy volume from a folder or a URL (`gs://`, `s3://`, `http(s)://`, `file://`).

    Parameters
    ----------
    location : str or Path
        The array, or a group around it.
    dataset : str, optional
        The array's path within the group (such as "1", the second level of an image pyramid), or
        the scale's key for precomputed. By default level 0, or the only 3D array there is.
    fill_missing : bool
        Whether a chunk that does not exist reads as the fill value; else it is an error to read.

    Raises
    ------
    InputError
        Not one of the formats, several candidates, or not a 3D array of grey values.
    """
    node = _Node(location, fill_missing)
    if (info := node.json("info")) is not None and "scales" in info:
        return _open_precomputed(node, info, dataset)
    if node.json("zarr.json") is None and node.json(".zarray") is None:
        attributes = node.json("attributes.json")
        if attributes is not None or node.location.lower().endswith(".n5"):
            return _open_n5(node, attributes or {}, dataset)
    return _open_zarr(node, dataset)


class _Node:
    """A folder in a key-value store: its metadata files, its sub-folders, its array."""

    def __init__(self, location: str | Path, fill_missing: bool = True) -> None:
        import tensorstore as ts

        self.fill_missing = fill_missing
        self.local = None if "://" in str(location) else Path(location)
        self.location = str(location).rstrip("/")
        self.name = self.location.rsplit("/", 1)[-1]
        if self.local is not None:
            self.name = self.local.resolve().name
            self.kvstore: Any = file_store(self.local)
        else:
            self.kvstore = self.location + "/"
        try:
            self._store = ts.KvStore.open(self.kvstore).result()
        except Exception as error:
            raise InputError(
                f"source: got {self.location}, which cannot be opened ({one_line(error)})"
            ) from error

    def json(self, key: str) -> dict[str, Any] | None:
        """A metadata file, or None where there is none."""
        try:
            found = self._store.read(key).result()
            if found.state != "value":
                return None
            content = json.loads(found.value)
        except Exception as error:
            raise InputError(
                f"source: got {self.location}, whose {key} cannot be read ({one_line(error)})"
            ) from error
        return content if isinstance(content, dict) else None

    def child(self, path: str) -> _Node:
        if self.local is not None:
            return _Node(self.local / path.strip("/"), self.fill_missing)
        return _Node(f"{self.location}/{path.strip('/')}", self.fill_missing)

    def children(self) -> list[str]:
        """Names of the sub-folders; only local ones can be listed without reading every key."""
        if self.local is None:
            return []
        return sorted(entry.name for entry in os.scandir(self.local) if entry.is_dir())

    def attributes(self) -> dict[str, Any]:
        """User attributes of a zarr 2 or 3 node."""
        meta = self.json("zarr.json")
        return (self.json(".zattrs") or {}) if meta is None else meta.get("attributes") or {}

    def driver(self) -> str | None:
        """TensorStore's driver where the node is a zarr array."""
        meta = self.json("zarr.json")
        if meta is not None:
            return "zarr3" if meta.get("node_type") == "array" else None
        return "zarr" if self.json(".zarray") is not None else None

    def store(self, driver: str, **spec: Any) -> Any:
        """The open array, its domain moved to the origin."""
        import tensorstore as ts

        context = ts.Context(
            {
                "cache_pool": {"total_bytes_limit": CACHE_BYTES},
                "data_copy_concurrency": {"limit": max(2, os.cpu_count() or 2)},
            }
        )
        try:
            store = ts.open(
                {
                    "driver": driver,
                    "kvstore": self.kvstore,
                    "recheck_cached_data": "open",
                    "fill_missing_data_reads": self.fill_missing,
                    **spec,
                },
                read=True,
                open=True,
                context=context,
            ).result()
        except Exception as error:
            raise InputError(
                f"source: got {self.location}, which TensorStore's {driver} driver cannot open "
                f"({one_line(error)})"
            ) from error
        return store[ts.d[:].translate_to[0]]


def _volume(node: _Node, store: Any, name: str, kind: str) -> Volume:
    shape, dtype = check_grid(store.shape, store.dtype.numpy_dtype, node.location)
    return store_volume(store, shape, dtype, name, kind)


# zarr and OME-Zarr


def _open_zarr(node: _Node, dataset: str | None) -> Volume:
    attributes = node.attributes()
    if dataset is None and node.driver() is None and "bioformats2raw.layout" in attributes:
        return _open_zarr(node.child("0"), None)  # an image in a collection: the first
    image = _multiscale(attributes)
    if image is not None and (dataset is None or not _is_image(node, dataset)):
        return _open_image(node, image, dataset)
    if dataset is not None:
        parent, _, leaf = dataset.strip("/").rpartition("/")
        around = node.child(parent) if parent else node
        image = _multiscale(around.attributes())
        if image is not None and leaf in [d.get("path") for d in image.get("datasets", [])]:
            return replace(_open_image(around, image, leaf), name=node.name)
        return replace(_open_zarr(node.child(dataset), None), name=node.name)
    driver = node.driver()
    if driver is not None:
        kind = "zarr 3" if driver == "zarr3" else "zarr 2"
        return _volume(node, node.store(driver), node.name, kind)
    candidates = _candidates(node)
    if len(candidates) == 1:
        return replace(_open_zarr(node.child(candidates[0]), None), name=node.name)
    if candidates:
        raise InputError(
            f"dataset: got none for {node.location}, wants one of {', '.join(candidates)}"
        )
    raise InputError(
        f"source: got {node.location}, in which there is no 3D zarr array; wants an array, an "
        "OME-Zarr image or a group with one of them"
    )


def _is_image(node: _Node, path: str) -> bool:
    """Whether a path leads to an image of its own, such as the uncertainty beside labels."""
    return bool(path.strip("/")) and _multiscale(node.child(path).attributes()) is not None


def _candidates(node: _Node, depth: int = 3) -> list[str]:
    """Paths of the images and 3D arrays below a group."""
    found: list[str] = []
    for name in node.children():
        child = node.child(name)
        meta = child.json("zarr.json") or child.json(".zarray")
        if _multiscale(child.attributes()) is not None or len((meta or {}).get("shape", ())) == 3:
            found.append(name)
        elif (
            depth > 1
            and "shape" not in (meta or {})
            and child.driver() is None
            and (meta is not None or child.json(".zgroup") is not None)
        ):
            found += [f"{name}/{path}" for path in _candidates(child, depth - 1)]
    return found


def _multiscale(attributes: dict[str, Any]) -> dict[str, Any] | None:
    """The first multiscale image told by OME-Zarr attributes, 0.5 (below `ome`) or older."""
    images = attributes.get("ome", attributes).get("multiscales")
    return images[0] if isinstance(images, list) and images else None


def _open_image(node: _Node, image: dict[str, Any], dataset: str | None) -> Volume:
    levels = {str(d.get("path")): d for d in image.get("datasets", [])}
    path = next(iter(levels), None) if dataset is None else dataset.strip("/")
    if path is None or path not in levels:
        raise InputError(
            f"dataset: got {dataset!r} for {node.location}, wants one of its levels: "
            f"{', '.join(levels) or 'it has none'}"
        )
    leaf = node.child(path)
    driver = leaf.driver()
    if driver is None:
        raise InputError(
            f"source: got {node.location}, whose metadata tells of a level {path!r} that is not "
            "there; wants a whole OME-Zarr image"
        )
    store = leaf.store(driver)
    version = node.attributes().get("ome", image).get("version", "0.4" if driver == "zarr" else "")
    axes = _axes(node, image, store.rank)
    store, kept = _spatial(node, store, axes)
    spacing, unit = _image_spacing(image, levels[path], [axes[i] for i in kept], kept)
    volume = _volume(leaf, store, node.name, f"OME-Zarr {version}".strip())
    return replace(volume, spacing=spacing, unit=unit)


def _axes(node: _Node, image: dict[str, Any], rank: int) -> list[dict[str, Any]]:
    # Before 0.4 axes are plain names, before 0.3 there are none and the order is t, c, z, y, x.
    told = image.get("axes", list("tczyx"))
    axes = [a if isinstance(a, dict) else {"name": str(a)} for a in told]
    if len(axes) != rank:
        raise InputError(
            f"source: got {node.location}, whose metadata tells of {len(axes)} axes and whose "
            f"array has {rank}; wants valid OME-Zarr metadata"
        )
    return axes


def _spatial(node: _Node, store: Any, axes: list[dict[str, Any]]) -> tuple[Any, list[int]]:
    """Drop the axes that are not space, which must be of length one; z, y, x remain."""

    def is_space(axis: dict[str, Any]) -> bool:
        kind = axis.get("type")
        return kind == "space" if kind else str(axis.get("name")).lower() in ("z", "y", "x")

    kept = [i for i, axis in enumerate(axes) if is_space(axis)]
    for i, axis in enumerate(axes):
        if i not in kept and store.shape[i] != 1:
            raise InputError(
                f"source: got {node.location} with {store.shape[i]} steps along axis "
                f"{axis.get('name')!r}, wants one 3D volume: only z, y, x may be longer than 1"
            )
    names = [str(axes[i].get("name")).lower() for i in kept]
    if sorted(names) == ["x", "y", "z"]:
        kept = [kept[names.index(n)] for n in "zyx"]
    index = tuple(slice(None) if i in kept else 0 for i in range(store.rank))
    order = [sorted(kept).index(i) for i in kept]
    return store[index].transpose(order), kept


def _image_spacing(
    image: dict[str, Any], level: dict[str, Any], axes: list[dict[str, Any]], kept: list[int]
) -> tuple[Spacing, str]:
    """Scale of the level times the scale common to all levels, in the axes' unit."""
    size = [1.0] * len(kept)
    transforms = [
        *level.get("coordinateTransformations", []),
        *image.get("coordinateTransformations", []),
    ]
    try:
        for transform in transforms:
            if transform.get("type") == "scale":
                size = [s * float(transform["scale"][i]) for s, i in zip(size, kept, strict=True)]
    except (KeyError, IndexError, TypeError, ValueError):
        return UNKNOWN
    return from_metadata(size, [a.get("unit") for a in axes])


# N5


def _open_n5(node: _Node, attributes: dict[str, Any], dataset: str | None) -> Volume:
    around = attributes
    target = node
    if dataset is not None:
        target = node.child(dataset)
    elif "dimensions" not in attributes:
        names = _n5_candidates(node)
        if "s0" in names:  # a pyramid, as N5 viewers name its levels
            names = ["s0"]
        if len(names) != 1:
            raise InputError(
                f"dataset: got none for {node.location}, wants a 3D N5 array: "
                f"{', '.join(names) or 'none is found within'}"
            )
        target = node.child(names[0])
    own = target.json("attributes.json")
    if own is None or "dimensions" not in own:
        raise InputError(f"dataset: got {target.location}, which is not an N5 array")
    store = target.store("n5")
    volume = _volume(target, store.T, node.name, "N5")
    spacing, unit = _n5_spacing({**around, **own})
    return replace(volume, spacing=spacing, unit=unit)


def _n5_candidates(node: _Node, depth: int = 3) -> list[str]:
    """Paths of the 3D arrays below an N5 group; groups need no metadata."""
    found: list[str] = []
    for name in node.children():
        child = node.child(name)
        dimensions = (child.json("attributes.json") or {}).get("dimensions")
        if dimensions is None and depth > 1:
            found += [f"{name}/{path}" for path in _n5_candidates(child, depth - 1)]
        elif dimensions is not None and len(dimensions) == 3:
            found.append(name)
    return found


def _n5_spacing(attributes: dict[str, Any]) -> tuple[Spacing, str]:
    """`pixelResolution` or `resolution` with `units`, x first like the dimensions."""
    told = attributes.get("pixelResolution", attributes.get("resolution"))
    units = attributes.get("units")
    if isinstance(told, dict):
        units = told.get("unit")
        told = told.get("dimensions")
    if not (isinstance(told, list) and len(told) == 3):
        return UNKNOWN
    factors = attributes.get("downsamplingFactors", [1, 1, 1])
    names: Sequence[Any] = units if isinstance(units, list) and len(units) == 3 else [units] * 3
    try:
        size = [float(s) * float(f) for s, f in zip(told, factors, strict=True)]
    except (TypeError, ValueError):
        return UNKNOWN
    return from_metadata(size[::-1], [str(u) if u else None for u in names][::-1])


# neuroglancer precomputed


def _open_precomputed(node: _Node, info: dict[str, Any], dataset: str | None) -> Volume:
    keys = [str(scale.get("key")) for scale in info["scales"]]
    if dataset is not None and dataset not in keys:
        raise InputError(f"dataset: got {dataset!r}, wants one of the scales {', '.join(keys)}")
    index = keys.index(dataset) if dataset is not None else 0
    store = node.store("neuroglancer_precomputed", scale_index=index)
    if store.shape[3] != 1:
        raise InputError(
            f"source: got {node.location} with {store.shape[3]} channels, wants one grey value "
            "per voxel"
        )
    volume = _volume(node, store[..., 0].T, node.name, "neuroglancer precomputed")
    size = info["scales"][index].get("resolution", [1, 1, 1])
    spacing, unit = from_metadata(size[::-1], ["nm"] * 3)
    return replace(volume, spacing=spacing, unit=unit)
