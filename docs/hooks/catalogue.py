"""Every message of the package, read from its code; the parts that vary are shown as `...`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PACKAGE = Path(__file__).resolve().parents[2] / "bimmjax"
_ERRORS = {"InputError", "TeamError", "Diverged", "BadParameter", "UsageError"}


# Texts that are kept or returned before they are given: function or name, and what they are. What
# is gathered in a new way has to be listed here, or it is not seen.
_KEPT = {
    "_TOO_MANY": "warning",
    "_NO_BLOCK": "warning",
    "_OWN": "warning",
    "_NO_SURFACE": "refusal",
}
_RETURNED = {
    "_unusable": "refusal",
    "_unlike": "warning",
    "_own_areas": "warning",
    "_in_no_block": "warning",
    "_bias_taken_off": "note",
    "_departed": "warning",
    "bent_words": "note",
    "gradient_words": "note",
}
# Lists that warnings are gathered in, by module.
_GATHERED = {
    "bimmjax.fitting._verdict": "said",
    "bimmjax.cli._simulate_ct": "warnings",
    "bimmjax.report._reconstruction_page": "found",
}


class Message(NamedTuple):
    """One message: the module that gives it, what it is, its words.

    It is an "error", a "warning", a "refusal" of a number, a "flag" of a block, or a "note".
    """

    module: str
    kind: str
    words: str


def messages() -> list[Message]:
    """Every message, sorted, each once in a module."""
    found: set[Message] = set()
    for path in sorted(_PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        module = ".".join(("bimmjax", *path.relative_to(_PACKAGE).with_suffix("").parts))
        named = _named(tree)
        for kind, node in _told(tree, module):
            for words in _templates(node, named):
                if " " in words.removeprefix("Warning: "):
                    found.add(Message(module, kind, words))
    return sorted(found)


def _told(tree: ast.AST, module: str) -> Iterator[tuple[str, ast.expr]]:
    """Kind and expression of what is told."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _called(node, module)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in _KEPT:
                yield _KEPT[name], node.value
            elif name == "why" and module == "bimmjax.fitting._trust":
                yield "refusal", node.value
        elif isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "MEANING":
            assert isinstance(node.value, ast.Dict)
            for flag, meaning in zip(node.value.keys, node.value.values, strict=True):
                assert isinstance(flag, ast.Attribute)
                yield "flag", _joined(f"{flag.attr}: ", meaning)
        elif isinstance(node, ast.FunctionDef) and node.name in _RETURNED:
            for part in ast.walk(node):
                if isinstance(part, ast.Return) and part.value is not None:
                    listed = part.value.elts if isinstance(part.value, ast.List) else [part.value]
                    for value in listed:
                        yield _RETURNED[node.name], value


def _called(node: ast.Call, module: str) -> Iterator[tuple[str, ast.expr]]:
    if not node.args:
        return
    name, first = _name(node.func), node.args[0]
    if name in _ERRORS:
        yield "error", first
    elif name == "warn":
        yield "warning", first
    elif name == "Verdict" and module == "bimmjax.report._maps_verdict":
        yield "warning", node.args[1]
    elif name == "refused" and module.startswith("bimmjax.fitting"):
        yield "refusal", first
    elif name == "append" and isinstance(node.func, ast.Attribute):
        if _GATHERED.get(module) == _name(node.func.value):
            yield "warning", first
    elif name == "echo" and _template(first).startswith("Warning: "):
        yield "warning", first


def _joined(lead: str, node: ast.expr) -> ast.expr:
    return ast.BinOp(ast.Constant(lead), ast.Add(), node)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _named(tree: ast.AST) -> dict[str, list[ast.expr]]:
    """What the names of a file are set to, for messages that are put together before."""
    named: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    named.setdefault(target.id, []).append(node.value)
    return named


def _templates(node: ast.expr, named: dict[str, list[ast.expr]]) -> Iterator[str]:
    """The texts that an expression can be."""
    if isinstance(node, ast.IfExp):
        yield from _templates(node.body, named)
        yield from _templates(node.orelse, named)
    elif isinstance(node, ast.Name) and node.id in named:
        for value in named[node.id]:
            if not isinstance(value, ast.Name):
                yield from _templates(value, named)
    elif not (isinstance(node, ast.Constant) and node.value is None):
        yield _template(node)


def _template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    return "..."
