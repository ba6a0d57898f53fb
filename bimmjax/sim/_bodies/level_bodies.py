"""Bodies cut from continuous fields, with a truth measured on the fields themselves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax._core.checks import InputError, whole_number
from bimmjax.sim import _checks
from bimmjax.sim._bodies.body import POINTS, Body, Truth
from bimmjax.sim._bodies.curvature import curvatures
from bimmjax.sim._gaussian import smooth
from bimmjax.sim._structures.fields import gaussian_field
from bimmjax.sim._structures.structure import (
    Structure,
    between_voxels,
    checked_structure,
    gaussian_structure,
    order_statistic,
    render,
)
from bimmjax.sim._structures.truth import (
    integrals,
    slabs,
    split_triangles,
    surface_moments,
    surface_with,
)


def structure_body(structure: Structure) -> Body:
    """Phases cut from smooth periodic fields, with the truth measured on the fields.

    Areas and curvatures are integrals over the triangles of marching cubes on the fields, taken
    on the lattice and on every other voxel of it, and extrapolated to none between voxels; what
    that changes is told as their error. Volumes are counted at 27 points a voxel, and the error is
    the change against one point.

    Source: second-order theory of blurred surfaces needs the means of S and K; ours.

    Parameters
    ----------
    structure
        Fields (F, z, y, x) of even lengths, levels (N-1,).

    Raises
    ------
    InputError
        An axis of odd length.
    ImportError
        scikit-image is missing.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import gaussian_structure, structure_body
    >>> body = structure_body(gaussian_structure(jax.random.key(0), (32, 32, 32), (0.3, 0.7), 3.0))
    >>> bool(body.truth.interface_areas_std[0] < 0.01 * body.truth.interface_areas[0])
    True
    """
    structure = checked_structure(structure)
    fields = np.asarray(structure.fields)
    _even("structure", fields.shape[1:])
    beside = np.stack([curvatures(field) for field in fields])
    fine = surface_moments(structure, beside=beside)
    skipped = Structure(structure.fields[:, ::2, ::2, ::2], structure.levels)
    coarse = surface_moments(skipped, beside=beside[..., ::2, ::2, ::2]) / 2.0
    phases = structure.levels.shape[0] + 1
    shares, rough = (
        np.stack(
            [
                np.asarray(render(structure, one, points))
                for one in jnp.eye(phases, dtype=jnp.float32)
            ]
        )
        for points in (POINTS, 1)
    )
    return Body(shares, _extrapolated(fine, coarse, shares, rough))


def _even(name: str, shape: Sequence[int]) -> None:
    if any(n % 2 or n < 4 for n in shape):
        raise InputError(
            f"{name}: got a volume of {tuple(shape)}, wants even lengths of at least 4"
        )


def _extrapolated(
    fine: np.ndarray, coarse: np.ndarray, shares: np.ndarray, rough: np.ndarray
) -> Truth:
    """Truth from moments (P, 4) on the lattice and on every other voxel of it."""
    # The error of flat triangles falls with the square of the lattice's spacing.
    change = (fine - coarse) / 3.0
    area, *curved = (fine + change).T
    means = []
    none = fine[:, 0] == 0.0
    for k, integral in enumerate(curved):
        mean = np.where(none, np.nan, integral / np.where(none, 1.0, area))
        before = fine[:, k + 1] / np.where(none, 1.0, fine[:, 0])
        means += [mean, np.abs(mean - before)]
    fractions, roughly = (x.mean((1, 2, 3), dtype=float) for x in (shares, rough))
    # What is left after extrapolation is of the next order.
    return Truth(fractions, np.abs(fractions - roughly), area, 0.25 * np.abs(change[:, 0]), *means)


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
    return structure_body(
        gaussian_structure(key, shape, fractions, length, arrangement=arrangement)
    )


def gyroid_body(shape: tuple[int, int, int], cells: int, level: float = 0.0) -> Body:
    """A gyroid, the smooth network of sponge phases and printed lattices.

    Parameters
    ----------
    shape
        (z, y, x) voxels, even lengths.
    cells
        Periods along each axis.
    level
        Where the wave is cut, within ±1.4; 0 halves the volume.

    Raises
    ------
    InputError
        Cells of fewer than 8 voxels, or a level that leaves one phase alone.

    Examples
    --------
    >>> from bimmjax.sim import gyroid_body
    >>> gyroid_body((32, 32, 32), 1).truth.fractions.round(3)
    array([0.5, 0.5])
    """
    shape = _checks.volume_shape("shape", shape)
    whole_number("cells", cells, 1, max(min(shape) // 8, 1))
    _checks.number("level", level, low=-math.inf)
    if abs(level) > 1.4:
        raise InputError(f"level: got {level}, wants a number within ±1.4")
    # Half a voxel off, so that no vertex of the lattice lies on the surface.
    z, y, x = (2.0 * np.pi * cells * (np.arange(n) + 0.5) / n for n in shape)
    z, y = z[:, None, None], y[:, None]
    field = np.sin(x) * np.cos(y) + np.sin(y) * np.cos(z) + np.sin(z) * np.cos(x)
    return structure_body(
        Structure(jnp.asarray(field[None], jnp.float32), jnp.asarray([level], jnp.float32))
    )


def mask_body(mask: np.ndarray, smoothing: float = 2.0) -> Body:
    """A smooth body with the shapes of a segmented volume, periodic.

    The mask is filtered by a Gaussian, and cut where its volume fraction is about kept. Opposite
    faces are joined, so shapes across them are made up; the truth is that of the joined body.

    Parameters
    ----------
    mask
        (z, y, x), 0 for phase 0, anything else for phase 1; even lengths.
    smoothing
        std of the filter, voxels; below 1.5 the lattice does not resolve the surface.

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
    return structure_body(Structure(field[None], level[None]))


def sheet_body(
    shape: tuple[int, int, int],
    thickness: float,
    normal: Sequence[int] = (1, 1, 0),
) -> Body:
    """Flat parallel sheets (phase 0) that repeat with the volume; their area is exact.

    Parameters
    ----------
    shape
        (z, y, x) voxels.
    thickness
        Of each sheet, voxels; less than their distance. The fractions told are those of
        the sheets as they are rendered, which may be off by the points of a voxel.
    normal
        How many sheets each axis crosses, whole numbers.

    Raises
    ------
    InputError
        Sheets thicker than their distance, or a normal of anything but whole numbers.

    Examples
    --------
    >>> from bimmjax.sim import sheet_body
    >>> body = sheet_body((32, 32, 32), 6.0, (2, 0, 0))
    >>> body.truth.interface_areas
    array([0.125])
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
    shares = np.stack(
        [np.asarray(render(structure, one, POINTS)) for one in jnp.eye(2, dtype=jnp.float32)]
    )
    # Of sheets along the lattice the points of a voxel lie in planes: thickness comes in steps.
    fractions = shares.mean((1, 2, 3), dtype=float)
    none = np.zeros(1)
    return Body(shares, Truth(fractions, np.zeros(2), np.array([2.0 / period]), *[none] * 7))


def contest_body(
    key: jax.Array,
    shape: tuple[int, int, int],
    phases: int,
    length: float,
    lead: Sequence[float] | None = None,
) -> Body:
    """Each phase where its own Gaussian field is the highest: every two touch, as foams do.

    Parameters
    ----------
    key
        Random key.
    shape
        (z, y, x) voxels, even lengths; the body is periodic.
    phases
        2 to 8.
    length
        std of the Gaussian filter of the fields, voxels.
    lead
        (N,), what is added to each field, in its standard deviations; none by default.

    Raises
    ------
    InputError
        An odd length of the volume, or not one lead per phase.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import contest_body
    >>> truth = contest_body(jax.random.key(0), (32, 32, 32), 3, 4.0).truth
    >>> bool((truth.interface_areas > 0).all())
    True
    """
    key = _checks.random_key("key", key)
    shape = _checks.volume_shape("shape", shape)
    _even("shape", shape)
    whole_number("phases", phases, 2, 8)
    _checks.number("length", length, open_low=True)
    ahead = _checks.numbers("lead", np.zeros(phases) if lead is None else lead, "numbers")
    if ahead.size != phases:
        raise InputError(f"lead: got {ahead.size} numbers, wants {phases}, one per phase")
    fields = jnp.stack(
        [
            gaussian_field(jax.random.fold_in(key, i), shape, length) + jnp.float32(a)
            for i, a in enumerate(ahead)
        ]
    )
    moved = jax.jit(jax.vmap(lambda field: between_voxels(field, POINTS)))(fields)
    won = jnp.argmax(moved, 0)
    shares = np.stack([np.asarray((won == i).mean(0)) for i in range(phases)]).astype(np.float32)
    first = jnp.argmax(fields, 0)
    rough = np.stack([np.asarray(first == i, np.float32) for i in range(phases)])
    host = np.asarray(fields)
    pairs = list(itertools.combinations(range(phases), 2))
    beside = np.stack([curvatures(host[j] - host[i]) for i, j in pairs])
    fine = _contest_moments(host, beside)
    coarse = _contest_moments(host[:, ::2, ::2, ::2], beside[..., ::2, ::2, ::2]) / 2.0
    return Body(shares, _extrapolated(fine, coarse, shares, rough))


def _contest_moments(fields: np.ndarray, beside: np.ndarray) -> np.ndarray:
    """Area of each pair per volume and integrals of `beside` (P, C, z, y, x): (P, 1 + C)."""
    pairs = list(itertools.combinations(range(len(fields)), 2))
    total = np.zeros((len(pairs), 1 + beside.shape[1]))
    for slab, along in slabs(fields, beside):
        for at, (i, j) in enumerate(pairs):
            others = [slab[k] - slab[i] for k in range(len(fields)) if k not in (i, j)]
            corners = surface_with(slab[j] - slab[i], 0.0, *along[at], *others)
            kept = 3 + beside.shape[1]
            # Where a third field is higher, neither of the two is there.
            for channel in range(kept, corners.shape[2]):
                corners, _ = split_triangles(corners, channel)
            total[at] += integrals(corners[:, :, :kept])
    return total / fields[0].size
