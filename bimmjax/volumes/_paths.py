"""Paths as TensorStore takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def file_store(folder: Path) -> dict[str, Any]:
    """TensorStore's key-value store of a folder; it refuses paths with `..` in them."""
    path = folder.absolute()
    if ".." in path.parts:
        last = len(path.parts) - path.parts[::-1].index("..")
        # The system's `..` leads out of where a link points to, not out of where it stands.
        path = Path(*path.parts[:last]).resolve().joinpath(*path.parts[last:])
    return {"driver": "file", "path": f"{path}/"}
