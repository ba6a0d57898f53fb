"""Thicknesses from marks: a ruler that is known, and one that is found."""

import math
from collections.abc import Callable

import jax
import numpy as np
import pytest

from bimmjax import InputError, open_volume
from bimmjax.fib import thickness_from_ruler
from bimmjax.fib._thickness.marks import find_marks, follow_marks
from bimmjax.sim import draw_positions, draw_ruler, drift, make_ruler

WIDTH, DEPTH = 400, 300.0
RULER = make_ruler(WIDTH, DEPTH, length=60.0)
ANGLE = math.degrees(math.atan(RULER.slope))
POSITIONS = draw_positions(jax.random.key(0), DEPTH)
TRUE = np.diff(POSITIONS)


def _stack(noise: float, mark: float = 0.8, ground: float = 0.2, moved: float = 0.5) -> np.ndarray:
    image = draw_ruler(np.full((POSITIONS.size, 20, WIDTH), 0.5), RULER, POSITIONS,
                       mark=mark, ground=ground)  # fmt: skip
    seen, _ = drift(jax.random.key(1), image, walk=moved, jitter=moved)
    rng = np.random.default_rng(2)
    return np.asarray(seen) + noise * rng.standard_normal(image.shape).astype(np.float32)


@pytest.mark.numerics
@pytest.mark.parametrize("marks", [(0.8, 0.2), (0.1, 0.9)])
@pytest.mark.parametrize("known", [True, False])
def test_two_percent_with_noise_of_a_tenth_of_the_contrast(marks: tuple, known: bool):
    contrast = abs(marks[0] - marks[1])
    stack = _stack(0.05 * contrast, *marks)
    if known:
        found = thickness_from_ruler(stack, RULER)
    else:
        found = thickness_from_ruler(stack, rows=(0, 40), angle=ANGLE)
    off = found.thickness - TRUE
    assert np.sqrt(np.mean(off**2)) < 0.02 * TRUE.mean()
    assert not found.outliers.any()
    assert found.source == "ruler"
    # Errors are those told; those of drawing the marks and moving them are below.
    assert 0.6 < np.std(off / found.std) < 1.6


def test_marks_that_move_apart_and_lengths():
    stack = _stack(0.02)[::-1]
    found = thickness_from_ruler(stack, rows=(0, 40), angle=ANGLE, length_per_pixel=2.0)
    np.testing.assert_allclose(found.thickness, 2.0 * TRUE[::-1], rtol=0.15)
    assert abs(found.thickness.mean() / TRUE.mean() - 2.0) < 0.01
    wide = RULER.parallel[1] - RULER.parallel[0]
    told = thickness_from_ruler(stack, rows=(0, 40), angle=ANGLE, parallel_distance=3.0 * wide)
    np.testing.assert_allclose(told.thickness, 1.5 * found.thickness, rtol=1e-3)
    spaced = thickness_from_ruler(stack, rows=(0, 40), angle=ANGLE, spacing=(9.0, 2.0, 2.0))
    np.testing.assert_allclose(spaced.thickness, found.thickness)


def test_a_strip_anywhere_and_a_slice_without_marks():
    stack = _stack(0.02)
    stack[7] = 0.5
    below = np.concatenate([stack[:, 48:], stack[:, :48]], 1)
    found = thickness_from_ruler(below, rows=(20, 60), angle=ANGLE)
    np.testing.assert_array_equal(np.flatnonzero(found.outliers), [6, 7])
    good = ~found.outliers
    np.testing.assert_allclose(found.thickness[good], TRUE[good], atol=0.3)
    assert (found.thickness > 0).all()


@pytest.mark.parametrize("spoiled", [[0], [0, 1, 2], list(range(9))])
def test_first_slices_without_marks(spoiled: list[int]):
    stack = _stack(0.02)
    stack[spoiled] = 0.5
    found = thickness_from_ruler(stack, rows=(0, 40), angle=ANGLE)
    np.testing.assert_array_equal(np.flatnonzero(found.outliers), spoiled)
    good = ~found.outliers
    np.testing.assert_allclose(found.thickness[good], TRUE[good], atol=0.3)
    assert (found.thickness > 0).all()


def test_marks_are_followed_back_and_past_lost_slices(monkeypatch: pytest.MonkeyPatch):
    """Marks that drift on, found anew in slice 4 alone, and lost in two slices further on."""
    x, count = np.arange(500.0), 16
    lines = np.array([100.0, 180.0, 330.0, 400.0]) + np.outer(np.arange(count) - 6, [6, 7, 5, 6])
    seen = np.exp(-0.5 * ((x - lines[..., None]) / 2.0) ** 2).sum(1)
    seen[11:13] = 0.0
    monkeypatch.setattr(
        "bimmjax.fib._thickness.marks.find_marks",
        lambda profile: find_marks(profile) if np.array_equal(profile, seen[4]) else None,
    )
    found = follow_marks(seen, reach=8.0)
    kept = np.isfinite(found.places).all(1)
    np.testing.assert_array_equal(np.flatnonzero(~kept), [11, 12])
    np.testing.assert_allclose(found.places[kept], lines[kept], atol=0.05)
    assert (found.parallel, found.inclined) == ((0, 3), (1, 2))


def test_only_the_strip_is_read():
    stack = _stack(0.02)
    whole = open_volume(stack)
    rows = []

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        rows.append((z.stop - z.start, y.start, y.stop))
        return stack[z, y, x]

    from dataclasses import replace

    for kw in ({"ruler": RULER}, {"rows": (2, 40), "angle": ANGLE}):
        thickness_from_ruler(replace(whole, reader=read), **kw)
    assert max(stop for _, _, stop in rows) == 48
    assert max(n for n, _, _ in rows) == 16


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("kw", [{"ruler": RULER}, {"rows": (0, 40), "angle": 10.0}])
def test_no_ruler(noise: float, kw: dict):
    stack = noise * np.random.default_rng(0).standard_normal((6, 60, WIDTH))
    with pytest.raises(InputError, match="no ruler found") as told:
        thickness_from_ruler(stack, **kw)
    assert "\n" not in str(told.value)
    assert ", wants " in str(told.value)


def test_marks_that_stand_still_are_no_ruler():
    still = np.repeat(_stack(0.0)[:1], 5, axis=0)
    with pytest.raises(InputError, match="none come together"):
        thickness_from_ruler(still, rows=(0, 40), angle=ANGLE)
    with pytest.raises(InputError, match="no ruler found"):
        thickness_from_ruler(still, RULER)


def test_a_structure_is_no_ruler():
    from bimmjax.sim import draw_waves, wave_field

    field = np.asarray(wave_field(draw_waves(jax.random.key(0), 20.0), (6, 60, WIDTH)))
    with pytest.raises(InputError, match="no ruler found"):
        thickness_from_ruler(field, angle=10.0)


STACK = _stack(0.0)[:4]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: thickness_from_ruler(STACK[:1], RULER), "volume: got a single slice"),
        (lambda: thickness_from_ruler(STACK), "angle: got None"),
        (lambda: thickness_from_ruler(STACK, angle=90.0), "angle: got 90"),
        (lambda: thickness_from_ruler(STACK, angle=math.nan), "angle: got nan"),
        (lambda: thickness_from_ruler(STACK, RULER, angle=3.0), "got one beside a ruler"),
        (lambda: thickness_from_ruler(STACK, rows=(9, 9), angle=3.0), "rows: got 9"),
        (lambda: thickness_from_ruler(STACK, rows=(0, 400), angle=3.0), "rows: got 400"),
        (lambda: thickness_from_ruler(STACK, rows=4, angle=3.0), "rows: got 4"),
        (lambda: thickness_from_ruler(STACK, angle=3.0, length_per_pixel=0.0), "length_per_pixel"),
        (lambda: thickness_from_ruler(STACK, RULER, outlier_rule="some"), "outlier_rule: got"),
        (lambda: thickness_from_ruler(STACK * np.nan, angle=3.0), "slice 0 with values"),
        (lambda: thickness_from_ruler(STACK[:, :20], RULER), "no ruler found"),
    ],
)  # fmt: skip
def test_refusals(call: Callable[[], object], message: str):
    with pytest.raises(InputError, match=message) as told:
        call()
    assert "\n" not in str(told.value)
    assert ", wants " in str(told.value)
