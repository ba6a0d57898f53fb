"""`bimmjax simulate calibrate`: numbers of the shine-through model from Monte Carlo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bimmjax._core.checks import InputError, real_number, whole_number
from bimmjax.cli import _options

EXAMPLE = "bimmjax simulate calibrate --kv 1 2 4 --pore epoxy --out calibration.json"
_FILLINGS = ("epoxy", "vacuum")


def calibrate(
    kv: Annotated[
        str, typer.Option(metavar="KV ...", help="Voltages of the beam, 0.5 to 30 kV.")
    ] = "1,2,4",
    pore: Annotated[
        str,
        typer.Option(
            metavar="NAME|FORMULA@DENSITY", help="What pores are filled with; vacuum: empty."
        ),
    ] = "epoxy",
    solid: Annotated[str, typer.Option(metavar="NAME|FORMULA@DENSITY")] = "gold",
    electrons: Annotated[
        int, typer.Option(metavar="N", help="Of the Monte Carlo, per pixel.")
    ] = 600,
    scale: Annotated[
        float,
        typer.Option(
            metavar="FACTOR",
            help="Of the structures, whose ligaments are 15 to 110 nm at 1: more where electrons "
            "go further.",
        ),
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same numbers.")] = 0,
    out: Annotated[
        str,
        typer.Option(
            metavar="FILE.json",
            help="An earlier calibration there keeps its numbers for the other filling.",
        ),
    ] = "calibration.json",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace numbers for this filling.")
    ] = False,
    quiet: _options.Quiet = False,
) -> None:
    """Fit the model of shine-through to a Monte Carlo, at voltages of your own.

    Writes a file for simulate bse --calibration and simulate dataset --calibration, with how it
    was made.
    """
    from bimmjax.cli._cache import keep_compiled_code
    from bimmjax.cli._numbers import numbers_of
    from bimmjax.cli._output import writing_to
    from bimmjax.cli._progress import progress_bars
    from bimmjax.cli._simulate_output import versions
    from bimmjax.cli._text import strict_json

    whole_number("electrons", electrons, 1, 2**24)
    whole_number("seed", seed, 0, 2**31 - 1)
    energies = numbers_of("kv", kv) or []
    for energy in energies:
        real_number("kv", energy, 0.5, 30.0)
    real_number("scale", scale, 0.01, 100.0)

    import jax

    from bimmjax import sim
    from bimmjax.maps._folder import new_file

    used = [sim.known_material(name, m) for name, m in (("pore", pore), ("solid", solid))]
    if not used[1].elements:
        raise InputError("solid: got vacuum, wants something that scatters")
    filling = _FILLINGS[not used[0].elements]
    target = Path(out)
    told = _earlier(target, filling, overwrite)

    keep_compiled_code()
    # Hours of work must not end at a folder that is not there.
    with writing_to(out):
        target.parent.mkdir(parents=True, exist_ok=True)
    with progress_bars(quiet) as bars:

        def progress(done: int, total: int) -> None:
            bars.update("Following electrons, then fitting", done, total)

        bars.stage("Preparing")
        found = sim.calibrate(
            jax.random.key(seed), energies, used[0], solid=used[1], electrons=electrons,
            scale=scale,
            progress=progress,
        )  # fmt: skip
    told[filling] = {f"{energy:g}": one.model._asdict() for energy, one in found.items()}
    told.setdefault("provenance", {})[filling] = {
        "command": "bimmjax simulate calibrate", "kv": energies, "pore": pore, "solid": solid,
        "electrons": electrons, "scale": scale, "seed": seed,
        "misfit": {f"{energy:g}": one.misfit for energy, one in found.items()},
        "noise": {f"{energy:g}": one.noise for energy, one in found.items()},
        "versions": versions(),
    }  # fmt: skip
    with new_file(target) as partial:
        text = json.dumps(strict_json(told), indent=1, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")
    if not quiet:
        for energy, one in found.items():
            typer.echo(
                f"{energy:g} kV: misfit {100.0 * one.misfit:.2f} % of the range of grey values, "
                f"{100.0 * one.noise:.2f} % of it counting noise"
            )
        typer.echo(f"Written: {target}")


def _earlier(target: Path, filling: str, overwrite: bool) -> dict[str, Any]:
    """What is there of other fillings."""
    from bimmjax.cli._simulate_bse_run import read_calibration

    if not target.exists():
        return {}
    told = read_calibration(str(target))
    if not any(name in told for name in _FILLINGS) or not isinstance(
        told.get("provenance", {}), dict
    ):
        raise InputError(f"out: got {target}, which exists and is no calibration; wants a new name")
    if filling in told and not overwrite:
        raise InputError(
            f"out: got {target}, which has numbers for {filling}; wants a new name, or --overwrite"
        )
    return told
