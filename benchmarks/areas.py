"""Areas, fractions and blur of two-phase bodies with a sharp truth: how far each model is off."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bimmjax
from benchmarks._report import Table, say
from benchmarks._volumes import REAL
from bimmjax import sim
from bimmjax.fitting._two_scales import second_kernel, two_scales

BLURS = (0.7, 1.0, 1.5, 2.0)
NOISES = (0.05, 0.1)
MODELS: dict[str, dict[str, Any]] = {
    "paper": {"interface": "flat", "gradient": "plain"},
    "flat": {"interface": "flat"},
    "curved": {},
}
TWO = "curved, two scales"
# Fields whose 4 V₁V₂/A is about 16, 10 and 7.6 voxels, and rock: these may be looked at while a
# model is made. The others are not: they are scored.
_TUNED: dict[str, Callable[[int], sim.Body]] = {
    "field 16": lambda edge: _field(0, edge, (0.5, 0.5), 7.2),
    "field 10": lambda edge: _field(1, edge, (0.3, 0.7), 4.9),
    "field 7.6": lambda edge: _field(2, edge, (0.5, 0.5), 3.42),
    "rock A": lambda edge: _rock((0, 0, 0), edge),
    "rock B": lambda edge: _rock((200, 100, 150), edge),
}
_HELD_OUT: dict[str, Callable[[int], sim.Body]] = {
    "spheres R 8": lambda edge: sim.sphere_body(jax.random.key(10), _cube(edge), 8.0, 0.35),
    "spheres R 4": lambda edge: sim.sphere_body(jax.random.key(11), _cube(edge), 4.0, 0.2),
    "fibres R 3.5": lambda edge: sim.fibre_body(jax.random.key(12), _cube(edge), 3.5, 0.25),
    "sheets 6": lambda edge: sim.sheet_body(_cube(edge), 6.0, (3, 2, 1)),
    "rock C": lambda edge: _rock((280, 280, 20), edge),
    "field 12": lambda edge: _field(13, edge, (0.2, 0.8), 7.0),
}


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Fit every body at every blur and noise; tables of mean and worst errors."""
    edge = 64 if quick else 96
    tables, records = [], []
    for title, bodies in (("looked at while models were made", _TUNED), ("held out", _HELD_OUT)):
        found = list(_fits(bodies, edge, (0.1,) if quick else NOISES))
        records += found
        tables += [_by_blur(title, found), _by_body(title, found)]
    notes = [
        f"{edge}³ voxels, noise {'0.1' if quick else '0.05 and 0.1'} of the contrast, white",
        "areas and blur: fitted over true, less 1, in %; fractions: fitted less true",
        "two scales: where it is refused there is no number (see volumes)",
        "l/s: 4 V₁V₂ / (area · blur), the size of features in blurs",
    ]
    return {"tables": tables, "notes": notes, "records": records}


def imaged(body: sim.Body, blur_std: float, noise_std: float, seed: int = 0) -> np.ndarray:
    """Phases at 0, 1, ... rendered with partial volumes, blurred to `blur_std` in all, noisy."""
    phases = body.truth.fractions.size
    sharp = sim.image_of(body.structure, jnp.linspace(0.0, 1.0, phases), supersample=3)
    # The mean over 3³ points of a voxel blurs by itself.
    own = (1.0 - 1.0 / 9.0) / 12.0
    image = sim.blur(sharp, float(np.sqrt(blur_std**2 - own)))
    return np.asarray(sim.add_noise(jax.random.key(seed), image, noise_std))


def _fits(
    bodies: dict[str, Callable[[int], sim.Body]], edge: int, noises: tuple[float, ...]
) -> Iterator[dict[str, Any]]:
    for name, make in bodies.items():
        say(f"areas: {name}")
        body = make(edge)
        truth = body.truth
        area, share = float(truth.interface_areas[0]), float(truth.fractions[0])
        for blur_std in BLURS:
            for noise_std in noises:
                image = imaged(body, blur_std, noise_std)
                for model, options in MODELS.items():
                    fit = bimmjax.fit(_wrapped(image, 1), phases=2, intervals=False, **options)
                    found = fit.properties
                    assert found.interface_areas is not None
                    assert fit.params.blur_std is not None
                    fitted = {model: (float(found.interface_areas[0]), float(fit.params.blur_std))}
                    if model == "curved":
                        second = _second_look(image, fit)
                        if second["reason"] is None:
                            fitted[TWO] = second["interface_areas"]["0-1"], second["blur_std"]
                    for name_of_model, (its_area, its_blur) in fitted.items():
                        yield {
                            "body": name,
                            "blur_std": blur_std,
                            "noise_std": noise_std,
                            "model": name_of_model,
                            "size": 4.0 * share * (1.0 - share) / (area * blur_std),
                            "area": 100.0 * (its_area / area - 1.0),
                            "area_std": 100.0 * float(truth.interface_areas_std[0]) / area,
                            "fraction": float(found.volume_fractions[0]) - share,
                            "blur": 100.0 * (its_blur / blur_std - 1.0),
                        }


def _wrapped(image: np.ndarray, layers: int) -> np.ndarray:
    """Bodies are periodic: with more layers on every side all their voxels have neighbours."""
    return np.pad(image, layers, mode="wrap")


def _second_look(image: np.ndarray, fit: bimmjax.Fit) -> dict[str, Any]:
    """As `two_scales=True`, but on all voxels of the body, also where a volume would end."""
    reach = second_kernel(float(np.asarray(fit.params.blur_std))).reach
    return two_scales(bimmjax.open_volume(_wrapped(image, reach + 1)), fit.params, 0.0)


def _by_blur(title: str, records: list[dict[str, Any]]) -> Table:
    rows = []
    for model in (*MODELS, TWO):
        for blur_std in BLURS:
            some = [r for r in records if r["model"] == model and r["blur_std"] == blur_std]
            areas, shares, blurs = (
                np.abs([r[key] for r in some]) for key in ("area", "fraction", "blur")
            )
            row = [
                model,
                blur_std,
                len(some),
                areas.mean(),
                areas.max(),
                shares.max(),
                blurs.mean(),
            ]
            rows.append([*row, blurs.max()])
    columns = [
        "model",
        "blur",
        "volumes",
        "area, mean",
        "worst",
        "fraction, worst",
        "blur, mean",
        "worst ",
    ]
    return Table(f"two phases, {title}: absolute errors", columns, rows)


def _by_body(title: str, records: list[dict[str, Any]]) -> Table:
    rows = []
    for body in dict.fromkeys(r["body"] for r in records):
        for model in (*MODELS, TWO):
            row: list[Any] = [body, model]
            for blur_std in BLURS:
                some = [
                    r
                    for r in records
                    if (r["body"], r["model"], r["blur_std"]) == (body, model, blur_std)
                ]
                row += [
                    np.mean([r[key] for r in some]) if some else float("nan")
                    for key in ("size", "area")
                ]
            rows.append(row)
    columns = ["body", "model", *(f"{what} {b}" for b in BLURS for what in ("l/s", "area"))]
    return Table(f"two phases, {title}: area, mean of the noises", columns, rows)


def _cube(edge: int) -> tuple[int, int, int]:
    return (edge, edge, edge)


def _field(seed: int, edge: int, fractions: tuple[float, float], length: float) -> sim.Body:
    return sim.field_body(jax.random.key(seed), _cube(edge), fractions, length)


@cache
def _berea() -> np.ndarray | None:
    path = REAL / "berea_mask_400.zip"
    if not path.exists():
        return None
    import tifffile

    with zipfile.ZipFile(path) as packed:
        name = next(n for n in packed.namelist() if n.lower().endswith((".tif", ".tiff")))
        return np.asarray(tifffile.imread(io.BytesIO(packed.read(name))))


def _rock(corner: tuple[int, int, int], edge: int) -> sim.Body:
    mask = _berea()
    if mask is None:
        raise FileNotFoundError("areas: needs the Berea mask beside the checkout")
    return sim.mask_body(mask[tuple(slice(a, a + edge) for a in corner)], 2.0)
