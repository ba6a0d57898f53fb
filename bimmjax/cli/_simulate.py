"""`bimmjax simulate`: structures and images of them, with their truth."""

from __future__ import annotations

import typer

from bimmjax.cli import _simulate_ct, _simulate_objects, _simulate_structures

simulate = typer.Typer(name="simulate", no_args_is_help=True, rich_markup_mode="rich")


@simulate.callback(epilog="Example: bimmjax simulate wave --shape 128 128 128 --out wave.zarr")
def _root() -> None:
    """Simulate structures and their images: volumes whose truth is known.

    Every kind explains itself, for example: bimmjax simulate wave --help
    """


for _kind, _example in (_simulate_structures.EXAMPLES | _simulate_objects.EXAMPLES).items():
    simulate.command(_kind.__name__, epilog=f"Example: bimmjax simulate {_example}")(_kind)
simulate.command("ct", epilog=f"Example: {_simulate_ct.EXAMPLE}")(_simulate_ct.ct)
