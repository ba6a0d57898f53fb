"""Maps as pictures want them: names for people, units, and only what can be used."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bimmjax.maps._flags import UNUSABLE, Flag
from bimmjax.plot._labels import length_name, per_length

if TYPE_CHECKING:
    from bimmjax.maps._maps import Maps

# More than these no reader compares: the phases of largest share, and the pairs among four.
_MOST_PHASES = 4
_MOST_PAIRS = 6
_RARE = 1e-3  # of a block: less than this, or than two standard errors, is an absent phase


class Quantity(NamedTuple):
    """One map and how it is told: `column` times `times` is in `unit`."""

    column: str
    kind: str
    which: str
    name: str
    unit: str
    times: float = 1.0

    @property
    def label(self) -> str:
        """Name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


class Estimates(NamedTuple):
    """A quantity over the blocks, in the quantity's units.

    value, stderr : (t, z, y, x) float32, NaN where the block is not shown.
    borrowed : (t, z, y, x) bool, where the value is mostly the prior's: not the block's own.
    """

    value: np.ndarray
    stderr: np.ndarray
    borrowed: np.ndarray


# Kind: name, unit ("#" length, "/" per length, "*" grey values), factor; main ones first.
_KINDS: dict[str, tuple[str, str, float]] = {
    "volume_fraction": ("Share of phase {}", "%", 100.0),
    "interface_area": ("Interface area {}", "/", 1.0),
    "resolution_10_90": ("Resolution 10-90 %", "#", 1.0),
    "noise_std": ("Noise{}", "*", 1.0),
    "intensity": ("Intensity of phase {}", "*", 1.0),
    "goodness_of_fit": ("Misplaced voxels", "%", 100.0),
    "correlation": ("Noise correlation", "", 1.0),
    "blur_std": ("Blur", "voxels", 1.0),
    "interface_halfwidth": ("Half-width of interfaces", "blurs", 1.0),
    "interior_weight": ("Inside phase {}", "%", 100.0),
    "interface_weight": ("Near interface {}", "%", 100.0),
    "interface_tilt": ("Interface tilt {}", "", 1.0),
    "interface_bend": ("Interface bend {}", "", 1.0),
}
MAIN = (
    "volume_fraction",
    "interface_area",
    "resolution_10_90",
    "noise_std",
    "intensity",
    "goodness_of_fit",
)
CALIBRATED = (*MAIN[:-1], "correlation", "blur_std")
# What `--free` holds at the whole's value: a map of it shows nothing.
_HELD = {
    "weights": ("intensity", "noise_std", "resolution_10_90"),
    "weights,blur,noise": ("intensity",),
}
_NAMED = re.compile(r"(?P<kind>.+?)(?:_(?P<which>\d+(?:-\d+)?))?$")


class View:
    """A map set with a time axis always there: (t, z, y, x).

    Numbers are read when asked for and not kept: there may be millions of blocks in many columns.
    """

    def __init__(self, maps: Maps) -> None:
        self.maps = maps
        self.flags = self.whole("flags")

    @property
    def times(self) -> tuple[float, ...]:
        """One per volume; 0, 1, ... where none are known."""
        known = self.maps.times
        count = self.flags.shape[0]
        if known is not None and len(known) == count:
            return tuple(float(t) for t in known)
        return tuple(float(t) for t in range(count))

    @property
    def series(self) -> bool:
        """Whether there is more than one volume."""
        return self.flags.shape[0] > 1

    @cached_property
    def usable(self) -> np.ndarray:
        """(t, z, y, x): blocks whose numbers may enter a mean."""
        return (self.flags & int(UNUSABLE)) == 0

    @cached_property
    def shown(self) -> np.ndarray:
        """(t, z, y, x): blocks that are drawn; those that fit poorly as well if most do."""
        return self._at_rest if self.mostly_poor else self.usable

    @cached_property
    def mostly_poor(self) -> bool:
        """Whether most blocks came to rest and fit poorly: then nothing else could be shown."""
        return 2 * int(self.usable.sum()) < int(self._at_rest.sum())

    @property
    def left_out_flags(self) -> Flag:
        """Any of these, and a block is not drawn."""
        return UNUSABLE & ~Flag.POOR_FIT if self.mostly_poor else UNUSABLE

    @property
    def _at_rest(self) -> np.ndarray:
        return (self.flags & int(UNUSABLE & ~Flag.POOR_FIT)) == 0

    @cached_property
    def pending(self) -> np.ndarray:
        """(t, z, y, x): blocks that are not fitted yet."""
        return (self.flags & int(Flag.PENDING)) != 0

    @cached_property
    def quantities(self) -> list[Quantity]:
        """All fitted quantities, the main ones first."""
        names = [n for n in self.maps.columns if not n.endswith("_stderr")]
        found = [q for q in map(self._quantity, names) if q is not None]
        return sorted(found, key=lambda q: list(_KINDS).index(q.kind))

    @cached_property
    def drawn(self) -> list[Quantity]:
        """The main quantities, of many phases and pairs only those of the largest shares."""
        phases = self._largest("volume_fraction", _MOST_PHASES)
        pairs = self._largest("interface_area", _MOST_PAIRS)
        allowed = {
            "volume_fraction": phases,
            "interface_area": pairs,
            "intensity": phases,
            "noise_std": [*phases, ""],
            **{kind: [] for kind in _HELD.get(self.maps.store.identity.get("free", ""), ())},
        }
        return [
            q for q in self.quantities if q.kind in MAIN and q.which in allowed.get(q.kind, [""])
        ]

    @cached_property
    def left_out(self) -> list[Quantity]:
        """The main quantities that are not drawn."""
        return [q for q in self.quantities if q.kind in MAIN and q not in self.drawn]

    def read(self, quantity: Quantity) -> Estimates:
        """Values and standard errors (NaN if the quantity has none)."""
        borrowed = self._borrowed(quantity)
        value = self._shown_values(quantity.column, quantity.times)
        name = f"{quantity.column}_stderr"
        if name in self.maps.columns:
            stderr = self._shown_values(name, quantity.times)
        else:
            stderr = np.full_like(value, np.nan)
        return Estimates(value, stderr, borrowed & np.isfinite(value))

    def global_values(self, quantity: Quantity) -> list[float]:
        """What the fit of each whole volume found, in the quantity's units; NaN if unknown."""
        fits = self.global_fits
        return [quantity.times * _of_fit(fit, quantity) for fit in fits]

    @property
    def global_fits(self) -> list[dict[str, Any]]:
        """`fit.json` of each whole volume, {} where there is none."""
        told = self.maps.attributes.get("global_fit")
        fits = list(told) if isinstance(told, list | tuple) else [told]
        count = self.flags.shape[0]
        fits = fits * count if len(fits) == 1 else fits
        fits = [*fits, *([None] * count)][:count]
        return [dict(fit) if fit else {} for fit in fits]

    @property
    def whole_at_rest(self) -> bool:
        """Whether the fit of each whole volume came to rest: all blocks lean on it."""
        return all(fit.get("converged") is not False for fit in self.global_fits)

    @property
    def length(self) -> str:
        """The unit of length, for labels."""
        return length_name(self.maps.length_unit)

    def whole(self, column: str) -> np.ndarray:
        """A column as it is stored, (t, z, y, x)."""
        values = np.asarray(self.maps[column])
        return values if values.ndim == 4 else values[None]

    def _shown_values(self, column: str, times: float) -> np.ndarray:
        values = self.whole(column).astype(np.float32) * np.float32(times)
        values[~(self.shown & np.isfinite(values))] = np.nan
        return values

    def _borrowed(self, quantity: Quantity) -> np.ndarray:
        if quantity.kind in ("resolution_10_90", "blur_std"):
            return (self.flags & int(Flag.BLUR_UNTOLD)) != 0
        if quantity.kind in ("intensity", "noise_std") and quantity.which:
            absent = (self.flags & int(Flag.PHASE_ABSENT)) != 0
            share = f"volume_fraction_{quantity.which}"
            if absent.any() and share in self.maps.columns:
                # The flag tells that some phase is absent; this tells which.
                least = np.maximum(_RARE, 2.0 * self.whole(f"{share}_stderr"))
                return absent & ~(self.whole(share) >= least)
        return np.zeros(self.flags.shape, bool)

    def _quantity(self, column: str) -> Quantity | None:
        kind, which = column, ""
        if column not in _KINDS:
            match = _NAMED.match(column)
            kind, which = (match["kind"], match["which"] or "") if match else ("", "")
        if kind not in _KINDS:
            return None
        name, unit, times = _KINDS[kind]
        if kind == "noise_std":
            which_name = f" of phase {which}" if which else ""
        else:
            which_name = which
        return Quantity(column, kind, which, name.format(which_name), self._unit(unit), times)

    def _unit(self, unit: str) -> str:
        if unit == "*":
            grey = self.maps.attributes.get("intensity_unit")
            told = self.global_fits[0].get("units", {}).get("intensity")
            return f"{grey or told or 'grey value'}s"
        if unit == "/":
            return per_length(self.maps.length_unit)
        return self.length if unit == "#" else unit

    def _largest(self, kind: str, most: int) -> list[str]:
        """Which phases or pairs have the largest mean of `kind`, at most so many, in order."""
        all_of_kind = [q for q in self.quantities if q.kind == kind]
        if len(all_of_kind) <= most:
            return [q.which for q in all_of_kind]
        means = []
        for quantity in all_of_kind:
            values = self.read(quantity).value
            known = values[np.isfinite(values)]
            means.append(float(known.mean()) if known.size else -1.0)
        best = sorted(np.argsort([-mean for mean in means], kind="stable")[:most])
        return [all_of_kind[i].which for i in best]


def apart(low: float, high: float) -> tuple[float, float]:
    """The same ends, a little apart where they differ by no more than rounding of float32."""
    largest = max(abs(low), abs(high))
    if high - low > 1e-6 * largest:
        return low, high
    half = 0.01 * largest or 1.0
    return low - half, high + half


_PROPERTIES = {"volume_fraction": "volume_fractions", "interface_area": "interface_areas"}
_PARAMETERS = {
    "intensity": "intensities",
    "interior_weight": "interior_weights",
    "interface_weight": "interface_weights",
}


def _of_fit(fit: dict[str, Any], quantity: Quantity) -> float:
    """A quantity's place in a `fit.json`."""
    kind = quantity.kind
    found: Any = fit
    if kind == "goodness_of_fit":
        found = fit.get(kind)
    elif kind in _PROPERTIES or kind == "resolution_10_90":
        found = fit.get("properties", {}).get(_PROPERTIES.get(kind, kind))
    else:
        found = fit.get("params", {}).get(_PARAMETERS.get(kind, kind))
    if isinstance(found, dict):
        found = found.get(quantity.which)
    elif isinstance(found, list | tuple):
        place = int(quantity.which or 0)
        found = found[place] if place < len(found) else None
    return float("nan") if found is None else float(found)
