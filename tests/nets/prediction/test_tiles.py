"""Tiles cover each voxel once, stand where they must, and change no logit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from scipy import ndimage

from bimmjax import InputError
from bimmjax.nets import build
from bimmjax.nets._predict.apply import Applied
from bimmjax.nets._predict.blocks import each_tile, read_for
from bimmjax.nets._predict.given import given
from bimmjax.nets._predict.images import open_images
from bimmjax.nets._predict.plan import plan_of
from bimmjax.nets._predict.seams import seam_score
from bimmjax.nets._predict.tiling import Tiling, check_tile, exact_sizes, passes, whole


@st.composite
def axes(draw):
    """A length, a network's multiple and halo, a tile that suits them, and the parts of blocks."""
    multiple = draw(st.sampled_from([1, 2, 4, 8, 16]))
    halo = draw(st.integers(0, 40))
    length = draw(st.integers(multiple, 300))
    size = whole(2 * halo + multiple, multiple) + multiple * draw(st.integers(0, 8))
    return length, multiple, halo, min(size, whole(length, multiple)), draw(st.integers(1, 130))


@drawn(axes())
@settings(deadline=None)
def test_exact_tiles_answer_once_for_each_voxel_and_see_its_halo(axis):
    length, multiple, halo, size, part = axis
    tiling, end = Tiling((size,), (halo,), (multiple,), True), whole(length, multiple)
    seen = np.zeros(length, int)
    for at in range(0, length, part):
        for start, core, weights in tiling.pieces(0, length, slice(at, min(at + part, length))):
            assert start % multiple == 0
            assert 0 <= start <= end - size
            assert start == 0 or core.start - start >= halo
            assert start + size == end or start + size - core.stop >= halo
            assert (weights == 1.0).all()
            seen[core] += 1
    assert (seen == 1).all()


@drawn(axes())
@settings(deadline=None)
def test_blended_tiles_have_their_say_wherever_blocks_end(axis):
    length, multiple, _, size, part = axis
    tiling = Tiling((size,), (0,), (multiple,), False)
    say, once = np.zeros(length), {}
    for at in range(0, length, part):
        for start, core, weights in tiling.pieces(0, length, slice(at, min(at + part, length))):
            assert start % multiple == 0
            assert start <= core.start < core.stop <= start + size
            say[core] += weights
            for voxel, weight in zip(range(core.start, core.stop), weights, strict=True):
                # The same, whatever block it is asked for.
                assert once.setdefault((start, voxel), weight) == weight
    np.testing.assert_allclose(say, 1.0, rtol=1e-5)
    corners = sorted({start for start, _ in once})
    assert corners[0] == 0
    assert corners[-1] + size == whole(length, multiple)
    assert max(np.diff(corners), default=0) <= max(size / 2, multiple)


@drawn(
    st.lists(st.integers(16, 2000), min_size=2, max_size=3),
    st.sampled_from([1, 4, 16]),
    st.integers(0, 70),
    st.integers(64, 600),
    st.integers(10, 22),
)
@settings(max_examples=60, deadline=None)
def test_usual_tiles_are_possible_and_no_larger_than_need_be(lengths, multiple, halo, part, power):
    several, halos, parts = [multiple] * len(lengths), [halo] * len(lengths), [part] * len(lengths)
    sizes = exact_sizes(lengths, several, halos, parts, 2**power)
    assert check_tile(sizes, lengths, several, halos) == sizes
    border = whole(halo, multiple)
    for n, size in zip(lengths, sizes, strict=True):
        assert size <= max(whole(min(part, n), multiple) + 2 * border, multiple)
    least = np.prod([min(2 * border + multiple, whole(n, multiple)) for n in lengths])
    assert np.prod(sizes) <= max(2**power, least)


def test_passes_count_the_voxels_of_tiles():
    tiling = Tiling((24, 40), (4, 8), (8, 8), True)
    # Cores 0-20, 20-36, 36-52, 52-64 of four tiles; one tile is all of the other axis.
    assert passes(tiling, (64, 40), (64, 40)) == pytest.approx(4 * 24 / 64)
    # In blocks of 32: 0-20, 20-32 and 32-52 (from 24), 52-64.
    assert passes(tiling, (64, 40), (32, 40)) == pytest.approx(4 * 24 / 64)


LOCAL = [
    ("modular-unet", {"depth": 2}, (3, 101, 90), (64, 72)),
    ("modular-unet", {"depth": 1, "context": 3}, (5, 60, 43), (30, 28)),
    ("unet", {"depth": 2}, (2, 100, 75), (60, 64)),
    ("unet++", {"levels": 2}, (2, 60, 43), None),
    ("fusion-late", {"depth": 1}, (2, 60, 43), None),
    ("modular-unet", {"depth": 1, "dims": 3}, (28, 27, 30), (26, 26, 26)),
    ("xy-unet3d", {"depth": 1}, (16, 24, 33), (13, 22, 22)),
]


@pytest.mark.numerics
@pytest.mark.filterwarnings("ignore:tile")  # small ones show seams
@pytest.mark.parametrize(("name", "settings", "shape", "tile"), LOCAL)
def test_tiled_logits_equal_those_of_the_whole(name, settings, shape, tile, plainly):
    count = 2 if "fusion" in name else 1
    found = given(build(name, channels=count, classes=3, width=2, **settings))
    assert found.net.local
    rng = np.random.default_rng(0)
    channels = [rng.normal(50, 9, shape).astype(np.float32) for _ in range(count)]
    if tile is None:
        tile = [
            whole(2 * h + m, m) for h, m in zip(found.net.halo, found.net.multiple, strict=True)
        ]
    tiled, view = logits_of(found, channels, tile)
    lengths = [shape[axis] for axis in view.axes]
    assert passes(view.tiling, lengths, lengths) > 1.2  # there are tiles
    np.testing.assert_allclose(tiled, plainly.logits(found.net, *channels), rtol=0, atol=1e-6)


def test_a_halo_that_is_cut_shows_and_a_whole_one_does_not():
    rng = np.random.default_rng(0)
    grey = ndimage.gaussian_filter(rng.normal(size=(12, 150, 170)), 2.0) * 60.0
    grey += rng.normal(0, 3.0, grey.shape)
    found = given(build("modular-unet", channels=1, classes=3, width=4, depth=1, seed=6))
    tile = (40, 48)
    for axis in (1, 2):
        size = tile[axis - 1]
        exact, view = logits_of(found, [grey], tile)
        borders = starts(view, grey.shape, axis)
        assert len(borders) > 3
        assert abs(seam_score(exact, borders, axis, 2)) < 4
        # No number, which is less than nothing, where there is nothing to compare with.
        assert abs(seam_score(exact.argmax(-1).astype(np.uint8), borders, axis, 2)) < 4
        cut, view = logits_of(found, [grey], tile, halo=(0, 0))
        borders = starts(view, grey.shape, axis)
        assert borders == list(range(size, grey.shape[axis], size))[: len(borders)]
        # Padding on both sides may make logits more alike there than elsewhere, too.
        assert abs(seam_score(cut, borders, axis, 2)) > 4
        assert seam_score(cut.argmax(-1).astype(np.uint8), borders, axis, 2) > 4


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        ((24,), "wants 2 sizes"),
        ((24, 25), "wants 2 sizes, multiples of (2, 2)"),
        ((22, 24), "wants at least (24, 24), or all of the volume"),
        (7, "wants 2 sizes"),
        (("a", 4), "tile: got 'a', wants a whole number"),
    ],
)
def test_impossible_tiles_are_refused(tile, message, net):
    with pytest.raises(InputError) as told:
        plan_of(given(net), (4, 60, 60), 1, tile=tile)
    assert message in str(told.value)


def test_a_tile_of_little_more_than_its_halo_is_warned_of(net):
    with pytest.warns(UserWarning, match=r"tile: got \(24, 24\), .* looked at 1\d\d times"):
        plan_of(given(net), (4, 160, 160), 1, tile=(24, 24))
    plan_of(given(net), (4, 160, 160), 1, tile=(40, 40))


def logits_of(found, channels, tile, halo=None):
    """Logits (z, y, x, classes) as prediction has them, tile by tile, and the view it takes."""
    images = open_images(channels, found.channels, "std")
    plan = plan_of(found, images.shape, 4, tile=tile)
    (view,) = plan.views
    if halo is not None:
        view = view._replace(tiling=view.tiling._replace(halo=halo))
    box = tuple(slice(0, n) for n in images.shape)
    applied = Applied(found.net, 3, view.tiling.sizes, 1)
    out = np.full((*images.shape, found.classes), np.nan, np.float32)
    raw = read_for(images, [view], box)
    for one, values in each_tile(images, raw, view, applied, box, applied.logits):
        out[one.core] = values
    return out, view


def starts(view, shape, axis):
    """Where cores begin, but the first."""
    pieces = view.tiling.pieces(view.axes.index(axis), shape[axis], slice(0, shape[axis]))
    return [piece.core.start for piece in pieces[1:]]
