"""Which argument of a command a fault is about, as the user typed it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_FROM = "source: got "


def as_typed(line: str, command: Any, words: Sequence[str]) -> str:
    """`line` with the command's own name in place of `source`, which the library calls a volume.

    An argument that is lacking is told as an option: `--spacing` for `spacing=`.

    The argument is the one whose value the message quotes; of several, the longest.
    """
    line = re.sub(r"\bwants (\w+)= as well", _as_option, line)
    if not line.startswith("source: "):
        return line
    quoted = line.removeprefix(_FROM)
    found = [(len(value), name) for name, value in _given(command, words) if _quotes(quoted, value)]
    name = max(found)[1] if found else "volume"
    return f"{name}: {line.removeprefix('source: ')}"


def _as_option(found: re.Match[str]) -> str:
    return f"wants --{found[1].replace('_', '-')} as well"


def _quotes(quoted: str, value: str) -> bool:
    """Whether what a message quotes begins with the path `value` (without its ::dataset)."""
    path = " ".join(value.partition("::")[0].split()).rstrip("/")
    end = quoted.removeprefix("'")[len(path) :][:1]
    return bool(path) and quoted.removeprefix("'").startswith(path) and end in ("", *" ,/:;'")


def _given(command: Any, words: Sequence[str]) -> list[tuple[str, str]]:
    """Name and value of each argument and option of a command line that is known to be sound."""
    rest = list(words)
    while rest and hasattr(command, "commands"):
        if rest[0] not in command.commands:
            return []
        command = command.commands[rest.pop(0)]
    context = command.make_context(None, rest, resilient_parsing=True)
    given = []
    for parameter in command.params:
        values = context.params.get(parameter.name)
        for value in values if isinstance(values, list | tuple) else [values]:
            if isinstance(value, str):
                given.append((_name(parameter), value))
    return given


def _name(parameter: Any) -> str:
    """`volume` of VOLUME or VOLUME..., `mask` of --mask."""
    if parameter.param_type_name == "option":
        return str(max(parameter.opts, key=len)).lstrip("-")
    shown = str(parameter.metavar or parameter.name).strip("[].").lower()
    return shown if shown.isidentifier() else str(parameter.name)
