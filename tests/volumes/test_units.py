from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bimmjax import InputError, open_volume
from bimmjax.volumes._units import (
    UNKNOWN,
    check_spacing,
    from_metadata,
    normalise_unit,
    resolve,
    udunits,
)


@pytest.mark.parametrize(
    ("told", "short"),
    [
        *((u, "um") for u in ("um", "µm", "μm", "micrometer", "Micrometre", "micron", "microns")),
        *((u, "nm") for u in ("nm", "nanometer", "nanometers", "NM")),
        (r"\u00B5m", "um"),
        ("mm", "mm"),
        ("angstrom", "angstrom"),
        ("pixels", "voxel"),
        ("parsec", None),
        ("", None),
    ],
)
def test_one_spelling_per_unit(told: Any, short: str | None):
    assert normalise_unit(told) == short


def test_udunits_names():
    assert (udunits("um"), udunits("nm"), udunits("voxel")) == ("micrometer", "nanometer", None)


@pytest.mark.parametrize("spacing", [2, 2.0, np.float32(2), [2, 2, 2], (2.0,), np.full(3, 2)])
def test_spacing_is_one_number_or_three(spacing: Any):
    assert check_spacing(spacing) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    "spacing", [0, -1, np.nan, np.inf, (1, 2), (1, 2, 3, 4), (1, 2, 0), "3", True, None, object()]
)
def test_bad_spacing_is_refused(spacing: Any):
    with pytest.raises(InputError, match=r"^spacing: got .*wants one positive number or three"):
        check_spacing(spacing)


def test_what_the_user_says_beats_the_file():
    told = ((10.0, 5.0, 5.0), "nm")
    assert resolve(told, None, None) == told
    assert resolve(told, 3, "um") == ((3.0, 3.0, 3.0), "um")
    assert resolve(told, None, "um") == ((0.01, 0.005, 0.005), "um")
    # A spacing alone need not be in the file's unit.
    assert resolve(told, 3, None) == ((3.0, 3.0, 3.0), "unit")
    assert resolve(told, 1, None) == UNKNOWN


def test_a_unit_needs_a_length_to_convert():
    with pytest.raises(InputError, match=r"unit: got 'nm' without a spacing.*wants spacing="):
        resolve(UNKNOWN, None, "nm")
    with pytest.raises(InputError, match=r"unit: got 'parsec', wants one of .*nm, um"):
        resolve(UNKNOWN, 1, "parsec")


def test_axes_in_different_units_are_brought_to_one():
    assert from_metadata([0.05, 10, 10], ["um", "nm", "nm"]) == ((50.0, 10.0, 10.0), "nm")


def test_scale_without_unit_keeps_its_ratio():
    assert from_metadata([2, 1, 1], [None] * 3) == ((2.0, 1.0, 1.0), "unit")
    assert from_metadata([1, 1, 1], [None] * 3) == UNKNOWN
    assert from_metadata([0, 1, 1], ["nm"] * 3) == UNKNOWN


def test_open_volume_replaces_spacing_of_a_volume(grey: np.ndarray):
    volume = open_volume(grey)
    assert open_volume(volume) is volume
    scaled = open_volume(volume, spacing=(3, 2, 1), unit="micron")
    assert (scaled.spacing, scaled.unit) == ((3.0, 2.0, 1.0), "um")
    assert (volume.spacing, volume.unit) == UNKNOWN
