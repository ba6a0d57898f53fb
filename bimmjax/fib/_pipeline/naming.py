"""Errors of parts told by the names that settings of a plan have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bimmjax._core.checks import InputError


@contextmanager
def naming(setting: str, *names: str) -> Iterator[None]:
    """An `InputError` about one of the arguments `names` becomes one about a setting."""
    try:
        yield
    except InputError as error:
        name, colon, rest = str(error).partition(":")
        if colon and name in names:
            raise InputError(f"{setting}:{rest}") from error
        raise
