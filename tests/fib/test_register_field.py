"""Moved, cut, dropped and untilted slices, against SciPy and by their properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from bimmjax import InputError, Volume, open_volume
from bimmjax.fib import common_field, drop_slices, move_slices, untilt
from bimmjax.sim import shift_slices

pixels = st.integers(-600, 600).map(lambda n: n / 100)


@given(st.lists(st.tuples(pixels, pixels), min_size=1, max_size=5))
def test_the_common_field_is_the_largest_that_all_cover(shifts):
    y, x = common_field(shifts, (20, 24))
    for part, size, moved in zip((y, x), (20, 24), np.transpose(shifts), strict=True):
        # Pixel i shows what was at i - shift.
        covered = [all(-1e-5 <= i - s <= size - 1 + 1e-5 for s in moved) for i in range(size)]
        assert [part.start <= i < part.stop for i in range(size)] == covered


def test_a_field_of_several_stacks():
    one, other = np.zeros((3, 2)), np.array([[2.0, 0.0], [0.0, -3.5]])
    assert common_field([one, other], (4, 10, 12)) == (slice(2, 10), slice(0, 8))
    assert common_field(one, (10, 12)) == (slice(0, 10), slice(0, 12))


@pytest.mark.parametrize(
    "shifts", [[[0.0, 0.0], [10.0, 0.0]], [[np.nan, 0.0]], [], "abc", [[1.0, 2.0, 3.0]]]
)
def test_no_common_field(shifts):
    with pytest.raises(InputError, match="shifts: got"):
        common_field(shifts, (10, 12))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(pixels, pixels), min_size=3, max_size=3))
def test_moved_slices_are_those_of_the_simulator(shifts):
    stack = np.random.default_rng(0).random((3, 16, 18)).astype(np.float32)
    wanted = np.asarray(shift_slices(stack, shifts))
    moved = move_slices(stack, shifts)
    np.testing.assert_allclose(np.asarray(moved), wanted, atol=2e-5)
    box = moved.read(slice(1, 3), slice(4, 11), slice(2, 3))
    np.testing.assert_allclose(box, wanted[1:3, 4:11, 2:3], atol=2e-5)
    field = slice(3, 12), slice(1, 17)
    cut = move_slices(stack, shifts, field)
    assert cut.shape == (3, 9, 16)
    np.testing.assert_allclose(np.asarray(cut), wanted[:, *field], atol=2e-5)


def test_whole_pixels_keep_their_values():
    stack = np.random.default_rng(1).integers(0, 2**16, (2, 12, 14)).astype(np.uint16)
    moved = move_slices(stack, [[3, -2], [0, 0]])
    assert moved.dtype == np.float32
    np.testing.assert_array_equal(
        moved.read(slice(0, 1), slice(3, 12), slice(0, 12))[0], stack[0, :9, 2:]
    )
    np.testing.assert_array_equal(np.asarray(moved)[1], stack[1])


def test_only_what_is_wanted_is_read():
    asked: list[tuple[int, ...]] = []

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        asked.append(tuple(s.stop - s.start for s in (z, y, x)))
        return np.zeros(asked[-1], np.uint8)

    volume = Volume((1000, 5000, 5000), np.dtype(np.uint8), read)
    moved = move_slices(volume, np.full((1000, 2), 7.3))
    assert moved.read(slice(500, 502), slice(40, 50), slice(60, 80)).shape == (2, 10, 20)
    assert asked == [(1, 14, 24)] * 2


@pytest.mark.parametrize(
    ("shifts", "field", "message"),
    [
        (np.zeros((2, 2)), None, "shifts: got shape"),
        (np.full((3, 2), np.nan), None, "shifts: got shape"),
        ("abc", None, "shifts: got shape"),
        (np.zeros((3, 2)), (slice(4, 4), slice(0, 4)), "field: got"),
        (np.zeros((3, 2)), (slice(0, 4, 2), slice(0, 4)), "field: got"),
    ],
)
def test_moves_refused(shifts, field, message):
    with pytest.raises(InputError, match=message):
        move_slices(np.zeros((3, 8, 8)), shifts, field)


def test_dropped_slices():
    stack = np.arange(10.0)[:, None, None] * np.ones((1, 2, 3))
    left = drop_slices(stack, 3, 2)
    np.testing.assert_array_equal(np.asarray(left), stack[3:8])
    np.testing.assert_array_equal(left.read(slice(1, 2), slice(0, 1), slice(2, 3)), 4.0)
    for first, last in ((10, 0), (5, 5), (-1, 0), (1.5, 0)):
        with pytest.raises(InputError, match=r"(first|last): got"):
            drop_slices(stack, first, last)


@pytest.mark.parametrize(("method", "order"), [("linear", 1), ("nearest", 0)])
def test_untilted_as_scipy_has_it(method: str, order: int):
    stack = np.random.default_rng(2).random((2, 30, 9)).astype(np.float32)
    upright = untilt(stack, 52.0, method=method)
    step = np.sin(np.radians(52.0))
    rows = int(29 / step) + 1
    assert upright.shape == (2, rows, 9)
    z, y, x = np.mgrid[:2, :rows, :9].astype(float)
    wanted = ndimage.map_coordinates(stack, [z, y * step, x], order=order, mode="nearest")
    np.testing.assert_allclose(np.asarray(upright), wanted, atol=1e-5)
    box = upright.read(slice(1, 2), slice(20, 31), slice(3, 5))
    np.testing.assert_allclose(box, wanted[1:2, 20:31, 3:5], atol=1e-5)


def test_a_foreshortened_circle_becomes_round():
    y, x = np.mgrid[:60, :80].astype(float)
    step = np.sin(np.radians(40.0))
    # On the face a pixel along y covers 1 / sin as much as along x.
    seen = np.exp(-(((y - 30) / step) ** 2 + (x - 40) ** 2) / (2 * 8.0**2))[None]
    upright = np.asarray(untilt(open_volume(seen), 40.0))[0]
    v, u = np.mgrid[: upright.shape[0], :80]
    wide = [
        np.sqrt((upright * (c - m) ** 2).sum() / upright.sum())
        for c, m in ((v, 30 / step), (u, 40))
    ]
    assert wide[0] == pytest.approx(wide[1], rel=0.01)
    np.testing.assert_allclose(upright[0], seen[0, 0], atol=1e-6)


def test_only_the_spacing():
    volume = Volume(
        (2, 4, 4), np.dtype(np.uint8), lambda z, y, x: np.zeros((2, 4, 4), np.uint8)[z, y, x],
        spacing=(10.0, 5.0, 5.0), unit="nm",
    )  # fmt: skip
    told = untilt(volume, 52.0, method="spacing")
    assert told.shape == volume.shape
    assert told.spacing == pytest.approx((10.0, 5.0 / np.sin(np.radians(52.0)), 5.0))
    assert untilt(volume, 90.0) is volume
    assert untilt(volume, 52.0, method="nearest").dtype == np.uint8


@pytest.mark.parametrize("tilt", [0.0, -10.0, 90.1, np.nan, "52"])
def test_tilts_refused(tilt):
    with pytest.raises(InputError, match="tilt: got"):
        untilt(np.zeros((2, 8, 8)), tilt)
