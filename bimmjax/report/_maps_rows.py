"""The numbers of a map set as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bimmjax.maps._flags import MEANING, Flag
from bimmjax.maps._meaning import meaning_of
from bimmjax.plot._labels import power, signed
from bimmjax.plot._maps_spread import Spread, spread
from bimmjax.plot._maps_view import CALIBRATED, Estimates, Quantity, View

MOSTLY_POOR = (
    "Most blocks fit poorly. They are shown all the same; do not trust them. Another number of "
    "phases, or a noise for each phase, may describe them."
)
_DASH = "–"
# Whatever is wrong with the fit itself comes first; blocks without data were meant to be so.
_WORST = (
    Flag.FAILED,
    Flag.NOT_CONVERGED,
    Flag.POOR_FIT,
    Flag.UNLIKE_WHOLE,
    Flag.UNREADABLE,
    Flag.PHASE_ABSENT,
    Flag.BLUR_UNTOLD,
    Flag.PARTIAL,
    Flag.NO_DATA,
)


class QuantityRow(NamedTuple):
    """One quantity over the blocks: texts, rounded alike, in `unit`."""

    name: str
    unit: str
    whole: str
    mean: str
    between: str
    error: str
    variation: str
    meaning: str


class FlagRow(NamedTuple):
    """One flag: its name and code, how many blocks and what share, whether they can be used."""

    name: str
    code: int
    blocks: int
    share: str
    used: bool
    meaning: str


class BlockRow(NamedTuple):
    """One flagged block: first and last voxels of each axis, its flags, its goodness of fit."""

    time: str
    voxels: str
    flags: str
    misplaced: str


def quantity_row(view: View, quantity: Quantity) -> QuantityRow:
    """Global fit, mean, spread between blocks and typical standard error of a quantity."""
    found = spread(view.read(quantity))
    levels = [level for level in view.global_values(quantity) if math.isfinite(level)]
    ends = [levels[0], levels[-1]] if levels else [math.nan, math.nan]
    numbers = [*ends, found.mean, found.std, found.stderr, found.beyond]
    (first, last, mean, std, stderr, beyond), exponent = _alike(numbers, found)
    unit = f"{power(exponent)} {quantity.unit}".strip()
    variation = _variation(found, beyond)
    if found.real is not None and (view.mostly_poor or quantity.kind not in CALIBRATED):
        variation = _DASH  # the errors are no measure of what is real
    return QuantityRow(
        quantity.name,
        unit,
        first if len(levels) < 2 or first == last else f"{first} to {last}",
        mean,
        std,
        stderr,
        variation,
        meaning_of(quantity.column),
    )


def time_row(view: View, quantity: Quantity, moments: Sequence[int]) -> tuple[str, list[str], str]:
    """A quantity's name, its means over the blocks at some times, and their unit."""
    estimates = view.read(quantity)
    each = [spread(Estimates(*(part[moment][None] for part in estimates))) for moment in moments]
    told, exponent = _alike([found.mean for found in each], spread(estimates))
    return quantity.name, told, f"{power(exponent)} {quantity.unit}".strip()


def flag_rows(view: View) -> list[FlagRow]:
    """Every flag that some block carries."""
    rows = []
    for flag, meaning in MEANING.items():
        count = int(((view.flags & int(flag)) != 0).sum())
        if count:
            rows.append(
                FlagRow(
                    flag_name(flag),
                    int(flag),
                    count,
                    percent(count, view.flags.size),
                    not flag & view.left_out_flags,
                    meaning,
                )
            )
    return rows


def block_rows(view: View, most: int) -> list[BlockRow]:
    """The worst flagged blocks, at most so many: by kind of flag, then by goodness of fit."""
    fitted = (view.flags != 0) & ~view.pending
    places = np.argwhere(fitted)
    if not places.size:
        return []
    flags = view.flags[fitted]
    misplaced = view.whole("goodness_of_fit")[fitted].astype(float)
    rank = np.full(flags.shape, len(_WORST))
    for number, flag in reversed(list(enumerate(_WORST))):
        rank[(flags & int(flag)) != 0] = number
    order = np.lexsort((-np.nan_to_num(misplaced, nan=np.inf), rank))[:most]
    return [_block(view, places[i], int(flags[i]), float(misplaced[i])) for i in order]


def usable_words(view: View) -> str:
    """How many blocks can be used, or what can be said of them where the whole is no support."""
    total, usable = view.flags.size, int(view.usable.sum())
    one = many = "can be used"
    if not view.whole_at_rest:
        one, many = "passes its own checks", "pass their own checks"
    if not usable:
        return f"No block {one}"
    if usable < total:
        return f"{usable:,} of {total:,} blocks {many}"
    return f"All {total:,} blocks {many}" if total > 1 else f"The one block {one}"


def flag_name(flag: Flag) -> str:
    """`not converged` for `NOT_CONVERGED`."""
    return str(flag.name).replace("_", " ").lower()


def percent(count: int, of: int) -> str:
    """A share that is neither 0 nor 100 % unless it is exactly.

    Examples
    --------
    >>> percent(1, 100000), percent(99999, 100000), percent(3, 8)
    ('< 0.1 %', '> 99.9 %', '37.5 %')
    """
    share = 100.0 * count / of
    if 0 < share < 0.05:
        return "< 0.1 %"
    if 99.95 <= share < 100:
        return "> 99.9 %"
    return f"{share:.0f} %" if share in (0, 100) else f"{share:.1f} %"


def _block(view: View, place: np.ndarray, flags: int, misplaced: float) -> BlockRow:
    moment, *window = (int(i) for i in place)
    start = view.maps.windows.voxel_start(window)
    ranges = [
        f"{axis} {first}–{first + edge - 1}"
        for axis, first, edge in zip("zyx", start, view.maps.windows.block, strict=True)
    ]
    names = [flag_name(flag) for flag in Flag if flags & int(flag)]
    return BlockRow(
        f"{view.times[moment]:g}",
        ", ".join(ranges),
        ", ".join(names),
        f"{100 * misplaced:.1f} %" if math.isfinite(misplaced) else _DASH,
    )


def _variation(found: Spread, beyond: str) -> str:
    """Whether the blocks differ by more than their errors, in words."""
    if found.real is None:
        return "no standard errors to compare with" if found.blocks > 1 else _DASH
    ratio = f"{found.ratio:#.2g}" if found.ratio < 10 else f"{found.ratio:,.0f}"
    if found.real:
        return f"real: ± {beyond} beyond the errors (variance {ratio} × theirs)"
    return f"no more than the errors (variance {ratio} × theirs)"


def _alike(numbers: Sequence[float], found: Spread) -> tuple[list[str], int]:
    """All with the decimals that the smallest error makes worth telling, and one power of ten."""
    known = [abs(x) for x in numbers if math.isfinite(x)]
    largest = max(known, default=0.0)
    exponent = 0
    if largest > 0 and not 1e-3 <= largest < 1e6:
        exponent = math.floor(math.log10(largest))
    scale = 10.0**-exponent
    errors = [e * scale for e in (found.std, found.stderr) if math.isfinite(e) and e > 0]
    if errors:
        places = 1 - math.floor(math.log10(min(errors)))
    else:
        places = 3 - math.floor(math.log10(largest * scale)) if largest > 0 else 0
    places = min(max(places, 0), 6)
    return [_fixed(x * scale, places) for x in numbers], exponent


def _fixed(value: float, places: int) -> str:
    if not math.isfinite(value):
        return _DASH
    text = f"{value:.{places}f}"
    return signed(text.lstrip("-") if float(text) == 0.0 else text)
