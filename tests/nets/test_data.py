"""Patches, tiles, blocks and normalisations, against what lies in small volumes."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimmjax import InputError, open_volume
from bimmjax.nets import Normalisation, normalisation, split
from bimmjax.nets._data.ahead import made_ahead
from bimmjax.nets._data.augment import stretched, symmetries
from bimmjax.nets._data.census import census
from bimmjax.nets._data.sampler import Drawing, Sampler
from bimmjax.nets._data.specimen import normalised, open_specimens, stacked
from bimmjax.nets._data.tiles import Tiles


def numbered(shape=(12, 10, 14)) -> np.ndarray:
    """Each voxel its own grey value, so that a patch tells where it comes from."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def specimens(images, labels, weight=None, how="none"):
    return [normalised(one, how) for one in open_specimens(images, labels, weight)]


def sampler(images, labels, drawing, classes=3, block=None, **how):
    found = specimens(images, labels, **how)
    counts = [census(one.labels, classes, 0) for one in found]
    blocks = [range(one.shape[0]) if block is None else block for one in found]
    return Sampler(found, counts, blocks, drawing)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_normalisation_is_that_of_the_whole_volume(dtype):
    grey = np.random.default_rng(0).integers(20, 220, (6, 7, 8)).astype(dtype)
    found = normalisation(open_volume(grey))
    assert found.offset == pytest.approx(grey.mean(dtype=float), rel=1e-12)
    assert found.factor == pytest.approx(1.0 / grey.std(dtype=float), rel=1e-12)
    low, high = np.percentile(grey.astype(float), [0.5, 99.5])
    assert normalisation(open_volume(grey), "range") == pytest.approx((low, 1 / (high - low)))
    assert normalisation(open_volume(grey), "none") == (0.0, 1.0)


def test_slabs_join_to_the_whole(monkeypatch):
    grey = np.random.default_rng(1).normal(1e6, 1.0, (9, 5, 5))
    grey[0, 0, 0] = np.nan
    monkeypatch.setattr("bimmjax.nets._data.normalise._SLAB", 50)
    found = normalisation(open_volume(grey))
    assert found.offset == pytest.approx(np.nanmean(grey), rel=1e-14)
    assert found.factor == pytest.approx(1.0 / np.nanstd(grey), rel=1e-9)
    assert found(grey)[0, 0, 0] == 0.0


def test_percentiles_are_of_all_columns(monkeypatch):
    grey = np.arange(200.0) * np.ones((20, 20, 1))
    monkeypatch.setattr("bimmjax.nets._data.normalise._SAMPLE", grey.size // 200)
    found = normalisation(open_volume(grey), "range")
    assert found.offset == pytest.approx(1.0, abs=3.0)
    assert 1.0 / found.factor == pytest.approx(198.0, abs=6.0)


def test_a_constant_volume_is_refused():
    with pytest.raises(InputError, match="images: got array, which is constant"):
        normalisation(open_volume(np.ones((2, 2, 2))))
    with pytest.raises(InputError, match="constant or holds no number"):
        normalisation(open_volume(np.full((2, 2, 2), np.nan)), "range")
    with pytest.raises(InputError, match="normalise: got 'patch', wants one of std, range, none"):
        normalisation(open_volume(np.ones((2, 2, 2))), "patch")


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 400), st.integers(0, 9), st.integers(1, 98), st.integers(0, 98), st.booleans()
)
def test_blocks_lie_apart_and_none_is_lost(depth, margin, train, rest, test):
    validation = min(rest, 100 - train) if test else 100 - train
    shares = (train / 100, validation / 100, (100 - train - validation) / 100)
    parts = sum(share > 0 for share in shares)
    try:
        found = split(depth, shares, margin)
    except InputError:
        assert depth - margin * (parts - 1) < parts
        return
    filled = [block for block in found if len(block)]
    assert len(filled) == parts
    assert len(found.train) > 0
    for one, other in pairwise(filled):
        assert other.start - one.stop == margin
    assert (filled[0].start, filled[-1].stop) == (0, depth)
    for block, share in zip(found, shares, strict=True):
        assert abs(len(block) - share * (depth - margin * (parts - 1))) <= 2


def test_bad_splits_are_refused():
    for shares in ((0.5, 0.2, 0.2), (0.0, 0.5, 0.5), (0.5, 0.5)):
        with pytest.raises(InputError, match=r"split: got .* wants three shares"):
            split(100, shares)
    with pytest.raises(InputError, match="split: got 9 slices, too few for 3 blocks with 4"):
        split(9, (0.7, 0.2, 0.1), 4)


def test_symmetries_are_groups():
    box = numbered((4, 4, 4))
    turned = {one(box).tobytes() for one in symmetries("all", 3)}
    assert len(turned) == 48
    again = {s(t(box)).tobytes() for s in symmetries("all", 3) for t in symmetries("all", 3)}
    assert again == turned
    flat = [one(box) for one in symmetries("all", 2)]
    assert len({one.tobytes() for one in flat}) == 8
    for one in flat:
        np.testing.assert_array_equal(np.sort(one.reshape(4, -1)), np.sort(box.reshape(4, -1)))
    plain = [np.rot90(m, k) for m in (box[0], box[0].T) for k in range(4)]
    assert {one[0].tobytes() for one in flat} == {np.ascontiguousarray(m).tobytes() for m in plain}


@pytest.mark.parametrize("which", ["all", "plane", "none"])
def test_a_turned_source_has_the_patchs_shape(which):
    for one in symmetries(which, 3):
        assert one(np.zeros((*one.source((2, 3, 5)), 7))).shape == (2, 3, 5, 7)


def test_stretch_is_linear_interpolation_of_the_middle():
    ramp = np.linspace(0.0, 9.0, 10)[:, None] * np.ones(3)
    np.testing.assert_allclose(
        stretched(ramp, (5.0, 3.0), (10, 3), nearest=False)[:, 0], 2.25 + 0.5 * np.arange(10)
    )
    box = np.random.default_rng(0).random((6, 7))
    assert stretched(box, (6.0, 7.0), (6, 7), nearest=False) is box
    labels = (box > 0.5).astype(np.uint8)
    found = stretched(labels, (6.0, 7.0), (12, 14), nearest=True)
    np.testing.assert_array_equal(found, labels.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("patch", [(4, 6), (3, 4, 6)])
@pytest.mark.parametrize("which", ["all", "none"])
def test_labels_stay_with_their_voxels(patch, which):
    grey = numbered()
    labels = (grey % 3).astype(np.uint8)
    found = sampler(grey, labels, Drawing(patch, symmetries=which))
    seen = set()
    for number in range(40):
        image, told, weight = found.sample(number)
        assert image.shape == (*patch, 1)
        assert told.shape == patch
        assert (image.dtype, told.dtype, weight.size) == (np.float32, np.uint8, 0)
        np.testing.assert_array_equal(image[..., 0] % 3, told)
        seen.add(image[(0,) * len(patch) + (0,)])
    assert len(seen) > 20


def test_a_sample_depends_on_seed_and_number_alone():
    grey = numbered()
    labels = (grey % 3).astype(np.uint8)
    how = {"stretch": 0.3, "brightness": 0.2, "noise": 0.1, "foreground": 0.5}
    one, same, other = (
        sampler(grey, labels, Drawing((4, 4), seed=seed, **how)) for seed in (1, 1, 2)
    )
    for a, b in zip(one.batch(3, 2), same.batch(3, 2), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one.batch(1, 4).images[2:], same.batch(3, 2).images)
    assert (one.sample(0)[0] != other.sample(0)[0]).any()
    place = one.places(0, 1)[0]
    assert min(place.shape[1:]) >= 3


def test_every_start_of_a_small_volume_is_drawn_alike():
    found = sampler(
        numbered((2, 4, 5)), np.ones((2, 4, 5), np.uint8), Drawing((3, 3), symmetries="none")
    )
    drawn = Counter(found._place(found._stream(n))[0].start for n in range(1200))
    assert len(drawn) == 2 * 2 * 3
    assert max(abs(n - 100) for n in drawn.values()) < 50  # five standard deviations


def test_context_is_the_slices_around_and_repeats_beyond_the_ends():
    first, second = numbered((5, 3, 3)), 1000.0 + numbered((5, 3, 3))
    (one,) = specimens([[first, second]], [np.zeros((5, 3, 3), np.uint8)])
    whole = slice(None)
    for z, context, slices in ((0, 5, (0, 0, 0, 1, 2)), (3, 3, (2, 3, 4)), (4, 3, (3, 4, 4))):
        found = stacked(one, z, whole, whole, context)
        wanted = np.stack([image[s] for s in slices for image in (first, second)], -1)
        np.testing.assert_array_equal(found, wanted)


def test_channels_of_several_images_and_weight():
    grey = numbered()
    labels = np.zeros(grey.shape, np.uint8)
    labels[0, 0, 0] = 1
    found = sampler([[grey, 2 * grey]], [labels], Drawing((3, 3, 3)), weight=[grey])
    image, _, weight = found.sample(0)
    np.testing.assert_array_equal(image[..., 1], 2 * image[..., 0])
    np.testing.assert_array_equal(image[..., 0], weight)


def test_brightness_is_one_for_all_slices_of_a_channel():
    flat = np.zeros((4, 6, 6), np.float32)
    labels = np.zeros((4, 6, 6), np.uint8)
    found = sampler([[flat, flat]], [labels], Drawing((4, 4), context=3, brightness=0.5))
    shifts = np.stack([found.sample(n)[0] for n in range(50)])
    assert (np.ptp(shifts, (1, 2)) == 0).all()
    assert (np.ptp(shifts[:, 0, 0, ::2], 1) == 0).all()
    assert np.abs(shifts).max() <= 0.5
    assert (np.abs(shifts[:, 0, 0, 0] - shifts[:, 0, 0, 1]) > 0.01).mean() > 0.8
    noisy = sampler(flat, labels, Drawing((4, 4), noise=0.2))
    spread = np.array([noisy.sample(n)[0].std() for n in range(50)])
    assert 0.0 < spread.min() < 0.05 < 0.15 < spread.max() < 0.35


@pytest.mark.parametrize("patch", [(4, 4), (4, 4, 4)])
def test_rare_classes_are_drawn_as_often_as_asked_for(patch):
    labels = np.zeros((20, 40, 40), np.uint8)
    labels[3, 7, 9] = 1
    labels[15, 30:, 30:] = 2
    how = {"symmetries": "none", "seed": 3}
    grey = numbered(labels.shape)
    plain = sampler(grey, labels, Drawing(patch, **how))
    more = sampler(grey, labels, Drawing(patch, foreground=0.5, **how))
    count = [[(label == s.sample(n)[1]).any() for n in range(200)] for s in (plain, more)
             for label in (1, 2)]  # fmt: skip
    share = np.mean(count, 1)
    assert share[0] < 0.06
    assert share[2] == pytest.approx(0.25, abs=0.1)
    assert share[3] == pytest.approx(0.25, abs=0.1)
    np.testing.assert_array_equal(more.counts, np.bincount(labels.ravel(), minlength=3))


@pytest.mark.parametrize("patch", [(4, 4), (3, 4, 4)])
def test_sparse_annotation(patch):
    labels = np.ones((20, 8, 8), np.uint8)
    labels[::2] = 255
    grey = np.arange(20.0)[:, None, None] * np.ones((8, 8))
    how = Drawing(patch, every=3, symmetries="plane")
    found = sampler(grey, labels, how, block=range(2, 18))
    # Odd slices from 3 to 17 have labels: the second, the fifth and the eighth are used.
    used = {5.0, 11.0, 17.0}
    counted = set()
    for number in range(60):
        image, told, _ = found.sample(number)
        counted |= set(image[..., 0][told == 1].tolist())
        assert 2.0 <= image.min() <= image.max() < 18.0
    assert counted == used


def test_stretched_patches_keep_to_their_block():
    labels = np.zeros((9, 6, 6), np.uint8)
    grey = np.arange(9.0)[:, None, None] * np.ones((6, 6))
    found = sampler(grey, labels, Drawing((4, 4, 4), stretch=1.0), block=range(2, 7))
    ends = [found.sample(n)[0] for n in range(60)]
    assert min(e.min() for e in ends) >= 2.0
    assert max(e.max() for e in ends) <= 6.0
    assert {e.shape for e in ends} == {(4, 4, 4, 1)}


@pytest.mark.parametrize("patch", [(4, 6), (3, 4, 6)])
def test_tiles_cover_each_voxel_of_a_block_once(patch):
    grey = numbered((11, 10, 14))
    found = specimens([grey], [np.zeros(grey.shape, np.uint8)])
    counts = [census(found[0].labels, 2, 0)]
    tiles = Tiles(found, counts, [range(3, 10)], Drawing(patch), 10_000)
    seen = Counter()
    for number in range(tiles.batches(4)):
        batch = tiles.batch(number, 4)
        assert batch.images.shape == (4, *patch, 1)
        seen.update(batch.images[..., 0][batch.labels != 255].tolist())
    assert set(seen.values()) == {1}
    assert set(seen) == set(grey[3:10].ravel().tolist())
    few = Tiles(found, counts, [range(3, 10)], Drawing(patch), 5)
    assert len(few) == 5


def test_a_block_thinner_than_a_tile_is_seen_with_what_lies_below_it():
    grey = numbered((11, 10, 14))
    found = specimens([grey], [np.zeros(grey.shape, np.uint8)])
    counts = [census(found[0].labels, 2, 0)]
    tiles = Tiles(found, counts, [range(8, 10)], Drawing((6, 5, 7)), 100)
    assert len(tiles) == 4
    batch = tiles.batch(0, 4)
    assert batch.images.shape == (4, 6, 5, 7, 1)
    assert sorted(batch.images[batch.labels != 255][:, 0]) == grey[8:10].ravel().tolist()
    with pytest.raises(InputError, match=r"patch: got \(6, 5, 7\), larger than"):
        Tiles(found, counts, [range(3, 5)], Drawing((6, 5, 7)), 100)


@pytest.mark.parametrize("patch", [(4, 4), (3, 4, 4)])
def test_tiles_without_a_voxel_that_counts_are_left_out(patch):
    labels = np.full((6, 16, 16), 255, np.uint8)
    labels[2, 5, 9], labels[3] = 1, 0
    weight = np.ones(labels.shape)
    weight[3], weight[3, 15, 15] = 0.0, 1.0
    grey = numbered(labels.shape)
    found = specimens([grey], [labels], [weight])
    tiles = Tiles(found, [census(found[0].labels, 2, 0)], [range(6)], Drawing(patch), 2)
    batch = tiles.batch(0, 2)
    counts = (batch.labels != 255) & (batch.weight > 0)
    assert batch.images[counts][:, 0].tolist() == [grey[2, 5, 9], grey[3, 15, 15]]
    found = specimens([grey], [labels], [np.zeros(labels.shape)])
    assert len(Tiles(found, [census(found[0].labels, 2, 0)], [range(6)], Drawing(patch), 2)) == 0


def test_several_specimens():
    one, two = np.zeros((4, 8, 8), np.float32), np.ones((8, 12, 12), np.float32)
    labels = [a.astype(np.uint8) for a in (one, two)]
    found = sampler([one, two], labels, Drawing((4, 4)))
    drawn = np.mean([found.sample(n)[0].mean() for n in range(300)])
    assert drawn == pytest.approx(8 * 144 / (8 * 144 + 4 * 64), abs=0.1)


def test_what_is_read_ahead_comes_in_order_and_its_errors_too():
    threads = set()

    def make(number):
        threads.add(threading.current_thread().name)
        if number == 5:
            raise InputError("volume: lost")
        return number

    taken = []
    with pytest.raises(InputError, match="lost"):
        taken.extend(made_ahead(make, range(9)))
    assert taken == [0, 1, 2, 3, 4]
    assert threading.current_thread().name not in threads
    reading = made_ahead(make, range(4))
    assert next(reading) == 0
    reading.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("patches")]


def test_bad_data_are_refused():
    grey, labels = numbered(), np.zeros((12, 10, 14), np.uint8)
    with pytest.raises(InputError, match=r"labels: got shape \(2, 2, 2\), wants that of"):
        open_specimens(grey, labels[:2, :2, :2])
    with pytest.raises(InputError, match="labels: got dtype float32, wants whole numbers"):
        open_specimens(grey, grey)
    one = open_volume(grey, spacing=1.0, unit="um")
    other = open_volume(labels, spacing=1200.0, unit="nm")
    with pytest.raises(InputError, match="labels: got voxels of 1200 1200 1200 nm, wants those of"):
        open_specimens(one, other)
    open_specimens(one, open_volume(labels, spacing=1000.0, unit="nm"))
    with pytest.raises(InputError, match="images: got 1 for 2 volumes of labels"):
        open_specimens([grey], [labels, labels])
    with pytest.raises(InputError, match=r"images: got \[1, 2\] channels"):
        open_specimens([grey, [grey, grey]], [labels, labels])
    wrong = labels.copy()
    wrong[3, 4, 5] = 7
    with pytest.raises(
        InputError, match=r"labels: got 7 at \(z, y, x\) = \(3, 4, 5\), wants 0 to 2"
    ):
        sampler(grey, wrong, Drawing((4, 4)))
    with pytest.raises(
        InputError, match=r"patch: got \(4, 11, 4\), larger than a block of .*\(12,"
    ):
        sampler(grey, labels, Drawing((4, 11, 4)))
    with pytest.raises(InputError, match="labels: got none within the training block"):
        sampler(grey, np.full_like(labels, 255), Drawing((4, 4)))
    with pytest.raises(InputError, match="symmetries: got 'some'"):
        sampler(grey, labels, Drawing((4, 4), symmetries="some"))


def test_values_that_are_no_number_become_zero():
    found = Normalisation(1.0, 1.0)(np.array([np.inf, -np.inf, np.nan, 3.0], np.float32))
    assert found.tolist() == [0.0, 0.0, 0.0, 2.0]


def test_volumes_are_read_lazily_unless_they_are_small():
    grey, labels = numbered((6, 20, 20)), np.zeros((6, 20, 20), np.uint8)
    read = []

    def counted(volume):
        def reader(z, y, x):
            read.append((z.stop - z.start) * (y.stop - y.start) * (x.stop - x.start))
            return volume.reader(z, y, x)

        return replace(volume, reader=reader)

    for keep, wanted in ((0, [16, 16]), (2**20, [])):
        (one,) = open_specimens(counted(open_volume(grey)), counted(open_volume(labels)))
        ready = normalised(one, "none", keep)
        found = Sampler([ready], [census(ready.labels, 2, 0)], [range(6)], Drawing((4, 4)))
        read.clear()
        found.sample(0)
        assert read == wanted
