"""Volumes that the model of shine-through has never seen, and their Monte Carlo images, kept."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks._report import say
from bimmjax import sim

ENERGIES = (1.0, 2.0, 4.0)
FILLINGS = ("epoxy", "vacuum")
_DEPTH = 480.0  # nm
_PROBE = 2  # electrons per pixel

Shape = tuple[int, int, int]


class Fresh(NamedTuple):
    """A volume of pores (0) and gold (1)."""

    name: str
    labels: np.ndarray
    spacing: float
    """nm."""


class Case(NamedTuple):
    """What one image is taken of and how."""

    volume: Fresh
    pores: str
    energy: float
    tilt: float = 0.0


class Counted(NamedTuple):
    """The first slice by Monte Carlo, with its books."""

    image: np.ndarray
    """(y, x) float32, yields."""
    per_pixel: int
    truncated: int
    imbalance: float
    """Energy that the books do not account for, over all that was sent."""
    seconds: float
    """That it took when it was made, compilation left out."""

    @property
    def electrons(self) -> int:
        return self.per_pixel * self.image.size


def fresh_volumes(quick: bool) -> list[Fresh]:
    """The frozen list: the calibration takes no keys from 9000 on."""
    recipes: list[tuple[str, float, Callable[[Shape], np.ndarray]]] = [
        ("wave, 30 nm", 5.0, lambda shape: wave(9001, shape, 0.3, 30.0 / 5.0)),
        ("HNPG, 110 and 15 nm", 2.5, lambda shape: hierarchical(9002, shape, 0.25, 2.5)),
        ("HNPG, sparse", 5.0, lambda shape: hierarchical(9003, shape, 0.123, 5.0)),
        ("wave, 25 nm, dense", 2.5, lambda shape: wave(9004, shape, 0.5, 25.0 / 2.5)),
        ("pores, radius 40 nm", 5.0, lambda shape: pores(9005, shape, 0.3, 40.0 / 5.0)),
    ]
    face = 32 if quick else 64
    made = []
    for name, spacing, make in recipes[: 2 if quick else None]:
        labels = make((round(_DEPTH / spacing), face, face))
        made.append(Fresh(name, labels, spacing))
    return made


def wave(seed: int, shape: Shape, solid: float, ligament: float) -> np.ndarray:
    """A levelled wave; `ligament` in voxels."""
    length = sim.ligament_wavelength(ligament, solid)
    body = sim.levelled_wave(jax.random.key(seed), shape, solid, length)
    return sim.label_structure(body).labels


def hierarchical(seed: int, shape: Shape, solid: float, spacing: float) -> np.ndarray:
    """Ligaments of 110 nm that consist of ligaments of 15 nm; both levels equally dense.

    A part of a larger volume, where the larger ligaments would not fit `shape`; the solid fraction
    is that of the larger one then, and the part's own differs.
    """
    level = solid**0.5
    lengths = [sim.ligament_wavelength(nm / spacing, level) for nm in (110.0, 15.0)]
    z, y, x = (max(n, int(1.5 * lengths[0]) + 1) for n in shape)
    labels = sim.hierarchical_wave(jax.random.key(seed), (z, y, x), solid, lengths).labels
    return labels[: shape[0], : shape[1], : shape[2]]


def pores(seed: int, shape: Shape, solid: float, radius: float) -> np.ndarray:
    """Spherical pores; radii scatter by a fifth."""
    return sim.random_pores(jax.random.key(seed), shape, solid, radius, radius / 5.0).labels


def analytic(case: Case) -> np.ndarray:
    """The image of the first slice by the model."""
    images = sim.backscatter_images(
        case.volume.labels, [case.pores, "gold"], case.energy, spacing=case.volume.spacing,
        tilt=case.tilt,
    )  # fmt: skip
    return np.asarray(images[0])


def counted(case: Case, per_pixel: int, folder: Path) -> Counted:
    """The image by Monte Carlo; from `folder` where an earlier run has left it.

    What is kept there counts only if a few electrons, followed anew, do just what those that were
    kept with it did: so a change anywhere in the code makes the image anew.
    """
    volume = case.volume
    labels = np.ascontiguousarray(volume.labels, np.uint8)
    told = repr((labels.shape, volume.spacing, *case[1:], per_pixel)).encode()
    name = hashlib.sha256(told + labels.tobytes()).hexdigest()
    path = folder / f"{name[:24]}.npz"
    # Also what compiles the code, so that it is not in the seconds.
    probe = _sent(case, _PROBE).images[0]
    if path.exists():
        with np.load(path, allow_pickle=False) as kept:
            if np.array_equal(kept["probe"], probe):
                return Counted(
                    kept["image"], per_pixel, int(kept["truncated"]), float(kept["imbalance"]),
                    float(kept["seconds"]),
                )  # fmt: skip
    say(f"shine_through: Monte Carlo of {volume.name}, {case.pores}, {case.energy:g} kV, "
        f"{case.tilt:g}°")  # fmt: skip
    before = time.perf_counter()
    found = _sent(case, per_pixel)
    seconds = time.perf_counter() - before
    ends = found.energy_out + found.energy_left + found.energy_lost
    imbalance = abs(ends / found.energy_in - 1.0)
    made = Counted(found.images[0], per_pixel, found.truncated, imbalance, seconds)
    folder.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part.npz")
    np.savez(
        half, image=made.image, probe=probe, truncated=made.truncated, imbalance=imbalance,
        seconds=seconds,
    )  # fmt: skip
    half.replace(path)
    return made


def _sent(case: Case, per_pixel: int) -> sim.MonteCarlo:
    # The beam's key is not the volume's.
    key = jax.random.key(9900)
    return sim.monte_carlo(
        key, case.volume.labels, [case.pores, "gold"], case.energy, spacing=case.volume.spacing,
        tilt=case.tilt, electrons=per_pixel,
    )  # fmt: skip
