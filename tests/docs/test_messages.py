"""The page of messages and the code: neither tells what the other does not know."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
# A term of a list of definitions: the words of a message, and its explanation below.
_TERM = re.compile(r"^`([^`\n]+)`\n+:   \S", re.MULTILINE)


def _catalogue():
    spec = importlib.util.spec_from_file_location("catalogue", DOCS / "hooks" / "catalogue.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["catalogue"] = module
    spec.loader.exec_module(module)
    return module.messages()


MESSAGES = _catalogue()
FRAGMENTS = _TERM.findall((DOCS / "messages.md").read_text())


@pytest.mark.parametrize("words", sorted({m.words for m in MESSAGES if m.kind != "error"}))
def test_what_is_no_error_is_explained_by_hand(words):
    assert any(fragment in words for fragment in FRAGMENTS), f"not in docs/messages.md: {words}"


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_what_the_page_explains_is_still_said(fragment):
    assert any(fragment in message.words for message in MESSAGES), f"not in the code: {fragment}"


def test_all_kinds_are_found():
    kinds = {kind: sum(m.kind == kind for m in MESSAGES) for kind in ("warning", "refusal", "flag")}
    assert kinds["warning"] >= 30
    assert kinds["refusal"] >= 8
    assert kinds["flag"] == 10
