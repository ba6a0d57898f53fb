"""The numbers of a fit as rows of a table: value, unit, intervals, and what it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bimmjax.fitting import Fit
from bimmjax.models import phase_pairs
from bimmjax.plot._labels import length_name, per_length, phase_name, power, rounded

_NEXT_TO_NOTHING = 1e-3  # of its error: digits of such a value say nothing


class Row(NamedTuple):
    """One number of a fit, ready to print.

    Attributes
    ----------
    name : str
        As people write it.
    value : str
        As people write it.
    unit : str
        As people write it.
    confidence : str or None
        "low to high", or None.
    sampling : str or None
        "low to high", or None.
    meaning : str
        One sentence.
    """

    name: str
    value: str
    unit: str
    confidence: str | None
    sampling: str | None
    meaning: str


def property_rows(fit: Fit) -> list[Row]:
    """What the fit says about the sample and its image: fractions, areas, resolution, noise.

    Examples
    --------
    >>> import jax, bimmjax
    >>> from bimmjax.report import property_rows
    >>> image = bimmjax.sim.artificial_volume(jax.random.key(0), (32, 32, 32)).image
    >>> rows = property_rows(bimmjax.fit(image, 2, model="gmm", intervals=False))
    >>> rows[0].name, rows[0].unit
    ('Share of phase 0', '%')
    """
    found = fit.properties
    length = length_name(fit.length_unit)
    rows = [
        _row(
            fit,
            f"Share of phase {i}",
            ("volume_fractions", i),
            share,
            "%",
            f"Part of the volume that {phase_name(i, fit.phases)} fills.",
            times=100.0,
        )
        for i, share in enumerate(found.volume_fractions)
    ]
    if found.interface_areas is not None:
        for (i, j), area in zip(phase_pairs(fit.phases), found.interface_areas, strict=True):
            meaning = f"Area of the surface between phases {i} and {j}, per volume of the sample."
            if not np.isfinite(area):
                why = _at(fit.refusals, ("interface_areas", f"{i}-{j}")) or "it is not a number"
                rows.append(
                    Row(f"Interface area {i}-{j}", "refused", "", None, None, f"{meaning} {why}.")
                )
                continue
            rows.append(
                _row(
                    fit,
                    f"Interface area {i}-{j}",
                    ("interface_areas", f"{i}-{j}"),
                    area,
                    per_length(fit.length_unit),
                    meaning,
                )
            )
    if fit.feature_size is not None:
        rows.append(
            Row(
                "Size of features",
                f"{fit.feature_size:.1f}",
                "blurs",
                None,
                None,
                "4 V₀V₁ / (area × blur): with five blurs or more areas are good to some per cent; "
                "below three they are refused.",
            )
        )
    if found.resolution_10_90 is not None:
        rows.append(
            _row(
                fit,
                "Resolution 10-90 %",
                ("resolution_10_90",),
                found.resolution_10_90,
                length,
                "Distance over which a sharp edge rises from 10 % to 90 % in this image."
                + (" Given, not fitted." if fit.known_blur else ""),
            )
        )
    if fit.mean_curvature is not None:
        for (i, j), curvature in zip(phase_pairs(fit.phases), fit.mean_curvature, strict=True):
            if not np.isfinite(curvature):
                continue
            rows.append(
                _row(
                    fit,
                    f"Mean curvature {i}-{j}",
                    ("mean_curvature", f"{i}-{j}"),
                    curvature,
                    per_length(fit.length_unit),
                    f"Mean of (κ₁ + κ₂)/2 over interface {i}-{j}; above 0 where phase {i} bulges.",
                )
            )
    rows += _noise_rows(fit)
    levels = np.asarray(fit.params.intensities)
    if fit.phases > 1:
        gap = int(np.argmin(np.diff(levels)))
        noise = float(np.max(fit.params.noise_std))
        ratio = float(np.diff(levels)[gap]) / noise
        rows.append(
            Row(
                "Contrast to noise" + (f" {gap}-{gap + 1}" if fit.phases > 2 else ""),
                f"{ratio:.1f}",
                "",
                None,
                None,
                f"Step of intensity between phases {gap} and {gap + 1} over the noise; "
                "below about 2 a voxel alone does not tell them apart.",
            )
        )
    return rows


def tried_phases(fit: Fit) -> str:
    """The criterion by number of phases, and which is lowest; nothing if the number was given."""
    if fit.bic is None:
        return ""
    numbers = sorted(fit.bic)
    listed = ", ".join(f"{fit.bic[n]:,.0f}" for n in numbers)
    return f"BIC of {numbers[0]} to {numbers[-1]} phases: {listed}; lowest for {fit.phases}."


def parameter_rows(fit: Fit) -> list[Row]:
    """The parameters of the model itself, with the paper's symbols."""
    params, grey = fit.params, fit.intensity_unit + "s"
    rows = [
        _row(
            fit,
            f"Intensity of phase {i}",
            ("intensities", i),
            level,
            grey,
            f"I{_sub(i)}: grey value of phase {i} without noise.",
        )
        for i, level in enumerate(params.intensities)
    ]
    if params.correlation is not None:
        rows.append(
            _row(
                fit,
                "Noise correlation",
                ("correlation",),
                params.correlation,
                "",
                "ρ: correlation of the noise of voxels two apart; 0 is white noise.",
            )
        )
    if params.blur_std is not None:
        rows.append(
            _row(
                fit,
                "Blur",
                ("blur_std",),
                params.blur_std,
                "voxels",
                "σ_b: standard deviation of the Gaussian that blurs the edges."
                + (" Given, not fitted." if fit.known_blur else ""),
            )
        )
    if params.interface_halfwidth is not None:
        rows.append(
            _row(
                fit,
                "Half-width of interface regions",
                ("interface_halfwidth",),
                params.interface_halfwidth,
                "blurs",
                "d: how far from an interface a voxel is counted to it; the data hardly tell it.",
            )
        )
    for name, values, meaning in (
        ("tilt", params.interface_tilt, "how many more voxels lie on the brighter side"),
        ("bend", params.interface_bend, "how many more voxels lie off the interface than on it"),
    ):
        if values is not None:
            rows += [
                _row(
                    fit,
                    f"Interface {name} {i}-{j}",
                    (f"interface_{name}", f"{i}-{j}"),
                    value,
                    "",
                    f"Curvature of interface {i}-{j}: {meaning}; 0 if it is flat.",
                )
                for (i, j), value in zip(phase_pairs(fit.phases), values, strict=True)
            ]
    for i, weight in enumerate(params.interior_weights):
        rows.append(
            _row(
                fit,
                f"Inside phase {i}",
                ("interior_weights", i),
                weight,
                "%",
                f"w{_sub(i)}: voxels of phase {i} that no interface reaches.",
                times=100.0,
            )
        )
    for (i, j), weight in zip(phase_pairs(fit.phases), params.interface_weights, strict=False):
        rows.append(
            _row(
                fit,
                f"Near interface {i}-{j}",
                ("interface_weights", f"{i}-{j}"),
                weight,
                "%",
                f"w{_sub(i)}{_sub(j)}: voxels in the region around interface {i}-{j}.",
                times=100.0,
            )
        )
    return rows


def _noise_rows(fit: Fit) -> list[Row]:
    meaning = "Standard deviation of the grey values within {}."
    grey = fit.intensity_unit + "s"
    noise = np.asarray(fit.params.noise_std)
    if noise.ndim == 0:
        said = meaning.format("a phase")
        return [_row(fit, "Noise", ("noise_std",), noise, grey, said)]
    return [
        _row(
            fit,
            f"Noise of phase {i}",
            ("noise_std", i),
            std,
            grey,
            meaning.format(f"phase {i}"),
        )
        for i, std in enumerate(noise)
    ]


def _row(
    fit: Fit,
    name: str,
    place: tuple[str | int, ...],
    value: Any,
    unit: str,
    meaning: str,
    times: float = 1.0,
) -> Row:
    both = [_interval(table, place, times) for table in (fit.confidence, fit.sampling)]
    error = _at(fit.announced, place)
    if error is not None:
        if times == 100.0:
            off = f"{100.0 * error:.2g} points"
        else:
            size = abs(float(value))
            off = f"{100.0 * error / size:.2g} %" if error < size else f"{error:.2g} {unit}"
        nine = "Nine" if place[0] == "mean_curvature" else "Corrected; nine"
        meaning = f"{meaning} {nine} in ten such values are off by less than {off}."
        if abs(float(value)) < _NEXT_TO_NOTHING * error:
            return Row(name, f"< {times * error:.2g}", unit, None, None, meaning)
    told = rounded(float(value) * times, *both)
    confidence, sampling = told.intervals
    full = f"{power(told.exponent)} {unit}".strip()
    return Row(name, told.value, full, confidence, sampling, meaning)


def _interval(
    table: Mapping[str, Any] | None, place: tuple[str | int, ...], times: float
) -> Sequence[float] | None:
    """The interval that stands at `place` in a table of intervals, if it does."""
    found = _at(table, place)
    if found is None or any(end is None for end in found):
        return None
    return [float(end) * times for end in found]


def _at(table: Mapping[str, Any] | None, place: tuple[str | int, ...]) -> Any:
    """What stands at `place` in nested tables and lists; None if nothing does."""
    found: Any = table
    for key in place:
        if found is None:
            return None
        if isinstance(key, str):
            found = found.get(key)
        else:
            found = found[key] if key < len(found) else None
    return found


def _sub(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
