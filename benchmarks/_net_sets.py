"""Simulated volumes that networks are compared on, each with its truth; all seeds are frozen."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from scipy.ndimage import distance_transform_edt
from skimage.measure import label

from bimmjax import sim

Shape = tuple[int, int, int]


class Pair(NamedTuple):
    """A volume and its truth, (z, y, x) each; uint8."""

    image: np.ndarray
    truth: np.ndarray


# Grey values of pores, matrix and fibres, and the scan. Set once, before any network was trained,
# so that the best classifier by grey value alone scores what the Modular U-Net paper's does.
_GREY = (0.5, 1.0, 2.0)
_SCAN = sim.Scan(blur_std=0.65, noise_std=0.135, noise_length=0.7, rings=0.08)


def composite(shape: Shape, seed: int = 66) -> Pair:
    """Like the Modular U-Net paper's: matrix (0) with fibres (1) and half a per cent of pores (2).

    Fibres of 9 voxels (10 µm at 1.3 µm) lie mostly across y and x, pores are about as large and
    scatter, and rings are nearly as dark as pores.
    """
    body = sim.fibre_composite(
        jax.random.key(seed), shape, 0.172, 0.005, 4.5, direction=(1.0, 1.0, 0.15), spread=25.0,
        pore_radius=5.0, pore_radius_std=2.5,
    )  # fmt: skip
    return Pair(_seen(seed, body.labels, _GREY, _SCAN), np.array([2, 0, 1], np.uint8)[body.labels])


def cracked(shape: Shape, seed: int = 67) -> Pair:
    """Another composite, scanned a little worse, with a crack through it that counts as pore.

    The crack is a wavy sheet of varying thickness, which cuts fibres too.
    """
    body = sim.fibre_composite(
        jax.random.key(seed), shape, 0.172, 0.005, 4.5, direction=(1.0, 1.0, 0.15), spread=25.0,
        pore_radius=5.0, pore_radius_std=2.5,
    )  # fmt: skip
    # Across x: (z, y, 1) where the sheet is, and half of how far it gapes.
    place, gap = np.asarray(sim.gaussian_field(jax.random.key(seed + 1000), (2, *shape[:2]), 24.0))[
        ..., None
    ]
    middle = shape[2] / 2 + shape[2] / 16 * place
    torn = np.abs(np.arange(shape[2]) - middle) < 2.5 + 1.2 * gap
    labels = np.where(torn, 0, body.labels).astype(np.uint8)
    scan = _SCAN._replace(blur_std=0.75, noise_std=0.15)
    return Pair(_seen(seed, labels, _GREY, scan), np.array([2, 0, 1], np.uint8)[labels])


def particles(shape: Shape, seed: int = 7075) -> Pair:
    """Like the TXM paper's alloy: matrix (0), precipitates (1, brightest), inclusions (2).

    A third of the particles are composite: an inclusion's rim around a precipitate. A precipitate's
    blurred edge has the grey value of inclusions, so that a voxel's own does not tell.
    """
    key = jax.random.key(seed)
    solid = sim.random_pores(key, shape, 0.88, 7.0, 3.0).labels == 0
    parts: np.ndarray = np.asarray(label(solid, connectivity=1), np.int64)
    kinds = np.random.default_rng(seed).choice(3, int(parts.max()) + 1, p=(0.4, 0.25, 0.35))
    depth: np.ndarray = np.asarray(distance_transform_edt(solid), np.float64)
    kind = kinds[parts]
    inclusion = (kind == 1) | ((kind == 2) & (depth <= 3.0))
    labels = np.where(solid, np.where(inclusion, 2, 1), 0).astype(np.uint8)
    scan = sim.Scan(
        blur_std=1.0, noise_std=0.18, noise_length=0.7, rings=0.06, fresnel=2.0, delta_beta=20.0
    )
    return Pair(_seen(seed, labels, (0.0, 1.0, 0.6), scan), labels)


def spheres(shape: Shape, seed: int = 38) -> Pair:
    """Like the glass spheres: 13 to 15 voxels (38 to 45 µm at 3 µm) in a matrix, with fringes."""
    body = sim.packed_spheres(jax.random.key(seed), shape, 0.3, (38 / 3, 45 / 3))
    scan = sim.Scan(
        blur_std=1.0, noise_std=0.3, noise_length=0.7, rings=0.15, cupping=0.25, fresnel=2.0,
        delta_beta=20.0,
    )  # fmt: skip
    return Pair(_seen(seed, body.labels, (0.0, 1.0), scan), body.labels)


def shale(shape: Shape, seed: int = 39) -> Pair:
    """Unlike spheres: grains of any shape, cut from a smooth random field."""
    body = sim.gaussian_structure(jax.random.key(seed), shape, (0.65, 0.35), 4.0)
    labels = np.asarray(sim.structure_labels(body))
    scan = sim.Scan(blur_std=1.2, noise_std=0.3, noise_length=0.7, rings=0.15)
    return Pair(_seen(seed, labels, (0.0, 1.0), scan), labels)


def wood(shape: Shape, seed: int = 40) -> Pair:
    """Unlike spheres: walls around long hollow cells."""
    body = sim.fibre_composite(
        jax.random.key(seed), shape, 0.55, 0.01, 6.0, direction=(1.0, 0.1, 0.1), spread=3.0
    )
    labels = (body.labels != 2).astype(np.uint8)
    scan = sim.Scan(blur_std=1.0, noise_std=0.3, noise_length=0.7, rings=0.15)
    return Pair(_seen(seed, labels, (0.0, 1.0), scan), labels)


def _seen(seed: int, labels: np.ndarray, grey: tuple[float, ...], scan: sim.Scan) -> np.ndarray:
    image = np.asarray(sim.ct_image(jax.random.key(seed + 1), labels, grey, scan))
    low, high = np.quantile(image[:: max(image.shape[0] // 16, 1)], (0.0005, 0.9995))
    return np.clip(np.rint((image - low) / (high - low) * 255.0), 0, 255).astype(np.uint8)
