from __future__ import annotations

import gc
import threading
import time
import weakref
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimmjax import InputError, Volume, open_volume
from bimmjax.volumes import stream, suggest_block

sizes = st.integers(1, 9)
shapes = st.tuples(sizes, sizes, sizes)


def _readers():
    return [t for t in threading.enumerate() if t.name.startswith("bimmjax-read")]


@settings(max_examples=60, deadline=None)
@given(shapes, shapes, st.integers(0, 2), st.integers(1, 3), st.integers(0, 3))
def test_cores_tile_the_volume_once_in_order(
    inner: tuple[int, ...], block: Any, halo: int, threads: int, ahead: int
):
    shape = tuple(n + 2 * halo for n in inner)
    data = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    seen = np.zeros(shape, int)
    starts = []
    for b in stream(open_volume(data), block, halo=halo, threads=threads, ahead=ahead):
        core = tuple(slice(s, s + n) for s, n in zip(b.start, b.core, strict=True))
        box = tuple(slice(s - halo, s + n + halo) for s, n in zip(b.start, b.core, strict=True))
        np.testing.assert_array_equal(b.data, data[box])
        assert all(n <= m for n, m in zip(b.core, block, strict=True))
        seen[core] += 1
        starts.append(b.start)
    expected = np.zeros(shape, int)
    expected[tuple(slice(halo, n - halo) for n in shape)] = 1
    np.testing.assert_array_equal(seen, expected)
    assert starts == sorted(starts)


def _volume(reader: Any, depth: int = 40):
    return Volume((depth, 4, 4), np.dtype(np.uint8), reader)


@pytest.mark.parametrize(("threads", "ahead"), [(1, 0), (2, 2), (3, 1)])
@pytest.mark.parametrize("pause", [0.0, 0.003])
def test_memory_is_bounded(threads: int, ahead: int, pause: float, monkeypatch: pytest.MonkeyPatch):
    alive, peak, lock = 0, 0, threading.Lock()

    def count(step: int):
        nonlocal alive, peak
        with lock:
            alive += step
            peak = max(peak, alive)

    def reader(z: slice, y: slice, x: slice):
        data = np.zeros((1, 4, 4), np.uint8)
        count(1)
        weakref.finalize(data, count, -1)  # when nobody holds the block any more
        return data

    set_result, slow = Future.set_result, iter(range(threads - 1))

    def lingering(future: Future[Any], result: object):
        # What a busy machine does to a reading thread between its result and its end.
        set_result(future, result)
        if next(slow, None) is not None:
            time.sleep(0.1)

    monkeypatch.setattr(Future, "set_result", lingering)
    _block = None
    for _block in stream(_volume(reader), (1, 4, 4), halo=0, threads=threads, ahead=ahead):
        time.sleep(pause)
    del _block
    assert alive == 0
    # Waiting or being read, the one handed over, and the one the loop holds until then.
    assert peak <= ahead + threads + 2


def test_reads_ahead_of_the_consumer():
    reads = []

    def reader(z: slice, y: slice, x: slice):
        reads.append(z.start)
        return np.zeros((1, 4, 4), np.uint8)

    blocks = stream(_volume(reader), (1, 4, 4), halo=0, threads=2, ahead=2)
    next(blocks)
    limit = time.monotonic() + 5
    while len(reads) < 5 and time.monotonic() < limit:
        time.sleep(0.001)
    assert sorted(reads) == [0, 1, 2, 3, 4]  # the one in hand and ahead + threads more, not all
    blocks.close()


def test_a_readers_exception_surfaces_at_its_block():
    def reader(z: slice, y: slice, x: slice):
        if z.start == 7:
            raise RuntimeError("disk on fire")
        return np.zeros((1, 4, 4), np.uint8)

    seen = []
    with pytest.raises(RuntimeError, match="disk on fire"):
        seen.extend(b.start[0] for b in stream(_volume(reader), (1, 4, 4), halo=0))
    gc.collect()
    assert not _readers()


def test_closing_early_ends_the_threads():
    blocks = stream(_volume(lambda z, y, x: np.zeros((1, 4, 4), np.uint8)), (1, 4, 4), halo=0)
    next(blocks)
    assert _readers()
    blocks.close()
    assert not _readers()


def test_no_threads_before_the_first_block():
    stream(open_volume(np.zeros((5, 5, 5))), (5, 5, 5))
    assert not _readers()


@pytest.mark.parametrize("shape", [(2, 9, 9), (9, 2, 9), (9, 9, 1)])
def test_a_halo_that_leaves_nothing_is_refused_at_once(shape: Any):
    with pytest.raises(InputError, match=r"volume: got shape .*wants more than 2 voxels"):
        stream(open_volume(np.zeros(shape)), (4, 4, 4))
    assert list(stream(open_volume(np.zeros(shape)), (9, 9, 9), halo=0))


@pytest.mark.parametrize("block", [(0, 4, 4), (4, 4), 4, (4, 4, 2.5), "444", None])
def test_bad_block_shape(block: Any):
    with pytest.raises(InputError, match=r"block_shape: got .*, wants"):
        stream(open_volume(np.zeros((5, 5, 5))), block)


@pytest.mark.parametrize("option", [{"halo": -1}, {"threads": 0}, {"ahead": -1}, {"halo": 0.5}])
def test_bad_options(option: dict[str, Any]):
    name = next(iter(option))
    with pytest.raises(InputError, match=rf"{name}: got .*, wants a whole number"):
        stream(open_volume(np.zeros((5, 5, 5))), (4, 4, 4), **option)


long = st.integers(1, 5000)


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(long, long, long),
    st.tuples(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300)),
    st.integers(1, 2**24),
)
def test_suggested_blocks_fit(shape: Any, chunks: tuple[int, int, int], target: int):
    z, y, x = (min(c, n) for c, n in zip(chunks, shape, strict=True))
    volume = Volume(shape, np.dtype(np.uint8), lambda *_: np.zeros(1), chunks=(z, y, x))
    block = suggest_block(volume, target)
    assert all(1 <= b <= max(n - 2, 1) for b, n in zip(block, shape, strict=True))
    assert np.prod(block, dtype=float) <= target


def test_suggested_blocks_are_whole_chunks_and_even_shares():
    def suggest(shape: Any, chunks: tuple[int, int, int]):
        volume = Volume(shape, np.dtype(np.uint8), lambda *_: np.zeros(1), chunks=chunks)
        return suggest_block(volume)

    assert suggest((512, 512, 512), (64, 64, 64)) == (64, 510, 510)
    assert suggest((128, 128, 128), (1, 128, 128)) == (126, 126, 126)
    assert suggest((2000, 1024, 1024), (1, 1024, 1024)) == (16, 1022, 1022)
    # A page larger than the target: thick strips of it.
    assert suggest((1000, 20000, 20000), (1, 20000, 20000))[0] == 16
