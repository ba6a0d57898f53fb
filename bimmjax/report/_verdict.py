"""Whether to believe a fit, in one sentence."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from bimmjax.fitting import Fit
from bimmjax.fitting._verdict import POOR_FIT, listed, undetermined

_GOOD = 0.03


class Verdict(NamedTuple):
    """What the goodness of a fit is worth.

    Attributes
    ----------
    level : str
        "good", "fair" or "poor".
    headline : str
        A few words.
    words : str
        One or two sentences.
    """

    level: Literal["good", "fair", "poor"]
    headline: str
    words: str


def verdict(fit: Fit) -> Verdict:
    """Goodness of fit in words.

    "poor" if the fit did not converge, or if more than a tenth of the voxels lie where the model
    does not expect them; "fair" from 3 % on, or where the share of a phase is not determined.
    """
    if not fit.converged:
        return Verdict(
            "poor",
            "The fit did not come to rest",
            "The optimiser did not converge: these numbers are no result.",
        )
    share = fit.goodness_of_fit
    if not math.isfinite(share):
        return Verdict("poor", "The fit failed", "Its likelihood is not a number.")
    percent = f"{100 * share:.1f} %" if share >= 5e-4 else "less than 0.1 %"
    if share > POOR_FIT:
        return Verdict(
            "poor",
            "The model does not describe this volume",
            f"{percent} of the voxels lie where it does not expect them. Do not rely on the "
            "numbers before the joint histogram below has shown you why.",
        )
    untold = undetermined(np.asarray(fit.properties.volume_fractions), fit.confidence)
    if untold:
        named = f"phase{'s' if len(untold) > 1 else ''} {listed(untold)}"
        return Verdict(
            "fair",
            f"The model describes this volume, but the numbers of {named} are not determined",
            f"Beyond chance, {percent} of the voxels lie where it does not expect them, but as "
            "good a fit has quite other shares. Try fewer phases.",
        )
    if share > _GOOD:
        return Verdict(
            "fair",
            "The model describes this volume, but not in every detail",
            f"{percent} of the voxels lie where it does not expect them: more than chance "
            "explains. The intervals do not know of this misfit.",
        )
    return Verdict(
        "good",
        "The model describes this volume well",
        f"Beyond chance, {percent} of the voxels lie where it does not expect them.",
    )
