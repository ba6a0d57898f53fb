"""Cross-correlation of two windowed images, and its highest point between the pixels."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

_NEWTON_STEPS = 4
_FARTHEST = 0.75  # pixels from the highest pixel
_TINY = 1e-6  # of the mean grey value: a std that is rounding only
MARGIN = 4
"""Pixels along an image's edges whose gradients are not looked at: the image does not go on beyond
as the Fourier transform has it."""


def hann(size: int) -> np.ndarray:
    """A Hann window of `size` pixels, float32, without zeros at its ends."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(size) + 0.5) / size)).astype(np.float32)


def overlap(shift: jax.Array, size: int) -> jax.Array:
    """How much of a Hann window lies on itself, moved by `shift`: its autocorrelation, 1 at 0.

    Correlations of windowed images are this much smaller there, which draws peaks towards 0.
    """
    u = jnp.minimum(jnp.abs(shift) / size, 1.0)
    turn = 2.0 * jnp.pi * u
    return (1.0 - u) * (2.0 + jnp.cos(turn)) / 3.0 + jnp.sin(turn) / (2.0 * jnp.pi)


def spectrum(
    plane: jax.Array, smooth: jax.Array, edges: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Of an image (y, x) that is smoothed by a Gaussian of std `smooth` pixels, then windowed.

    Returns
    -------
    (y, x // 2 + 1) complex64, and its energy; the energy of a constant image is NaN.
    With `edges`, of the size of the smoothed image's gradient, `MARGIN` pixels further in.
    """
    rows, columns = plane.shape
    grey = plane.mean()
    # Smoothed before it is windowed: a window that is smoothed too no longer has `overlap`.
    soft = _smoothed(plane - grey, jnp.maximum(smooth, 0.5) if edges else smooth)
    if edges:
        shown, window = _steepness(soft), _window(rows, columns, MARGIN)
    else:
        shown, window = soft, _window(rows, columns, 0)
    total = jnp.float32(window.sum())
    mean = (shown * window).sum() / total
    centred = shown - mean
    # Once more: a large offset leaves a rounded mean.
    centred = centred - (centred * window).sum() / total
    shaped = centred * window
    variance = (shaped * centred).sum() / total
    found, energy = jnp.fft.rfft2(shaped), jnp.square(shaped).sum()
    rounding = _TINY * jnp.maximum(jnp.abs(mean), 0.01 * jnp.abs(grey) if edges else jnp.abs(grey))
    return found, jnp.where(variance > rounding**2, energy, jnp.nan)


def _steepness(plane: jax.Array) -> jax.Array:
    """The size of the gradient; 0 along the edges, which no window shows."""
    down = plane[2:, 1:-1] - plane[:-2, 1:-1]
    across = plane[1:-1, 2:] - plane[1:-1, :-2]
    # Three times as fast as `hypot`, whose range is not needed here.
    return jnp.pad(0.5 * jnp.sqrt(down**2 + across**2), 1)


def _window(rows: int, columns: int, margin: int) -> jax.Array:
    inner = np.outer(hann(rows - 2 * margin), hann(columns - 2 * margin))
    return jnp.asarray(np.pad(inner, margin))


def _smoothed(plane: jax.Array, smooth: jax.Array) -> jax.Array:
    rows, columns = plane.shape
    fy, fx = frequencies(rows, columns)
    falling = -2.0 * np.pi**2 * smooth**2
    blur = jnp.exp(falling * fy**2)[:, None] * jnp.exp(falling * fx**2)
    return jnp.fft.irfft2(jnp.fft.rfft2(plane) * blur, (rows, columns))


def frequencies(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Of `rfft2`, cycles per pixel along y and x, float32."""
    fy = np.fft.fftfreq(rows).astype(np.float32)
    return fy, np.fft.rfftfreq(columns).astype(np.float32)


def twice(columns: int) -> np.ndarray:
    """How often each column of `rfft2` counts: those that stand for two frequencies twice."""
    weights = np.full(columns // 2 + 1, 2.0, np.float32)
    weights[0] = 1.0
    if columns % 2 == 0:
        weights[-1] = 1.0
    return weights


@functools.partial(jax.jit, static_argnames=("columns", "reach", "edges", "normalise"))
def highest(
    fixed: jax.Array,
    moving: jax.Array,
    energies: jax.Array,
    *,
    columns: int,
    reach: tuple[int, int],
    edges: bool = False,
    normalise: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """The shift (2,) that lays `moving` on `fixed`, and the correlation there; both float32.

    NaN where the highest pixel lies on the edge of the search, or an image is constant or has
    NaN. `energies` (2,): of the two spectra. `edges`: as for `spectrum`.
    """
    rows = fixed.shape[0]
    sizes = (rows - 2 * MARGIN, columns - 2 * MARGIN) if edges else (rows, columns)
    # Each by its own root: products of energies, and of what follows, leave float32's range.
    scales = jax.lax.rsqrt(energies)
    cross = (scales[0] * fixed) * jnp.conj(scales[1] * moving)
    if normalise:
        size = jnp.abs(cross)
        cross = cross / jnp.maximum(size, 1e-6 * size.max())
    near = _near_zero(cross, columns, reach, sizes)
    place, inside = _highest_pixel(near, reach)
    start = place + _parabola(near, place, reach)
    found = _climb(cross, start, place, columns, sizes)
    value = _surface(cross, found, columns)[0]
    value = value / (overlap(found[0], sizes[0]) * overlap(found[1], sizes[1]))
    good = inside & jnp.isfinite(value)
    return jnp.where(good, found, jnp.nan), jnp.where(good, value, jnp.nan)


def _near_zero(
    cross: jax.Array, columns: int, reach: tuple[int, int], sizes: tuple[int, int]
) -> jax.Array:
    """Correlations at whole shifts within the reach, without the share of a window of `sizes`."""
    whole = jnp.fft.irfft2(cross, (cross.shape[0], columns))
    for axis, most in enumerate(reach):
        low = jax.lax.slice_in_dim(whole, whole.shape[axis] - most, None, axis=axis)
        high = jax.lax.slice_in_dim(whole, 0, most + 1, axis=axis)
        whole = jnp.concatenate([low, high], axis)
    seen = [
        overlap(jnp.arange(-most, most + 1, dtype=jnp.float32), size)
        for most, size in zip(reach, sizes, strict=True)
    ]
    return whole / (seen[0][:, None] * seen[1])


def _highest_pixel(near: jax.Array, reach: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    at = jnp.unravel_index(jnp.argmax(near), near.shape)
    place = jnp.stack([at[0] - reach[0], at[1] - reach[1]])
    inside = (jnp.abs(place) < jnp.asarray(reach)).all()
    return place.astype(jnp.float32), inside


def _parabola(near: jax.Array, place: jax.Array, reach: tuple[int, int]) -> jax.Array:
    y = jnp.clip(place[0].astype(jnp.int32) + reach[0], 1, 2 * reach[0] - 1)
    x = jnp.clip(place[1].astype(jnp.int32) + reach[1], 1, 2 * reach[1] - 1)
    around = jax.lax.dynamic_slice(near, (y - 1, x - 1), (3, 3))

    def vertex(low: jax.Array, middle: jax.Array, high: jax.Array) -> jax.Array:
        bend = low - 2.0 * middle + high
        part = 0.5 * (low - high) / jnp.where(bend < 0, bend, -jnp.inf)
        return jnp.clip(part, -0.5, 0.5)

    return jnp.stack([vertex(*around[:, 1]), vertex(*around[1])])


def _surface(cross: jax.Array, at: jax.Array, columns: int) -> tuple[jax.Array, ...]:
    """The correlation at any shift, its first and its second derivatives.

    Two small products of matrices: the discrete Fourier transform at one point, exactly.
    """
    rows = cross.shape[0]
    fy, fx = (2.0 * np.pi * f for f in frequencies(rows, columns))
    tables = []
    for f, d in ((jnp.asarray(fy), at[0]), (jnp.asarray(fx), at[1])):
        cos, sin = jnp.cos(f * d), jnp.sin(f * d)
        tables.append((jnp.stack([cos, -f * sin, -f * f * cos]),
                       jnp.stack([sin, f * cos, -f * f * sin])))  # fmt: skip
    (cy, sy), (cx, sx) = tables
    product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    weights = jnp.asarray(twice(columns)) / (rows * columns)
    re, im = jnp.real(cross), jnp.imag(cross)
    sums = product(jnp.concatenate([cy, sy]), jnp.concatenate([re, im], 1))
    width = re.shape[1]
    real = (sums[:3, :width] - sums[3:, width:]) * weights
    imag = (sums[3:, :width] + sums[:3, width:]) * weights
    c = product(real, cx.T) - product(imag, sx.T)
    return c[0, 0], jnp.stack([c[1, 0], c[0, 1]]), jnp.stack([c[2, 0], c[1, 1], c[0, 2]])


def _climb(
    cross: jax.Array, start: jax.Array, place: jax.Array, columns: int, sizes: tuple[int, int]
) -> jax.Array:
    """Newton's steps to the top of correlation / overlap, near the highest pixel."""

    def share(at: jax.Array) -> jax.Array:
        return jnp.log(overlap(at[0], sizes[0])) + jnp.log(overlap(at[1], sizes[1]))

    fading = jax.grad(share)

    def step(_: int, at: jax.Array) -> jax.Array:
        value, slope, (yy, yx, xx) = _surface(cross, at, columns)
        slope = slope - value * fading(at)
        determinant = yy * xx - yx**2
        top = (determinant > 0) & (yy < 0)
        safe = jnp.where(top, determinant, 1.0)
        move = -jnp.stack([xx * slope[0] - yx * slope[1], yy * slope[1] - yx * slope[0]]) / safe
        at = at + jnp.where(top, jnp.clip(move, -0.3, 0.3), 0.0)
        return jnp.clip(at, place - _FARTHEST, place + _FARTHEST)

    return jax.lax.fori_loop(0, _NEWTON_STEPS, step, start)
