"""The BIMM paper's artificial volumes, with everything that is true of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.sim import _checks
from bimmjax.sim._ct.imaging import add_noise, blur, image_of, noise_correlation
from bimmjax.sim._structures.structure import gaussian_structure, structure_labels
from bimmjax.sim._structures.truth import interface_areas


class Artificial(NamedTuple):
    """An artificial volume of N phases and its truth; lengths in voxels.

    Attributes
    ----------
    image : array
        (z, y, x) float32, blurred and noisy, in the unit of `intensities`.
    labels : array
        (z, y, x) uint8, the phase at each voxel's centre.
    fractions : array
        (N,) float64, volume fractions of `labels`.
    interface_areas : array or None
        (N(N-1)/2,) float64, area per volume of the continuous interfaces, 1/voxel; pairs (0,1),
        (0,2), (1,2), ...; None if not asked for.
    intensities : array
        (N,) float64, ascending.
    blur_std : float
        σ_b.
    noise_std : array
        σ_n: () shared by the phases, or (N,).
    correlation : float
        ρ, correlation of the noise between voxels two apart along an axis.
    """

    image: jax.Array
    labels: jax.Array
    fractions: np.ndarray
    interface_areas: np.ndarray | None
    intensities: np.ndarray
    blur_std: float
    noise_std: np.ndarray
    correlation: float


def artificial_volume(
    key: jax.Array,
    shape: tuple[int, int, int] = (256, 256, 256),
    *,
    fractions: Sequence[float] = (0.5, 0.5),
    intensities: Sequence[float] | None = None,
    blur_std: float = 3.0,
    noise_std: float | Sequence[float] = 0.1,
    noise_length: float = 0.0,
    feature_length: float = 20.0,
    arrangement: str = "mixed",
    levels: str = "volume",
    supersample: int = 1,
    with_area: bool = True,
) -> Artificial:
    """Blurred, noisy volume of blob-like phases with known truth (BIMM paper, §4.1, Fig. S1).

    White noise is blurred and cut at levels into phases; their sharp image is blurred with
    `blur_std` and gets noise. The paper's series: two phases, `fractions` (0.05, 0.95) to
    (0.95, 0.05), all else as the defaults, 500³ voxels. The volume is periodic. The same key
    gives the same volume (on one version of JAX).

    Parameters
    ----------
    key
        Random key.
    shape
        (z, y, x) voxels.
    fractions
        Volume fraction of each phase, summing to 1, in order of intensity.
    intensities
        Ascending, one per phase, any unit; evenly from 0 to 1 if None.
    blur_std
        σ_b, voxels.
    noise_std
        σ_n in the unit of `intensities`; shared, or one per phase: then the variances
        are mixed where the blur mixes the phases.
    noise_length
        std of the filter that correlates the noise, voxels; 0 is white noise.
    feature_length
        std of the filter of the fields, voxels.
    arrangement
        See `gaussian_structure`.
    levels
        See `gaussian_structure`.
    supersample
        See `image_of`.
    with_area
        Whether to measure the true interface areas (needs scikit-image, and as long
        again as the volume itself).

    Returns
    -------
    Artificial

    Raises
    ------
    InputError
        If an argument makes no sense; the message names it.
    ImportError
        If `with_area` and scikit-image is missing.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import artificial_volume
    >>> volume = artificial_volume(
    ...     jax.random.key(0), (16, 16, 16), fractions=(0.25, 0.75), feature_length=3.0
    ... )
    >>> volume.image.shape, volume.fractions
    ((16, 16, 16), array([0.25, 0.75]))
    """
    key = _checks.random_key("key", key)
    phases = _checks.phase_fractions("fractions", fractions).size
    if intensities is None:
        intensities = np.linspace(0.0, 1.0, phases).tolist()
    grey = _checks.phase_intensities("intensities", intensities, phases)
    std = _checks.phase_noise("noise_std", noise_std, phases)
    _checks.number("blur_std", blur_std)
    _checks.number("noise_length", noise_length)
    _checks.number("feature_length", feature_length, open_low=True)
    shape = _checks.volume_shape("shape", shape)
    if with_area and min(shape) < 2:
        raise InputError(f"shape: got {shape}, wants at least 2 voxels along each axis")

    structure_key, noise_key = jax.random.split(key)
    structure = gaussian_structure(
        structure_key, shape, fractions, feature_length, arrangement=arrangement, levels=levels
    )
    labels = structure_labels(structure)

    image = blur(image_of(structure, jnp.asarray(grey), supersample=supersample), blur_std)
    local_std: jax.Array | np.ndarray = std
    if std.ndim:
        sharp = image_of(structure, jnp.asarray(std**2), supersample=supersample)
        local_std = jnp.sqrt(jnp.maximum(blur(sharp, blur_std), 0.0))
    image = add_noise(noise_key, image, local_std, noise_length=noise_length)
    # JAX works on the image in the background while the host measures the surfaces.
    areas = interface_areas(structure) if with_area else None
    counts = np.array([int(jnp.count_nonzero(labels == i)) for i in range(phases)])
    return Artificial(
        image=image,
        labels=labels,
        fractions=counts / counts.sum(),
        interface_areas=areas,
        intensities=grey,
        blur_std=float(blur_std),
        noise_std=std,
        correlation=float(noise_correlation(noise_length)[1]),
    )
