"""Refusals: bad input is named on the host, in one line, before anything is computed."""

from __future__ import annotations

import math


class InputError(ValueError):
    """Bad input, told in one line: the argument, what it got and what it wants.

    The command line prints the message on standard error and exits with status 2.

    Examples
    --------
    >>> from bimmjax import InputError
    >>> raise InputError("phases: got 0, wants a whole number from 1 to 8")
    Traceback (most recent call last):
        ...
    bimmjax._core.checks.InputError: phases: got 0, wants a whole number from 1 to 8
    """


def choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """`value` itself if it is one of `allowed`, else an `InputError` that lists them."""
    if value not in allowed:
        raise InputError(f"{name}: got {value!r}, wants one of {', '.join(allowed)}")
    return value


def whole_number(name: str, value: object, low: int, high: int | None = None) -> int:
    """`value` as an int in [low, high], or from low on, else an `InputError`."""
    wants = f"of {low} or more" if high is None else f"from {low} to {high}"
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InputError(f"{name}: got {value!r}, wants a whole number {wants}")
    number = int(value)  # type: ignore[call-overload]
    if number < low or (high is not None and number > high):
        raise InputError(f"{name}: got {number}, wants a whole number {wants}")
    return number


def real_number(name: str, value: object, low: float, high: float) -> float:
    """`value` as a float between `low` and `high`, or an `InputError`."""
    try:
        number = float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, str | bytes) or not low <= number <= high:
        raise InputError(f"{name}: got {value!r}, wants a number from {low:g} to {high:g}")
    return number
