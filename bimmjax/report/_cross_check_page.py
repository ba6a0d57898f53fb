"""The cross-check of labels against a fit as one HTML page."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from bimmjax import plot
from bimmjax.plot._labels import per_length, rounded
from bimmjax.report._html import document, picture, section, table

if TYPE_CHECKING:
    from bimmjax.segmentation import Compared, CrossCheck

_WORDS = (
    "The fit counts no labels, and the labels know nothing of the fit's fractions and areas: "
    "where both agree there is reason to believe both. Where only areas differ, labels are mostly "
    "too rough (noise: far more area than the fit) or leave thin layers of a third phase between "
    "two others (blur). Intervals are the fit's, at 95 %, for this very volume; labels have "
    "errors of their own, which are not told here."
)
_CAPTION = "Black with grey: the fit and its interval. Marks: what was counted on the labels."


def write_cross_check_report(
    checks: Mapping[str, CrossCheck], folder: str | os.PathLike[str], *, fit: str
) -> Path:
    """Write `cross_check.png`, and `report.html` with it and a table for each set of labels.

    Parameters
    ----------
    checks : CrossCheck by name of the labels, all with the same fit.
    folder : path
        Exists.
    fit : str
        What the fit is called.

    Returns
    -------
    Path
        Of the page.
    """
    buffer = io.BytesIO()
    plot.cross_check(checks).savefig(buffer, format="png")
    (Path(folder) / "cross_check.png").write_bytes(buffer.getvalue())
    parts = [section(name, _table(check)) for name, check in checks.items()]
    drawn = picture("cross_check", "Fit and labels", _CAPTION, buffer.getvalue(), wide=True)
    body = [section("What it says", f"<p>{escape(_WORDS)}</p>", drawn), *parts]
    path = Path(folder) / "report.html"
    text = document("Labels against the fit", f"fit {fit}", "\n".join(body))
    path.write_text(text, encoding="utf-8")
    return path


def told(row: Compared, unit: str) -> tuple[str, str, str, str, str]:
    """Name, fit, interval, labels and verdict of a row, as people write them."""
    share = row.quantity == "volume_fractions"
    times = 100.0 if share else 1.0
    what = f"Share of phase {row.which} (%)" if share else f"Area {row.which} ({per_length(unit)})"
    interval = None if row.interval is None else [times * end for end in row.interval]
    model = None if row.model is None else times * row.model
    figures = rounded(model, interval)
    scale = 10.0**-figures.exponent
    places = len(figures.value.partition(".")[2])
    measured = f"{times * row.measured * scale:.{places}f}"
    power = f" × 1e{figures.exponent}" if figures.exponent else ""
    verdict = {True: "agrees", False: "differs", None: "–"}[row.agrees]
    return what, figures.value + power, figures.intervals[0] or "–", measured + power, verdict


def _table(check: CrossCheck) -> str:
    heads = [
        ("", ""),
        ("Fit", "value"),
        ("Fit, 95 %", "interval"),
        ("Labels", "value"),
        ("", "meaning"),
    ]
    rows = [told(row, check.length_unit) for row in check.rows]
    return table(heads, [[escape(cell) for cell in row] for row in rows])
