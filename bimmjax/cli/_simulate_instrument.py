"""Options that tell what an instrument adds to simulated images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from bimmjax._core.checks import InputError, real_number

if TYPE_CHECKING:
    from bimmjax.sim import Instrument

Current = Annotated[
    float | None,
    typer.Option(
        "--dose-current",
        metavar="PA",
        help="Beam current, pA: electrons are counted. Default: 50 where an instrument is wanted.",
        show_default=False,
    ),
]
Dwell = Annotated[
    float | None,
    typer.Option(
        "--dwell", metavar="US", help="Time per pixel, us. Default: 30.", show_default=False
    ),
]
Gaussian = Annotated[
    float | None,
    typer.Option(
        metavar="VARIANCE", help="Of the noise after counting, on 0 to 1.", show_default=False
    ),
]
EdgeBlur = Annotated[
    float | None,
    typer.Option(metavar="PIXELS", help="How soft edges are.", show_default=False),
]
Drift = Annotated[
    str | None,
    typer.Option(
        metavar="WALK JITTER",
        help="Std of steps from slice to slice, and of what does not add up, pixels.",
        show_default=False,
    ),
]
Brightness = Annotated[
    str | None,
    typer.Option(
        metavar="GAIN OFFSET",
        help="Std of each slice's own gain and offset.",
        show_default=False,
    ),
]
Curtains = Annotated[
    float | None,
    typer.Option(metavar="STRENGTH", help="Std of the stripes of milling.", show_default=False),
]
Levels = Annotated[
    str | None,
    typer.Option(
        metavar="BLACK WHITE",
        help="Yields that become 0 and 1. Default: 0 and 1.25 times the bulk of the brightest "
        "material, at each voltage.",
        show_default=False,
    ),
]


class Told(NamedTuple):
    """What the options said."""

    current: float | None
    dwell: float | None
    gaussian: float | None
    edge_blur: float | None
    drift: str | None
    brightness: str | None
    curtains: float | None
    levels: str | None


def instrument_of(told: Told, usual: Instrument | None) -> Instrument | None:
    """Settings on top of the usual ones; without those, only what is told, and counted electrons.

    None where nothing is told and nothing is usual.
    """
    from bimmjax.cli._numbers import numbers_of
    from bimmjax.sim import Instrument

    for name, value, most in (
        ("dose-current", told.current, 1e9),
        ("dwell", told.dwell, 1e9),
        ("gaussian", told.gaussian, 1.0),
        ("edge-blur", told.edge_blur, 8.0),
        ("curtains", told.curtains, 1.0),
    ):
        if value is not None:
            real_number(name, value, 0.0, most)
    for name, value in (("dose-current", told.current), ("dwell", told.dwell)):
        if value == 0.0:
            raise InputError(f"{name}: got 0, wants a number above 0")
    drift = numbers_of("drift", told.drift, 2)
    brightness = numbers_of("brightness", told.brightness, 2)
    for name, pair in (("drift", drift), ("brightness", brightness)):
        for value in pair or ():
            real_number(name, value, 0.0, 100.0)
    if usual is None and all(value is None for value in told):
        return None
    base = usual
    if base is None:
        base = Instrument(
            gaussian_variance=0.0, edge_blur=0.0, drift_walk=0.0, drift_jitter=0.0, gain_std=0.0,
            offset_std=0.0, curtain_strength=0.0,
        )  # fmt: skip
    given = {
        "current_pa": told.current, "dwell_us": told.dwell, "gaussian_variance": told.gaussian,
        "edge_blur": told.edge_blur, "curtain_strength": told.curtains,
        "drift_walk": drift and drift[0], "drift_jitter": drift and drift[1],
        "gain_std": brightness and brightness[0], "offset_std": brightness and brightness[1],
    }  # fmt: skip
    return base._replace(**{name: value for name, value in given.items() if value is not None})


def levels_of(text: str | None) -> tuple[float, float] | None:
    """Yields that become 0 and 1, if told."""
    from bimmjax.cli._numbers import numbers_of

    found = numbers_of("levels", text, 2)
    if found is None:
        return None
    black, white = found
    if not 0.0 <= black < white <= 2.0:
        raise InputError(f"levels: got {black:g} {white:g}, wants yields that ascend from 0 on")
    return black, white
