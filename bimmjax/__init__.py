"""bimmjax: the microstructure of 3D tomography volumes, in JAX.

Everything public is loaded on first use, so `import bimmjax` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bimmjax import (
        descriptors,
        fib,
        fitting,
        maps,
        models,
        nets,
        plot,
        properties,
        report,
        segmentation,
        sim,
        volumes,
    )
    from bimmjax._core.checks import InputError
    from bimmjax.descriptors import Description, Scores, describe, evaluate
    from bimmjax.fib import reconstruct
    from bimmjax.fitting import Fit, fit
    from bimmjax.maps import Maps, map_fits, open_maps
    from bimmjax.models import Params
    from bimmjax.nets import compare, predict, train
    from bimmjax.segmentation import cross_check, segment
    from bimmjax.volumes import Volume, convert, open_volume

_HOME = {
    "InputError": "bimmjax._core.checks",
    "Description": "bimmjax.descriptors",
    "Scores": "bimmjax.descriptors",
    "describe": "bimmjax.descriptors",
    "evaluate": "bimmjax.descriptors",
    "reconstruct": "bimmjax.fib",
    "Fit": "bimmjax.fitting",
    "fit": "bimmjax.fitting",
    "Maps": "bimmjax.maps",
    "map_fits": "bimmjax.maps",
    "open_maps": "bimmjax.maps",
    "Params": "bimmjax.models",
    "compare": "bimmjax.nets",
    "predict": "bimmjax.nets",
    "train": "bimmjax.nets",
    "cross_check": "bimmjax.segmentation",
    "segment": "bimmjax.segmentation",
    "Volume": "bimmjax.volumes",
    "convert": "bimmjax.volumes",
    "open_volume": "bimmjax.volumes",
}
_SUBPACKAGES = (
    "descriptors",
    "fib",
    "fitting",
    "maps",
    "models",
    "nets",
    "plot",
    "properties",
    "report",
    "segmentation",
    "sim",
    "volumes",
)

__all__ = [
    "Description",
    "Fit",
    "InputError",
    "Maps",
    "Params",
    "Scores",
    "Volume",
    "__version__",
    "compare",
    "convert",
    "cross_check",
    "describe",
    "descriptors",
    "evaluate",
    "fib",
    "fit",
    "fitting",
    "map_fits",
    "maps",
    "models",
    "nets",
    "open_maps",
    "open_volume",
    "plot",
    "predict",
    "properties",
    "reconstruct",
    "report",
    "segment",
    "segmentation",
    "sim",
    "train",
    "volumes",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"bimmjax.{name}")
    raise AttributeError(f"module 'bimmjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
