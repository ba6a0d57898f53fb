"""The parts that all pages are made of: no script, nothing to load, for screens of any width."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template

from bimmjax import __version__

_DOCUMENT = Template("""<!doctype html>
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
$body
<section>
<h2>How to cite</h2>
$methods
<p>The software: bimmjax $version; its <code>CITATION.cff</code> has the entry.</p>
</section>
</main>
</body>
</html>
""")


BIMM = """<p>The method: E. O. Brenne, V. A. Dahl and P. S. Jørgensen, <cite>A Physical Model for
Microstructural Characterization and Segmentation of 3D Tomography Data</cite>, 2021,
arXiv:2009.07218.</p>"""
FIB = """<p>The methods: T. Sardhara, <cite>3D reconstruction of FIB tomography data using machine
learning</cite>, doctoral dissertation, Hamburg University of Technology, 2024, and the articles in
it.</p>"""


def document(title: str, facts: str, body: str, *, methods: str = BIMM) -> str:
    """A whole page; `title` and `facts` are text, `body` and `methods` (to be cited) HTML."""
    return _DOCUMENT.substitute(
        title=escape(title),
        style=resources.files("bimmjax.report").joinpath("style.css").read_text("utf-8").strip(),
        facts=escape(facts),
        body=body,
        methods=methods,
        version=escape(__version__),
    )


def section(heading: str, *parts: str) -> str:
    """A section of the page; `parts` are HTML."""
    return "\n".join(
        ["<section>", f"<h2>{escape(heading)}</h2>", *filter(None, parts), "</section>"]
    )


def verdict_box(level: str, headline: str, words: str) -> str:
    """Whether to believe it, in colour; `level` is "good", "fair" or "poor"."""
    return (
        f'<section class="verdict {level}" aria-label="Verdict">\n<h2>{escape(headline)}</h2>\n'
        f"<p>{escape(words)}</p>\n</section>"
    )


def warnings_box(warnings: Sequence[str]) -> str:
    """Warnings as a list; nothing if there are none."""
    if not warnings:
        return ""
    items = "\n".join(f"<li>{escape(text)}</li>" for text in warnings)
    heading = "One warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    return (
        f'<section class="warnings" aria-label="Warnings">\n<h2>{heading}</h2>\n'
        f"<ul>\n{items}\n</ul>\n</section>"
    )


def table(heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    """A table that becomes a list of cards on a narrow screen.

    Parameters
    ----------
    heads : pairs of name and class
        Classes: "value", "interval" (told with its name on cards) or "meaning"; that of the first
        column, which names the row, is not used.
    rows : cells of HTML
    """
    lines = ["<table>", "<thead><tr>"]
    lines += [f'<th scope="col">{escape(head)}</th>' for head, _ in heads]
    lines += ["</tr></thead>", "<tbody>"]
    for name, *cells in rows:
        body = "".join(
            f'<td class="{kind}" data-name="{escape(head)}">{cell}</td>'
            for (head, kind), cell in zip(heads[1:], cells, strict=True)
        )
        lines.append(f'<tr><th scope="row">{name}</th>{body}</tr>')
    return "\n".join([*lines, "</tbody>", "</table>"])


def picture(name: str, heading: str, caption: str, png: bytes, *, wide: bool = False) -> str:
    """A picture with its caption (HTML); `wide` ones keep twice the width on narrow screens."""
    data = base64.b64encode(png).decode("ascii")
    kind = "picture wide" if wide else "picture"
    return (
        f'<figure id="{name}">\n<h3>{escape(heading)}</h3>\n'
        f'<div class="{kind}"><img alt="{escape(heading)}" src="data:image/png;base64,{data}">'
        f"</div>\n<figcaption>{caption}</figcaption>\n</figure>"
    )
