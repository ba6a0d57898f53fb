"""The cross-check of labels against a fit as one HTML page."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from bimmjax import plot
from bimmjax.plot._labels import per_length, power, rounded, signed
from bimmjax.report._html import document, picture, section, table, warnings_box

if TYPE_CHECKING:
    from bimmjax.segmentation import Compared, CrossCheck

_WORDS = (
    "The fit counts no labels. Where labels of another origin agree with it there is reason to "
    "believe both; labels made by this very fit lean on its grey values, so that only the areas "
    "are a test. Where only areas differ, labels are mostly "
    "too rough (noise: far more area than the fit) or leave thin layers of a third phase between "
    "two others (blur). Intervals are the fit's, at 95 %, for this very volume; labels have "
    "errors of their own, which are not told here."
)
_CAPTION = (
    "Labels less fit: shares in percentage points, areas in per cent of the fit's. Grey: the fit's "
    "interval. Where the fit knows no areas they are drawn as they were counted."
)


def write_cross_check_report(
    checks: Mapping[str, CrossCheck], folder: str | os.PathLike[str], *, fit: str
) -> Path:
    """Write `cross_check.png`, and `report.html` with it and a table for each set of labels.

    Parameters
    ----------
    checks
        CrossCheck by name of the labels, all with the same fit.
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
    first = next(iter(checks.values()))
    words = [f"<p>{escape(_WORDS)}</p>", *(f"<p>{escape(text)}</p>" for text in refusals(first))]
    body = [warnings_box(first.warnings), section("What it says", *words, drawn), *parts]
    path = Path(folder) / "report.html"
    text = document("Labels against the fit", f"fit {fit}", "\n".join(body))
    path.write_text(text, encoding="utf-8")
    return path


def refusals(check: CrossCheck) -> list[str]:
    """Why the fit has no number for some quantities, a sentence each."""
    return [
        f"The fit refuses the area of phases {row.which}: {row.refusal}."
        for row in check.rows
        if row.refusal
    ]


HEADS = ("", "fit", "fit, 95 %", "labels", "difference", "")


def told(row: Compared, unit: str) -> tuple[str, ...]:
    """Name, fit, interval, labels, difference and verdict of a row, as people write them."""
    share = row.quantity == "volume_fractions"
    times = 100.0 if share else 1.0
    what = f"Share of phase {row.which} (%)" if share else f"Area {row.which} ({per_length(unit)})"
    interval = None if row.interval is None else [times * end for end in row.interval]
    figures = rounded(None if row.model is None else times * row.model, interval)
    scale = 10.0**-figures.exponent
    places = len(figures.value.partition(".")[2])
    measured = f"{times * row.measured:.4g}"
    if row.model is not None:
        measured = f"{times * row.measured * scale:.{places}f}"
    scaled = f" {power(figures.exponent)}".rstrip()
    doubt = "" if row.judged or row.interval is None else "cannot be judged"
    untold = "refused" if row.refusal else doubt
    verdict = {True: "agrees", False: "differs", None: untold}[row.agrees]
    difference = "-"
    if row.model is not None and row.difference is not None:
        points = (
            100.0 * row.difference if share else 100.0 * row.difference / max(row.model, 1e-300)
        )
        difference = signed(f"{points:+.2f} points" if share else f"{points:+.1f} %")
    model = "-" if row.model is None else figures.value + scaled
    return what, model, figures.intervals[0] or "-", measured + scaled, difference, verdict


def _table(check: CrossCheck) -> str:
    kinds = ("", "value", "interval", "value", "interval", "meaning")
    heads = [(name.capitalize(), kind) for name, kind in zip(HEADS, kinds, strict=True)]
    rows = [told(row, check.length_unit) for row in check.rows]
    return table(heads, [[escape(cell) for cell in row] for row in rows])
