"""Factors that take a bias off columns, and the errors that go with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bimmjax.maps._correction import (
    NO_CORRECTION,
    corrected,
    correction_of,
    with_what_is_left,
)

FIT: dict[str, Any] = {
    "corrected": True,
    "uncorrected": {"volume_fractions": [0.3, 0.7], "interface_areas": {"0-1": 0.09}},
    "properties": {"volume_fractions": [0.32, 0.68], "interface_areas": {"0-1": 0.1}},
    "announced": {"volume_fractions": [0.01, 0.01], "interface_areas": {"0-1": 0.004}},
}


def test_the_whole_itself_becomes_what_it_is_corrected_to():
    correction = correction_of(FIT)
    own = {"volume_fraction_0": 0.3, "volume_fraction_1": 0.7, "interface_area_0-1": 0.09}
    values = {name: np.array([x]) for name, x in own.items()}
    told, _ = corrected(values, dict(values), correction.factors)
    assert told["volume_fraction_0"][0] == pytest.approx(0.32)
    assert told["interface_area_0-1"][0] == pytest.approx(0.1)
    zero = {name: np.zeros(1) for name in told}
    left = with_what_is_left(told, zero, correction.left)
    assert 1.645 * left["interface_area_0-1"][0] == pytest.approx(0.004)
    assert 1.645 * left["volume_fraction_1"][0] == pytest.approx(0.01)


@given(
    st.lists(st.floats(0.5, 2.0), min_size=2, max_size=2),
    st.floats(0.01, 0.99),
)
def test_fractions_sum_to_one_and_their_errors_are_slopes(factors: list[float], share: float):
    names = ["volume_fraction_0", "volume_fraction_1"]

    def told(x: float) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        values = dict(zip(names, (np.array([x]), np.array([1.0 - x])), strict=True))
        errors = {name: np.array([1e-3]) for name in names}
        return corrected(values, errors, dict(zip(names, factors, strict=True)))

    values, errors = told(share)
    assert values[names[0]][0] + values[names[1]][0] == pytest.approx(1.0)
    slope = (told(share + 1e-6)[0][names[0]] - told(share - 1e-6)[0][names[0]])[0] / 2e-6
    for name in names:
        assert errors[name][0] == pytest.approx(1e-3 * slope, rel=1e-4)


@pytest.mark.parametrize(
    "fit",
    [
        {},
        {"corrected": False},
        {"corrected": True},
        {"corrected": True, "uncorrected": None, "properties": {"resolution_10_90": 2.0}},
        {"corrected": True, "uncorrected": {"resolution_10_90": 0.0}, "properties": {}},
        {**FIT, "properties": {"volume_fractions": [0.0, None], "interface_areas": {"0-1": "a"}}},
        {**FIT, "properties": {"interface_areas": {"0-1": None}}},
        {**FIT, "properties": {"volume_fractions": [0.0, 1.0]}},
    ],
)
def test_what_is_no_number_corrects_nothing(fit: dict[str, Any]):
    assert correction_of(fit) == NO_CORRECTION
