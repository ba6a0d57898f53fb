"""Bodies whose sharp surface is known: what blurs, fits and corrections are tested on.

A segmented voxel mask has no sharp area: ways of counting it differ by tens of per cent. So a
body here is a level set of a continuous field, or a union of spheres or cylinders, and comes with
the truth about its surface and with how far that truth may be off.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.sim import _checks
from bimmjax.sim._curvature import curvatures
from bimmjax.sim._gaussian import smooth
from bimmjax.sim._imaging import image_of
from bimmjax.sim._structures import (
    Structure,
    between_voxels,
    checked_structure,
    gaussian_structure,
    order_statistic,
)
from bimmjax.sim._truth import surface_moments

_POINTS = 400
# Fields of unions tell distances up to about this, voxels, and nothing beyond thrice as much.
_FAR = 3.0
_REACH = 3.0


class Truth(NamedTuple):
    """What is true of a body of N phases, P pairs; each with its standard error.

    Means over curvature are means over the area of an interface. A curvature is positive where
    the phase of the lower number is convex.
    """

    fractions: np.ndarray
    """(N,) volume fractions."""
    fractions_std: np.ndarray
    interface_areas: np.ndarray
    """(P,) area per volume, 1/voxel; pairs (0,1), (0,2), (1,2), ..."""
    interface_areas_std: np.ndarray
    mean_curvature: np.ndarray
    """(P,) mean of H = (κ₁ + κ₂)/2, 1/voxel; NaN for a pair that does not touch."""
    mean_curvature_std: np.ndarray
    squared_curvature: np.ndarray
    """(P,) mean of S = κ₁² + κ₂², 1/voxel²."""
    squared_curvature_std: np.ndarray
    gaussian_curvature: np.ndarray
    """(P,) mean of K = κ₁κ₂, 1/voxel²."""
    gaussian_curvature_std: np.ndarray


class Body(NamedTuple):
    """A structure, and the truth about it."""

    structure: Structure
    truth: Truth


def measured_truth(structure: Structure) -> Truth:
    """The truth about a periodic structure of smooth fields, measured on the fields themselves.

    Areas and curvatures are integrals over the triangles of marching cubes on the fields, taken
    on the lattice and on every other voxel of it, and extrapolated to none between voxels; what
    that changes is told as their error. Volumes are counted at 27 points a voxel, and the error is
    the change against one point.

    Parameters
    ----------
    structure : fields (F, z, y, x) of even lengths, levels (N-1,).

    Raises
    ------
    InputError
        An axis of odd length.
    ImportError
        scikit-image is missing.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import gaussian_structure, measured_truth
    >>> body = gaussian_structure(jax.random.key(0), (32, 32, 32), (0.3, 0.7), 3.0)
    >>> truth = measured_truth(body)
    >>> bool(truth.interface_areas_std[0] < 0.01 * truth.interface_areas[0])
    True

    Source: second-order theory of blurred surfaces needs the means of S and K; ours.
    """
    structure = checked_structure(structure)
    fields = np.asarray(structure.fields)
    if any(n % 2 or n < 4 for n in fields.shape[1:]):
        raise InputError(
            f"structure: got fields of shape {fields.shape}, wants even lengths of at least 4"
        )
    beside = np.stack([curvatures(field) for field in fields])
    fine = surface_moments(structure, beside=beside)
    skipped = Structure(structure.fields[:, ::2, ::2, ::2], structure.levels)
    coarse = surface_moments(skipped, beside=beside[..., ::2, ::2, ::2]) / 2.0
    # The error of flat triangles falls with the square of the lattice's spacing.
    change = (fine - coarse) / 3.0
    area, *integrals = (fine + change).T
    mean, mean_std = [], []
    none = fine[:, 0] == 0.0
    for k, integral in enumerate(integrals):
        mean.append(np.where(none, np.nan, integral / np.where(none, 1.0, area)))
        before = fine[:, k + 1] / np.where(none, 1.0, fine[:, 0])
        mean_std.append(np.abs(mean[-1] - before))
    fractions, rough = (_fractions(structure, s) for s in (3, 1))
    return Truth(
        fractions,
        np.abs(fractions - rough),
        area,
        # What is left after extrapolation is of the next order.
        0.25 * np.abs(change[:, 0]),
        *itertools.chain(*zip(mean, mean_std, strict=True)),
    )


def _fractions(structure: Structure, supersample: int) -> np.ndarray:
    phases = structure.levels.shape[0] + 1
    return np.array(
        [
            float(np.mean(np.asarray(image_of(structure, one, supersample=supersample), float)))
            for one in np.eye(phases).tolist()
        ]
    )


def field_body(
    key: jax.Array,
    shape: tuple[int, int, int],
    fractions: Sequence[float],
    length: float,
    *,
    arrangement: str = "mixed",
) -> Body:
    """Phases cut from Gaussian fields; see `gaussian_structure`.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import field_body
    >>> body = field_body(jax.random.key(0), (32, 32, 32), (0.3, 0.7), 3.0)
    >>> body.truth.fractions.round(2)
    array([0.3, 0.7])
    """
    structure = gaussian_structure(key, shape, fractions, length, arrangement=arrangement)
    return Body(structure, measured_truth(structure))


def mask_body(mask: np.ndarray, smoothing: float = 2.0) -> Body:
    """A smooth body with the shapes of a segmented volume, periodic.

    The mask is filtered by a Gaussian, and cut where its volume fraction is about kept. Opposite
    faces are joined, so shapes across them are made up; the truth is that of the joined body.

    Parameters
    ----------
    mask : (z, y, x), 0 for phase 0, anything else for phase 1; even lengths.
    smoothing : std of the filter, voxels; below 1.5 the lattice does not resolve the surface.

    Raises
    ------
    InputError
        A mask that is not 3D, is all of one phase, or has an odd length.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.sim import mask_body
    >>> mask = np.zeros((32, 32, 32), bool)
    >>> mask[8:24, 8:24, 8:24] = True
    >>> body = mask_body(mask)
    >>> bool(abs(body.truth.fractions[1] - 0.125) < 0.005)
    True
    """
    solid = np.asarray(mask) != 0
    if solid.ndim != 3 or solid.all() or not solid.any():
        raise InputError(
            f"mask: got {solid.shape} with {solid.mean():.0%} solid, wants (z, y, x) of both phases"
        )
    _checks.number("smoothing", smoothing, low=1.0)
    field = smooth(jnp.asarray(solid, jnp.float32), jnp.float32(smoothing))
    # Between voxels as well: flat faces of a mask hold thousands of equal values.
    values = between_voxels(field, 2)
    level = order_statistic(values, jnp.int32(8 * (solid.size - int(solid.sum()))))
    structure = Structure(field[None], level[None])
    return Body(structure, measured_truth(structure))


def sphere_body(
    key: jax.Array, shape: tuple[int, int, int], radius: float, fraction: float
) -> Body:
    """Overlapping spheres at random places (a Boolean model): phase 0; around them phase 1.

    Parameters
    ----------
    key : random key.
    shape : (z, y, x) voxels; the body is periodic.
    radius : voxels.
    fraction : of the spheres on average over keys, below 1.

    Returns
    -------
    Body
        Its area is that of the spheres' surfaces outside other spheres, by random points on
        them; edges where spheres meet have no part in the curvature.

    Raises
    ------
    InputError
        A radius below 2 or above half the volume, a fraction that is not between 0 and 1.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import sphere_body
    >>> body = sphere_body(jax.random.key(1), (48, 48, 48), 6.0, 0.2)
    >>> body.truth.mean_curvature.round(4)
    array([0.1667])
    """
    rng = _generator(key)
    shape = _checks.volume_shape("shape", shape)
    _roomy("radius", radius, shape)
    count = _objects(fraction, 4.0 / 3.0 * math.pi * radius**3 / math.prod(shape))
    centres = rng.uniform(size=(count, 3)) * shape
    points = rng.normal(size=(count, _POINTS, 3))
    points *= radius / np.linalg.norm(points, axis=2, keepdims=True)
    points += centres[:, None]
    return _union(
        shape,
        centres,
        np.ones((count, 3), bool),
        radius,
        points,
        4.0 * math.pi * radius**2,
        (1.0 / radius, 2.0 / radius**2, 1.0 / radius**2),
    )


def fibre_body(key: jax.Array, shape: tuple[int, int, int], radius: float, fraction: float) -> Body:
    """Overlapping straight fibres along the three axes: phase 0; around them phase 1.

    Parameters, returns and errors as for `sphere_body`; the volume is a cube.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import fibre_body
    >>> body = fibre_body(jax.random.key(1), (48, 48, 48), 5.0, 0.2)
    >>> body.truth.gaussian_curvature
    array([0.])
    """
    rng = _generator(key)
    shape = _checks.volume_shape("shape", shape)
    if len(set(shape)) > 1:
        raise InputError(f"shape: got {shape}, wants a cube")
    _roomy("radius", radius, shape)
    count = _objects(fraction, math.pi * radius**2 / shape[0] ** 2)
    centres = rng.uniform(size=(count, 3)) * shape
    across = np.arange(3) != (np.arange(count) % 3)[:, None]
    angle = rng.uniform(size=(count, _POINTS)) * 2.0 * math.pi
    points = np.empty((count, _POINTS, 3))
    for at in range(count):
        first, second = np.flatnonzero(across[at])
        points[at, :, first] = centres[at, first] + radius * np.cos(angle[at])
        points[at, :, second] = centres[at, second] + radius * np.sin(angle[at])
        points[at, :, at % 3] = rng.uniform(size=_POINTS) * shape[0]
    return _union(
        shape,
        centres,
        across,
        radius,
        points,
        2.0 * math.pi * radius * shape[0],
        (0.5 / radius, 1.0 / radius**2, 0.0),
    )


def sheet_body(
    shape: tuple[int, int, int],
    thickness: float,
    normal: Sequence[int] = (1, 1, 0),
) -> Body:
    """Flat parallel sheets (phase 0) that repeat with the volume; their truth is exact.

    Parameters
    ----------
    shape : (z, y, x) voxels.
    thickness : of each sheet, voxels; less than their distance.
    normal : how many sheets each axis crosses, whole numbers.

    Raises
    ------
    InputError
        Sheets thicker than their distance, or a normal of anything but whole numbers.

    Examples
    --------
    >>> from bimmjax.sim import sheet_body
    >>> body = sheet_body((32, 32, 32), 4.0, (2, 0, 0))
    >>> body.truth.interface_areas, body.truth.fractions
    (array([0.125]), array([0.25, 0.75]))
    """
    shape = _checks.volume_shape("shape", shape)
    turns = np.asarray(normal)
    if turns.shape != (3,) or turns.dtype.kind not in "iu" or not turns.any():
        raise InputError(f"normal: got {normal!r}, wants three whole numbers, not all 0")
    period = 1.0 / float(np.linalg.norm(turns / np.array(shape)))
    _checks.number("thickness", thickness, open_low=True)
    if thickness >= period:
        raise InputError(f"thickness: got {thickness}, wants less than their distance {period:.4g}")
    z, y, x = (turns[k] / shape[k] * np.arange(shape[k]) for k in range(3))
    phase = 2.0 * np.pi * (z[:, None, None] + y[:, None] + x)
    # A wave instead of the distance itself, whose kinks the lattice would not resolve.
    field = -np.cos(phase)
    level = -math.cos(math.pi * thickness / period)
    structure = Structure(jnp.asarray(field[None], jnp.float32), jnp.asarray([level], jnp.float32))
    share = thickness / period
    none = np.zeros(1)
    return Body(
        structure,
        Truth(np.array([share, 1.0 - share]), np.zeros(2), np.array([2.0 / period]), *[none] * 7),
    )


def _union(
    shape: tuple[int, int, int],
    centres: np.ndarray,
    across: np.ndarray,
    radius: float,
    points: np.ndarray,
    area: float,
    curvature: tuple[float, float, float],
) -> Body:
    """A union of `count` equal objects: what lies within `radius` of a centre, point or line.

    across (count, 3) : the axes along which distance counts. points (count, M, 3) : spread evenly
    over each object's surface of size `area`. curvature : its H, S and K.
    """
    size = np.array(shape, float)
    bare = np.empty((len(points), points.shape[1]))
    for at, own in enumerate(points):
        others = np.delete(np.arange(len(centres)), at)
        bare[at] = _depth(own, centres[others], across[others], radius, size) < 0.0
    exposed = bare.mean(1)
    spread = float(np.sqrt((exposed * (1.0 - exposed)).sum() / points.shape[1]))
    # Saturated smoothly, because volumes are counted between voxels by way of Fourier series.
    field = -_FAR * np.tanh(_depth_field(shape, centres, across, radius) / _FAR)
    structure = Structure(jnp.asarray(field[None], jnp.float32), jnp.zeros(1, jnp.float32))
    fractions, rough = (_fractions(structure, s) for s in (3, 1))
    volume = math.prod(shape)
    none = np.zeros(1)
    h, s, k = (np.full(1, value) for value in curvature)
    return Body(
        structure,
        Truth(
            fractions,
            np.abs(fractions - rough),
            np.array([exposed.sum() * area / volume]),
            np.array([spread * area / volume]),
            h, none, s, none, k, none,
        ),
    )  # fmt: skip


def _depth(
    points: np.ndarray, centres: np.ndarray, across: np.ndarray, radius: float, size: np.ndarray
) -> np.ndarray:
    """How deep points (M, 3) lie within the nearest of the objects (below 0: outside)."""
    deepest = np.full(len(points), -np.inf)
    for centre, axes in zip(centres, across, strict=True):
        apart = points - centre
        apart -= size * np.rint(apart / size)
        distance = np.sqrt((apart[:, axes] ** 2).sum(1))
        np.maximum(deepest, radius - distance, out=deepest)
    return deepest


def _depth_field(
    shape: tuple[int, int, int], centres: np.ndarray, across: np.ndarray, radius: float
) -> np.ndarray:
    """`_depth` at every voxel: (z, y, x); far outside only that it is far."""
    deepest = np.full(shape, -_REACH * _FAR)
    for centre, axes in zip(centres, across, strict=True):
        windows, squares = [], []
        for axis in range(3):
            whole = np.arange(shape[axis])
            if axes[axis]:
                reach = math.ceil(radius + _REACH * _FAR)
                near = np.arange(-reach, reach + 1) + round(centre[axis])
                near = near[: shape[axis]]
                squares.append((near - centre[axis]) ** 2)
                windows.append(near % shape[axis])
            else:
                squares.append(np.zeros(shape[axis]))
                windows.append(whole)
        distance = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2])
        box = np.ix_(*windows)
        deepest[box] = np.maximum(deepest[box], radius - distance)
    return deepest


def _generator(key: jax.Array) -> np.random.Generator:
    """NumPy's random numbers from a JAX key: the same key gives the same body."""
    key = _checks.random_key("key", key)
    return np.random.default_rng(np.asarray(jax.random.bits(key, (4,), jnp.uint32)).tolist())


def _roomy(name: str, radius: float, shape: tuple[int, int, int]) -> None:
    _checks.number(name, radius, low=2.0)
    if 2.0 * radius > min(shape):
        raise InputError(f"{name}: got {radius}, wants at most {min(shape) / 2:g} in {shape}")


def _objects(fraction: float, share: float) -> int:
    """How many objects, each of a share of the volume, cover a fraction of it on average."""
    _checks.number("fraction", fraction, open_low=True)
    if fraction >= 1.0:
        raise InputError(f"fraction: got {fraction}, wants a number below 1")
    return max(1, round(-math.log1p(-fraction) / share))
