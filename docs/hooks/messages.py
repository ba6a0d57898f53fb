"""The table of errors on the page of messages: all of them, read from the code at build time."""

from __future__ import annotations

import sys
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
from catalogue import Message, messages

_MARK = "<!-- all errors -->"
_FAMILIES = {
    "_core": "Checks that all arguments share.",
    "cli": "Options of the command line, and folders to write to.",
    "descriptors": "Labels and counts to be measured.",
    "fib": "Stacks, plans and steps of a reconstruction.",
    "fitting": "Settings of a fit.",
    "maps": "Blocks, map sets and processes that share the work.",
    "models": "First guesses of a model.",
    "nets": "Images, labels, recipes and networks.",
    "plot": "What is to be drawn.",
    "segmentation": "Grey values, seeds and fits to segment with.",
    "sim": "Structures and instruments to be simulated.",
    "volumes": "Files and arrays: what cannot be opened, and why.",
}


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Put the table where the page has its mark."""
    if page.file.src_uri != "messages.md":
        return markdown
    assert _MARK in markdown
    return markdown.replace(_MARK, table())


def table() -> str:
    """A heading, a line and a table for each family of modules."""
    errors = [message for message in messages() if message.kind == "error"]
    parts = []
    for family, found in groupby(errors, key=_family):
        rows = "\n".join(
            f"<tr><td>{_breakable(m.module.removeprefix('bimmjax.'))}</td>"
            f"<td>{_shown(m.words)}</td></tr>"
            for m in found
        )
        parts.append(
            f"### Errors of {family.removeprefix('_')}\n\n{_FAMILIES[family]}\n\n"
            f"<table><thead><tr><th>Module</th><th>Message</th></tr></thead>\n"
            f"<tbody>\n{rows}\n</tbody></table>"
        )
    return "\n\n".join(parts)


def _family(message: Message) -> str:
    return message.module.split(".")[1]


def _breakable(module: str) -> str:
    """A name that a narrow screen may break after a dot or an underscore."""
    return escape(module).replace("_", "_<wbr>").replace(".", ".<wbr>")


def _shown(words: str) -> str:
    """Words without breaks, so that a search finds them; a dollar sign begins no formula."""
    return escape(" ".join(words.split())).replace("$", "&#36;")
