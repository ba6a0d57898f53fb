"""Slopes of fractions and areas along the axes, as people read them."""

from __future__ import annotations

import math

from bimmjax.plot._labels import per_length, power, signed
from bimmjax.plot._maps_profiles import Curve, curves, profiled
from bimmjax.plot._maps_view import View

_TIE = 1.01  # of two phases the slopes are the same but for rounding: then the first is told


def slope_curves(view: View) -> list[Curve]:
    """All profiles that the picture shows."""
    return [curve for quantity in profiled(view) for curve in curves(view, quantity)]


def slope_words(view: View, curve: Curve) -> str:
    """A slope and its standard error with their unit: `0.171 ± 0.002 %/µm`."""
    slope, error = curve.profile.slope, curve.profile.slope_stderr
    if not math.isfinite(slope):
        return "–"
    unit = f"{curve.quantity.unit}{per_length(view.maps.length_unit)[1:]}"
    if unit.startswith("1/"):
        unit = f"{curve.quantity.unit}²"
    if not math.isfinite(error) or error == 0.0:
        return f"{signed(f'{slope:.3g}')} {unit}"
    largest = max(abs(slope), error)
    exponent = 0 if 1e-2 <= largest < 1e5 else math.floor(math.log10(largest))
    slope, error = slope * 10.0**-exponent, error * 10.0**-exponent
    places = max(1 - math.floor(math.log10(error)), 0)
    told = f"{signed(f'{slope:.{places}f}')} ± {error:.{places}f}"
    return f"({told}) {power(exponent)} {unit}" if exponent else f"{told} {unit}"


def gradient_words(view: View, found: list[Curve]) -> str:
    """Along which axes a slope is beyond chance, with the clearest of each; "" for none."""
    clearest: dict[str, Curve] = {}
    for curve in found:
        if curve.profile.certain and _clear(curve) > _TIE * _clear(clearest.get(curve.axis)):
            clearest[curve.axis] = curve
    told = [
        f"along {axis}{_time(view, curve)} ({_name(curve)}: {slope_words(view, curve)})"
        for axis, curve in clearest.items()
    ]
    return f"Gradient {', '.join(told)}." if told else ""


def bent_words(view: View, found: list[Curve]) -> str:
    """What changes along which axes by more than chance, but along no line; "" for nothing."""
    bent: dict[str, list[str]] = {}
    for curve in found:
        if curve.profile.bent:
            bent.setdefault(f"along {curve.axis}{_time(view, curve)}", []).append(_name(curve))
    told = "; ".join(f"{where} ({', '.join(names)})" for where, names in bent.items())
    return f"Changes, but not along a line: {told}; look at profiles.png." if told else ""


def _time(view: View, curve: Curve) -> str:
    return f" at time {view.times[curve.moment]:g}" if view.series else ""


def _name(curve: Curve) -> str:
    name = curve.quantity.name
    return f"{name[0].lower()}{name[1:]}"


def _clear(curve: Curve | None) -> float:
    """Slope over its error."""
    return 0.0 if curve is None else abs(curve.profile.slope) / curve.profile.slope_stderr
