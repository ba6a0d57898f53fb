"""Whether to believe a fit: goodness of fit, and warnings in plain words."""

from __future__ import annotations

from typing import Any

import numpy as np

from bimmjax.models import Params, phase_pairs
from bimmjax.models._params import BEND_BOUNDS, TILT_BOUNDS
from bimmjax.volumes import JointHistogram

POOR_FIT = 0.1

_THIN = 0.3
_RARE = 0.005
_UNEQUAL_NOISE = 1.25
_SEEN = 0.02
_WIDEST_BLUR = 15.0
_WIDE_SHARE = 0.05


def misplaced_share(frequencies: np.ndarray, probability: np.ndarray, voxels: int) -> float:
    """Share of voxels in the wrong bin, beyond what chance explains (total variation distance).

    Chance moves a bin of expected count n by √(2n/π) in the mean.
    """
    distance = 0.5 * np.abs(frequencies - probability).sum()
    chance = 0.5 * np.sqrt(2.0 * probability / (np.pi * voxels)).sum()
    return float(max(distance - chance, 0.0))


def warnings_for(
    params: Params,
    fractions: np.ndarray,
    histogram: JointHistogram,
    *,
    misfit: float,
    converged: bool,
    noise_by_phase: np.ndarray | None,
) -> tuple[str, ...]:
    """What a careful colleague would say about these parameters (NumPy, grey values).

    fractions (N,) are the volume fractions that they imply.
    """
    said: list[str] = []
    if not converged:
        said.append("The fit did not come to rest: do not use its numbers.")
    if misfit > POOR_FIT:
        said.append(
            f"The model does not describe this volume well: {100 * misfit:.0f} % of the voxels lie "
            "where it does not expect them. Look at the joint histogram: another number of phases, "
            "noise per phase, or artefacts to remove first may be the reason."
        )
    for i, (fraction, interior) in enumerate(zip(fractions, params.interior_weights, strict=True)):
        if fraction < _RARE:
            said.append(
                f"Phase {i} is hardly present ({100 * fraction:.2g} % of the volume): its numbers "
                "are uncertain, and it may not be there."
            )
        elif params.interface_weights.size and interior < _THIN * fraction:
            said.append(
                f"Only {100 * max(interior, 0) / fraction:.0f} % of phase {i} lies outside the "
                "interface regions: its features are thinner than these, and the model by itself "
                "is biased there."
            )
    steps = np.diff(params.intensities)
    noise = float(np.max(params.noise_std))
    for i, step in enumerate(steps):
        if step < 1.5 * noise:
            said.append(
                f"Phases {i} and {i + 1} differ by {step / noise:.1f} times the noise: they may be "
                "one phase, or too alike to tell apart."
            )
    for (i, j), tilt, bend, weight in zip(
        phase_pairs(len(params.intensities)),
        () if params.interface_tilt is None else params.interface_tilt,
        () if params.interface_bend is None else params.interface_bend,
        params.interface_weights,
        strict=False,
    ):
        at_bound = abs(tilt) > 0.95 * TILT_BOUNDS[1] or not (
            0.95 * BEND_BOUNDS[0] < bend < 0.95 * BEND_BOUNDS[1]
        )
        if at_bound and weight > _SEEN:
            said.append(
                f"Between phases {i} and {j} the voxels are spread more unevenly than curved "
                "interfaces explain (tilt or bend at its bound): that area is less certain than "
                "its interval says."
            )
    if params.blur_std is not None and params.blur_std > _WIDEST_BLUR:
        said.append(
            f"The blur comes out as {params.blur_std:.3g} voxels: no interface was seen that could "
            "tell it, so blur, resolution and areas mean nothing."
        )
    if params.blur_std is not None and params.blur_std < 0.5:
        said.append(
            "The blur is below half a voxel: interfaces are sharper than the voxels can show, so "
            "blur, resolution and areas are not determined."
        )
    if params.correlation is not None and params.correlation > 0.95:
        said.append(
            "The intensities vary over lengths much larger than a voxel (correlation above 0.95): "
            "this is texture or an uneven background rather than noise."
        )
    low, high = histogram.grid.clipped
    for share, end in ((low, "lowest"), (high, "highest")):
        if share > 0:
            said.append(
                f"{100 * share:.3g} % of the voxels hold the {end} grey value: the volume is "
                "clipped there, which biases that phase's intensity and the noise."
            )
    if noise_by_phase is not None and noise_by_phase.max() > _UNEQUAL_NOISE * noise_by_phase.min():
        listed = ", ".join(f"{x:.3g}" for x in noise_by_phase)
        said.append(
            f"The noise differs between phases (about {listed}): fit with noise per phase "
            '(--noise per_phase, noise="per_phase").'
        )
    if histogram.excluded:
        said.append(
            f"{histogram.excluded} voxels that are NaN or infinite, or touch one, were left out."
        )
    return tuple(said)


def is_poor(goodness_of_fit: float | None) -> bool:
    """Whether a fit does not describe its volume; None (NaN in `fit.json`) is one that failed."""
    return goodness_of_fit is None or not goodness_of_fit <= POOR_FIT


def undetermined(fractions: np.ndarray, confidence: dict[str, Any] | None) -> list[int]:
    """Phases whose 95 % interval is wider than half of their share, and than five points."""
    ends = (confidence or {}).get("volume_fractions")
    if ends is None:
        return []
    return [
        i
        for i, (share, bar) in enumerate(zip(fractions, ends, strict=False))
        if bar is not None and None not in bar and bar[1] - bar[0] > max(0.5 * share, _WIDE_SHARE)
    ]


def undetermined_words(phases: list[int]) -> tuple[str, ...]:
    """The warning, if there is any such phase."""
    said: list[str] = []
    if phases:
        several = "s" if len(phases) > 1 else ""
        said.append(
            f"The numbers of phase{several} {listed(phases)} are not determined: the data leave "
            "open more than half of the share. Try fewer phases."
        )
    return tuple(said)


def listed(phases: list[int]) -> str:
    """`1 and 2`, `0, 1 and 2`."""
    return " and ".join(filter(None, (", ".join(map(str, phases[:-1])), str(phases[-1]))))


def interior_noise(
    params: Params, counts: np.ndarray, u_edges: np.ndarray, flat_bins: int
) -> np.ndarray | None:
    """Noise of each phase from flat voxels near its intensity, (N,); None if there are too few.

    counts (n_u, n_v). Of the voxels with small gradients, those within two noise stds of a phase
    are taken, and the spread corrected for the cut.
    """
    u = 0.5 * (u_edges[1:] + u_edges[:-1])
    flat = counts[:, :flat_bins].sum(1).astype(float)
    noise = float(np.mean(params.noise_std))
    found = []
    for mean in params.intensities:
        near = np.abs(u - mean) < 2.0 * noise
        mass = np.where(near, flat, 0.0)
        if mass.sum() < 500 or near.sum() < 5:
            return None
        centre = np.average(u, weights=mass)
        found.append(np.sqrt(np.average((u - centre) ** 2, weights=mass) / 0.774))
    # A normal law cut at two stds keeps 0.774 of its variance.
    return np.array(found)
