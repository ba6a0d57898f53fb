"""A ruler beside the images: marks that move as slices are milled, and tell how thick they are."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax._core.checks import InputError, whole_number
from bimmjax.sim import _checks

# In standard deviations of a mark: from the frame's edge, and between marks.
_EDGE, _GAP = 4.0, 6.0
_STEPS = 12


class Ruler(NamedTuple):
    """Four marks in a strip on top of each slice: two stay where they are, two come together.

    Sections through two parallel and two inclined trenches that are filled with another material.

    Attributes
    ----------
    parallel : tuple[float, float]
        x of the marks that stay, pixels.
    inclined : tuple[float, float]
        x of the other two in the first slice, pixels.
    slope : float
        By how many pixels each of them moves inwards per length of depth.
    mark_std : float
        Of a mark's Gaussian profile, pixels.
    rows : int
        Height of the strip, pixels.
    """

    parallel: tuple[float, float]
    inclined: tuple[float, float]
    slope: float
    mark_std: float
    rows: int


class RulerReading(NamedTuple):
    """What a ruler tells of n slices.

    Attributes
    ----------
    depths : array
        (n,) float64, of each face below that of the ruler's first slice.
    depths_std : array
        (n,) float64, their standard errors as the noise of each strip tells them.
    thickness : array
        (n - 1,) float64, between neighbouring faces; noise may make it negative.
    shifts : array
        (n,) float64, pixels by which a slice was moved along x.
    """

    depths: np.ndarray
    depths_std: np.ndarray
    thickness: np.ndarray
    shifts: np.ndarray


def make_ruler(
    width: int, depth: float, *, rows: int = 48, mark_std: float = 2.0, length: float | None = None
) -> Ruler:
    """The steepest ruler that fits: the flatter its angle, the coarser it tells thicknesses.

    Source: FIB thesis, Article II, §2.1.1 (ruler-based method).

    Parameters
    ----------
    width
        Of the images, pixels.
    depth
        Down to which it is to be read, in any length.
    rows
        Height of the strip, pixels.
    mark_std
        Of a mark's profile, pixels.
    length
        By how many pixels the inclined marks move over `depth`. Default: as far as there
        is room, which leaves them apart at the end.

    Returns
    -------
    Ruler

    Raises
    ------
    InputError
        No room for it.

    Examples
    --------
    >>> from bimmjax.sim import make_ruler
    >>> make_ruler(256, 600.0).slope
    0.16833333333333333
    """
    width = whole_number("width", width, 1, 2**31 - 1)
    _checks.number("depth", depth, open_low=True)
    rows = whole_number("rows", rows, 4, 2**20)
    _checks.number("mark_std", mark_std, low=0.5)
    edge = _EDGE * mark_std
    first = edge + _GAP * mark_std
    middle = (width - 1) / 2.0
    room = np.floor(middle - _GAP / 2.0 * mark_std - first)
    if room < 1:
        least = 2 * (first + _GAP / 2.0 * mark_std + 1) + 1
        raise InputError(f"width: got {width}, wants at least {least:.0f} pixels for a ruler")
    travel = float(room) if length is None else float(length)
    if not 0.0 < travel <= room:
        raise InputError(f"length: got {travel:g}, wants pixels above 0 and up to {room:g}")
    last = width - 1 - edge
    inner = (first, width - 1 - first)
    return Ruler((edge, last), inner, travel / float(depth), float(mark_std), rows)


def draw_ruler(
    image: jax.Array | np.ndarray,
    ruler: Ruler,
    positions: jax.Array | np.ndarray,
    *,
    mark: float = 1.0,
    ground: float = 0.0,
) -> jax.Array:
    """Put the ruler's strip on top of each slice.

    Parameters
    ----------
    image
        (z, y, x), any unit.
    ruler
        See `make_ruler`.
    positions
        (z,) depth of each face, in the ruler's length.
    mark
        Grey value of marks.
    ground
        Grey value of what is between them.

    Returns
    -------
    (z, rows + y, x) float32; `[:, ruler.rows:]` is the image.

    Raises
    ------
    InputError
        If `image` is not 3D, or there is not one position for each slice.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.sim import draw_ruler, make_ruler
    >>> ruler = make_ruler(256, 600.0)
    >>> draw_ruler(np.zeros((3, 64, 256)), ruler, [0.0, 10.0, 25.0]).shape
    (3, 112, 256)
    """
    stack = _checks.volume("image", image)
    if np.shape(positions) != stack.shape[:1]:
        raise InputError(f"positions: got shape {np.shape(positions)}, wants ({stack.shape[0]},)")
    _checks.number("mark", mark, low=-np.inf)
    _checks.number("ground", ground, low=-np.inf)
    places = jnp.asarray(positions, jnp.float32) * jnp.float32(ruler.slope)
    profiles = jax.vmap(lambda place: _profile(ruler, stack.shape[2], place, jnp.float32(0.0)))(
        places
    )
    strip = jnp.float32(ground) + jnp.float32(mark - ground) * profiles
    size = (stack.shape[0], ruler.rows, stack.shape[2])
    return jnp.concatenate([jnp.broadcast_to(strip[:, None, :], size), stack], 1)


def _marks(ruler: Ruler, travel: jax.Array, shift: jax.Array) -> jax.Array:
    """X of the four marks, the inclined ones `travel` pixels on: (4,)."""
    still = jnp.asarray((*ruler.parallel, *ruler.inclined), jnp.float32)
    return still + travel * jnp.asarray((0.0, 0.0, 1.0, -1.0), jnp.float32) + shift


def _profile(ruler: Ruler, width: int, travel: jax.Array, shift: jax.Array) -> jax.Array:
    away = jnp.arange(width, dtype=jnp.float32) - _marks(ruler, travel, shift)[:, None]
    return jnp.exp(-0.5 * (away / ruler.mark_std) ** 2).sum(0)


def read_ruler(image: jax.Array | np.ndarray, ruler: Ruler, *, reach: int = 16) -> RulerReading:
    """Depths and thicknesses of slices from the marks of a ruler.

    The mean of the strip's rows is fitted by least squares: how far the inclined marks came, how
    far the slice moved (which all four marks share), contrast and brightness, for every slice on
    its own. The lowest quarter of the strip is left out, into which drift moves the image.

    Source: FIB thesis, Article II, §2.1.1 (ruler-based method).

    Parameters
    ----------
    image
        (z, rows + y, x), with the ruler's strip on top; any unit.
    ruler
        The one that was drawn.
    reach
        By how many pixels slices may have moved along x.

    Returns
    -------
    RulerReading
        In the ruler's length. A pixel's noise of std s and marks of contrast c leave depths with
        an error of about 0.87 s √mark_std / (c √rows slope), thicknesses with √2 of that.

    Raises
    ------
    InputError
        If `image` is not 3D, not higher than the strip or of another width, or holds no mark.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.sim import draw_ruler, make_ruler, read_ruler
    >>> ruler = make_ruler(256, 600.0)
    >>> image = draw_ruler(np.zeros((3, 64, 256)), ruler, [0.0, 10.0, 25.0])
    >>> read_ruler(image, ruler).depths.round(2) + 0.0
    array([ 0., 10., 25.])
    """
    stack = _checks.volume("image", image)
    reach = whole_number("reach", reach, 0, 1000)
    if stack.shape[1] < ruler.rows:
        raise InputError(f"image: got {stack.shape[1]} rows, wants the ruler's {ruler.rows} on top")
    if stack.shape[2] <= ruler.parallel[1]:
        raise InputError(f"image: got {stack.shape[2]} columns, wants those the ruler was made for")
    strip = stack[:, : ruler.rows - ruler.rows // 4]
    found, variance = _fitted(strip, jnp.asarray(ruler.slope), ruler._replace(slope=0.0), reach)
    numbers = np.asarray(found, np.float64)
    if not np.all(np.isfinite(numbers)):
        bad = int(np.flatnonzero(~np.isfinite(numbers).all(1))[0])
        raise InputError(f"image: got slice {bad} in which no marks are found, wants a ruler")
    depths = numbers[:, 0] / ruler.slope
    std = np.sqrt(np.asarray(variance, np.float64)) / ruler.slope
    return RulerReading(depths, std, np.diff(depths), numbers[:, 1])


@functools.partial(jax.jit, static_argnames=("ruler", "reach"))
def _fitted(
    strip: jax.Array, slope: jax.Array, ruler: Ruler, reach: int
) -> tuple[jax.Array, jax.Array]:
    """(n, 4): travel, shift, contrast, base; and the variance of the travel (n,)."""
    width = strip.shape[2]
    rows = strip.mean(1)

    def one(profile: jax.Array) -> tuple[jax.Array, jax.Array]:
        travel, shift = _searched(profile, ruler, reach)
        shape = _profile(ruler, width, travel, shift)
        spread = shape - shape.mean()
        contrast = (spread * profile).sum() / (spread**2).sum()
        start = jnp.stack([travel, shift, contrast, profile.mean() - contrast * shape.mean()])

        def model(numbers: jax.Array) -> jax.Array:
            return numbers[3] + numbers[2] * _profile(ruler, width, numbers[0], numbers[1])

        def step(_: int, numbers: jax.Array) -> jax.Array:
            slopes, left = jax.jacfwd(model)(numbers), profile - model(numbers)
            change = jnp.linalg.solve(slopes.T @ slopes, slopes.T @ left)
            # A pixel at a time: further off the marks' slopes tell nothing.
            return numbers + change.at[:2].set(jnp.clip(change[:2], -1.0, 1.0))

        numbers = jax.lax.fori_loop(0, _STEPS, step, start)
        slopes, left = jax.jacfwd(model)(numbers), profile - model(numbers)
        noise = (left**2).sum() / (width - 4)
        return numbers, noise * jnp.linalg.inv(slopes.T @ slopes)[0, 0]

    return jax.lax.map(one, rows)


def _searched(profile: jax.Array, ruler: Ruler, reach: int) -> tuple[jax.Array, jax.Array]:
    """Shift and travel to whole pixels, where the profile looks most like marks."""
    steps = jnp.arange(-int(4 * ruler.mark_std) - 1, int(4 * ruler.mark_std) + 2)
    weights = jnp.exp(-0.5 * (steps / ruler.mark_std) ** 2).astype(jnp.float32)
    like = jnp.convolve(profile - profile.mean(), weights, mode="same")
    shifts = jnp.arange(-reach, reach + 1)
    # Dark marks on bright ground are found as well: what they look like is then least.
    sign = jnp.where(jnp.abs(like.min()) > jnp.abs(like.max()), -1.0, 1.0).astype(jnp.float32)

    def at(places: jax.Array) -> jax.Array:
        inside = (places >= 0) & (places < like.size)
        return jnp.where(inside, sign * like[jnp.clip(places, 0, like.size - 1)], 0.0)

    left, right = (jnp.rint(jnp.float32(x)).astype(jnp.int32) for x in ruler.parallel)
    # Travel and shift together: a mark that stays may look like one that moved.
    travels = jnp.arange(0, int(ruler.inclined[1] - ruler.inclined[0]) // 2 + 1)
    first, second = (jnp.rint(jnp.float32(x)).astype(jnp.int32) for x in ruler.inclined)
    still = at(left + shifts) + at(right + shifts)
    moved = at(first + shifts[:, None] + travels) + at(second + shifts[:, None] - travels)
    best = jnp.argmax(still[:, None] + moved)
    shift, travel = jnp.unravel_index(best, moved.shape)
    return travels[travel].astype(jnp.float32), shifts[shift].astype(jnp.float32)
