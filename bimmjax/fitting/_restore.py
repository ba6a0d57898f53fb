"""The sharp body behind a blurred block, its image, and its areas.

The body is described by a field for each phase: a phase is where its own field is the highest.
Fields made by telling the phases apart in the data give such a body, but what is small against the
blur has shrunk or gone. So the fields are changed until their own image, partial volumes and blur
included, is the data: where two phases meet the residual moves the boundary between them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

_STEPS = 6
_HIGHEST = jax.lax.Precision.HIGHEST
_PARTIAL_VARIANCE = 1.0 / 12.0
_FLATTEST = 1e-3
# The six tetrahedra of a cell along its diagonal: each goes there one axis after the other.
_PATHS = tuple(itertools.permutations(range(3)))


@jax.jit
def restored(
    fields: Array, target: Array, means: Array, width: Array, smoothing: Array, noise: Array
) -> Array:
    """Fields (N, z, y, x) whose image is the data.

    fields : to start from. target : (z, y, x) the data after a blur of std `smoothing` against the
    noise. means : (N,) of the phases. width : std of all the blur in the target, voxels. noise :
    std of what is left in it; a residual as small is not looked into.
    """

    def off(fields: Array) -> Array:
        return target - _seen(jnp.tensordot(means, _shares(fields), 1), width)

    def going(state: tuple[Array, Array, Array]) -> Array:
        _, residual, steps = state
        return (steps < _STEPS) & (jnp.mean(residual**2) > noise**2)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        fields, residual, steps = state
        fields = fields + _moves(fields, means) * blurred(residual, smoothing)
        return fields, off(fields), steps + 1

    return jax.lax.while_loop(going, step, (fields, off(fields), jnp.asarray(0)))[0]


def _moves(fields: Array, means: Array) -> Array:
    """By how much each field changes for a residual of 1: only those of the two highest."""
    phases = fields.shape[0]
    if phases == 2:
        half = 0.5 / (means[1] - means[0])
        return jnp.stack([-half, half])[:, None, None, None]
    first = jnp.argmax(fields, 0)
    rank = jnp.arange(phases)[:, None, None, None]
    second = jnp.argmax(jnp.where(rank == first, -jnp.inf, fields), 0)
    half = 0.5 / (means[first] - means[second])
    return jnp.where(rank == first, half, jnp.where(rank == second, -half, 0.0))


@jax.jit
def image(fields: Array, means: Array, blur_std: Array) -> tuple[Array, Array]:
    """What a scan sees, (z, y, x), and each phase's blurred share of the voxels, (N, z, y, x)."""
    if fields.shape[0] == 2:
        # The field of their difference does for both.
        bright = _octants((fields[1] - fields[0])[None], lambda x: _ramp(x[0], 0.5))
        bright = _seen(bright, blur_std)
        shares = jnp.stack([1.0 - bright, bright])
    else:
        sharp = _octants(fields, lambda x: _shares(x, 0.5))
        # One by one: as a batch the products of the blur would be several times slower.
        shares = jnp.stack([_seen(share, blur_std) for share in sharp])
    return jnp.tensordot(means, shares, 1), shares


def _octants(fields: Array, share: Callable[[Array], Array]) -> Array:
    """Mean of `share` of the fields (N, z, y, x) in the middle of each octant of the voxels."""
    sides = [jnp.stack([_towards(n, step) for step in (-1, 1)]) for n in fields.shape[1:]]

    def one(which: Array) -> Array:
        moved = fields
        for side, at in zip(sides, which, strict=True):
            # Axes move on by one each time, and are back in their places after three.
            moved = jnp.tensordot(moved, side[at], ((1,), (1,)), precision=_HIGHEST)
        return share(moved)

    corners = jnp.asarray(list(itertools.product((0, 1), repeat=3)))
    return jax.lax.map(one, corners).mean(0)


def _seen(shares: Array, blur_std: Array) -> Array:
    """Partial volumes blur by themselves; the rest of the blur is added."""
    return blurred(shares, jnp.sqrt(jnp.maximum(blur_std**2 - _PARTIAL_VARIANCE, 1e-4)))


def _shares(fields: Array, edge: float = 1.0) -> Array:
    """Share of each phase in cubes of an edge around the voxels' centres, summing to 1."""
    leads = [fields[i] - _highest(fields, (i,)) for i in range(fields.shape[0])]
    if len(leads) == 2:
        bright = _ramp(leads[1], edge)
        return jnp.stack([1.0 - bright, bright])
    shares = jnp.stack([_ramp(lead, edge) for lead in leads])
    return shares / jnp.maximum(shares.sum(0), 1e-6)


def _ramp(lead: Array, edge: float) -> Array:
    """Share of cubes of an edge where a field is positive, from its value and its slope."""
    return jnp.clip(0.5 + lead / (edge * _steepness(lead)), 0.0, 1.0)


def _highest(fields: Array, without: tuple[int, ...]) -> Array:
    """Of the fields but some."""
    kept = [fields[k] for k in range(fields.shape[0]) if k not in without]
    highest = kept[0]
    for field in kept[1:]:
        highest = jnp.maximum(highest, field)
    return highest


def _steepness(field: Array) -> Array:
    squared = jnp.zeros_like(field)
    for axis, n in enumerate(field.shape):
        # Slices of one padded array, which fuse; a gather or a stack would not.
        widths = [(1, 1) if k == axis else (0, 0) for k in range(3)]
        padded = jnp.pad(field, widths, mode="edge")
        low, high = (jax.lax.slice_in_dim(padded, a, a + n, axis=axis) for a in (0, 2))
        squared += 0.25 * (high - low) ** 2
    return jnp.sqrt(jnp.maximum(squared, _FLATTEST**2))


def _towards(n: int, step: int) -> Array:
    """A quarter of the way from each of n voxels to a neighbour, (n, n); at the end it stays."""
    at = jnp.arange(n)
    return 0.75 * jnp.eye(n) + 0.25 * jnp.eye(n)[jnp.clip(at + step, 0, n - 1)]


@jax.jit
def blurred(volume: Array, std: Array) -> Array:
    """Gaussian blur of a block (z, y, x), mirrored at its faces.

    By matrices: the kernel's width costs nothing and compiles nothing.
    """
    for n in volume.shape:
        matrix = _blur_matrix(n, std)
        volume = jnp.tensordot(volume, matrix, ((0,), (1,)), precision=_HIGHEST)
    return volume


def _blur_matrix(n: int, std: Array) -> Array:
    at = jnp.arange(n)
    mirrored = jnp.stack([at, -1 - at, 2 * n - 1 - at, at + 2 * n, at - 2 * n])
    apart = mirrored[:, None, :] - at[:, None]
    weights = jnp.exp(-0.5 * (apart / jnp.maximum(std, 1e-3)) ** 2).sum(0)
    return weights / weights.sum(1, keepdims=True)


@jax.jit
def interface_areas(fields: Array, margin: Array | int = 0) -> Array:
    """Area per volume where each pair of phases meets, (P,), 1/voxel.

    Of voxels `margin` or more from every face, whose cubes end halfway between the cells that their
    centres span and the cells around these: the mean of the two. In six tetrahedra a cell fields
    are taken as linear. The density at 0 of the difference of two fields in a tetrahedron is a
    quadratic B-spline whose knots are the corners' values; times the volume and the slope that is
    the area where they are equal, of which the part counts where no third field is higher.
    """
    pairs = list(itertools.combinations(range(fields.shape[0]), 2))
    shape = (fields.shape[1] - 1, fields.shape[2] - 1, fields.shape[3] - 1)
    both = [inside(shape, m) for m in (margin - 1, margin)]
    weights = sum((0.5 * x / jnp.sum(x) for x in both), jnp.zeros(shape))
    return jnp.stack([_area(fields, i, j, weights) for i, j in pairs])


def inside(shape: tuple[int, ...], margin: Array | int) -> Array:
    """Which of a block (z, y, x) is `margin` or more from every face: 1.0 or 0.0."""
    kept = jnp.ones(shape)
    for axis, n in enumerate(shape):
        at = jnp.arange(n).reshape([-1 if k == axis else 1 for k in range(len(shape))])
        kept = kept * ((at >= margin) & (at < n - margin))
    return kept


def _area(fields: Array, i: int, j: int, weights: Array) -> Array:
    difference = fields[j] - fields[i]
    lead = fields[i] - _highest(fields, (i, j)) if fields.shape[0] > 2 else None
    total = jnp.zeros(())
    for path in _PATHS:
        corners = _corners(difference, path)
        steps = [b - a for a, b in itertools.pairwise(corners)]
        squared = steps[0] ** 2 + steps[1] ** 2 + steps[2] ** 2
        area = jnp.sqrt(squared) * _density_at_zero(*_ascending(*corners)) / 6.0
        if lead is not None:
            area = area * _part_ahead(_corners(lead, path), corners, steps, squared)
        total += jnp.sum(weights * area)
    return total


def _part_ahead(
    lead: list[Array], corners: list[Array], steps: list[Array], squared: Array
) -> Array:
    """Part of a tetrahedron's surface where `lead` is positive, from its value in the middle."""
    slopes = [b - a for a, b in itertools.pairwise(lead)]
    along = slopes[0] * steps[0] + slopes[1] * steps[1] + slopes[2] * steps[2]
    steep = slopes[0] ** 2 + slopes[1] ** 2 + slopes[2] ** 2
    middle = 0.25 * (lead[0] + lead[1] + lead[2] + lead[3])
    off = 0.25 * (corners[0] + corners[1] + corners[2] + corners[3])
    there = middle - along * off / jnp.maximum(squared, 1e-12)
    # A tetrahedron is about half a cell across.
    return jnp.clip(0.5 + 2.0 * there / jnp.sqrt(jnp.maximum(steep, 1e-12)), 0.0, 1.0)


def _corners(field: Array, path: tuple[int, ...]) -> list[Array]:
    """The four corners of a tetrahedron of every cell."""
    offset = [0, 0, 0]
    found = [_corner(field, offset)]
    for axis in path:
        offset[axis] = 1
        found.append(_corner(field, offset))
    return found


def _corner(field: Array, offset: list[int]) -> Array:
    return field[tuple(slice(1, None) if k else slice(None, -1) for k in offset)]


def _ascending(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array, Array, Array]:
    a, b = jnp.minimum(a, b), jnp.maximum(a, b)
    c, d = jnp.minimum(c, d), jnp.maximum(c, d)
    a, c = jnp.minimum(a, c), jnp.maximum(a, c)
    b, d = jnp.minimum(b, d), jnp.maximum(b, d)
    return a, jnp.minimum(b, c), jnp.maximum(b, c), d


def _density_at_zero(a: Array, b: Array, c: Array, d: Array) -> Array:
    """Of values spread evenly through a tetrahedron with a <= b <= c <= d at its corners."""
    one, two, three = (a < 0) & (b >= 0), (b < 0) & (c >= 0), (c < 0) & (d >= 0)

    def over(values: Array, there: Array) -> Array:
        return jnp.where(there, values, 1.0)

    first = a**2 / over((b - a) * (c - a) * (d - a), one)
    last = d**2 / over((d - a) * (d - b) * (d - c), three)
    low = -a * c / over((c - a) * (c - b), two)
    high = -b * d / over((d - b) * (c - b), two)
    middle = (low + high) / over(d - a, two)
    nothing = jnp.zeros_like(a)
    return 3.0 * jnp.select([one, two, three], [first, middle, last], nothing)
