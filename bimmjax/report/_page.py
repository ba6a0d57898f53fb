"""The report as one HTML page: no script, nothing to load, for screens of any width."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from html import escape
from importlib import resources
from string import Template

from bimmjax import __version__
from bimmjax.fitting import Fit
from bimmjax.plot._labels import MODEL_NAMES, length_name
from bimmjax.report._rows import Row, parameter_rows, property_rows
from bimmjax.report._verdict import verdict
from bimmjax.volumes import Volume

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style
</style>
</head>
<body>
<main>
<header>
<h1>$title</h1>
<p class="facts">$facts</p>
</header>
<section class="verdict $level" aria-label="Verdict">
<h2>$headline</h2>
<p>$words</p>
</section>
$warnings
<section>
<h2>What was found</h2>
$properties
<p class="note">$intervals</p>
</section>
<section>
<h2>Pictures</h2>
$pictures
</section>
<section>
<h2>The model's parameters</h2>
<p>$model</p>
$parameters
</section>
<section>
<h2>How it was made</h2>
$origin
</section>
<section>
<h2>How to cite</h2>
<p>The method: E. O. Brenne, V. A. Dahl and P. S. Jørgensen, <cite>A Physical Model for
Microstructural Characterization and Segmentation of 3D Tomography Data</cite>, 2021,
arXiv:2009.07218.</p>
<p>The software: bimmjax $version; its <code>CITATION.cff</code> has the entry.</p>
</section>
</main>
</body>
</html>
""")

_CAPTIONS = {
    "slices": (
        "Middle slices",
        "The volume cut through its middle along each axis, all on one grey scale.",
    ),
    "intensity": (
        "Intensities",
        "Grey: the volume. Black: the fitted model, the sum of its coloured components. Where "
        "black leaves the grey, the model misses something; the right panel shows it for rare "
        "grey values.",
    ),
    "joint": (
        "Intensities and gradients",
        "Each voxel is counted by its grey value and by how steep the grey values are around it. "
        "Interiors of phases are spots at small gradients, interfaces are arcs between them. "
        "Dashed: the arc that the fitted blur predicts without noise, which lifts the counts "
        "above it. In the right panel orange means more voxels than the model expects, purple "
        "fewer. Spots or arcs there that the dashed lines do not meet hint at another phase or "
        "at artefacts.",
    ),
    "edge": (
        "Edge profile",
        "How a sharp interface looks in this volume. The distance between the two dots is the "
        "resolution.",
    ),
}

_MODELS = {
    "bimm2d": "a blurred interface mixture of intensity and gradient",
    "bimm1d": "a blurred interface mixture of the intensities alone; it cannot know the blur, so "
    "it tells neither areas nor resolution",
    "pvmm": "a partial volume mixture of the intensities alone; it tells neither areas nor "
    "resolution",
    "gmm": "a Gaussian mixture of the intensities alone, without mixed voxels; it tells neither "
    "areas nor resolution, and its shares are biased where there is much interface",
}

_INTERVALS = (
    "Both intervals are at 95 %. <b>This volume</b>: what the noise leaves open about the very "
    "voxels that were fitted. <b>The material</b>: what to expect of the material, of which the "
    "volume is one sample; use it to compare samples. Neither knows of a wrong model, so read "
    "the verdict first."
)


def page(fit: Fit, volume: Volume, pictures: Mapping[str, bytes], *, command: str = "") -> str:
    """The report of a fit as HTML.

    Parameters
    ----------
    fit : Fit
    volume : Volume
        Name, shape and voxel size are told.
    pictures : PNG bytes by name: "slices", "intensity", "joint", "edge"; any may be missing.
    command : str
        What made it.
    """
    said = verdict(fit)
    phases = f"{fit.phases} phase{'s' if fit.phases > 1 else ''}"
    return _PAGE.substitute(
        title=escape(f"{volume.name}: {phases}"),
        style=resources.files("bimmjax.report").joinpath("style.css").read_text("utf-8").strip(),
        facts=_facts(fit, volume),
        level=said.level,
        headline=escape(said.headline),
        words=escape(said.words),
        warnings=_warnings(fit.warnings),
        properties=_table(property_rows(fit)),
        intervals=_INTERVALS
        if fit.confidence or fit.sampling
        else "No intervals were asked for (<code>--intervals</code> works them out).",
        pictures="\n".join(
            _picture(name, pictures[name]) for name in _CAPTIONS if name in pictures
        ),
        model=f"{MODEL_NAMES[fit.model]}: {_MODELS[fit.model]}.",
        parameters=_table(parameter_rows(fit)),
        origin=_origin(fit, command),
        version=escape(__version__),
    )


def _facts(fit: Fit, volume: Volume) -> str:
    shape = " × ".join(map(str, volume.shape))
    parts = [f"{shape} voxels (z, y, x), {volume.dtype}"]
    if volume.unit == "voxel":
        parts.append("voxel size not given: lengths are in voxels")
    else:
        size = dict.fromkeys(f"{s:g}" for s in volume.spacing)
        sides = next(iter(size)) if len(size) == 1 else " × ".join(f"{s:g}" for s in volume.spacing)
        parts.append(f"voxel size {sides} {length_name(volume.unit)}")
    parts.append(f"{fit.voxels:,} voxels counted")
    return escape(" · ".join(parts))


def _warnings(warnings: tuple[str, ...]) -> str:
    if not warnings:
        return ""
    items = "\n".join(f"<li>{escape(text)}</li>" for text in warnings)
    heading = "One warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    return (
        f'<section class="warnings" aria-label="Warnings">\n<h2>{heading}</h2>\n'
        f"<ul>\n{items}\n</ul>\n</section>"
    )


def _table(rows: list[Row]) -> str:
    both = any(row.confidence or row.sampling for row in rows)
    heads = ["", "Value", *(["This volume, 95 %", "The material, 95 %"] if both else []), "Meaning"]
    lines = ["<table>", "<thead><tr>"]
    lines += [f'<th scope="col">{head}</th>' for head in heads]
    lines += ["</tr></thead>", "<tbody>"]
    for row in rows:
        value = f"<b>{escape(row.value)}</b>&nbsp;{escape(row.unit)}"
        cells = [("Value", value)]
        if both:
            cells.append(("This volume, 95 %", escape(row.confidence or "–")))
            cells.append(("The material, 95 %", escape(row.sampling or "–")))
        cells.append(("Meaning", escape(row.meaning)))
        body = "".join(
            f'<td class="{_CLASSES[head]}" data-name="{head}">{text}</td>' for head, text in cells
        )
        lines.append(f'<tr><th scope="row">{escape(row.name)}</th>{body}</tr>')
    return "\n".join([*lines, "</tbody>", "</table>"])


_CLASSES = {
    "Value": "value",
    "This volume, 95 %": "interval",
    "The material, 95 %": "interval",
    "Meaning": "meaning",
}


def _picture(name: str, png: bytes) -> str:
    heading, caption = _CAPTIONS[name]
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<figure id="{name}">\n<h3>{heading}</h3>\n'
        f'<div class="picture"><img alt="{escape(heading)}" src="data:image/png;base64,{data}">'
        f"</div>\n<figcaption>{caption}</figcaption>\n</figure>"
    )


def _origin(fit: Fit, command: str) -> str:
    parts = []
    if command:
        parts.append(f"<pre><code>{escape(command)}</code></pre>")
    told = ", ".join(f"{name} {value:.2f}" for name, value in fit.seconds.items())
    method = "maximum likelihood on all voxels" if fit.method == "histogram" else fit.method
    settings = [f"{method}, seed {fit.seed}"]
    if fit.model == "bimm2d":
        settings.append(f"{fit.interface} interfaces")
        settings.append(f"gradient {fit.gradient.replace('_', ' ')}")
    settings.append(f"noise {fit.noise.replace('_', ' ')}")
    parts.append(f"<p>{escape('; '.join(settings))}.</p>")
    if fit.bic is not None:
        tried = ", ".join(f"{n}: {value:,.0f}" for n, value in sorted(fit.bic.items()))
        parts.append(
            f"<p>The number of phases was chosen by BIC, the lowest of {escape(tried)}.</p>"
        )
    day = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    parts.append(
        f"<p>Seconds: {escape(told)}. Mean negative log-likelihood {fit.nll:.4f} per voxel. "
        f"bimmjax {escape(__version__)}, {day}.</p>"
    )
    return "\n".join(parts)
