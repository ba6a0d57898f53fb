"""The sharp body behind a blurred block of two phases, its image, and its area.

The body is where a field on the voxels is positive. Thresholding the data gives such a field, but
what is small against the blur has shrunk or gone. So the field is changed until its own image,
partial volumes and blur included, is the data: the residual is added to it a few times.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
from jax import Array

_STEPS = 6
_PARTIAL_VARIANCE = 1.0 / 12.0
_FLATTEST = 1e-3
# The six tetrahedra of a cell along its diagonal: each goes there one axis after the other.
_PATHS = tuple(itertools.permutations(range(3)))


@jax.jit
def restored(block: Array, blur_std: Array, smoothing: Array, noise: Array) -> Array:
    """Field (z, y, x) that is positive in the bright phase.

    block : 0 in the dark and 1 in the bright phase, blurred and noisy. smoothing : std of a first
    blur against the noise, voxels. noise : std of what that leaves of it; a residual as small is
    not looked into.
    """
    target = blurred(block, smoothing)
    width = jnp.sqrt(blur_std**2 + smoothing**2)

    def off(field: Array) -> Array:
        return target - _seen(_partial_volumes(field), width)

    def going(state: tuple[Array, Array, Array]) -> Array:
        _, residual, steps = state
        return (steps < _STEPS) & (jnp.mean(residual**2) > noise**2)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        field, residual, steps = state
        field = field + blurred(residual, smoothing)
        return field, off(field), steps + 1

    first = target - 0.5
    return jax.lax.while_loop(going, step, (first, off(first), jnp.asarray(0)))[0]


@jax.jit
def image(field: Array, blur_std: Array) -> Array:
    """What a scan sees of the body where `field` is positive: (z, y, x) in [0, 1]."""
    # Partial volumes of the octants of each voxel.
    total = jnp.zeros_like(field)
    steep = _steepness(field)
    for sides in itertools.product((False, True), repeat=3):
        there = field
        for axis, above in enumerate(sides):
            there = 0.75 * there + 0.25 * _neighbours(there, axis, above)
        total += jnp.clip(0.5 + 2.0 * there / steep, 0.0, 1.0)
    return _seen(total / 8.0, blur_std)


def _seen(shares: Array, blur_std: Array) -> Array:
    """Partial volumes blur by themselves; the rest of the blur is added."""
    return blurred(shares, jnp.sqrt(jnp.maximum(blur_std**2 - _PARTIAL_VARIANCE, 1e-4)))


def _partial_volumes(field: Array) -> Array:
    return jnp.clip(0.5 + field / _steepness(field), 0.0, 1.0)


def _steepness(field: Array) -> Array:
    squared = jnp.zeros_like(field)
    for axis, n in enumerate(field.shape):
        # Slices of one padded array, which fuse; a gather or a stack would not.
        widths = [(1, 1) if k == axis else (0, 0) for k in range(3)]
        padded = jnp.pad(field, widths, mode="edge")
        low, high = (jax.lax.slice_in_dim(padded, a, a + n, axis=axis) for a in (0, 2))
        squared += 0.25 * (high - low) ** 2
    return jnp.sqrt(jnp.maximum(squared, _FLATTEST**2))


def _neighbours(field: Array, axis: int, above: bool) -> Array:
    """Each voxel's neighbour along an axis; at the end its own value."""
    n = field.shape[axis]
    at = jnp.clip(jnp.arange(n) + (1 if above else -1), 0, n - 1)
    return jnp.take(field, at, axis)


def blurred(volume: Array, std: Array) -> Array:
    """Gaussian blur of a block (z, y, x), mirrored at its faces.

    By matrices: the kernel's width costs nothing and compiles nothing.
    """
    for n in volume.shape:
        matrix = _blur_matrix(n, std)
        volume = jnp.tensordot(volume, matrix, ((0,), (1,)), precision=jax.lax.Precision.HIGHEST)
    return volume


def _blur_matrix(n: int, std: Array) -> Array:
    at = jnp.arange(n)
    mirrored = jnp.stack([at, -1 - at, 2 * n - 1 - at, at + 2 * n, at - 2 * n])
    apart = mirrored[:, None, :] - at[:, None]
    weights = jnp.exp(-0.5 * (apart / jnp.maximum(std, 1e-3)) ** 2).sum(0)
    return weights / weights.sum(1, keepdims=True)


@jax.jit
def surface_area(field: Array) -> Array:
    """Area where a field (z, y, x) is 0, in voxels², between the centres of the outermost voxels.

    The field is taken as linear in six tetrahedra a cell. The density at 0 of its values in a
    tetrahedron is a quadratic B-spline whose knots are the corners' values; times the volume and
    the slope that is the area.
    """
    total = jnp.zeros(())
    for path in _PATHS:
        offset = [0, 0, 0]
        corners = [_corner(field, offset)]
        for axis in path:
            offset[axis] = 1
            corners.append(_corner(field, offset))
        slope = jnp.sqrt(sum(((b - a) ** 2 for a, b in itertools.pairwise(corners)), jnp.zeros(())))
        total += jnp.sum(slope * _density_at_zero(*_ascending(*corners))) / 6.0
    return total


def _corner(field: Array, offset: list[int]) -> Array:
    """That corner of every cell."""
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
