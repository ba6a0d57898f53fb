"""Faults of a file carry the name of the argument under which it was given."""

from __future__ import annotations

import pytest
import typer

from bimmjax.cli._main import app
from bimmjax.cli._typed import as_typed

FAULT = "which does not exist; wants a file or a folder"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("volume", ["fit", "a.tif"]),
        ("labels", ["evaluate", "a.tif", "b.tif"]),
        ("truth", ["evaluate", "b.tif", "a.tif"]),
        ("truth", ["evaluate", "a.ti", "a.tif::/x"]),
        ("structure", ["simulate", "ct", "a.tif"]),
        ("mask", ["map", "b.tif", "--mask", "a.tif"]),
        ("volume", ["evaluate", "b.tif", "c.tif"]),
    ],
)
def test_the_argument_is_named_as_typed(name, words):
    line = as_typed(f"source: got a.tif, {FAULT}", typer.main.get_command(app), words)
    assert line == f"{name}: got a.tif, {FAULT}"


def test_what_is_lacking_is_told_as_an_option():
    line = as_typed("unit: got 'um', wants spacing= as well", typer.main.get_command(app), ["fit"])
    assert line == "unit: got 'um', wants --spacing as well"


def test_other_faults_stay_as_they_are():
    assert as_typed("mask: got 1", typer.main.get_command(app), ["fit", "1"]) == "mask: got 1"
