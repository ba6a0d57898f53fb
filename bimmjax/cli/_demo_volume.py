"""The volume of the demo: real where one can be had, else simulated."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bimmjax.cli._examples import EXAMPLES, find

if TYPE_CHECKING:
    from bimmjax.volumes import Volume

_CEMENT = EXAMPLES["cement"]


class DemoVolume(NamedTuple):
    """The volume, and one sentence that tells which it is and where it comes from."""

    volume: Volume
    story: str


def demo_volume() -> DemoVolume:
    """The cement volume: beside the checkout, from the cache, or fetched; else a simulated one."""
    from bimmjax.volumes import open_volume

    found = find(_CEMENT)
    if found.path is not None:
        return DemoVolume(open_volume(found.path), f"Volume: {_CEMENT.origin}; {found.how}.")
    size = " x ".join(map(str, _CEMENT.shape))
    why = f"the real one cannot be had ({found.how})"
    return DemoVolume(simulated(), f"Volume: simulated, {size}, two phases; {why}.")


def simulated() -> Volume:
    """A volume of two phases like the cement: 8 bits, blurred, with correlated noise."""
    from dataclasses import replace

    import jax

    from bimmjax import sim
    from bimmjax.volumes import open_volume

    made = sim.artificial_volume(
        jax.random.key(0),
        _CEMENT.shape,
        fractions=(0.25, 0.75),
        intensities=(37.0, 100.0),
        blur_std=1.2,
        noise_std=6.5,
        noise_length=0.8,
        feature_length=7.0,
        with_area=False,
    )
    return replace(open_volume(sim.to_integers(made.image)), name="simulated")
