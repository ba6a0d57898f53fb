"""What a FIB-SEM did from slice to slice: drift, thickness, and whether depth looks as width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bimmjax.plot._labels import length_name
from bimmjax.plot._style import INK, QUIET, figure, phase_colour, tidy, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POOR = phase_colour(5)


def drift(
    shifts: Mapping[str, Any],
    refused: Mapping[str, Sequence[int]] | None = None,
    *,
    reference: str = "",
) -> Figure:
    """By how much the slices of each stack were moved along y and along x, in pixels.

    Parameters
    ----------
    shifts
        (n, 2) pixels along y and x, by name of the stack.
    refused
        Numbers of slices whose shift was taken from their neighbours, by name.
    reference
        The stack that the others were moved onto.

    Returns
    -------
    matplotlib.figure.Figure
    """
    made = figure(9.4, 3.2)
    panels = made.subplots(1, 2, sharey=True)
    for axis, axes in enumerate(panels):
        for number, (name, all_of) in enumerate(shifts.items()):
            moved = np.asarray(all_of, float)
            label = f"{name} (reference)" if name == reference and len(shifts) > 1 else name
            axes.plot(moved[:, axis], color=phase_colour(number), linewidth=1.2, label=label)
            lost = np.asarray((refused or {}).get(name, ()), int)
            if lost.size:
                axes.plot(lost, moved[lost, axis], "x", color=_POOR, markersize=6)
        axes.axhline(0.0, color=QUIET, linewidth=0.6)
        axes.set_xlabel("Slice")
        axes.set_ylabel("Moved (pixels)")
        title(axes, f"Along {'yx'[axis]}")
        tidy(axes)
    if len(shifts) > 1:
        panels[0].legend(frameon=False, fontsize=9, title="stack", title_fontsize=9)
    made.tight_layout()
    return made


def thickness(
    measured: Any,
    used: Any,
    outliers: Any,
    gamma: Sequence[float] | None,
    *,
    unit: str = "nm",
    source: str = "",
) -> Figure:
    """Thickness slice by slice, and as a histogram with the fitted gamma distribution.

    Parameters
    ----------
    measured, used
        (n,) as they were measured, and what stands for outliers.
    outliers
        (n,) bool.
    gamma
        Shape and scale of the distribution, or None.
    unit
        Of lengths.
    source
        What thicknesses were told by.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from scipy import stats

    values = np.array([np.nan if v is None else v for v in np.asarray(measured).tolist()], float)
    kept, bad = np.asarray(used, float), np.asarray(outliers, bool)
    made = figure(9.4, 3.2)
    course, shares = made.subplots(1, 2, width_ratios=(1.7, 1.0))
    course.plot(kept, color=phase_colour(0), linewidth=1.0, label="used")
    if bad.any():
        course.plot(np.flatnonzero(bad), values[bad], "x", color=_POOR, markersize=6,
                    label=f"outlier ({int(bad.sum())})")  # fmt: skip
        course.legend(frameon=False, fontsize=9)
    course.set_xlabel("Between slices n and n + 1")
    course.set_ylabel(f"Thickness ({length_name(unit)})")
    course.set_ylim(bottom=min(0.0, float(np.nanmin(values, initial=0.0))))
    title(course, f"Thickness {source}".rstrip())
    good = kept[~bad] if (~bad).any() else kept
    bins = np.histogram_bin_edges(good, "auto")
    if good.max() - good.min() < 1e-9 * max(good.max(), 1e-300):
        bins = np.linspace(0.5 * good[0], 1.5 * good[0], 12)
    shares.hist(good, bins=bins, density=True, color=phase_colour(4), edgecolor="white")
    text = f"{good.mean():.3g} ± {good.std():.3g} {length_name(unit)}"
    if gamma is not None and all(v is not None and np.isfinite(v) for v in gamma):
        at = np.linspace(0.0, 1.15 * float(good.max()), 300)
        shares.plot(at, stats.gamma.pdf(at, gamma[0], scale=gamma[1]), color=INK,
                    label=f"gamma, shape {gamma[0]:.3g}, "
                    f"scale {gamma[1]:.3g} {length_name(unit)}")  # fmt: skip
        shares.legend(frameon=False, fontsize=8, loc="upper right")
        shares.set_ylim(top=1.25 * shares.get_ylim()[1])
    shares.set_xlabel(f"Thickness ({length_name(unit)})")
    shares.set_ylabel(f"Density (1/{length_name(unit)})")
    shares.set_xlim(left=0.0)
    title(shares, text)
    for axes in (course, shares):
        tidy(axes)
    made.tight_layout()
    return made


def isotropy(told: Mapping[str, Any], phase: int | None = None) -> Figure:
    """Two-point correlation and lineal path of a phase along x, y and z, from describe.json.

    Where the structure is isotropic the three curves of each fall together.

    Parameters
    ----------
    told
        Content of describe.json.
    phase
        By default the last, the brightest.

    Returns
    -------
    matplotlib.figure.Figure
    """
    name = str(int(told["phases"]) - 1 if phase is None else phase)
    spacing = dict(zip("zyx", told["spacing"], strict=True))
    unit = length_name(told["units"]["length"])
    errors = told["anisotropy"][name]
    made = figure(9.4, 3.2)
    panels = made.subplots(1, 2)
    ways = (
        ("two_point", "Two-point correlation", "e_tpcf"),
        ("lineal_path", "Lineal path", "e_lpf"),
    )
    looks = {"x": "-", "y": "--", "z": "-"}
    for axes, (key, words, error) in zip(panels, ways, strict=True):
        reach = 0.0
        for number, axis in enumerate("xyz"):
            curve = np.array([np.nan if v is None else v for v in told[key][name][axis]], float)
            lags = np.arange(curve.size) * spacing[axis]
            shown = np.flatnonzero(curve > 1e-3 * curve[0]) if key == "lineal_path" else lags
            reach = max(reach, float(lags[len(shown) - 1]) if len(shown) else 0.0)
            axes.plot(lags, curve, looks[axis], color=phase_colour((0, 1, 5)[number]),
                      linewidth=1.4, label=axis)  # fmt: skip
        axes.set_xlim(0.0, max(reach, 1e-12))
        axes.set_ylim(bottom=0.0)
        axes.set_xlabel(f"Lag ({unit})")
        axes.set_ylabel(f"{words} of phase {name}")
        value = errors.get(error)
        title(axes, "" if value is None else f"z against x and y: {value:.3f}")
        axes.legend(frameon=False, fontsize=9)
        tidy(axes)
    made.tight_layout()
    return made
