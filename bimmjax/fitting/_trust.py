"""How far off a corrected property may still be, and where it is refused.

What a correction leaves grows with what it took off. The numbers here are from fits to random
bodies of known truth (`python -m benchmarks verdict`): nine in ten of their errors are smaller.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bimmjax.fitting._correct import Found
from bimmjax.properties import Properties

# Share of the value: a floor, a part that falls with the square of the size of features in blurs,
# and a part of the correction (in logs). Fractions: of V₁V₂, and of the correction itself.
_AREA = 0.01, 0.65, 0.32
_BLUR = 0.006, 0.32, 0.5
_FRACTION = 0.0005, 0.32, 0.55
# Of these errors, whose tails are heavier than normal ones, 95 in a hundred are below so many times
# what nine in ten are below.
_TO_INTERVAL = 1.1
_LARGEST_AREA_ERROR = 0.15
_LARGEST_CORRECTION = 0.35
_SMALLEST_FEATURES = 3.0


class Trust(NamedTuple):
    """Corrected properties by name as flat arrays, what may be left of their bias, refusals."""

    values: dict[str, np.ndarray]
    announced: dict[str, np.ndarray]
    """Absolute errors that nine in ten stay below, noise apart."""
    refusals: dict[str, str]
    """Why there is no number, by name."""

    @property
    def left(self) -> dict[str, np.ndarray]:
        """Half-widths of 95 % intervals, noise apart."""
        return {name: _TO_INTERVAL * x for name, x in self.announced.items()}


def trust(told: Properties, found: Found, blur_std: float, spacing: float) -> Trust:
    """How far to trust corrected properties (NumPy, lengths); blur_std in voxels."""
    assert told.interface_areas is not None
    bias = found.bias
    assert told.resolution_10_90 is not None
    areas, width = np.asarray(told.interface_areas), np.atleast_1d(told.resolution_10_90)
    low, high = np.asarray(told.volume_fractions)
    size = 4.0 * low * high / (areas[0] * spacing * blur_std)

    def expected(law: tuple[float, float, float], correction: np.ndarray) -> np.ndarray:
        floor, by_size, by_correction = law
        return floor + by_size / size**2 + by_correction * np.abs(correction)

    share = expected(_AREA, bias.log_areas)
    fraction = expected((*_FRACTION[:2], 0.0), np.zeros(2)) * low * high
    announced = {
        "volume_fractions": fraction + _FRACTION[2] * np.abs(bias.volume_fractions),
        "interface_areas": share * areas,
        "resolution_10_90": expected(_BLUR, np.atleast_1d(bias.log_blur)) * width,
    }
    values = {name: np.atleast_1d(getattr(told, name)) for name in announced}
    refusals = {}
    if size < _SMALLEST_FEATURES:
        refusals["interface_areas"] = (
            f"features are {size:.1f} blurs in size, too small to be told from the blur"
        )
    elif share[0] > _LARGEST_AREA_ERROR or abs(bias.log_areas[0]) > _LARGEST_CORRECTION:
        refusals["interface_areas"] = (
            f"on stand-ins for this volume the model is off by {100 * bias.log_areas[0]:+.0f} %"
        )
    return Trust(values, announced, refusals)
