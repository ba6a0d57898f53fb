"""What the fit of the whole is worth, on which all blocks of a map lean, in one sentence."""

from __future__ import annotations

from typing import Any

from bimmjax.fitting._verdict import is_poor
from bimmjax.plot._maps_view import View
from bimmjax.report._verdict import Verdict

# Warnings and refusals that only repeat a headline.
_RESTLESS = "did not come to rest"
_UNLIKE = "the model does not describe the volume"


def verdict_of_whole(view: View) -> Verdict | None:
    """What to know before any number of the blocks is read; None if nothing stands against them.

    The worst counts: a fit that did not come to rest, then a model that does not describe the
    whole, then areas that are refused.
    """
    fits = view.global_fits
    if not view.whole_at_rest:
        restless = sum(fit.get("converged") is False for fit in fits)
        return Verdict(
            "poor",
            f"The fit of the whole did not come to rest{_of_all(restless, len(fits))}",
            "Do not use the numbers below: what a block cannot tell by itself it takes from that "
            "fit. Find a fit that comes to rest (bimmjax fit, perhaps with --phases auto), and "
            "give it as --start.",
        )
    misplaced = [fit.get("goodness_of_fit", 0.0) for fit in fits]
    unlike = sum(map(is_poor, misplaced))
    if unlike:
        # What is None is a fit that failed.
        worst = max(1.0 if share is None else share for share in misplaced)
        told = int(view.usable.sum())
        blocks = f"{told:,} of {view.flags.size:,} blocks are" if told else "no block is"
        return Verdict(
            "fair" if told and not view.mostly_poor else "poor",
            f"The model does not describe the whole{_of_all(unlike, len(fits))}",
            f"{100 * worst:.0f} % of its voxels lie where the fit does not expect them. "
            f"Blocks may be described better: {blocks} described well enough to be used; trust no "
            "others, and no number of the whole.",
        )
    refused = sorted({pair for fit in fits for pair in _refused_areas(fit)})
    if refused:
        areas = f"area {refused[0]} is" if len(refused) == 1 else f"areas {', '.join(refused)} are"
        return Verdict(
            "fair",
            f"For the whole the {areas} refused",
            "The maps hold the model's own values, whose bias is not known: compare blocks, but "
            "quote no area.",
        )
    return None


def warnings_of_whole(view: View) -> list[str]:
    """Warnings of the fits of whole volumes, once each, without those that the verdict says."""
    said = dict.fromkeys(text for fit in view.global_fits for text in fit.get("warnings") or ())
    words = _UNLIKE if view.whole_at_rest else _RESTLESS
    return [text for text in said if words not in text]


def _refused_areas(fit: dict[str, Any]) -> dict[str, str]:
    return (fit.get("refusals") or {}).get("interface_areas") or {}


def _of_all(some: int, count: int) -> str:
    """`(2 of 3 volumes)` of a series."""
    return f" ({some} of {count} volumes)" if count > 1 else ""
