"""Thicknesses read back from a ruler's marks."""

from collections.abc import Callable

import jax
import numpy as np
import pytest

from bimmjax import InputError
from bimmjax.sim import (
    Instrument,
    draw_positions,
    draw_ruler,
    instrument,
    make_ruler,
    read_ruler,
)

WIDTH, DEPTH = 400, 600.0


def _images(mark: float = 0.8, ground: float = 0.2) -> tuple:
    ruler = make_ruler(WIDTH, DEPTH)
    positions = draw_positions(jax.random.key(0), DEPTH)
    image = draw_ruler(np.full((positions.size, 20, WIDTH), 0.5), ruler, positions,
                       mark=mark, ground=ground)  # fmt: skip
    return ruler, positions, image


def test_marks_are_where_they_should_be():
    ruler, positions, image = _images()
    assert image.shape == (positions.size, 68, WIDTH)
    np.testing.assert_array_equal(image[:, 48:], 0.5)
    for place, plane in zip(positions, np.asarray(image), strict=True):
        travel = ruler.slope * place
        for x in (*ruler.parallel, ruler.inclined[0] + travel, ruler.inclined[1] - travel):
            assert plane[10, round(x)] > 0.75


@pytest.mark.numerics
@pytest.mark.parametrize("marks", [(0.8, 0.2), (0.1, 0.9)])
def test_clean_marks_tell_depths_exactly(marks: tuple[float, float]):
    ruler, positions, image = _images(*marks)
    reading = read_ruler(image, ruler)
    np.testing.assert_allclose(reading.depths, positions, atol=2e-3)
    np.testing.assert_allclose(reading.thickness, np.diff(positions), atol=3e-3)
    np.testing.assert_allclose(reading.shifts, 0.0, atol=1e-3)


@pytest.mark.parametrize(("curtain", "most"), [(0.0, 0.09), (0.05, 0.25)])
def test_thickness_through_the_whole_instrument(curtain: float, most: float):
    ruler, positions, image = _images()
    settings = Instrument(drift_walk=0.5, drift_jitter=0.5, curtain_strength=curtain)
    seen = instrument(jax.random.key(1), image, settings)
    reading = read_ruler(seen.image, ruler)
    wrong = reading.depths - positions
    # nm, of slices of 10.16 ± 3.12 nm.
    assert np.std(reading.thickness - np.diff(positions)) < most
    assert wrong.std() < most
    assert abs(wrong.mean()) < 0.1
    assert np.abs(reading.shifts - seen.shifts[:, 1]).max() < 0.3


def test_errors_are_those_told():
    ruler, positions, image = _images()
    wrong, told = [], []
    for seed in range(3):
        noise = 0.1 * np.random.default_rng(seed).standard_normal(image.shape)
        reading = read_ruler(image + noise, ruler)
        wrong.append(reading.depths - positions)
        told.append(reading.depths_std)
    noise = 0.87 * 0.1 * np.sqrt(ruler.mark_std) / (0.6 * np.sqrt(ruler.rows) * ruler.slope)
    assert np.mean(told) == pytest.approx(noise, rel=0.05)
    ratio = np.concatenate(wrong) / np.concatenate(told)
    assert ratio.std() == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_ruler(40, 100.0), "width: got 40, wants at least 5"),
        (lambda: make_ruler(400, 0.0), "depth: got 0, wants"),
        (lambda: make_ruler(400, 10.0, mark_std=0.1), "mark_std: got 0.1, wants"),
        (lambda: make_ruler(400, 10.0, length=1e4), "length: got 10000, wants pixels above 0"),
        (
            lambda: draw_ruler(np.zeros((2, 4, 400)), make_ruler(400, 10.0), [0.0]),
            r"positions: got shape \(1,\), wants \(2,\)",
        ),
        (
            lambda: read_ruler(np.zeros((2, 4, 400)), make_ruler(400, 10.0)),
            "image: got 4 rows, wants the ruler's 48",
        ),
        (
            lambda: read_ruler(np.zeros((2, 60, 200)), make_ruler(400, 10.0)),
            "image: got 200 columns",
        ),
        (
            lambda: read_ruler(np.zeros((2, 60, 400)), make_ruler(400, 10.0)),
            "image: got slice 0 in which no marks are found",
        ),
        (
            lambda: read_ruler(np.full((2, 60, 400), np.nan), make_ruler(400, 10.0)),
            "image: got slice 0 in which no marks are found",
        ),
    ],
)
def test_refusals(call: Callable[[], object], message: str):
    with pytest.raises(InputError, match=message):
        call()
