"""The report of a fit as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from html import escape

from bimmjax import __version__
from bimmjax.fitting import Fit
from bimmjax.plot._labels import MODEL_NAMES, length_name
from bimmjax.report._html import document, picture, section, table, verdict_box, warnings_box
from bimmjax.report._rows import Row, parameter_rows, property_rows, tried_phases
from bimmjax.report._verdict import verdict
from bimmjax.volumes import Volume

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
_NO_INTERVALS = "No intervals were asked for (<code>--intervals</code> works them out)."


def page(fit: Fit, volume: Volume, pictures: Mapping[str, bytes], *, command: str = "") -> str:
    """The report of a fit as HTML.

    Parameters
    ----------
    fit : Fit
    volume : Volume
        Name, shape and voxel size are told.
    pictures
        PNG bytes by name: "slices", "intensity", "joint", "edge"; any may be missing.
    command : str
        What made it.
    """
    said = verdict(fit)
    phases = f"{fit.phases} phase{'s' if fit.phases > 1 else ''}"
    intervals = _INTERVALS if fit.confidence or fit.sampling else _NO_INTERVALS
    body = [
        verdict_box(said.level, said.headline, said.words),
        warnings_box(fit.warnings),
        section(
            "What was found",
            _table(property_rows(fit)),
            f'<p class="note">{intervals}</p>',
        ),
        section(
            "Pictures",
            *(
                picture(name, *_CAPTIONS[name], pictures[name])
                for name in _CAPTIONS
                if name in pictures
            ),
        ),
        section(
            "The model's parameters",
            f"<p>{MODEL_NAMES[fit.model]}: {_MODELS[fit.model]}.</p>",
            _table(parameter_rows(fit)),
        ),
        section("How it was made", _origin(fit, command)),
    ]
    return document(f"{volume.name}: {phases}", _facts(fit, volume), "\n".join(body))


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
    return " · ".join(parts)


def _table(rows: list[Row]) -> str:
    both = any(row.confidence or row.sampling for row in rows)
    intervals = ["This volume, 95 %", "The material, 95 %"] if both else []
    heads = [
        ("", ""),
        ("Value", "value"),
        *((name, "interval") for name in intervals),
        ("Meaning", "meaning"),
    ]
    lines = []
    for row in rows:
        told = [row.confidence or "–", row.sampling or "–"] if both else []
        value = f"<b>{escape(row.value)}</b>&nbsp;{escape(row.unit)}"
        lines.append([escape(row.name), value, *map(escape, told), escape(row.meaning)])
    return table(heads, lines)


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
        parts.append(f"<p>{escape(tried_phases(fit))}</p>")
    day = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    parts.append(
        f"<p>Seconds: {escape(told)}. Mean negative log-likelihood {fit.nll:.4f} per voxel. "
        f"bimmjax {escape(__version__)}, {day}.</p>"
    )
    return "\n".join(parts)
