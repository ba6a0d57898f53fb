"""Formulas as MathML, which browsers draw themselves: no script, nothing to load."""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert

# What pymdownx.arithmatex (generic) leaves of $...$ and $$...$$.
_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}


def on_page_content(html: str, **_: Any) -> str:
    """Replace every formula of a page."""
    return _FORMULA.sub(_drawn, html)


def _drawn(found: re.Match[str]) -> str:
    latex = found["latex"]
    for entity, sign in _ENTITIES.items():
        latex = latex.replace(entity, sign)
    block = found["tag"] == "div"
    drawn = convert(latex, display="block" if block else "inline")
    return f'<div class="formula">{drawn}</div>' if block else drawn
