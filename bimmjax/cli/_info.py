"""`bimmjax info`: what a volume is."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from bimmjax.cli import _options


def info(
    volume: _options.VolumePath,
    spacing: _options.Spacing = None,
    unit: _options.Unit = None,
    dataset: _options.Dataset = None,
    dtype: _options.Dtype = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Look at a volume: shape, type, voxel size, and a sample of its grey values."""
    from bimmjax.cli._numbers import spacing_of
    from bimmjax.cli._text import strict_json
    from bimmjax.volumes import info as describe
    from bimmjax.volumes import open_volume

    opened = open_volume(
        volume, spacing=spacing_of(spacing), unit=unit, dataset=dataset, dtype=dtype
    )
    facts = describe(opened)
    if as_json:
        typer.echo(json.dumps(strict_json(facts), indent=2, allow_nan=False))
        return
    for name, value in _lines(facts):
        typer.echo(f"{name:<13} {value}")


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    size = " x ".join(f"{s:g}" for s in facts["spacing"])
    known = facts["unit"] != "voxel"
    lines = [
        ("name", facts["name"]),
        ("format", facts["format"]),
        ("shape", " x ".join(map(str, facts["shape"])) + "  (z, y, x)"),
        ("voxels", f"{facts['voxels']:,} ({_bytes(facts['bytes'])})"),
        ("type", facts["dtype"]),
        ("voxel size", f"{size} {facts['unit']}" if known else "not known (--spacing tells it)"),
        ("chunks", " x ".join(map(str, facts["chunks"]))),
    ]
    whole = facts["sampled_voxels"] == facts["voxels"]
    if facts["min"] is not None:
        values = f"{facts['min']:g} to {facts['max']:g}, mean {facts['mean']:.5g}"
        sampled = "" if whole else f" (of {facts['sampled_voxels']:,} voxels sampled)"
        lines.append(("grey values", values + sampled))
    for name, word in (("nan_share", "NaN"), ("inf_share", "infinite")):
        if facts[name] > 0:
            lines.append((word, f"{100 * facts[name]:.3g} % of the voxels (fit: --ignore-nan)"))
    return lines


def _bytes(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
