"""From raw FIB-SEM stacks to labels on an even grid and what they tell: all steps in order."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bimmjax._core.checks import InputError, choice
from bimmjax.fib._fill.trained import weights_digest
from bimmjax.fib._pipeline import align, label, measure, place
from bimmjax.fib._pipeline.check import check_stacks
from bimmjax.fib._pipeline.naming import naming
from bimmjax.fib._pipeline.plan import Plan, plan_of
from bimmjax.fib._pipeline.step import (
    Done,
    Progress,
    Work,
    fingerprint,
    forget,
    is_step,
    run_step,
    write_json,
)
from bimmjax.volumes import Volume

STEPS = {
    "labels": ("register", "clean", "label", "thickness", "place", "fill", "describe"),
    "grey": ("register", "clean", "thickness", "place", "fill", "label", "describe"),
    "layers": ("register", "clean", "thickness", "place", "label", "describe"),
}
SUMMARY = "reconstruct.json"


@dataclass(frozen=True)
class Reconstruction:
    """What `reconstruct` has made.

    Attributes
    ----------
    out : Path
        The folder; a folder for each step in it.
    plan : Plan
    steps : dict
        `Done` by name, in the order they were done.
    """

    out: Path
    plan: Plan
    steps: dict[str, Done]

    @property
    def labels(self) -> Volume:
        """Labels on the even grid, uint8, (z, y, x)."""
        return self._last("fill" if self.plan.order == "labels" else "label").volume("labels")

    def _last(self, name: str) -> Done:
        if name not in self.steps:
            raise InputError(f"until: got {list(self.steps)[-1]}, wants {name} for its labels")
        return self.steps[name]

    def to_dict(self) -> dict[str, Any]:
        """The content of reconstruct.json: the plan, and what each step tells."""
        return {
            "plan": _told(self.plan),
            "steps": {name: done.told for name, done in self.steps.items()},
        }


def reconstruct(
    stacks: Mapping[str, Any] | Any = None,
    out: str | os.PathLike[str] = "reconstruction",
    plan: Plan | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    *,
    until: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    on_step: Callable[[Reconstruction, Done], object] | None = None,
) -> Reconstruction:
    """Labels on an even grid, and what they tell, from the raw stacks of a FIB-SEM.

    Slices are registered, cleaned, labelled, put where they lie in depth and the gaps between
    them are filled. Each step leaves a folder in `out` with OME-Zarr volumes and a step.json; a
    step that was made from the same settings, files and earlier steps is not done again.

    Source: FIB thesis, Articles II (order, repositioning, filling) and III (several voltages).

    Parameters
    ----------
    stacks : mapping, or volume
        Anything `open_volume` takes by name ("1", "2", "4": kV), in the order of rising voltage,
        all of one shape (slices, y, x); or a single one. Beats the plan's.
    out : path
        A folder to make, or one of an earlier run.
    plan : Plan, mapping or path of a TOML file
        Settings; see `Plan` and its parts.
    until : str, optional
        Stop after this step.
    overwrite : bool
        Take a folder that holds other things, too; files that are no step's stay.
    progress : callable, optional
        `progress(what, done, in all)`.
    on_step : callable, optional
        Called with what there is so far and the step that has just been done or found: to draw.

    Returns
    -------
    Reconstruction

    Raises
    ------
    InputError
        Stacks of different shapes, a single slice, networks that want other stacks, thicknesses
        that cannot be, a grid coarser than the slices, no marks of a ruler, an `out` that is no
        reconstruction. What can be known before the first step is said before it.

    Examples
    --------
    >>> import jax, numpy as np, tempfile
    >>> from bimmjax import sim
    >>> from bimmjax.fib import reconstruct
    >>> wave = sim.levelled_wave(jax.random.key(0), (40, 64, 64), 0.5, 16.0)
    >>> body = np.asarray(sim.structure_labels(wave))
    >>> folder = tempfile.TemporaryDirectory()
    >>> made = reconstruct(
    ...     {"2": body[::2].astype(np.float32)},
    ...     folder.name + "/made",
    ...     {"pixel": 5, "unit": "nm", "depth": {"source": "even", "mean": 10.0},
    ...      "register": {"skip": True}, "label": {"method": "otsu"}, "fill": {"method": "spline"}},
    ... )
    >>> made.labels.shape, made.labels.spacing
    ((39, 64, 64), (5.0, 5.0, 5.0))
    >>> folder.cleanup()
    """
    told = plan_of(plan)
    given = _given(stacks, told)
    told = replace(told, stacks={name: _name(source) for name, source in given.items()})
    if until is not None:
        choice("until", until, STEPS[told.order])
    order = STEPS[told.order]
    opened = check_stacks(told, given, order[: order.index(until) + 1] if until else order)
    folder = _folder(Path(out), overwrite)
    tell = progress or (lambda what, done, total: None)
    made = Reconstruction(folder, told, {})
    for done in _steps(made, told, given, opened, tell):
        made.steps[done.name] = done
        if done.fresh:
            others = [name for name in STEPS["labels"] if name not in order]
            for later in [*order[order.index(done.name) + 1 :], *others]:
                if later != "thickness" or _thickness_needs(told, done.name):
                    forget(folder / later)
        _summarise(made)
        if on_step is not None:
            on_step(made, done)
        if done.name == until:
            break
    return made


def _thickness_needs(plan: Plan, step: str) -> bool:
    """Whether thickness is told by what a step makes: a ruler or a file knows no labels."""
    return step == "register" or plan.depth.source == "images"


def _steps(
    made: Reconstruction,
    plan: Plan,
    given: Mapping[str, Any],
    opened: Mapping[str, Volume],
    progress: Progress,
) -> Iterator[Done]:
    """Each step in turn, done or found."""
    names = list(plan.stacks)
    raw = opened[align.reference_of(plan)]
    slices = (plan.register.drop, raw.shape[0])
    told = asdict(plan)

    def step(name: str, work: Callable[[Work], dict[str, Any]], **made_from: Any) -> Done:
        return run_step(name, made.out, made_from, work, progress)

    # A list: the order of the stacks is that of channels.
    sources = [[name, fingerprint(source)] for name, source in given.items()]
    grid = {"pixel": plan.pixel, "unit": plan.unit, "crop": plan.crop}
    yield (registered := step(
        "register", lambda work: align.register(work, plan, opened),
        sources=sources, grid=grid, register=told["register"],
        # Which is cut off.
        ruler=plan.depth.ruler if plan.depth.source == "ruler" else None,
    ))  # fmt: skip
    yield (cleaned := step(
        "clean", lambda work: align.clean(work, plan, registered),
        before=registered.digest, clean=told["clean"],
    ))  # fmt: skip

    def labelled(before: Done, images: Callable[[], Mapping[str, Volume]]) -> Done:
        nets = [plan.label.network, *plan.label.networks.values()]
        return step(
            "label", lambda work: label.label(work, plan, images()),
            before=before.digest, label=told["label"],
            files=[fingerprint(path) for path in [*nets, plan.label.fit] if path],
        )  # fmt: skip

    images = {name: cleaned.volume(name) for name in names}
    before = cleaned
    if plan.order == "labels":
        yield (before := labelled(cleaned, lambda: images))
        whole = before.told["without_label"] > 0
        images = {"labels": before.volume("whole" if whole else "labels")}
    seen = images.get("labels") or images[names[0]]
    yield (thick := step(
        "thickness", lambda work: place.thickness(work, plan, raw, seen, slices),
        before=(before if _thickness_needs(plan, before.name) else registered).digest,
        depth=told["depth"],
        spacing=plan.fill.spacing,
        file=fingerprint(plan.depth.file) if plan.depth.file else None,
    ))  # fmt: skip
    yield (placed := step(
        "place", lambda work: place.places(work, plan, thick.told, images),
        before=[before.digest, thick.digest], spacing=plan.fill.spacing, order=plan.order,
    ))  # fmt: skip
    if plan.order == "layers":
        yield (last := labelled(placed, lambda: label.around(plan, images, placed.told)))
    else:
        phases = before.told.get("phases", 0)
        yield (last := step(
            "fill", lambda work: place.filled(work, plan, placed.told, images, phases),
            before=placed.digest, fill=told["fill"],
            network=_weights(plan, phases),
        ))  # fmt: skip
    if plan.order == "grey":
        filled = last
        yield (last := labelled(filled, lambda: {n: filled.volume(n) for n in names}))
    known = before.told if plan.order == "labels" else last.told
    # Filled labels have none missing.
    missing = 0.0 if plan.order == "labels" else known["without_label"]
    yield step(
        "describe",
        lambda work: measure.measure(work, last.volume("labels"), known["phases"], missing),
        before=last.digest,
    )


def _weights(plan: Plan, phases: int) -> str | None:
    """What tells the weights from others that gaps are filled by; None where none are needed."""
    usual = "learned" if plan.order == "labels" and phases == 2 else ""
    if (plan.fill.method or usual) != "learned":
        return None
    with naming("fill.network", "network"):
        return weights_digest(plan.fill.network or None)


def _given(stacks: Any, plan: Plan) -> dict[str, Any]:
    if stacks is None:
        found = dict(plan.stacks)
    elif isinstance(stacks, Mapping):
        found = {str(name): source for name, source in stacks.items()}
    else:
        found = {"1": stacks}
    if not found:
        raise InputError("stacks: got none, wants at least one")
    return found


def _name(source: Any) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else type(source).__name__


def _folder(out: Path, overwrite: bool) -> Path:
    """A new folder, or that of an earlier run."""
    try:
        if out.exists() and not out.is_dir():
            raise InputError(f"out: got {out}, which is a file; wants a folder to make")
        held = sorted(path.name for path in out.iterdir()) if out.exists() else []
        ours = SUMMARY in held or any(is_step(out / name) for name in STEPS["labels"])
        if held and not ours and not overwrite:
            raise InputError(
                f"out: got {out}, which holds {held[0]} and no reconstruction; wants a new folder, "
                "or overwrite=True (--overwrite)"
            )
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out: got {out}, which cannot be written ({error.strerror})") from error
    return out


def _summarise(made: Reconstruction) -> None:
    write_json(made.out / SUMMARY, made.to_dict())


def _told(plan: Plan) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(plan)))
