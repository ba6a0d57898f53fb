"""Bodies whose sharp surface is known: what blurs, fits and corrections are tested on.

A segmented voxel mask has no sharp area: ways of counting it differ by tens of per cent. So the
surface of a body is defined between voxels, and comes with the truth about it and with how far
that truth may be off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.sim import _checks
from bimmjax.sim._ct.imaging import blur

POINTS = 3
"""Along each axis of a voxel, at which it is asked what phase is there."""

# The mean over the points of a voxel blurs by itself.
_OWN_VARIANCE = (1.0 - 1.0 / POINTS**2) / 12.0


class Truth(NamedTuple):
    """What is true of a body of N phases, P pairs; each with its standard error.

    Means over curvature are means over the area of an interface. A curvature is positive where
    the phase of the lower number is convex.

    Attributes
    ----------
    fractions : array
        (N,) volume fractions.
    fractions_std : array
    interface_areas : array
        (P,) area per volume, 1/voxel; pairs (0,1), (0,2), (1,2), ...
    interface_areas_std : array
    mean_curvature : array
        (P,) mean of H = (κ₁ + κ₂)/2, 1/voxel; NaN for a pair that does not touch.
    mean_curvature_std : array
    squared_curvature : array
        (P,) mean of S = κ₁² + κ₂², 1/voxel².
    squared_curvature_std : array
    gaussian_curvature : array
        (P,) mean of K = κ₁κ₂, 1/voxel².
    gaussian_curvature_std : array
    """

    fractions: np.ndarray
    fractions_std: np.ndarray
    interface_areas: np.ndarray
    interface_areas_std: np.ndarray
    mean_curvature: np.ndarray
    mean_curvature_std: np.ndarray
    squared_curvature: np.ndarray
    squared_curvature_std: np.ndarray
    gaussian_curvature: np.ndarray
    gaussian_curvature_std: np.ndarray


class Body(NamedTuple):
    """What share of each voxel of a periodic volume each phase fills, and the truth about it.

    Attributes
    ----------
    shares : array
        (N, z, y, x) float32, summing to 1 over the phases.
    truth : Truth
        What is true of it.
    """

    shares: np.ndarray
    truth: Truth


def body_image(body: Body, intensities: Sequence[float], blur_std: float) -> jax.Array:
    """A body as a scan without noise sees it: partial volumes, then a Gaussian blur.

    Parameters
    ----------
    body
        Of N phases.
    intensities
        (N,), any unit; they need not ascend.
    blur_std
        In all, voxels; the partial volumes' own part of it, 0.27, is taken off.

    Returns
    -------
    (z, y, x) float32.

    Raises
    ------
    InputError
        Not one intensity per phase, or a blur below that of the partial volumes.

    Examples
    --------
    >>> from bimmjax.sim import body_image, sheet_body
    >>> body = sheet_body((32, 32, 32), 8.0, (1, 0, 0))
    >>> off = body_image(body, (0.0, 1.0), 1.0).mean() - body.truth.fractions[1]
    >>> bool(abs(off) < 1e-6)
    True
    """
    values = _checks.numbers("intensities", intensities, "one number per phase")
    if values.size != len(body.shares):
        raise InputError(f"intensities: got {values.size}, wants {len(body.shares)}, one per phase")
    _checks.number("blur_std", blur_std, low=math.sqrt(_OWN_VARIANCE))
    sharp = jnp.tensordot(jnp.asarray(values, jnp.float32), jnp.asarray(body.shares), 1)
    return blur(sharp, math.sqrt(blur_std**2 - _OWN_VARIANCE))
