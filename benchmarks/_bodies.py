"""Bodies of known truth for the benchmarks of areas: listed ones, and random ones of every kind."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from functools import cache

import jax
import numpy as np

from benchmarks._volumes import REAL
from bimmjax import sim

Maker = Callable[[int], sim.Body]


def cube(edge: int) -> tuple[int, int, int]:
    """(z, y, x)."""
    return (edge, edge, edge)


@cache
def berea() -> np.ndarray:
    """The segmented sandstone."""
    import tifffile

    path = REAL / "berea_mask_400.zip"
    if not path.exists():
        raise FileNotFoundError("areas: needs the Berea mask beside the checkout")
    with zipfile.ZipFile(path) as packed:
        name = next(n for n in packed.namelist() if n.lower().endswith((".tif", ".tiff")))
        return np.asarray(tifffile.imread(io.BytesIO(packed.read(name))))


def rock(corner: tuple[int, ...], edge: int, smoothing: float = 2.0) -> sim.Body:
    """A part of the sandstone with smooth surfaces."""
    return sim.mask_body(berea()[tuple(slice(a, a + edge) for a in corner)], smoothing)


def _field(seed: int, edge: int, fractions: tuple[float, ...], length: float) -> sim.Body:
    return sim.field_body(jax.random.key(seed), cube(edge), fractions, length)


# These were looked at while the correction was made.
LOOKED_AT: dict[str, Maker] = {
    "field 16": lambda edge: _field(0, edge, (0.5, 0.5), 7.2),
    "field 10": lambda edge: _field(1, edge, (0.3, 0.7), 4.9),
    "field 7.6": lambda edge: _field(2, edge, (0.5, 0.5), 3.42),
    "rock A": lambda edge: rock((0, 0, 0), edge),
    "rock B": lambda edge: rock((200, 100, 150), edge),
    "rock C": lambda edge: rock((280, 280, 20), edge),
    "overlapping spheres R 8": lambda edge: sim.sphere_body(
        jax.random.key(10), cube(edge), 8.0, 0.35
    ),
    "overlapping spheres R 4": lambda edge: sim.sphere_body(
        jax.random.key(11), cube(edge), 4.0, 0.2
    ),
    "overlapping fibres R 3.5": lambda edge: sim.fibre_body(
        jax.random.key(12), cube(edge), 3.5, 0.25
    ),
    "sheets 6": lambda edge: sim.sheet_body(cube(edge), 6.0, (3, 2, 1)),
    "field 12": lambda edge: _field(13, edge, (0.2, 0.8), 7.0),
}
# These were made after the last change to the method, and scored once.
HELD_OUT: dict[str, Maker] = {
    "rock D": lambda edge: rock((40, 300, 210), edge, 1.8),
    "rock E": lambda edge: rock((150, 20, 300), edge, 2.4),
    "spheres R 3.5-6 apart": lambda edge: sim.sphere_body(
        jax.random.key(30), cube(edge), (3.5, 6.0), 0.22, overlap=False
    ),
    "overlapping spheres R 6": lambda edge: sim.sphere_body(
        jax.random.key(31), cube(edge), 6.0, 0.3
    ),
    "overlapping spheres R 4.5-9": lambda edge: sim.sphere_body(
        jax.random.key(32), cube(edge), (4.5, 9.0), 0.2
    ),
    "fibres R 4.5 apart": lambda edge: sim.fibre_body(
        jax.random.key(33), cube(edge), 4.5, 0.15, overlap=False
    ),
    "overlapping fibres R 5": lambda edge: sim.fibre_body(
        jax.random.key(34), cube(edge), 5.0, 0.25
    ),
    "gyroid": lambda edge: sim.gyroid_body(cube(edge), 5, 0.4),
    "sheets 8": lambda edge: sim.sheet_body(cube(edge), 8.0, (2, 1, 3)),
    "field 9": lambda edge: _field(35, edge, (0.4, 0.6), 4.2),
}


def random_body(key: jax.Array, kind: str, edge: int) -> sim.Body:
    """A body of a kind with random sizes and fractions."""
    seed, own = jax.random.split(key)
    rng = np.random.default_rng(np.asarray(jax.random.bits(seed, (4,), "uint32")).tolist())
    shape = cube(edge)
    if kind == "field":
        share = rng.uniform(0.12, 0.5)
        return sim.field_body(own, shape, (share, 1.0 - share), rng.uniform(2.5, 7.5))
    if kind == "rock":
        corner = tuple(int(x) for x in rng.integers(0, 400 - edge, 3))
        return rock(corner, edge, rng.uniform(1.6, 2.6))
    if kind == "spheres":
        radius = rng.uniform(3.0, 8.0)
        ends = (radius, radius * rng.uniform(1.0, 1.6))
        return sim.sphere_body(own, shape, ends, rng.uniform(0.1, 0.27), overlap=False)
    if kind == "overlapping spheres":
        return sim.sphere_body(own, shape, rng.uniform(3.5, 10.0), rng.uniform(0.1, 0.5))
    if kind == "fibres":
        return sim.fibre_body(
            own, shape, rng.uniform(3.0, 7.0), rng.uniform(0.08, 0.2), overlap=False
        )
    if kind == "overlapping fibres":
        return sim.fibre_body(own, shape, rng.uniform(3.0, 8.0), rng.uniform(0.1, 0.4))
    if kind == "sheets":
        while not (turns := rng.integers(0, 4, 3)).any():
            pass
        period = edge / float(np.linalg.norm(turns))
        thickness = rng.uniform(0.25, 0.6) * min(period, 20.0)
        return sim.sheet_body(shape, thickness, [int(x) for x in turns])
    if kind == "gyroid":
        return sim.gyroid_body(shape, int(rng.integers(2, 6)), rng.uniform(-0.9, 0.9))
    return sim.contest_body(own, shape, 2, rng.uniform(2.5, 6.0), (0.0, rng.uniform(-0.8, 0.8)))


KINDS = (
    "field",
    "rock",
    "spheres",
    "overlapping spheres",
    "fibres",
    "overlapping fibres",
    "sheets",
    "gyroid",
    "contest",
)


def scanned(
    body: sim.Body, blur_std: float, noise_std: float, seed: int = 0, noise_length: float = 0.0
) -> np.ndarray:
    """Phases at 0 ... 1, blurred and noisy; continued by a voxel, so that all are counted."""
    levels = np.linspace(0.0, 1.0, len(body.shares)).tolist()
    seen = sim.body_image(body, levels, blur_std)
    noisy = sim.add_noise(jax.random.key(seed), seen, noise_std, noise_length=noise_length)
    return np.pad(np.asarray(noisy), 1, mode="wrap")
