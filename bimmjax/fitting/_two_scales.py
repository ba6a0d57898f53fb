"""Interface area and blur of two phases from moments at two scales.

Where features are thin or curved against the blur, a mixture of flat interfaces finds too little
area, and no moments of one volume can tell blur from curvature. The same volume blurred once more
can: to second order in the blur, with variance X = σ_b² and one number b for the curvature,

    E[g(1 - g)] = A √(X/π) / √(1 + bX)

for the blurred indicator g of the brighter phase, and the mean squared gradient falls with X and b
in another way. Four moments at X and at X + e determine A, X and b. Intensities and noise are those
of a fit; the second scale hardly depends on the noise.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erf

from bimmjax.models import Params
from bimmjax.properties import RISE_PER_BLUR
from bimmjax.volumes import Volume, stream

_CUT = 3.5  # stds at which the second blur ends
_STEPS = 40
_BLOCK = 96
_LEAST_VARIANCE = 1.0
# On bodies of known truth worse values than these go with errors above ten per cent.
_MOST_BEND = 0.3
_WORST_MISFIT = 0.02


class Moments(NamedTuple):
    """Means over voxels, grey values: of u, of (u - middle)², of v², of squared steps by one voxel.

    middle : () what u is taken from. voxels : () how many.
    """

    mean: Array
    square: Array
    gradient: Array
    step: Array
    middle: Array
    voxels: Array


class TwoScales(NamedTuple):
    """What moments at two scales say.

    area : per volume, 1/voxel. blur_std : σ_b, voxels. bend : b, 1/voxel², a sixth of the mean of
    3S + 2K over the surface. misfit : root mean square of the four relative residuals.
    """

    area: Array
    blur_std: Array
    bend: Array
    misfit: Array


def told(found: TwoScales, spacing: float) -> dict[str, Any]:
    """`two_scales` of `fit.json`: in lengths; None, with the reason, where it is worth nothing."""
    area, blur, bend, misfit = (float(x) for x in found)
    if not all(map(math.isfinite, (area, blur, bend, misfit))):
        return refused("too few voxels have neighbours enough for a second blur")
    if bend * blur**2 > _MOST_BEND:
        return refused("features are too small against the blur")
    if misfit > _WORST_MISFIT:
        return refused("the moments contradict each other")
    return {
        "interface_areas": {"0-1": area / spacing},
        "blur_std": blur,
        "resolution_10_90": RISE_PER_BLUR * blur * spacing,
        "curvature": 6.0 * bend / spacing**2,
        "misfit": misfit,
        "reason": None,
    }


class Kernel(NamedTuple):
    """The second blur along an axis: weights (2 reach + 1,) and their variance, voxels²."""

    weights: np.ndarray
    variance: float

    @property
    def reach(self) -> int:
        """Voxels on either side."""
        return self.weights.size // 2


def second_kernel(blur_std: float) -> Kernel:
    """As wide as the blur itself, and one voxel at least."""
    variance = max(float(blur_std) ** 2, _LEAST_VARIANCE)
    reach = int(np.ceil(_CUT * np.sqrt(variance)))
    x = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * x * x / variance)
    weights /= weights.sum()
    return Kernel(weights, float((weights * x * x).sum()))


def refused(reason: str) -> dict[str, Any]:
    """`two_scales` of `fit.json` where there is nothing to tell."""
    names = ("interface_areas", "blur_std", "resolution_10_90", "curvature", "misfit")
    return {**dict.fromkeys(names), "reason": reason}


def two_scales(volume: Volume, params: Params, rounding: float) -> dict[str, Any]:
    """One more pass over a volume of two phases that `params` (grey values) describe."""
    kernel = second_kernel(float(np.asarray(params.blur_std)))
    params = jax.tree.map(lambda x: jnp.asarray(x, float), params)
    moments = two_moments(volume, kernel, float(params.intensities.mean()))
    found = two_scale_area(*moments, kernel, params, rounding)
    return told(found, volume.spacing[0])


def two_moments(volume: Volume, kernel: Kernel, middle: float) -> tuple[Moments, Moments]:
    """Moments of a volume and of the volume blurred once more, over the same voxels.

    Streams the volume once. Voxels that the kernel cannot serve, at the faces and beside what is
    not finite, count at neither scale.
    """
    halo = kernel.reach + 1
    weights = jnp.asarray(kernel.weights, jnp.float32)
    total = np.zeros(9)
    if min(volume.shape) > 2 * halo:
        for block in stream(volume, (_BLOCK,) * 3, halo=halo):
            total += np.asarray(_sums(np.asarray(block.data, np.float32), weights, middle), float)
    means = total[1:] / total[0] if total[0] else np.full(8, np.nan)
    first, second = (
        Moments(*(jnp.asarray(x, float) for x in (*means[k : k + 4], middle, total[0])))
        for k in (0, 4)
    )
    return first, second


@jax.jit
def _sums(data: Array, weights: Array, middle: Array | float) -> Array:
    """Count, then four sums at either scale, over voxels that both can serve."""
    reach = weights.shape[0] // 2
    u = data - middle
    good = jnp.isfinite(u)
    u = jnp.where(good, u, 0.0)
    blurred, served = u, good.astype(jnp.float32)
    for axis in range(3):
        blurred = _along(blurred, weights, axis)
        served = _along(served, weights, axis)
    whole = served > 1.0 - 1e-5
    core = (slice(1, -1),) * 3
    counted = whole[core]
    for axis in range(3):
        for side in (slice(None, -2), slice(2, None)):
            counted &= whole[tuple(side if k == axis else core[k] for k in range(3))]
    inner = (slice(reach, -reach),) * 3
    sums = [jnp.sum(counted)]
    for field in (u[inner], blurred):
        here = field[core]
        gradient, step = jnp.zeros_like(here), jnp.zeros_like(here)
        for axis in range(3):
            low, high = (
                field[tuple(side if k == axis else core[k] for k in range(3))]
                for side in (slice(None, -2), slice(2, None))
            )
            gradient += 0.25 * (high - low) ** 2
            step += (high - here) ** 2 / 3.0
        sums += [jnp.sum(jnp.where(counted, x, 0.0)) for x in (here, here**2, gradient, step)]
    return jnp.stack([x.astype(jnp.float32) for x in sums])


def _along(field: Array, weights: Array, axis: int) -> Array:
    """Filter along an axis, where all of the kernel lies within."""
    size = weights.shape[0]
    kept = field.shape[axis] - size + 1

    def add(k: int, total: Array) -> Array:
        return total + weights[k] * jax.lax.dynamic_slice_in_dim(field, k, kept, axis)

    shape = list(field.shape)
    shape[axis] = kept
    return jax.lax.fori_loop(0, size, add, jnp.zeros(shape, field.dtype))


def two_scale_area(
    first: Moments, second: Moments, kernel: Kernel, params: Params, rounding: float = 0.0
) -> TwoScales:
    """Area and blur of two phases from moments at two scales; pure, in grey values and voxels.

    params : of a fit of two phases with shared noise. rounding : grey-level step of integers.
    """
    low, high = params.intensities[0], params.intensities[1]
    noise = jnp.asarray(params.noise_std) ** 2
    rho, blur = jnp.asarray(params.correlation), jnp.asarray(params.blur_std)
    step = (high - low) ** 2
    near = rounding**2 / 12.0
    own = (noise + near, 1.5 * noise * (1.0 - rho) + 1.5 * near)
    y0, m0 = _noise_free(first, low, high, *own)
    # What lies between neighbours beyond the structure is noise of correlation c1.
    structure = 4.0 / 3.0 * m0 * _reach(1.0, blur) / _reach(2.0, blur)
    c1 = 1.0 - (first.step / step - structure) / (2.0 * noise / step)
    c1 = jnp.clip(c1, 0.0, 1.0)
    lags = jnp.stack([jnp.ones(()), c1, jnp.clip(rho, 0.0, c1)])
    same, apart = (_filtered(kernel, lags, lag) for lag in (0, 2))
    left = noise * same**3 + near * _filtered(kernel, jnp.array([1.0, 0.0, 0.0]), 0) ** 3
    y1, m1 = _noise_free(second, low, high, left, 1.5 * left * (1.0 - apart / same))
    seen = jnp.stack([y0, m0, y1, m1])
    return _solve(seen, kernel.variance, blur)


def _noise_free(
    of: Moments, low: Array, high: Array, variance: Array, gradient: Array
) -> tuple[Array, Array]:
    """E[g(1 - g)] and E|∇g|² (of central differences), less what the noise adds."""
    step = (high - low) ** 2
    mean = of.mean + of.middle
    spread = of.square - of.mean**2 - variance
    return ((mean - low) * (high - mean) - spread) / step, (of.gradient - gradient) / step


def _filtered(kernel: Kernel, lags: Array, lag: int) -> Array:
    """Correlation of the noise at a lag after the second blur, over its variance before."""
    own = np.convolve(kernel.weights, kernel.weights)
    middle = own.size // 2
    total = jnp.zeros(())
    for k in range(-2, 3):
        total += float(own[middle + lag + k]) * lags[abs(k)]
    return total


def _reach(h: float, blur: Array) -> Array:
    """Mean squared difference over h voxels along an axis, per area ½; flat interfaces."""
    tau = jnp.sqrt(2.0) * blur
    edge = tau * np.sqrt(2.0 / np.pi)
    far = edge * jnp.exp(-0.5 * (h / tau) ** 2) + (h + tau**2 / h) * erf(h / (tau * np.sqrt(2.0)))
    return far - 2.0 * edge


def _expected(x: Array, extra: float) -> Array:
    """The four moments for log A, log X and bX."""
    area, variance = jnp.exp(x[0]), jnp.exp(x[1])
    bend = x[2] / variance

    def both(at: Array) -> list[Array]:
        curved = 1.0 + bend * at
        y = area * jnp.sqrt(at / np.pi) / jnp.sqrt(curved)
        blur = jnp.sqrt(at)
        flat = 2.0 * np.sqrt(np.pi) * blur * 0.375 * _reach(2.0, blur)
        return [y, y / (2.0 * at * curved) * flat]

    return jnp.stack([*both(variance), *both(variance + extra)])


@partial(jax.jit, static_argnames="extra")
def _solve(seen: Array, extra: float, blur: Array) -> TwoScales:
    """Least squares of relative residuals by damped Gauss-Newton steps."""

    def residuals(x: Array) -> Array:
        return _expected(x, extra) / seen - 1.0

    def step(_: int, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        x, value, damping = state
        slopes, off = jax.jacfwd(residuals)(x), residuals(x)
        square = slopes.T @ slopes
        square = square + damping * jnp.diag(jnp.diag(square) + 1e-9)
        tried = x - jnp.linalg.solve(square, slopes.T @ off)
        # 1 + b(X + e) has to stay above 0.
        tried = tried.at[2].max(-0.3 / (1.0 + extra * jnp.exp(-tried[1])))
        loss = jnp.sum(residuals(tried) ** 2)
        good = loss <= value
        return (
            jnp.where(good, tried, x),
            jnp.where(good, loss, value),
            jnp.clip(jnp.where(good, 0.2, 5.0) * damping, 1e-9, 1e6),
        )

    variance = blur**2
    area = seen[0] / jnp.sqrt(variance / np.pi)
    begin = jnp.stack([jnp.log(area), jnp.log(variance), jnp.asarray(0.02)])
    first = begin, jnp.sum(residuals(begin) ** 2), jnp.asarray(1e-3)
    x, loss, _ = jax.lax.fori_loop(0, _STEPS, step, first)
    variance = jnp.exp(x[1])
    return TwoScales(jnp.exp(x[0]), jnp.sqrt(variance), x[2] / variance, jnp.sqrt(loss / 4.0))
