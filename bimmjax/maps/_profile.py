"""Means of layers of blocks along an axis, with the errors that their scatter tells."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from scipy.special import fdtrc, stdtrit

from bimmjax._core.checks import choice, whole_number
from bimmjax.maps._correction import with_what_is_left
from bimmjax.maps._maps import Maps
from bimmjax.maps._windows import Windows

Axis = Literal["z", "y", "x"]
AXES: tuple[Axis, ...] = ("z", "y", "x")
_NOTHING = 1e-9
_CHANCE = 0.0027  # that of three standard deviations of a normal number
_FEWEST = 3  # layers, to tell a line from chance
_ROUNDED = 2.0**-24  # share by which a number of a map may be off: they are float32


class Profile(NamedTuple):
    """One quantity along one axis: a number per layer of blocks, and the slope of all.

    Attributes
    ----------
    position : np.ndarray
        Centres of the layers in `maps.length_unit`; the first voxel's is at 0.
    mean : np.ndarray
        Over the usable blocks of each layer; NaN where there are none.
    stderr : np.ndarray
        Standard error of the mean, from the scatter between the blocks of the layer; NaN where
        fewer than two of them can be told apart.
    common : np.ndarray
        Standard error that all layers share and no scatter shows: what may be left of the model's
        bias, 0 where nothing is known of it. It moves them all by about the same share, and the
        slope with them.
    blocks : np.ndarray
        Usable blocks of each layer.
    line : np.ndarray
        The straight line through the means, at each position; NaN without two layers.
    slope : float
        Of the straight line through the means, per `maps.length_unit`.
    slope_stderr : float
        Its standard error, without `common`.
    freedom : float
        Degrees of freedom of `slope_stderr`: with few of them three errors are little.
    chance : float
        Probability that layers of one and the same mean differ by as much (F test): small also for
        a profile that rises and falls, which has no slope. NaN where no layer has two blocks.
    """

    position: np.ndarray
    mean: np.ndarray
    stderr: np.ndarray
    common: np.ndarray
    blocks: np.ndarray
    line: np.ndarray
    slope: float
    slope_stderr: float
    freedom: float
    chance: float

    @property
    def certain(self) -> bool:
        """Whether the slope is more than chance: beyond three errors, more if few blocks tell them.

        By Student's t, of three layers and more.
        """
        if not self._enough or not self.freedom > 0.0:
            return False
        most = -stdtrit(self.freedom, 0.5 * _CHANCE) * self.slope_stderr
        return bool(abs(self.slope) > most)

    @property
    def bent(self) -> bool:
        """Whether layers, three and more, differ by more than chance, but not along a line."""
        return not self.certain and self._enough and bool(self.chance < _CHANCE)

    @property
    def _enough(self) -> bool:
        return int((self.blocks > 0).sum()) >= _FEWEST


def profile(maps: Maps, column: str, axis: Axis = "z", *, time_index: int = 0) -> Profile:
    """How a quantity changes along an axis: means of layers, their errors, and the slope.

    Blocks that overlap repeat each other: two of them are taken to be correlated by the share of
    voxels that they have in common. So n blocks count as n² / Σ shares, summed over all
    pairs (each with itself, too), and half-overlapping layers are not taken for independent.
    The line's weights are these counts, and its error is that of the scatter within the layers,
    or of the layers about the line where that is larger: a profile that is no line has an
    uncertain slope.

    Source: weighted least squares, its error by the correlation of layers that share voxels, as it
    is for voxels that are independent of each other and layers with the same blocks.

    Parameters
    ----------
    maps : Maps
    column : str
        One of `maps.quantities`.
    axis : str
        "z", "y" or "x".
    time_index : int
        Which volume of a series.

    Returns
    -------
    Profile
        In `maps.unit(column)`. What cannot be told is NaN.

    Raises
    ------
    InputError
        No such quantity, axis or volume.

    Examples
    --------
    >>> import jax, bimmjax
    >>> from bimmjax import sim
    >>> made = sim.artificial_volume(
    ...     jax.random.key(0), (48, 48, 48), blur_std=1.0, feature_length=6.0, with_area=False
    ... )
    >>> maps = bimmjax.map_fits(made.image, block=24, errors=False)
    >>> along_z = bimmjax.maps.profile(maps, "volume_fraction_0", "z")
    >>> along_z.position, along_z.blocks
    (array([11.5, 35.5]), array([4, 4]))
    >>> along_z.certain  # no gradient
    False
    """
    choice("column", column, maps.quantities)
    choice("axis", axis, AXES)
    whole_number("time_index", time_index, 0, maps.store.description.volumes - 1)
    along = AXES.index(axis)
    values, usable = maps[column], maps.usable
    if maps.series:
        values, usable = values[time_index], usable[time_index]
    here = usable & np.isfinite(values)
    values, here = (np.moveaxis(part, along, 0) for part in (np.where(here, values, 0.0), here))
    rows, columns = (_shares(maps.windows, k) for k in range(3) if k != along)

    blocks = here.sum((1, 2))
    counted = np.maximum(blocks, 1)
    mean = values.sum((1, 2), dtype=float) / counted
    shared = (here * (rows @ here.astype(float) @ columns)).sum((1, 2))
    independent = blocks**2 / np.maximum(shared, 1.0)
    squares = (here * (values - mean[:, None, None]) ** 2).sum((1, 2), dtype=float)
    freedom = blocks - shared / counted
    told = freedom > _NOTHING
    scatter = np.sqrt(squares / np.where(told, freedom, np.nan) / np.maximum(independent, 1.0))
    within = float(squares[told].sum() / freedom[told].sum()) if told.any() else np.nan

    position = maps.origin[along] + maps.step[along] * np.arange(len(mean))
    good = blocks > 0
    shares = _shares(maps.windows, along)[np.ix_(good, good)]
    # Layers that overlap repeat each other's scatter.
    repeated = shares.sum() / good.sum() if good.any() else 1.0
    within = _Scatter(within, float(freedom[told].sum()) / repeated)
    slope, error, known = _line(position[good], mean[good], independent[good], shares, within)
    chance = _chance(mean[good], independent[good], shares, within)
    centre, level = (x @ independent / np.maximum(independent.sum(), 1.0) for x in (position, mean))
    line = level + slope * (position - centre)
    mean = np.where(good, mean, np.nan)
    left = (maps.attributes.get("correction") or {}).get("left", {}).get(column, 0.0)
    common = with_what_is_left({column: mean}, {column: np.zeros(len(mean))}, {column: left})
    return Profile(
        position, mean, scatter, common[column], blocks, line, slope, error, known, chance
    )


def _shares(windows: Windows, axis: int) -> np.ndarray:
    """Share of its voxels that each block has in common with each other along an axis."""
    number = np.arange(windows.shape[axis])
    apart = np.abs(number[:, None] - number) * windows.stride[axis] / windows.block[axis]
    return np.maximum(1.0 - apart, 0.0)


class _Scatter(NamedTuple):
    """Variance of one block within its layer, and how well it is known."""

    variance: float
    freedom: float


def _line(
    position: np.ndarray,
    mean: np.ndarray,
    weights: np.ndarray,
    shares: np.ndarray,
    within: _Scatter,
) -> tuple[float, float, float]:
    """Slope, its standard error, and the degrees of freedom of that."""
    if len(mean) < 2:
        return np.nan, np.nan, 0.0
    covariance, weights = _covariance(weights, shares)
    centred = position - weights @ position
    lever = weights * centred / (weights @ centred**2)
    about = _about(mean, weights, covariance, np.outer(centred, lever))
    scatter = within
    if not within.variance >= about and np.isfinite(about):
        scatter = _Scatter(about, max(len(mean) ** 2 / shares.sum() - 2.0, 0.0))
    variance = max(scatter.variance, _smallest(mean))
    error = float(np.sqrt(variance * (lever @ covariance @ lever)))
    return float(lever @ mean), error, scatter.freedom


def _chance(mean: np.ndarray, weights: np.ndarray, shares: np.ndarray, within: _Scatter) -> float:
    """That layers of one mean differ as much as these."""
    between = len(mean) ** 2 / shares.sum() - 1.0 if len(mean) else 0.0
    if between < _NOTHING or within.freedom < _NOTHING:
        return np.nan
    covariance, weights = _covariance(weights, shares)
    about = _about(mean, weights, covariance, np.zeros_like(covariance))
    variance = max(within.variance, _smallest(mean))
    return float(fdtrc(between, within.freedom, about / variance))


def _covariance(independent: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the layers' means where a block's variance is 1, and the layers' weights."""
    covariance = shares / np.sqrt(np.outer(independent, independent))
    return covariance, independent / independent.sum()


def _about(
    mean: np.ndarray, weights: np.ndarray, covariance: np.ndarray, line: np.ndarray
) -> float:
    """Variance of a block, told by the layers' scatter about their mean, and a line besides."""
    left = np.eye(len(mean)) - weights - line
    chance = float(weights @ np.diag(left @ covariance @ left.T))
    return float(weights @ (left @ mean) ** 2 / chance) if chance > _NOTHING else np.nan


def _smallest(mean: np.ndarray) -> float:
    """Blocks that are all alike have no scatter, but are no more exact than they are stored."""
    return float((_ROUNDED * np.abs(mean).max()) ** 2)
