"""The volumes that the benchmarks fit: real ones where they are, simulated ones with truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax import sim

REAL = Path(__file__).parents[2] / "shared" / "data"


class Known(NamedTuple):
    """An artificial volume with the truth of the voxels that a fit counts.

    Those are the voxels with six neighbours: the outermost layer (2 % of 256³) is left out.

    image : (z, y, x) float32. fractions : (N,). areas : (N(N-1)/2,) of the continuous
    interfaces, 1/voxel, or None. mask_areas : likewise, by marching cubes on the sampled
    phases, as in the paper; two phases only. correlation : of the noise two voxels apart.
    """

    image: np.ndarray
    fractions: np.ndarray
    areas: np.ndarray | None
    mask_areas: np.ndarray | None
    correlation: float


def known_volume(
    seed: int,
    edge: int,
    fractions: Sequence[float],
    *,
    intensities: Sequence[float] | None = None,
    blur_std: float = 3.0,
    noise_std: float = 0.1,
    noise_length: float = 0.0,
    feature_length: float = 20.0,
    levels: str = "volume",
    with_areas: bool = True,
    with_mask_areas: bool = False,
) -> Known:
    """The paper's artificial volume (§4.1): cut noise, blurred, with noise on top."""
    structure_key, noise_key = jax.random.split(jax.random.key(seed))
    structure = sim.gaussian_structure(
        structure_key, (edge, edge, edge), fractions, feature_length, levels=levels
    )
    grey = np.linspace(0.0, 1.0, len(fractions)) if intensities is None else np.array(intensities)
    image = sim.blur(sim.image_of(structure, jnp.asarray(grey)), blur_std)
    image = sim.add_noise(noise_key, image, noise_std, noise_length=noise_length)
    inner = (slice(1, -1),) * 3
    labels = np.asarray(sim.structure_labels(structure))[inner]
    counts = np.bincount(labels.ravel(), minlength=len(fractions))
    cropped = structure._replace(fields=structure.fields[(slice(None), *inner)])
    return Known(
        np.asarray(image),
        counts / counts.sum(),
        sim.interface_areas(cropped, periodic=False) if with_areas else None,
        _mask_areas(labels) if with_mask_areas else None,
        float(sim.noise_correlation(noise_length)[1]),
    )


def real_volume(name: str) -> tuple[np.ndarray, str]:
    """ "cement" or "bone" (128³ uint8) with a label; a simulated stand-in where it is missing."""
    found = sorted(REAL.glob(f"{name}_*.tif"))
    if found:
        import tifffile

        return tifffile.imread(found[0]), f"{name} (CT, 128³ uint8)"
    low, high, noise, blur = {"cement": (37, 100, 6.7, 1.0), "bone": (15, 232, 12.0, 1.0)}[name]
    made = known_volume(
        7,
        128,
        (0.2, 0.8),
        blur_std=blur,
        noise_std=noise / (high - low),
        noise_length=1.1,
        feature_length=6.0,
        with_areas=False,
    )
    grey = sim.to_integers(made.image, "uint8", scale=high - low, offset=low)
    return grey, f"simulated in place of {name} (128³ uint8)"


def _mask_areas(labels: np.ndarray) -> np.ndarray:
    """Interface area per volume of a two-phase mask (z, y, x) by marching cubes, (1,)."""
    from skimage.measure import marching_cubes, mesh_surface_area

    vertices, faces, *_ = marching_cubes(labels.astype(np.float32), 0.5)
    return np.array([mesh_surface_area(vertices, faces) / np.prod(np.array(labels.shape) - 1)])
