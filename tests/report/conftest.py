"""Fits written by hand, so that pictures and pages are tested without an optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from bimmjax import sim
from bimmjax.fitting import Fit
from bimmjax.models import Params
from bimmjax.properties import Properties, properties
from bimmjax.volumes import Volume, joint_histogram, open_volume


def _volume(phases: int) -> Volume:
    made = sim.artificial_volume(
        jax.random.key(phases),
        (40, 44, 48),
        fractions=[1.0 / phases] * phases,
        blur_std=1.2,
        noise_std=0.08,
        feature_length=6.0,
        with_area=False,
    )
    grey = sim.to_integers(made.image, scale=150.0, offset=40.0)
    return open_volume(grey, spacing=0.65, unit="um")


def _fit(volume: Volume, phases: int, model: str = "bimm2d", **changes: object) -> Fit:
    pairs = phases * (phases - 1) // 2
    interfaces = model != "gmm" and pairs > 0
    two_dimensional = model == "bimm2d"
    interior = 0.6 if interfaces else 1.0
    field: Any = np.asarray  # the fields of a fit are NumPy arrays, whatever Params says
    params = Params(
        intensities=field(np.linspace(40.0, 190.0, phases)),
        noise_std=field(12.0),
        correlation=field(0.0) if two_dimensional else None,
        blur_std=field(1.2) if two_dimensional and interfaces else None,
        interface_halfwidth=field(2.1) if model.startswith("bimm") and interfaces else None,
        interior_weights=field(np.full(phases, interior / phases)),
        interface_weights=field(np.full(pairs, 0.4 / pairs) if interfaces else [], float),
        interface_tilt=None,
        interface_bend=None,
    )
    edge = volume.spacing[0]
    told = properties(params, edge)
    around = None
    if two_dimensional and phases == 2:
        around = {
            "volume_fractions": [[0.48, 0.52], None],
            "interface_areas": {"0-1": [0.11, 0.13]},
            "resolution_10_90": [1.97, 2.03],
            "noise_std": [11.9, 12.1],
            "intensities": [[39.9, 40.1], [189.0, 191.0]],
        }
    values: dict[str, Any] = {
        "model": model,
        "phases": phases,
        "method": "histogram",
        "gradient": "central_difference",
        "noise": "shared",
        "interface": "flat",
        "seed": 0,
        "params": params,
        "properties": Properties(*(None if x is None else field(x) for x in told)),  # type: ignore[arg-type]
        "confidence": around,
        "sampling": None,
        "spacing": volume.spacing,
        "length_unit": volume.unit,
        "intensity_unit": "grey value",
        "nll": 7.0,
        "goodness_of_fit": 0.02,
        "warnings": (),
        "code": 0,
        "voxels": 1,
        "seconds": {"read": 0.01, "fit": 0.2},
        "histogram": joint_histogram(volume),
        "node_count": 32,
    }
    values["voxels"] = values["histogram"].voxels
    values.update(changes)
    return Fit(**values)


@pytest.fixture(scope="session")
def volumes() -> dict[int, Volume]:
    return {phases: _volume(phases) for phases in (2, 3)}


@pytest.fixture(scope="session")
def make_fit(volumes: dict[int, Volume]) -> Callable[..., Fit]:
    """`make_fit(phases, model, **changes)`: a fit of the volume with so many phases."""

    def make(phases: int = 2, model: str = "bimm2d", **changes: object) -> Fit:
        return _fit(volumes[max(phases, 2)], phases, model, **changes)

    return make
