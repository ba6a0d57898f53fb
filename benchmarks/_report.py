"""What every benchmark shares: tables in Markdown, and JSON with date, hardware and command."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bimmjax.cli._text import strict_json

BUSY = 0.7
_PACKAGES = ("bimmjax", "jax", "jaxlib", "numpy", "torch")


class Table(NamedTuple):
    """Rows of numbers or words under a title."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def markdown(self) -> str:
        """The table as Markdown, columns aligned."""
        cells = [[_cell(x) for x in row] for row in [self.columns, *self.rows]]
        widths = [max(len(row[k]) for row in cells) for k in range(len(self.columns))]
        lines = [_line(row, widths) for row in cells]
        lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
        return "\n".join([f"**{self.title}**", "", *lines])


def finish(
    name: str,
    result: dict[str, Any],
    out: Path,
    *,
    command: str,
    quick: bool,
    seconds: float,
    load: float | None,
) -> str:
    """Write `out`/`name`.json; return what is to be printed.

    `result` holds "tables" (list of Table), "notes" (list of str), and whatever else is worth
    keeping. `load` is that of the machine before the run.
    """
    tables: list[Table] = result.get("tables", [])
    notes: list[str] = result.get("notes", [])
    content = {
        "benchmark": name,
        "date": datetime.date.today().isoformat(),
        "command": command,
        "quick": quick,
        "seconds": round(seconds, 1),
        "load_before": load,
        "hardware": hardware(),
        "versions": versions(),
        **{key: value for key, value in result.items() if key != "tables"},
        "tables": [
            {
                "title": table.title,
                "rows": [dict(zip(table.columns, row, strict=True)) for row in table.rows],
            }
            for table in tables
        ],
    }
    path = out / f"{name}.json"
    path.write_text(json.dumps(strict_json(content), indent=1) + "\n", encoding="utf-8")
    parts = [f"## {name}" + (" (quick)" if quick else "")]
    parts += [table.markdown() for table in tables]
    parts += ["\n".join(f"- {note}" for note in notes)] if notes else []
    machine = hardware()
    parts.append(
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        f"load before {load}; {seconds:.0f} s; {path}"
    )
    if load is not None and load > BUSY:
        parts.append("Other work was running: do not use the seconds.")
    return "\n\n".join(parts) + "\n"


def say(text: str) -> None:
    """A line of progress on standard error."""
    print(text, file=sys.stderr, flush=True)


def hardware() -> dict[str, Any]:
    """What the figures were measured on."""
    import jax

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "devices": [device.device_kind for device in jax.devices()],
        "system": platform.platform(terse=True),
    }


def load_average() -> float | None:
    """Processes that ran or waited in the last minute; None where it cannot be known."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter; absent ones left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def spread(seconds: Iterable[float]) -> str:
    """Smallest and largest of some seconds."""
    listed = sorted(seconds)
    return f"{_number(listed[0])}-{_number(listed[-1])}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return _number(value)
    return str(value)


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1e4 else f"{value:.4g}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(w) for cell, w in zip(row, widths, strict=True)]
    return "| " + " | ".join(padded) + " |"
