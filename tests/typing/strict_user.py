"""What a user writes, under pyright's strict mode; read by a type checker, never run."""
# pyright: strict

from __future__ import annotations

from pathlib import Path

import numpy as np
from jax import Array
from matplotlib.figure import Figure

import bimmjax
from bimmjax.models import Params, bimm2d
from bimmjax.properties import interface_areas, properties, volume_fractions


def of_a_volume(path: Path) -> list[str]:
    """From a file to a fit, labels and their geometry."""
    volume = bimmjax.open_volume(path, spacing=0.5, unit="µm")
    sizes: tuple[int, ...] = volume.shape
    fit = bimmjax.fit(volume, phases=2, model="bimm2d", method="histogram")
    params: Params = fit.params
    content = fit.to_dict()
    labels = bimmjax.segment(volume, content, mrf=True)
    geometry = bimmjax.describe(labels, phases=2)
    porosity = geometry.volume_fractions[0]
    check = bimmjax.cross_check(volume, fit)
    picture: Figure = bimmjax.plot.intensity(fit)
    page = bimmjax.report.write_report(fit, volume, path.parent)
    return [
        f"{sizes} {porosity} {check.agrees} {params.intensities} {picture} {page.name}",
        *fit.warnings,
    ]


def of_blocks(volume: np.ndarray) -> float:
    """Maps of a volume in memory."""
    maps = bimmjax.map_fits(volume, block=(32, 32, 32), free="weights")
    usable = maps["volume_fraction_0"][maps.usable]
    for data, keywords, kind in maps.layers():
        print(kind, data.shape, keywords["name"])
    picture: Figure = bimmjax.plot.map_slices(maps)
    print(picture)
    return float(usable.mean())


def of_parameters(params: Params, u: Array, v: Array) -> Array:
    """Densities and properties."""
    density = bimm2d.log_prob(params, u, v).sum()
    found = properties(params, spacing=0.5)
    areas = interface_areas(params)
    fractions = volume_fractions(params)
    total = fractions.sum() if areas is None else fractions.sum() + areas.sum()
    return density + total + found.volume_fractions[0]


def of_a_network(images: np.ndarray, labels: np.ndarray) -> str:
    """Training and prediction."""
    trained = bimmjax.nets.train(
        {"network": "unet", "epochs": 1}, images, labels, out="net", progress=told
    )
    predicted = bimmjax.predict("net", images)
    return f"{trained.recipe.network} {trained.history[-1]} {predicted}"


def of_a_stack() -> tuple[int, ...]:
    """From slices to labels."""
    done = bimmjax.reconstruct({"SE": "slices"}, out="reconstruction", until="register")
    return done.steps["register"].volume("SE").shape + done.labels.shape


def told(done: int, steps: int) -> None:
    """Report progress."""
    print(f"{done} of {steps}")
