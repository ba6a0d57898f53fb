"""Pictures and page into a folder."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bimmjax import plot
from bimmjax.fitting import Fit
from bimmjax.plot._expected import expected
from bimmjax.report._page import page
from bimmjax.volumes import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_pictures(fit: Fit, volume: Volume, folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Draw what the fit can show, into a folder that exists.

    Returns
    -------
    dict
        Path by name: "slices" and "intensity"; with BIMM-2D "joint", and with two phases or more
        "edge".
    """
    paths: dict[str, Path] = {}
    for name, made in _figures(fit, volume):
        buffer = io.BytesIO()
        made.savefig(buffer, format="png", pil_kwargs={"compress_level": 4})
        paths[name] = Path(folder) / f"{name}.png"
        paths[name].write_bytes(buffer.getvalue())
    return paths


def write_report(
    fit: Fit, volume: Volume, folder: str | os.PathLike[str], *, command: str = ""
) -> Path:
    """Draw the pictures and write `report.html`, which holds them and needs nothing else.

    Parameters
    ----------
    fit : Fit
    volume : Volume
        The one that was fitted.
    folder : path
        Exists.
    command : str
        What made it, to be told at the end.

    Returns
    -------
    Path
        Of the page.
    """
    pictures = write_pictures(fit, volume, folder)
    path = Path(folder) / "report.html"
    text = page(fit, volume, {k: p.read_bytes() for k, p in pictures.items()}, command=command)
    path.write_text(text, encoding="utf-8")
    return path


def _figures(fit: Fit, volume: Volume) -> Iterator[tuple[str, Figure]]:
    yield "slices", plot.slices(volume, intensity_unit=fit.intensity_unit)
    model = expected(fit)
    yield "intensity", plot.intensity(fit, model)
    if model.joint is not None:
        yield "joint", plot.joint(fit, model)
        if fit.properties.resolution_10_90 is not None and fit.phases > 1:
            yield "edge", plot.edge(fit)
