"""`bimmjax simulate`: structures and images of them, with their truth."""

from __future__ import annotations

import typer

from bimmjax.cli import (
    _simulate_bse,
    _simulate_calibrate,
    _simulate_ct,
    _simulate_dataset,
    _simulate_objects,
    _simulate_structures,
)

simulate = typer.Typer(name="simulate", no_args_is_help=True, rich_markup_mode="rich")


@simulate.callback(epilog="Example: bimmjax simulate wave --shape 128 128 128 --out wave.zarr")
def _root() -> None:
    """Simulate structures and their images: volumes whose truth is known.

    Every kind explains itself, for example: bimmjax simulate wave --help
    """


for _kind, _example in (_simulate_structures.EXAMPLES | _simulate_objects.EXAMPLES).items():
    simulate.command(_kind.__name__, epilog=f"Example: bimmjax simulate {_example}")(_kind)
for _verb, _example in (
    (_simulate_ct.ct, _simulate_ct.EXAMPLE),
    (_simulate_bse.bse, _simulate_bse.EXAMPLE),
    (_simulate_calibrate.calibrate, _simulate_calibrate.EXAMPLE),
    (_simulate_dataset.dataset, _simulate_dataset.EXAMPLE),
):
    simulate.command(_verb.__name__, epilog=f"Example: {_example}")(_verb)
