from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimmjax import InputError, open_volume
from bimmjax.maps._windows import Windows, windows_of

BLOCKS = st.tuples(*[st.sampled_from([8, 12, 16, 24, 32])] * 3)
STRIDES = st.tuples(*[st.sampled_from([4, 8, 12, 16, 24, 48])] * 3)
WINDOWS = st.builds(
    lambda block, stride, more, origin: Windows(
        tuple(a + b + m for a, b, m in zip(origin, block, more, strict=True)),
        block,
        stride,
        origin,
    ),
    BLOCKS,
    STRIDES,
    st.tuples(*[st.integers(0, 200)] * 3),
    st.tuples(*[st.integers(0, 40)] * 3),
)


@given(WINDOWS)
@settings(max_examples=60, deadline=None)
def test_windows_lie_within_and_no_more_would_fit(windows: Windows):
    assert windows.voxel_start((0, 0, 0)) == windows.origin
    last = windows.voxel_start(tuple(n - 1 for n in windows.shape))
    for at, block, stride, size in zip(
        last, windows.block, windows.stride, windows.volume_shape, strict=True
    ):
        assert at + block <= size < at + stride + block


@given(WINDOWS)
@settings(max_examples=60, deadline=None)
def test_units_tile_every_window_once(windows: Windows):
    seen = np.zeros(windows.shape, int)
    for unit in windows.units():
        assert seen[unit.box].shape == unit.shape
        assert unit.windows == np.prod(unit.shape)
        seen[unit.box] += 1
        # One unit is one chunk: it begins on the grid of chunks, and ends there or at the edge.
        for start, n, chunk, size in zip(
            unit.start, unit.shape, windows.chunk, windows.shape, strict=True
        ):
            assert start % chunk == 0
            assert n == min(chunk, size - start)
    assert (seen == 1).all()


@given(WINDOWS)
@settings(max_examples=60, deadline=None)
def test_every_window_is_made_of_whole_cells(windows: Windows):
    for block, stride, cell in zip(windows.block, windows.stride, windows.cell, strict=True):
        assert block % cell == 0
        assert stride % cell == 0


@given(WINDOWS)
@settings(max_examples=60, deadline=None)
def test_a_unit_holds_few_cells_however_the_windows_overlap(windows: Windows):
    cells = [
        ((n - 1) * s + b) // c
        for n, s, b, c in zip(
            windows.chunk, windows.stride, windows.block, windows.cell, strict=True
        )
    ]
    one = [b // c for b, c in zip(windows.block, windows.cell, strict=True)]
    assert np.prod(cells) <= max(8192, np.prod(one))


def test_large_volumes_with_awkward_strides_stay_small():
    windows = Windows((2000,) * 3, (64,) * 3, (36,) * 3)
    assert windows.cell == (4, 4, 4)
    assert np.prod(windows.chunk) < 30
    assert Windows((2000,) * 3, (64,) * 3, (32,) * 3).chunk[2] > 30


@pytest.mark.parametrize(("edge", "cell"), [(1024, 128), (129, 43), (257, 257), (8, 8)])
def test_large_blocks_are_read_in_cells(edge: int, cell: int):
    assert Windows((2100,) * 3, (edge,) * 3, (edge,) * 3).cell == (cell,) * 3


@given(st.tuples(*[st.integers(1, 300)] * 3))
@settings(max_examples=60, deadline=None)
def test_units_are_a_64th_within_limits(shape: tuple[int, int, int]):
    windows = Windows(tuple(8 * n for n in shape), (8, 8, 8), (8, 8, 8))
    assert windows.shape == shape
    assert np.prod(windows.chunk) <= min(max(windows.count // 64, 128), 4096)


def test_from_what_a_user_gives():
    volume = open_volume(np.zeros((40, 48, 64), np.float32))
    windows = windows_of(volume, 16)
    assert (windows.block, windows.stride, windows.shape) == ((16,) * 3, (16,) * 3, (2, 3, 4))
    assert windows_of(volume, (8, 16, 32), 8).shape == (5, 5, 5)


@pytest.mark.parametrize(
    ("block", "stride", "message"),
    [
        (64, None, "block: got 64, wants at most the volume's shape"),
        (4, None, "block: got 4, wants a whole number of 8 or more$"),
        (16, 0, "stride: got 0, wants a whole number of 1 or more$"),
        (16, 2**32, "stride: got 4294967296, wants less than"),
        (16, 15, "stride: got 15 with blocks of 16, wants a common divisor"),
        ((16, 16), None, "wants one whole number or three"),
        ("16", None, "block: got '16'"),
        (16.0, None, "block: got 16.0"),
    ],
)
def test_refusals(block: object, stride: object, message: str):
    volume = open_volume(np.zeros((40, 48, 63), np.float32))
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        windows_of(volume, block, stride)
