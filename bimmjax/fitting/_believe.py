"""A fit with its bias taken off, what may be left of it announced, and 95 % intervals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from bimmjax._core.clock import timed
from bimmjax.fitting._correct import Found, corrected, find_bias, without_bias
from bimmjax.fitting._histogram_fit import HistogramFit, physical
from bimmjax.fitting._quantities import Quantity, layout
from bimmjax.fitting._quantities import intervals as make_intervals
from bimmjax.fitting._reference import reference
from bimmjax.fitting._result import Fit, Scan
from bimmjax.fitting._trust import Trust, trust
from bimmjax.fitting._uncertainty import influence, known_errors, sampling_errors
from bimmjax.fitting._verdict import POOR_FIT, undetermined, undetermined_words
from bimmjax.models import Params, phase_pairs
from bimmjax.volumes import Volume, sample_blocks

_BLOCKS = 2
_EDGE = 66
_CANDIDATES = 32
_NINE_IN_TEN = 1.645
_SAME = 1e-3
_OUTLIERS = 6.0  # noise stds
_THICKNESS = 10.0  # blurs
_NO_BLOCK = (
    "Nothing is corrected: there is no block without gaps, ten blurs thick and with phases of "
    "different grey values, to find the model's bias on. Fractions, areas and resolution are the "
    "model's own."
)
_TOO_MANY = (
    "Nothing is corrected: the model's bias is found for two to four phases. Fractions, areas and "
    "resolution are the model's own."
)
_OWN = "Nothing is corrected: fractions and resolution are the model's own, bias and all."
_NO_SURFACE = "no surface was found by which to tell the model's bias"
_MOST_PHASES = 4
_OF_BLUR = ("blur_std", "resolution_10_90")


class _Bars(NamedTuple):
    """Intervals by name, as in `fit.json`, and standard errors from the noise alone, flat."""

    confidence: dict[str, Any]
    sampling: dict[str, Any]
    noise: dict[str, np.ndarray]


def with_errors(
    fit: Fit, best: HistogramFit, volume: Volume, *, correct: bool, intervals: bool
) -> Fit:
    """`fit`, described from `best`, with what stand-ins for its volume say of its errors."""
    with timed() as correcting:
        # In grey values and back, so that all are NumPy arrays.
        scaled = best.scale.into(fit.params)
        blocks = _blocks(best, volume)
        found, trusted = None, None
        if correct and fit.model == "bimm2d" and fit.phases > _MOST_PHASES:
            fit = replace(fit, warnings=(*fit.warnings, _TOO_MANY))
        if correct and _has_bias(fit):
            why, kept = _unusable(fit), _usable(blocks, scaled)
            if why is None and not kept:
                fit = replace(fit, warnings=(*fit.warnings, _NO_BLOCK))
            else:
                found = None if why else find_bias(best, kept, fit.seed)
                if found is None:
                    fit = _refused(fit, dict.fromkeys(_pairs(fit), why or _NO_SURFACE))
                    fit = replace(fit, warnings=(*fit.warnings, _OWN))
                else:
                    fit, trusted = _corrected(fit, best, found)
                    found = None if trusted is None else found
    with timed() as spreading:
        bars = None
        if intervals:
            bars = _error_bars(fit, best, blocks, scaled, found, trusted)
            fit = replace(fit, confidence=bars.confidence, sampling=bars.sampling)
            untold = undetermined(np.asarray(fit.properties.volume_fractions), bars.confidence)
            fit = replace(fit, warnings=(*fit.warnings, *undetermined_words(untold)))
    if trusted is not None:
        fit = replace(fit, announced=_announced(fit, trusted, bars))
    compiling = correcting.compiling + spreading.compiling
    seconds = {
        **fit.seconds,
        "compile": fit.seconds["compile"] + compiling,
        "correct": correcting.total - correcting.compiling,
        "intervals": spreading.total - spreading.compiling,
    }
    return replace(fit, seconds=seconds)


def _has_bias(fit: Fit) -> bool:
    """Whether stand-ins can tell it."""
    return fit.model == "bimm2d" and 1 < fit.phases <= _MOST_PHASES


def _usable(blocks: list[np.ndarray], params: Params) -> list[np.ndarray]:
    """Blocks without gaps and thick enough for the blur, their outliers cut off; maybe none.

    params : in the units of the blocks.
    """
    means = np.asarray(params.intensities)
    steps = np.diff(means)
    blur = float(np.asarray(params.blur_std))
    if steps.min() < _SAME * (means[-1] - means[0]) or not means[-1] > means[0]:
        return []
    spare = _OUTLIERS * float(np.max(params.noise_std))
    return [
        np.clip(block, means[0] - spare, means[-1] + spare)
        for block in blocks
        if np.isfinite(block).all() and min(block.shape) >= _THICKNESS * max(blur, 1.0)
    ]


def _unusable(fit: Fit) -> str | None:
    """Why a fit says nothing about its own bias, if it does not."""
    if not fit.converged:
        return "the fit did not come to rest"
    return "the model does not describe the volume" if fit.goodness_of_fit > POOR_FIT else None


def _corrected(fit: Fit, best: HistogramFit, found: Found) -> tuple[Fit, Trust | None]:
    """`fit` without its bias, and how far to trust it; as it was, where every area is refused.

    What cannot be told of the areas cannot be of fractions and blur either.
    """
    own = without_bias(best.scale.into(fit.params), found.bias)
    scan = best.scale.out_of(own)
    told = corrected(fit.properties, found.bias)
    assert scan.blur_std is not None
    assert scan.correlation is not None
    trusted = trust(told, found, fit.params, float(scan.blur_std), fit.spacing[0])
    if len(trusted.refusals) == len(_pairs(fit)):
        fit = _refused(fit, trusted.refusals)
        return replace(fit, warnings=(*fit.warnings, _OWN)), None
    mended = replace(
        fit,
        properties=told,
        uncorrected=fit.properties,
        scan=Scan(
            intensities=np.asarray(scan.intensities),
            noise_std=np.asarray(scan.noise_std),
            correlation=np.asarray(scan.correlation),
            blur_std=np.asarray(scan.blur_std),
            noise_correlation=np.mean([stand_in.lags for stand_in in found.stand_ins], 0),
        ),
    )
    return _refused(mended, trusted.refusals), trusted


def _refused(fit: Fit, reasons: dict[str, str]) -> Fit:
    """`fit` without the areas of the pairs for which there is a reason."""
    if not reasons:
        return fit
    areas = np.asarray(fit.properties.interface_areas, float)
    told = np.where([pair in reasons for pair in _pairs(fit)], np.nan, areas)
    said = [f"The area of interface {pair} is refused: {why}." for pair, why in reasons.items()]
    return replace(
        fit,
        properties=fit.properties._replace(interface_areas=told),
        uncorrected=fit.properties if fit.uncorrected is None else fit.uncorrected,
        refusals={"interface_areas": reasons},
        warnings=(*fit.warnings, *said),
    )


def _pairs(fit: Fit) -> list[str]:
    return [f"{i}-{j}" for i, j in phase_pairs(fit.phases)]


def _announced(fit: Fit, trusted: Trust, bars: _Bars | None) -> dict[str, Any]:
    """Errors by name, noise included where it is known; None where a value is refused."""
    told: dict[str, Any] = {}
    for name, left in trusted.announced.items():
        if fit.known_blur and name in _OF_BLUR:
            told[name] = None
            continue
        noise = 0.0 if bars is None else _NINE_IN_TEN * bars.noise[name]
        error = np.hypot(left, noise)
        values = [float(x) for x in error]
        told[name] = values if name == "volume_fractions" else values[0]
        if name == "interface_areas":
            held = fit.refusals.get(name, {})
            told[name] = {
                pair: None if pair in held else x
                for pair, x in zip(_pairs(fit), values, strict=True)
            }
    if fit.mean_curvature is not None:
        told["mean_curvature"] = {
            pair: _curvature_error(x, trusted) if np.isfinite(x) else None
            for pair, x in zip(_pairs(fit), fit.mean_curvature, strict=True)
        }
    return told


def _blocks(fit: HistogramFit, volume: Volume) -> list[np.ndarray]:
    """A few blocks (z, y, x) of the volume in the units of the fit, without gaps if there are."""
    blocks = sample_blocks(volume, _BLOCKS, _EDGE)
    if not all(np.isfinite(block).all() for block in blocks):
        # Round fields of view: the middle, then wherever else there is something.
        middle = [slice(max(n - _EDGE, 0) // 2, (n + min(n, _EDGE)) // 2) for n in volume.shape]
        others = [volume.read(*middle), *sample_blocks(volume, _CANDIDATES, _EDGE)]
        whole = [block for block in others if np.isfinite(block).all()]
        blocks = whole[: len(blocks)] or blocks
    return [(block.astype(float) - fit.scale.origin) / fit.scale.unit for block in blocks]


def _error_bars(
    fit: Fit,
    best: HistogramFit,
    blocks: list[np.ndarray],
    scaled: Params,
    found: Found | None,
    trusted: Trust | None,
) -> _Bars:
    """95 % intervals for this volume's own values, and for the material that it samples."""
    spacing = fit.spacing[0]
    effect = influence(best, spacing)
    order = layout(physical(best.outcome.theta))
    shift, factor = _units(order, best)
    values = shift + factor * effect.values
    cells = fit.histogram.cell_counts
    if best.data.frequencies.ndim == 1:
        cells = cells.sum(-1)
    put_in = scaled if found is None else found.put_in
    middle = float(np.mean(scaled.intensities))
    filled = [np.nan_to_num(b, nan=middle, posinf=1.0, neginf=0.0) for b in blocks]
    stand_ins = [reference(b, scaled) for b in filled] if found is None else found.stand_ins
    known, freedom = known_errors(
        effect,
        order,
        stand_ins,
        best,
        put_in,
        spacing=spacing,
        voxels=fit.histogram.voxels,
        seed=fit.seed,
    )
    noise = stdtrit(freedom, 0.975) * known.errors
    spread, freedom = sampling_errors(effect.table, cells)
    between = np.maximum(stdtrit(freedom, 0.975) * spread, noise)
    own, material = noise + known.shifts, between + known.shifts
    gain = np.ones(values.size)
    if trusted is not None:
        left = np.zeros(values.size)
        mended = np.zeros(values.size, bool)
        for name, part in _places(order):
            if name in trusted.values:
                if name != "volume_fractions":  # whose correction is a difference
                    gain[part] = trusted.values[name] / values[part]
                values[part], left[part] = trusted.values[name], trusted.left[name]
                mended[part] = True
        # What is left of a bias is as often of one sign as of the other.
        own = np.where(mended, np.hypot(gain * noise, left), own)
        material = np.where(mended, np.hypot(gain * between, left), material)
    errors = {name: (factor * gain * known.errors)[part] for name, part in _places(order)}
    both = tuple(make_intervals(order, values, factor * half) for half in (own, material))
    for table in both:
        for name, reasons in fit.refusals.items():
            table[name].update(dict.fromkeys(reasons))
        if fit.params.interface_tilt is not None:
            table["mean_curvature"] = _curvatures(table["interface_tilt"], fit, trusted)
        if fit.known_blur:
            table |= dict.fromkeys(_OF_BLUR)
    return _Bars(both[0], both[1], errors)


def _curvatures(tilts: dict[str, Any], fit: Fit, trusted: Trust | None) -> dict[str, Any]:
    """Intervals of mean curvatures: those of the tilts, and what they are known to miss."""
    length = 2.0 * float(np.asarray(fit.params.blur_std)) * fit.spacing[0]
    found = {}
    for (pair, ends), value in zip(tilts.items(), np.asarray(fit.mean_curvature), strict=True):
        found[pair] = None
        if np.isfinite(value) and ends is not None:
            noise = 0.5 * (ends[1] - ends[0]) / length
            half = float(np.hypot(noise, _curvature_error(value, trusted)))
            found[pair] = [float(value) - half, float(value) + half]
    return found


def _curvature_error(value: float, trusted: Trust | None) -> float:
    """Nine in ten are off by less; 0 where the bias was not looked for."""
    share, rest = (0.0, 0.0) if trusted is None else trusted.curvature
    return share * abs(float(value)) + rest


def _places(order: list[Quantity]) -> list[tuple[str, slice]]:
    """Where each quantity stands in the flat vector."""
    found, at = [], 0
    for name, shape, _ in order:
        found.append((name, slice(at, at + int(np.prod(shape)))))
        at = found[-1][1].stop
    return found


def _units(order: list[Quantity], fit: HistogramFit) -> tuple[np.ndarray, np.ndarray]:
    """Offset and factor that bring each flat quantity from the units of the fit to grey values."""
    shifts, factors = [], []
    for name, shape, _ in order:
        size = int(np.prod(shape))
        grey = name in ("intensities", "noise_std")
        shifts.append(np.full(size, fit.scale.origin if name == "intensities" else 0.0))
        factors.append(np.full(size, fit.scale.unit if grey else 1.0))
    return np.concatenate(shifts), np.concatenate(factors)
