"""One style of docstrings for all that is public, which the reference pages can show as meant."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("griffe")
pytest.importorskip("mkdocs")

import griffe

_ROOT = Path(__file__).parents[2]
_FIELDS = re.compile(r"[\w*][\w, *]* : (.*)")
_TOGETHER = re.compile(r"\w+(, \w+)+( : .*)?")
_UNDERLINE = re.compile(r"-{3,}")
_SECTIONS = {
    *("Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns"),
    *("Notes", "References", "Examples"),
}


@dataclass
class Line:
    """A line of a docstring, and the heading it is under; none in the running text."""

    text: str
    section: str | None


def _lines(docstring: str) -> list[Line]:
    found, section = [], None
    texts = docstring.split("\n")
    for text, below in zip(texts, [*texts[1:], ""], strict=True):
        if _UNDERLINE.fullmatch(below):
            section = text
        found.append(Line(text, section))
    return found


def _wrong(docstring: str) -> list[str]:
    lines, wrong = _lines(docstring), []
    for line in lines:
        field = _FIELDS.fullmatch(line.text)
        if field and line.section is None:
            wrong.append(f"no heading above: {line.text}")
        if field and line.section in ("Parameters", "Attributes") and field[1].endswith("."):
            wrong.append(f"a sentence in the place of a type: {line.text}")
        if line.text.startswith("Source: ") and line.section is not None:
            wrong.append(f"a source below {line.section}")
        if line.section is not None and line.section not in _SECTIONS:
            wrong.append(f"unknown heading {line.section}")
    return wrong


@pytest.mark.parametrize(
    ("docstring", "said"),
    [
        ("Rule.\n\npoints : (K,).", "no heading above"),
        ("Rule.\n\nParameters\n----------\nkey : random key.", "in the place of a type"),
        ("Rule.\n\nReturns\n-------\nArray\n\nSource: ours.", "a source below Returns"),
        ("Rule.\n\nArguments\n---------\nkey", "unknown heading"),
    ],
)
def test_what_is_wrong_is_seen(docstring: str, said: str) -> None:
    assert any(said in one for one in _wrong(docstring))


def _public() -> Iterator[griffe.Object]:
    """What the reference shows, with the methods of it."""
    spec = importlib.util.spec_from_file_location(
        "reference_hook", _ROOT / "docs" / "hooks" / "reference.py"
    )
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    package = griffe.load("bimmjax", search_paths=[str(_ROOT)])
    pages = [(package, hook._verbs(package))]
    pages += [(package[name], hook._public(package[name])) for name in hook.MODULES]
    for module, names in pages:
        for name in names:
            shown = module[name]
            yield shown.final_target if shown.is_alias else shown
            if shown.is_class or shown.is_module:
                yield from (
                    member
                    for inner, member in shown.members.items()
                    if not inner.startswith("_") and not member.is_alias
                )


def test_public_docstrings_are_of_one_style() -> None:
    shown = {one.path: one for one in _public() if one.docstring}
    assert len(shown) > 300
    wrong = {path: _wrong(one.docstring.value) for path, one in shown.items() if one.docstring}
    assert {path: found for path, found in wrong.items() if found} == {}


def test_arguments_that_share_a_line_share_a_default() -> None:
    """The pages give the type and default of the first to all of them."""
    differ = []
    for one in _public():
        if not isinstance(one, griffe.Function) or not one.docstring:
            continue
        for line in _lines(one.docstring.value):
            if line.section != "Parameters" or not _TOGETHER.fullmatch(line.text):
                continue
            names = line.text.split(" : ")[0].split(", ")
            given = [one.parameters[name] for name in names if name in one.parameters]
            if len({(str(p.default), str(p.annotation)) for p in given}) > 1:
                differ.append(f"{one.path}: {line.text}")
    assert differ == []


def test_fields_are_listed_under_attributes() -> None:
    """Of named tuples and dataclasses: every field, and all by the same means."""
    missing = []
    classes = [one for one in _public() if one.is_class and _has_fields(one)]
    assert len(classes) > 40
    for one in classes:
        section = [
            line.text.split(" : ")[0]
            for line in _lines(one.docstring.value if one.docstring else "")
            if line.section == "Attributes"
        ]
        listed = {name for text in section for name in text.split(", ")}
        for name, member in one.members.items():
            field = member.is_attribute and "property" not in member.labels
            if field and not name.startswith("_") and name not in listed:
                missing.append(f"{one.path}.{name}")
    assert missing == []


def _has_fields(one: griffe.Object) -> bool:
    assert isinstance(one, griffe.Class)
    return "dataclass" in one.labels or "NamedTuple" in map(str, one.bases)
