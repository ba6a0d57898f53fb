"""How far off a corrected property may still be, and where it is refused.

What a correction leaves grows with what it took off. The numbers here are from fits to random
bodies of known truth (`python -m benchmarks verdict`): nine in ten of their errors are smaller.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bimmjax.fitting._correct import Found
from bimmjax.models import Params, phase_pairs
from bimmjax.properties import Properties

# Share of the value: a floor, a part that falls with the square of the size of features in blurs,
# and a part of the correction (in logs). Fractions: of V(1 - V), with the fourth power of the size,
# and of the correction itself.
_AREA = 0.0135, 0.77, 0.11
_AREA_OF_MANY = 0.03, 1.0, 0.45
# Of all area, where there are three phases or more: what comes out small may be none at all.
_AREA_OF_NONE = 0.01
_BLUR = 0.008, 0.32, 0.5
_FRACTION = 0.0004, 1.2, 1.0
# Of two phases: where one is thin in blurs and all interface its grey value is hardly told, and so
# neither are fractions (share of the smaller) nor blur. In full where nothing of it lies outside.
_THIN = 0.05
_THIN_IN_BLURS = 3.0
_THIN_FRACTION = 0.5
_THIN_BLUR = 0.2
# Share of the curvature, and a part that falls with the square of the size, in 1/blur.
_CURVATURE = 0.2, 0.6
# Of these errors, whose tails are heavier than normal ones, 95 in a hundred are below so many times
# what nine in ten are below.
_TO_INTERVAL = 1.1
_LARGEST_AREA_ERROR = 0.15
_LARGEST_OF_MANY = 0.25
_LARGEST_CORRECTION = 0.35
_UNSETTLED = 0.1
_SMALLEST_FEATURES = 3.0
_LEAST_INSIDE = 0.1


class Trust(NamedTuple):
    """Corrected properties by name as flat arrays, what may be left of their bias, refusals."""

    values: dict[str, np.ndarray]
    announced: dict[str, np.ndarray]
    """Absolute errors that nine in ten stay below, noise apart."""
    refusals: dict[str, str]
    """Why an area is not told, by pair."""
    curvature: tuple[float, float]
    """What a mean curvature may be off: share of it, and 1/length."""

    @property
    def left(self) -> dict[str, np.ndarray]:
        """Half-widths of 95 % intervals, noise apart."""
        return {name: _TO_INTERVAL * x for name, x in self.announced.items()}


def trust(told: Properties, found: Found, params: Params, blur_std: float, spacing: float) -> Trust:
    """How far to trust corrected properties (NumPy, lengths).

    params : of the mixture. blur_std : corrected, voxels.
    """
    assert told.interface_areas is not None
    bias = found.bias
    assert told.resolution_10_90 is not None
    areas, width = np.asarray(told.interface_areas), np.atleast_1d(told.resolution_10_90)
    fractions = np.asarray(told.volume_fractions)
    low, high = np.array(phase_pairs(fractions.size)).T
    touching = np.zeros(fractions.size)
    np.add.at(touching, low, areas)
    np.add.at(touching, high, areas)
    # Mean chords of a phase and of the rest, harmonic mean, twice; in blurs.
    room = 4.0 * fractions * (1.0 - fractions)
    sizes = np.maximum(room, 1e-9) / np.maximum(touching * spacing * blur_std, 1e-9)
    size = np.minimum(sizes[low], sizes[high])

    def expected(
        law: tuple[float, float, float], of: np.ndarray, correction: np.ndarray
    ) -> np.ndarray:
        floor, by_size, by_correction = law
        return floor + by_size / of**2 + by_correction * np.abs(correction)

    many = fractions.size > 2
    share = expected(_AREA_OF_MANY if many else _AREA, size, bias.log_areas)
    largest = _LARGEST_OF_MANY if many else _LARGEST_AREA_ERROR
    fraction = 0.25 * room * (_FRACTION[0] + _FRACTION[1] / sizes**4)
    thin = 0.0
    if not many and 2.0 * fractions.min() < _THIN_IN_BLURS * areas.sum() * spacing * blur_std:
        thin = float(np.clip(1.0 - _inside(params, fractions).min() / _THIN, 0.0, 1.0))
    fraction = fraction + _THIN_FRACTION * thin * fractions.min()
    announced = {
        "volume_fractions": fraction + _FRACTION[2] * np.abs(bias.volume_fractions),
        "interface_areas": share * areas + (_AREA_OF_NONE * areas.sum() if many else 0.0),
        "resolution_10_90": width
        * (expected(_BLUR, size.max(), np.atleast_1d(bias.log_blur)) + _THIN_BLUR * thin),
    }
    values = {name: np.atleast_1d(getattr(told, name)) for name in announced}
    refusals = _films(params, fractions)
    for (i, j), at, off, change, error in zip(
        phase_pairs(fractions.size), size, bias.log_areas, found.unsettled, share, strict=True
    ):
        why = None
        if at < _SMALLEST_FEATURES:
            why = f"features are {at:.1f} blurs in size, too small to be told from the blur"
        elif error > largest or abs(off) > _LARGEST_CORRECTION or abs(change) > _UNSETTLED:
            gain = 100.0 * np.expm1(off)
            why = f"on stand-ins for this volume the model's value is off by {gain:+.0f} %"
        if why is not None:
            refusals.setdefault(f"{i}-{j}", why)
    curvature = _CURVATURE[0], _CURVATURE[1] / float(size.max()) ** 2 / (blur_std * spacing)
    return Trust(values, announced, refusals, curvature)


def _films(params: Params, fractions: np.ndarray) -> dict[str, str]:
    """Refusals of all areas where one of three or more phases is all interface.

    A film of a phase between two others looks like a wider interface of these two, and fits as
    well; on nested bodies areas were then wrong by half of the whole.
    """
    inside = _inside(params, fractions)
    worst = int(np.argmin(inside))
    if fractions.size < 3 or inside[worst] >= _LEAST_INSIDE:
        return {}
    why = (
        f"only {100.0 * inside[worst]:.0f} % of phase {worst} lies outside the interface regions, "
        "and films of it cannot be told from interfaces of the others"
    )
    return {f"{i}-{j}": why for i, j in phase_pairs(fractions.size)}


def _inside(params: Params, fractions: np.ndarray) -> np.ndarray:
    """Share of each phase that lies outside the interface regions."""
    return np.asarray(params.interior_weights) / np.maximum(fractions, 1e-6)
