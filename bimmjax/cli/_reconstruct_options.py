"""The options of `bimmjax reconstruct` as a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bimmjax._core.checks import InputError

if TYPE_CHECKING:
    from bimmjax.fib import Plan

# Options that say the same as a setting of a section.
_SECTIONS = {
    "register": ("reference", "region", "reach", "drop", "tilt"),
    "clean": ("brightness", "curtains", "denoise"),
    "label": ("fit", "method", "phases", "stack"),
}


class Settings(NamedTuple):
    """What was typed: stacks by name, and settings by section ("" for the plan's own)."""

    stacks: dict[str, str]
    sections: dict[str, dict[str, Any]]

    def onto(self, plan: Plan) -> Plan:
        """The plan with what was typed in the place of what it had."""
        from bimmjax.fib import plan_of

        found = replace(plan, **self.sections[""])
        for name, values in self.sections.items():
            if name and values:
                found = replace(found, **{name: replace(getattr(found, name), **values)})
        return plan_of(found)


def settings_of(typed: Mapping[str, Any]) -> Settings:
    """From the options of the command by name; None is what was not typed."""
    given = {name: value for name, value in typed.items() if value is not None}
    sections: dict[str, dict[str, Any]] = {
        section: {name: given[name] for name in names if name in given}
        for section, names in _SECTIONS.items()
    }
    if "region" in sections["register"]:
        sections["register"]["region"] = _whole("region", given["region"], 4)
    if "register" in given:
        sections["register"]["skip"] = not given["register"]
    if "network" in given:
        sections["label"] |= _networks(given["network"])
    if any(sections["label"].get(way) for way in ("network", "networks", "fit", "method")):
        # Beats another way that a plan told.
        empty: dict[str, Any] = {"network": "", "networks": {}, "fit": "", "method": ""}
        if "network" in given:
            empty["stack"] = ""
        sections["label"] = empty | sections["label"]
    sections["depth"] = _depth(given)
    sections["fill"] = {
        theirs: given[ours]
        for ours, theirs in (("grid", "spacing"), ("fill", "method"), ("inpainting", "network"))
        if ours in given
    }
    # What a plan says of filling is not for another way of it, nor for none.
    if given.get("order") == "layers":
        sections["fill"] = {"method": "", "network": ""} | sections["fill"]
    elif given.get("fill", "learned") != "learned":
        sections["fill"] = {"network": ""} | sections["fill"]
    sections[""] = {name: given[name] for name in ("pixel", "unit", "order") if name in given}
    if "crop" in given:
        sections[""]["crop"] = _whole("crop", given["crop"], 4)
    return Settings(_stacks(given.get("stacks") or []), sections)


def _stacks(words: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, word in enumerate(words, 1):
        name, equals, path = word.partition("=")
        # A path may have the sign itself.
        if not equals or "/" in name or Path(word).exists():
            name, path = str(number), word
        if name in found:
            raise InputError(f"stacks: got {name} twice, wants a name of its own for each")
        found[name] = path
    return found


def _networks(words: list[str]) -> dict[str, Any]:
    named = {}
    for word in words:
        name, equals, path = word.partition("=")
        if equals and "/" not in name and not Path(word).exists():
            named[name] = path
    if not named:
        if len(words) > 1:
            raise InputError("network: got several without names, wants NAME=RUN for each stack")
        return {"network": words[0]}
    if len(named) < len(words):
        raise InputError("network: got some without a name or with the same, wants NAME=RUN each")
    return {"networks": named}


def _depth(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "ruler" in given:
        found["ruler"] = _whole("ruler", given["ruler"], 4)
    if "ruler_angle" in given:
        found["angle"] = given["ruler_angle"]
    told = given.get("thickness")
    if told is None:
        return found
    if told in ("ruler", "images"):
        return found | {"source": told}
    try:
        mean = float(told)
    except ValueError:
        return found | {"source": "file", "file": told}
    if not mean > 0:
        raise InputError(f"thickness: got {told}, wants one above 0")
    return found | {"source": "even", "mean": mean}


# By which option a setting of the plan was typed.
_OPTIONS = {
    "depth.mean": "thickness", "depth.file": "thickness", "depth.ruler": "ruler",
    "depth.angle": "ruler-angle", "depth": "thickness", "fill.spacing": "grid",
    "fill.network": "inpainting", "fill.method": "fill", "label.network": "network",
    "label.networks": "network", "label.fit": "fit", "label.method": "method",
    "label.stack": "stack", "label": "network", "register.region": "region",
    "register.reference": "reference", "register.tilt": "tilt",
}  # fmt: skip


@contextmanager
def by_options() -> Iterator[None]:
    """Errors about a setting name the option, too."""
    try:
        yield
    except InputError as error:
        name, colon, rest = str(error).partition(":")
        if not colon or name not in _OPTIONS:
            raise
        raise InputError(f"{_OPTIONS[name]} ({name}):{rest}") from error


def _whole(name: str, text: str, count: int) -> tuple[int, ...]:
    words = text.replace(",", " ").split()
    if len(words) != count or not all(word.isdigit() for word in words):
        raise InputError(f"{name}: got {text!r}, wants {count} whole numbers from 0 on")
    return tuple(map(int, words))
