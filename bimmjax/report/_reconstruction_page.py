"""The page of a reconstruction: each step in words, numbers and pictures, the metrics first."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bimmjax import __version__, plot
from bimmjax.plot._labels import length_name, per_length
from bimmjax.report._html import BIMM, FIB, document, picture, section, table, warnings_box
from bimmjax.volumes import crop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bimmjax.fib import Done, Plan, Reconstruction
    from bimmjax.volumes import Volume

PAGE = "report.html"
_HEADS = {
    "register": "Drift",
    "clean": "Clean-up",
    "label": "Labels of the slices",
    "thickness": "Slice thickness",
    "place": "Repositioning",
    "fill": "The gaps filled",
    "describe": "Isotropy",
}
_CAPTIONS = {
    "drift": "By how much each slice was moved. Crosses: slices whose own shift could not be told, "
    "and was taken from their neighbours. Without a mark to register by, slow drift cannot be told "
    "from structure that runs obliquely: what changes smoothly from slice to slice is left.",
    "registered": "The raw stack and the registered one, cut through the middle along each axis.",
    "cleaned": "Grey values before and after the clean-up.",
    "labels": "Grey values and labels, slice beside slice, as if all were equally thick.",
    "thickness": "Thickness slice by slice, and its distribution with the fitted gamma.",
    "placed": "Slices where they lie in depth; nothing is known in the gaps between them (white; "
    "of grey values black). The layer across z is that of a slice near the middle.",
    "filled": "The registered stack with slices of equal thickness (before), and what was "
    "reconstructed (after).",
    "isotropy": "A structure that is isotropic has the same curves along x, y and z. Where the "
    "true structure is known to be, the distance between the curves tells the error of the "
    "reconstruction; where it is not, it tells nothing about it.",
}


def draw_step(made: Reconstruction, done: Done, raw: Mapping[str, Any]) -> list[Path]:
    """Draw a step into its folder, unless an earlier run has.

    Parameters
    ----------
    made
        What there is so far.
    done
        The step.
    raw
        The raw stacks by name, opened.

    Returns
    -------
    list of Path
    """
    paths = []
    for name, draw in _pictures(made, done, raw):
        path = done.folder / f"{name}.png"
        if not path.exists():
            buffer = io.BytesIO()
            draw().savefig(buffer, format="png", pil_kwargs={"compress_level": 4})
            partial = path.with_suffix(".partial")
            partial.write_bytes(buffer.getvalue())
            partial.replace(path)
        paths.append(path)
    return paths


def write_reconstruction_report(
    made: Reconstruction, folder: str | os.PathLike[str] | None = None, *, command: str = ""
) -> Path:
    """Write `report.html` with what each step tells and the pictures that `draw_step` has left.

    Parameters
    ----------
    made : Reconstruction
        Complete, or up to a step.
    folder : path
        By default the reconstruction's own.
    command : str
        What made it.

    Returns
    -------
    Path
        Of the page.
    """
    body = [warnings_box(_warnings(made))]
    if "describe" in made.steps:
        body.append(section("What was found", _found(made)))
    for name, done in made.steps.items():
        images = [
            picture(path.stem, _title(path.stem), _CAPTIONS.get(path.stem, ""), path.read_bytes(),
                    wide=True)
            for path in sorted(done.folder.glob("*.png"))
        ]  # fmt: skip
        body.append(
            section(_HEADS[name], f"<p>{escape(reconstruction_words(made, done))}</p>", *images)
        )
    body.append(section("How it was made", _origin(made, command)))
    path = Path(made.out if folder is None else folder) / PAGE
    title = f"{made.out.resolve().name}: reconstruction"
    partial = path.with_suffix(".partial")
    methods = FIB + BIMM if made.plan.label.fit else FIB
    page = document(title, _facts(made), "\n".join(body), methods=methods)
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path


def reconstruction_words(made: Reconstruction, done: Done) -> str:
    """What a step tells, in a sentence or two."""
    return _WORDS[done.name](made, done.told)


def _register(made: Reconstruction, told: dict[str, Any]) -> str:
    dropped = made.plan.register.drop
    text = f"{told['slices']} slices"
    if dropped:
        text += f", the first {dropped} left out"
    if not told["shifts"]:
        return f"{text}, not registered."
    parts = []
    for name, shifts in told["shifts"].items():
        moved = np.asarray(shifts, float)
        steps = np.diff(moved, axis=0)
        farthest = float(np.hypot(*moved.T).max())
        walked = float(np.sqrt((steps**2).mean())) if steps.size else 0.0
        lost = len(told["refused"][name])
        parts.append(
            f"stack {name} by up to {farthest:.2f} pixels ({walked:.2f} from slice to slice, rms)"
            + (f", {lost} slices by what their neighbours tell" if lost else "")
        )
    y0, y1, x0, x1 = told["field"]
    return (
        f"{text}. Moved: {'; '.join(parts)}. The field that all slices show is {y1 - y0} × "
        f"{x1 - x0} pixels."
    )


def _clean(made: Reconstruction, told: dict[str, Any]) -> str:
    parts = []
    for name, found in told["brightness"].items():
        gain = np.asarray(found["gain"], float)
        parts.append(f"gains of stack {name} from {gain.min():.3f} to {gain.max():.3f}")
    done = [f"Brightness equalised ({'; '.join(parts)})"] if parts else []
    done += ["stripes taken out"] if made.plan.clean.curtains else []
    done += [f"denoised ({made.plan.clean.denoise})"] if made.plan.clean.denoise != "none" else []
    text = ", ".join(done) or "nothing was asked for"
    return f"{text[0].upper()}{text[1:]}."


def _label(made: Reconstruction, told: dict[str, Any]) -> str:
    plan = made.plan.label
    shares = ", ".join(f"{100.0 * share:.2f}" for share in told["volume_fractions"])
    how = plan.network or (
        f"{len(plan.networks)} networks" if plan.networks else (plan.fit or told.get("method", ""))
    )
    return f"Labelled by {Path(how).name or how}: shares of the phases {shares} %."


def _thickness(made: Reconstruction, told: dict[str, Any]) -> str:
    unit, count = length_name(told["unit"]), int(np.sum(told["outliers"]))
    values = np.asarray(told["thickness"], float)
    text = f"{values.mean():.4g} ± {values.std():.3g} {unit}, {_SOURCES[told['source']]}"
    if count:
        share = 100.0 * count / values.size
        text += f"; {count} outliers ({share:.1f} %) replaced"
    return text + "."


_SOURCES = {
    "even": "as told for all",
    "file": "from a file",
    "ruler": "by the ruler's marks",
    "images": "from the images",
}


def _place(made: Reconstruction, told: dict[str, Any]) -> str:
    unit = length_name(told["unit"])
    text = (
        f"{len(told['places'])} slices on a grid of {told['depth']} layers, {told['spacing']:g} "
        f"{unit} apart; {100.0 * told['gaps']:.0f} % of the layers lie in gaps."
    )
    if told["moved"]:
        text += (
            f" {told['moved']} slices stand beside their rounded place, {told['displacement']:g} "
            f"{unit} in all, so that each has a layer of its own."
        )
    return text


def _fill(made: Reconstruction, told: dict[str, Any]) -> str:
    ways = {"nearest": "the nearest slice", "spline": "cubic splines",
            "distance": "cubic splines of the distances from outlines",
            "learned": "a network that has learned it"}  # fmt: skip
    return f"Filled by {ways[told['method']]}."


def _describe(made: Reconstruction, told: dict[str, Any]) -> str:
    last = str(int(told["phases"]) - 1)
    errors = told["anisotropy"][last]
    names = {"e_tpcf": "two-point correlation", "e_lpf": "lineal path", "e_d": "ligament diameter"}
    parts = [f"{names[k]} {v:.4f}" for k, v in errors.items() if v is not None]
    return f"Anisotropy of phase {last} (z against x and y): {', '.join(parts)}."


_WORDS = {
    "register": _register,
    "clean": _clean,
    "label": _label,
    "thickness": _thickness,
    "place": _place,
    "fill": _fill,
    "describe": _describe,
}


def _title(name: str) -> str:
    return name[0].upper() + name[1:]


def _pictures(
    made: Reconstruction, done: Done, raw: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    told, plan, steps = done.told, made.plan, made.steps
    first = told.get("stack") or told.get("reference") or next(iter(plan.stacks))

    def even(volume: Any) -> Any:
        """Slices of equal thickness, as thick as is known by now."""
        mean = plan.depth.mean or volume.spacing[2]
        if "thickness" in steps:
            mean = float(np.mean(steps["thickness"].told["thickness"]))
        return replace(volume, spacing=(mean, *volume.spacing[1:]))

    match done.name:
        case "register":
            if told["shifts"]:
                curves = told["shifts"], told["refused"]
                yield "drift", lambda: plot.drift(*curves, reference=told["reference"])
            rows = {
                f"{first}, raw": even(_seen(raw[first], told, plan)),
                f"{first}, registered": even(done.volume(first)),
            }
            yield "registered", lambda: plot.stacks(rows)
        case "clean":
            rows = {
                f"{first}, before": even(steps["register"].volume(first)),
                f"{first}, after": even(done.volume(first)),
            }
            yield "cleaned", lambda: plot.stacks(rows)
        case "label":
            grey = steps["fill" if plan.order == "grey" else "clean"].volume(first)
            labels = done.volume("labels")
            if plan.order == "layers":
                rows = {f"{first}, before": even(grey), "after": labels}
                yield "labels", lambda: plot.stacks(rows, labels=["after"], phases=told["phases"])
                return
            if plan.order == "labels":
                grey, labels = even(grey), even(labels)
            yield "labels", lambda: plot.segments(grey, labels, told["phases"])
        case "thickness":
            yield "thickness", lambda: plot.thickness(
                told["measured"], told["thickness"], told["outliers"], told["gamma"],
                unit=told["unit"], source=_SOURCES[told["source"]],
            )  # fmt: skip
        case "place":
            yield "placed", lambda: _drawn(made, done, first)
        case "fill":
            as_labels = plan.order == "labels"
            rows = {
                f"{first}, before": even(steps["clean"].volume(first)),
                "after": done.volume("labels" if as_labels else first),
            }
            yield (
                "filled",
                lambda: plot.stacks(
                    rows, labels=["after"] if as_labels else [], phases=_phases(made)
                ),
            )
        case "describe":
            yield "isotropy", lambda: plot.isotropy(told)


def _seen(volume: Volume, told: dict[str, Any], plan: Plan) -> Volume:
    """The part of a raw stack that is left in the registered one."""
    from bimmjax.fib import drop_slices  # loads flax, which the other pages do without
    from bimmjax.fib._pipeline.align import specimen
    from bimmjax.fib._register.registration import cut_region

    y0, y1, x0, x1 = told.get("field") or specimen(plan, volume)
    return cut_region(drop_slices(volume, plan.register.drop), ((y0, y1), (x0, x1)))


def _about_a_slice(volume: Volume, places: list[int]) -> Volume:
    """As much of a volume as has a slice in its middle layer, rather than a gap."""
    middle = min(places, key=lambda place: abs(place - volume.shape[0] // 2))
    half = min(middle, volume.shape[0] - 1 - middle)
    return crop(volume, slice(middle - half, middle + half + 1))


def _drawn(made: Reconstruction, done: Done, first: str) -> Figure:
    name = "labels" if made.plan.order == "labels" else first
    seen = _about_a_slice(done.volume(name), done.told["places"])
    if made.plan.order == "labels":
        return plot.stacks({"placed": seen}, labels=["placed"], phases=_phases(made))
    return plot.stacks({f"{first}, placed": seen})


def _phases(made: Reconstruction) -> int:
    label = made.steps.get("label")
    return 0 if label is None else int(label.told["phases"])


def _warnings(made: Reconstruction) -> list[str]:
    found = []
    register, thick = made.steps.get("register"), made.steps.get("thickness")
    if register is not None:
        for name, lost in register.told["refused"].items():
            if len(lost) > 0.1 * register.told["slices"]:
                found.append(
                    f"{len(lost)} of {register.told['slices']} slices of stack {name} could not be "
                    "registered: a larger reach, or a region with a mark, may help."
                )
    if register is not None and register.told["shifts"]:
        for name, likeness in register.told["correlation"].items():
            alike = [v for v in likeness if v is not None]
            if alike and float(np.median(alike)) < 0.3:
                found.append(
                    f"Slices of stack {name} hardly resemble what they were registered by "
                    f"(correlation {np.median(alike):.2f}): do not believe their shifts."
                )
    if thick is not None:
        share = float(np.mean(thick.told["outliers"]))
        if share > 0.15:
            found.append(f"{100.0 * share:.0f} % of the thicknesses are outliers.")
    label = made.steps.get("label")
    if label is not None:
        found += label.told.get("warnings", [])
        if label.told["without_label"] > 0:
            found.append(f"{100.0 * label.told['without_label']:.2g} % of voxels have no label.")
    return found


def _found(made: Reconstruction) -> str:
    told = made.steps["describe"].told
    unit = told["units"]["length"]
    rows = []
    for phase, share in enumerate(told["volume_fractions"]):
        name = str(phase)
        chords = [told["ligament_diameter"][name][axis] for axis in "xyz"]
        errors = told["anisotropy"][name]
        rows.append([
            f"Phase {phase}", f"{100.0 * share:.2f} %",
            ", ".join("-" if c is None else f"{c:.3g}" for c in chords),
            *("-" if errors[k] is None else f"{errors[k]:.4f}" for k in ("e_tpcf", "e_lpf", "e_d")),
        ])  # fmt: skip
    names = ("Share", f"Diameter x, y, z ({length_name(unit)})", "Error of S2", "of L", "of D")
    heads = [("", ""), *((name, "interval") for name in names)]
    areas = told["interface_areas"]["crofton"]
    listed = "; ".join(f"{pair}: {area:.4g}" for pair, area in areas.items() if area is not None)
    return table(heads, rows) + (
        f"<p>Interface area per volume ({escape(per_length(unit))}): {escape(listed)}.</p>"
        '<p class="note">Errors are 0 for an isotropic structure (FIB thesis, Equations 2.11 to '
        "2.13).</p>"
    )


def _facts(made: Reconstruction) -> str:
    stacks = made.plan.stacks
    parts = [f"{len(stacks)} stack{'s' if len(stacks) > 1 else ''} ({', '.join(stacks)})"]
    if "describe" in made.steps:
        volume = made.labels
        size = " × ".join(str(n) for n in volume.shape)
        parts.append(f"{size} voxels of {volume.spacing[0]:g} {length_name(volume.unit)}")
    return ", ".join(parts)


def _origin(made: Reconstruction, command: str) -> str:
    date = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    text = f"<p>bimmjax {escape(__version__)}, {date}. Settings: reconstruct.json.</p>"
    return text + (f"<pre>{escape(command)}</pre>" if command else "")
