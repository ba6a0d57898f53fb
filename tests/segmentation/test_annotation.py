"""Annotation aids: against brute force, closed forms and the libraries."""

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label
from skimage.measure import regionprops
from skimage.restoration import denoise_nl_means

from bimmjax import InputError, open_volume
from bimmjax.segmentation import (
    _denoise,
    blobs,
    grow_seeds,
    non_local_means,
    outlier_blobs,
    seeded_region_growing,
    seeds_from_thresholds,
)

ALL = (slice(None),) * 3


def bodies(shape, noise, seed=0, dtype=float):
    """Two phases at 50 and 150, blurred, with noise."""
    rng = np.random.default_rng(seed)
    truth = gaussian_filter(rng.normal(size=shape), 4.0) > 0
    image = 50.0 + 100.0 * gaussian_filter(truth.astype(float), 1.0) + rng.normal(0, noise, shape)
    return (image if dtype is float else np.clip(np.rint(image), 0, 255).astype(dtype)), truth


def test_denoised_is_the_librarys_slice_by_slice_and_in_3d():
    image, _ = bodies((5, 30, 34), 10.0, dtype=np.uint8)
    options = {"patch_size": 3, "patch_distance": 4, "h": 6.0, "sigma": 10.0}
    found = non_local_means(image, noise_std=10.0, patch=3, distance=4, strength=0.6)
    assert found.dtype == np.float32
    assert found.shape == image.shape
    expected = [denoise_nl_means(s.astype(float), **options) for s in image]
    np.testing.assert_allclose(found.read(*ALL), expected, rtol=1e-5)
    solid = non_local_means(
        image, noise_std=10.0, patch=3, distance=4, strength=0.6, by_slice=False
    )
    expected = denoise_nl_means(image.astype(float), **options)
    np.testing.assert_allclose(solid.read(*ALL), expected, rtol=1e-5)


@pytest.mark.parametrize("by_slice", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, float])
def test_boxes_are_parts_of_the_whole(by_slice, dtype, monkeypatch):
    image, _ = bodies((18, 25, 31), 12.0, dtype=dtype)
    image = np.array(image)
    if dtype is float:
        image[:, 12:15, 20] = np.nan
    lazy = non_local_means(
        open_volume(image), noise_std=12.0, patch=5, distance=3, by_slice=by_slice
    )
    whole = lazy.read(*ALL)
    for box in (
        np.s_[0:1, 0:1, 0:1],
        np.s_[17:18, 24:25, 30:31],
        np.s_[0:3, 2:9, 25:31],
        np.s_[6:9, 11:13, 14:15],
        np.s_[8:18, 0:25, 12:16],
    ):
        np.testing.assert_allclose(lazy.read(*box), whole[box], rtol=1e-5)
    monkeypatch.setattr(_denoise, "_TILE_2D", 7)
    monkeypatch.setattr(_denoise, "_TILE_3D", 11)
    np.testing.assert_allclose(lazy.read(*ALL), whole, rtol=1e-5)


def test_a_thinner_halo_would_not_do(monkeypatch):
    image, _ = bodies((1, 25, 31), 12.0)
    lazy = non_local_means(image, noise_std=12.0, patch=5, distance=3, strength=5.0)
    whole = lazy.read(*ALL)
    enlarged = _denoise._enlarged
    monkeypatch.setattr(_denoise, "_enlarged", lambda b, v, halo, s: enlarged(b, v, halo - 1, s))
    box = np.s_[0:1, 11:13, 14:16]
    assert not np.allclose(lazy.read(*box), whole[box], rtol=0, atol=1e-3)


def test_thin_volumes_and_faces_are_the_librarys():
    image, _ = bodies((2, 3, 40), 10.0)
    found = non_local_means(image, noise_std=10.0).read(*ALL)
    options = {"patch_size": 5, "patch_distance": 6, "h": 8.0, "sigma": 10.0}
    expected = [denoise_nl_means(s, preserve_range=True, **options) for s in image]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("by_slice", [True, False])
@pytest.mark.parametrize("noise", [3.0, 12.0])
def test_noise_is_found_and_taken_away(by_slice, noise):
    image, _ = bodies((36, 48, 48), noise)
    truth, _ = bodies((36, 48, 48), 0.0)
    assert _denoise._noise_std(open_volume(image), by_slice) == pytest.approx(noise, rel=0.06)
    if by_slice:
        found = non_local_means(image[:3]).read(*ALL)
        assert np.std(found - truth[:3]) < 0.75 * noise


def test_details_see_white_noise_alone():
    z, y, x = np.indices((8, 40, 40))
    slope = open_volume(3.0 * z + 2.0 * y - x)
    assert _denoise._noise_std(slope, by_slice=True) < 1e-9
    assert _denoise._noise_std(slope, by_slice=False) < 1e-9
    np.testing.assert_array_equal(non_local_means(slope, noise_std=0).read(*ALL), slope.read(*ALL))


@pytest.mark.parametrize("by_slice", [True, False])
def test_gaps_stay_and_say_nothing(by_slice):
    rng = np.random.default_rng(3)
    image = rng.normal(100.0, 5.0, (14, 40, 40))
    image[:, 18:21, 20] = np.nan
    image[:, 30, 8] = np.inf
    found = non_local_means(image, patch=3, distance=3, by_slice=by_slice).read(*ALL)
    np.testing.assert_array_equal(np.isnan(found), ~np.isfinite(image))
    inside = found[np.isfinite(found)].astype(float)
    assert np.abs(inside - 100.0).max() < 20.0
    clean = np.where(np.isfinite(image), image, 100.0)
    whole = non_local_means(clean, noise_std=5.0, patch=3, distance=3, by_slice=by_slice)
    gaps = non_local_means(image, noise_std=5.0, patch=3, distance=3, by_slice=by_slice)
    np.testing.assert_allclose(gaps.read(*ALL)[:, :, 26:], whole.read(*ALL)[:, :, 26:], rtol=1e-5)
    nothing = non_local_means(np.full((2, 9, 9), np.nan), noise_std=1.0).read(*ALL)
    assert np.isnan(nothing).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"patch": 4}, "patch: got 4, wants an odd"),
        ({"patch": 1}, "patch: got 1"),
        ({"distance": 0}, "distance: got 0"),
        ({"strength": 0.0}, "strength: got"),
        ({"strength": np.nan}, "strength: got"),
        ({"noise_std": -1.0}, "noise_std: got -1"),
        ({"noise_std": "some"}, "noise_std: got"),
    ],
)
def test_bad_denoising_is_told(options, told):
    with pytest.raises(InputError, match=told):
        non_local_means(np.zeros((5, 9, 9)), **options)


def test_noise_that_cannot_be_told_is_asked_for():
    with pytest.raises(InputError, match="noise_std: got None for a volume of shape"):
        non_local_means(np.zeros((5, 3, 9)))
    with pytest.raises(InputError, match="noise_std: got None for a volume without"):
        non_local_means(np.full((5, 9, 9), np.nan))


def grown_plainly(image, seeds):
    """As Adams and Bischof tell it, with a list that is searched each time."""
    image, labels = np.asarray(image, float), np.array(seeds, int)
    labels[~np.isfinite(image)] = 0
    members = {k: image[labels == k].tolist() for k in np.unique(labels) if k}

    def off(place, k):
        return abs(image[place] - sum(members[k]) / len(members[k]))

    def beside(place):
        steps = [s * np.eye(image.ndim, dtype=int)[a] for a in range(image.ndim) for s in (-1, 1)]
        near = sorted(tuple(int(i) for i in np.add(place, s)) for s in steps)
        return [p for p in near if all(0 <= i < n for i, n in zip(p, image.shape, strict=True))]

    def regions(place):
        return sorted({int(labels[p]) for p in beside(place)} - {0})

    waiting, seen = [], set()
    for place in np.ndindex(image.shape):
        if labels[place] == 0 and np.isfinite(image[place]) and regions(place):
            waiting.append((min(off(place, k) for k in regions(place)), len(seen), place))
            seen.add(place)
    while waiting:
        first = min(waiting)
        waiting.remove(first)
        place = first[2]
        k = min(regions(place), key=lambda k: (off(place, k), k))
        labels[place] = k
        members[k].append(image[place])
        for p in beside(place):
            if labels[p] == 0 and np.isfinite(image[p]) and p not in seen:
                waiting.append((off(p, k), len(seen), p))
                seen.add(p)
    return labels


@pytest.mark.parametrize("shape", [(9, 13), (1, 12), (5, 6, 7), (1, 1, 8)])
@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_growing_is_that_of_adams_and_bischof(shape, levels, seed):
    rng = np.random.default_rng(seed)
    # Few levels make many equals; halves make sums exact, whatever their order.
    image = rng.integers(0, levels, shape) / 2.0
    seeds = np.where(rng.random(shape) < 0.12, rng.integers(1, 4, shape), 0).astype(np.uint8)
    gaps = rng.random(shape) < 0.1
    np.testing.assert_array_equal(seeded_region_growing(image, seeds), grown_plainly(image, seeds))
    image[gaps] = np.nan
    found = seeded_region_growing(image, seeds)
    np.testing.assert_array_equal(found, grown_plainly(image, seeds))
    assert found.dtype == np.uint8
    assert not found[gaps].any()


def test_the_likest_goes_first_and_moves_the_mean():
    # 14.5 is nearer to 10 than to 20, but 17 goes first and draws the mean of 20 to 18.5.
    image = np.array([[10, 14.5, 17, 20]])
    assert seeded_region_growing(image, [[1, 0, 0, 2]]).tolist() == [[1, 2, 2, 2]]
    # Neither is nearer: the lower label.
    image = np.array([[10, 14, 18]])
    assert seeded_region_growing(image, [[2, 0, 1]]).tolist() == [[2, 1, 1]]
    # A bridge as bright as the right seed belongs to it, though it lies at the left one.
    image = np.array([[0, 9, 9, 9, 10]])
    assert seeded_region_growing(image, [[5, 0, 0, 0, 2]]).tolist() == [[5, 2, 2, 2, 2]]


def test_what_no_seed_reaches_stays():
    image = np.array([[1.0, np.nan, 1.0], [1.0, np.nan, 1.0]])
    assert seeded_region_growing(image, [[7, 9, 0], [0, 0, 0]]).tolist() == [[7, 0, 0], [7, 0, 0]]
    assert not seeded_region_growing(image, np.zeros((2, 3), int)).any()
    assert (
        seeded_region_growing(np.zeros((2, 2)), [[10**9, 0], [0, 0]]).tolist() == [[10**9] * 2] * 2
    )
    assert seeded_region_growing(np.zeros((1, 2)), [[True, False]]).tolist() == [[1, 1]]


def test_growing_beats_thresholds():
    image, truth = bodies((1, 90, 90), 25.0)
    seeds = seeds_from_thresholds(image, [(-np.inf, 40.0), (160.0, np.inf)])
    labels = grow_seeds(image, seeds).read(*ALL)
    assert set(np.unique(labels)) == {1, 2}
    grown = np.mean((labels == 2) == truth)
    assert grown > 0.85
    assert np.mean(seeds.read(*ALL) == np.where(truth, 2, 1)) < grown


def test_slices_grow_by_themselves_and_boxes_are_parts():
    image, _ = bodies((4, 20, 22), 15.0)
    seeds = seeds_from_thresholds(image, [(0, 50), (150, 999)]).read(*ALL)
    seeds[2] = 0
    lazy = grow_seeds(image, seeds, spacing=0.5, unit="um")
    assert (lazy.shape, lazy.dtype, lazy.unit) == (image.shape, np.dtype(np.uint8), "um")
    assert lazy.chunks == (1, 20, 22)
    whole = lazy.read(*ALL)
    assert not whole[2].any()
    for k in (0, 1, 3):
        np.testing.assert_array_equal(whole[k], seeded_region_growing(image[k], seeds[k]))
    np.testing.assert_array_equal(lazy.read(*np.s_[1:4, 3:9, 20:22]), whole[1:4, 3:9, 20:22])
    solid = grow_seeds(image, seeds, by_slice=False)
    np.testing.assert_array_equal(solid.read(*ALL), seeded_region_growing(image, seeds))
    np.testing.assert_array_equal(solid.read(*np.s_[2:3, 3:9, :]), solid.read(*ALL)[2:3, 3:9])
    assert solid.read(*ALL)[2].all()


@pytest.mark.parametrize(
    ("image", "seeds", "told"),
    [
        (np.zeros((3, 4)), np.zeros((3, 5), int), "seeds: got shape"),
        (np.zeros((3, 4)), np.zeros((3, 4)), "seeds: got dtype float64"),
        (np.zeros((3, 4)), np.full((3, 4), -1), "seeds: got -1"),
        (np.zeros(3), np.zeros(3, int), "image: got"),
        (np.zeros((0, 4)), np.zeros((0, 4), int), "image: got"),
        (np.zeros((3, 4), complex), np.zeros((3, 4), int), "image: got complex"),
    ],
)
def test_bad_growing_is_told(image, seeds, told):
    with pytest.raises(InputError, match=told):
        seeded_region_growing(image, seeds)


def test_bad_seed_volumes_are_told():
    image = np.zeros((2, 3, 4))
    with pytest.raises(InputError, match="seeds: got shape"):
        grow_seeds(image, np.zeros((2, 3, 5), int))
    with pytest.raises(InputError, match="seeds: got dtype"):
        grow_seeds(image, np.zeros((2, 3, 4)))
    for by_slice in (True, False):
        lazy = grow_seeds(image, np.full((2, 3, 4), -3), by_slice=by_slice)
        with pytest.raises(InputError, match="seeds: got -3"):
            lazy.read(*ALL)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_bands_are_closed(dtype):
    image = np.arange(24).reshape(2, 3, 4).astype(dtype)
    found = seeds_from_thresholds(image, [(20, np.inf), (-np.inf, 2), (5, 5)])
    assert found.dtype == np.uint8
    expected = np.where(image >= 20, 1, np.where(image <= 2, 2, np.where(image == 5, 3, 0)))
    np.testing.assert_array_equal(found.read(*ALL), expected)
    np.testing.assert_array_equal(found.read(*np.s_[1:2, 0:3, 2:4]), expected[1:2, 0:3, 2:4])


def test_bands_are_told_in_the_voxels_own_precision():
    image = np.array([[[0.1, np.nan, 0.3]]], np.float32)
    assert seeds_from_thresholds(image, [(0.0, 0.1), (0.3, 1e300)]).read(*ALL).tolist() == [
        [[1, 0, 2]]
    ]
    with pytest.raises(InputError, match="overlap"):
        seeds_from_thresholds(image, [(0.0, 0.1), (0.1 + 1e-12, 1.0)])


@pytest.mark.parametrize(
    ("bands", "told"),
    [
        ([], "bands: got 0"),
        ([(0, 5), (5, 9)], "bands: got overlap from 5 to 5"),
        ([(7, 9), (0, 8)], "bands: got overlap"),
        ([(5, 4)], "bands: got 5 to 4"),
        ([(0, np.nan)], "bands: got nan"),
        ([(0, 1, 2)], "bands: got"),
        (3.0, "bands: got 3.0"),
        ([(k, k) for k in range(256)], "bands: got 256"),
    ],
)
def test_bad_bands_are_told(bands, told):
    with pytest.raises(InputError, match=told):
        seeds_from_thresholds(np.zeros((2, 3, 4)), bands)


def plain_blobs(inside, size):
    """Each blob by its voxels, without the library."""
    found: Any = label(inside)
    parts, count = found
    for k in range(1, count + 1):
        at = np.argwhere(parts == k)
        spread = np.cov((at * size).T, bias=True).reshape(len(size), -1) + np.diag(
            np.square(size) / 12.0
        )
        along = np.linalg.eigvalsh(spread)
        box = at.max(0) + 1 - at.min(0)
        yield len(at), np.sqrt(along[-1] / along[0]), len(at) / box.prod(), at


@pytest.mark.parametrize("by_slice", [True, False])
def test_blobs_are_those_found_voxel_by_voxel(by_slice):
    labels = np.random.default_rng(5).choice([0, 3], (6, 14, 15), p=[0.6, 0.4])
    labels[4] = 0
    spacing = (2.0, 0.5, 0.8)
    found = blobs(labels, 3, by_slice=by_slice, spacing=spacing, unit="um")
    expected = []
    for k in range(6) if by_slice else [0]:
        inside = labels[k] == 3 if by_slice else labels == 3
        for number, (count, ratio, extent, at) in enumerate(
            plain_blobs(inside, spacing[-inside.ndim :]), 1
        ):
            at = np.insert(at, 0, k, 1) if by_slice else at
            area = count * np.prod(spacing[-inside.ndim :])
            diameter = np.sqrt(4 * area / np.pi) if by_slice else np.cbrt(6 * area / np.pi)
            row = [number, area, ratio, extent, diameter, *at.mean(0)]
            row += [e for a, b in zip(at.min(0), at.max(0) + 1, strict=True) for e in (a, b)]
            expected.append([k, *row] if by_slice else row)
    assert len(expected) > 10
    np.testing.assert_allclose(np.stack(list(found.values()), 1), expected, rtol=1e-9)
    names = list(found)
    assert names[:3] == (["slice", "label", "area"] if by_slice else ["label", "volume", names[2]])
    assert names[-9:] == [
        *(f"centroid_{a}" for a in "zyx"),
        *(f"{a}_{end}" for a in "zyx" for end in ("start", "stop")),
    ]


def test_axes_are_the_librarys_for_large_blobs():
    y, x = np.indices((120, 160)) - 60.0
    ellipse = ((y + 0.4 * x) / 40.0) ** 2 + (x / 50.0) ** 2 < 1
    part = regionprops(ellipse.astype(int))[0]
    found = blobs(ellipse[None].astype(np.uint8), 1)
    expected = part.axis_major_length / part.axis_minor_length
    assert found["aspect_ratio"][0] == pytest.approx(expected, rel=1e-3)
    assert expected > 1.3
    row = np.zeros((1, 4, 12), int)
    row[0, 1, 2:9] = 1
    assert blobs(row, 1)["aspect_ratio"] == pytest.approx([7.0])
    assert blobs(row, 1, by_slice=False)["aspect_ratio"] == pytest.approx([7.0])


@pytest.mark.parametrize("by_slice", [True, False])
def test_no_blobs_make_an_empty_table(by_slice):
    labels = np.ones((3, 4, 5), np.uint8)
    full, none = (blobs(labels, k, by_slice=by_slice) for k in (1, 2))
    assert list(full) == list(none)
    for name, column in none.items():
        assert column.shape == (0,)
        assert column.dtype == full[name].dtype
    size = "area" if by_slice else "volume"
    assert full[size].tolist() == ([20.0] * 3 if by_slice else [60.0])
    assert outlier_blobs(none, by=size).tolist() == []
    assert outlier_blobs(none, by=size).dtype == bool


def test_blobs_stream_in_order():
    labels = np.zeros((7, 600, 2000), np.uint8)
    for k in range(7):
        labels[k, k, : k + 1] = 1
    # More than one block of layers.
    found = blobs(np.concatenate([labels, labels]), 1)
    assert found["slice"].tolist() == list(range(14))
    assert found["area"].tolist() == [*range(1, 8), *range(1, 8)]


def test_bad_blobs_are_told():
    with pytest.raises(InputError, match="labels: got dtype"):
        blobs(np.zeros((2, 3, 4)), 1)
    with pytest.raises(InputError, match="phase: got"):
        blobs(np.zeros((2, 3, 4), int), -1)
    with pytest.raises(InputError, match="phase: got"):
        blobs(np.zeros((2, 3, 4), int), 1.5)


def test_outliers_are_far_above_the_median():
    rng = np.random.default_rng(6)
    areas = np.exp(rng.normal(3.0, 0.2, 401))
    centre = np.median(np.log(areas))
    spread = np.median(abs(np.log(areas) - centre)) / 0.6744897501960817
    areas[:4] = np.exp(centre + np.array([3.0, -6.0, 8.0, -9.0]) * 0.3)
    found = outlier_blobs({"area": areas})
    np.testing.assert_array_equal(found[:4], [True, False, True, False])
    # In the units of the deviation: just above and just below.
    logs = np.log(areas)
    z = (logs - np.median(logs)) / (np.median(abs(logs - np.median(logs))) / 0.6744897501960817)
    np.testing.assert_array_equal(found, z > 3.5)
    np.testing.assert_array_equal(outlier_blobs({"area": areas}, threshold=1.0), z > 1.0)
    assert spread == pytest.approx(0.2, rel=0.2)
    # The unit of the area does not matter.
    np.testing.assert_array_equal(outlier_blobs({"area": 1e-6 * areas}), found)


def test_outliers_among_equals():
    assert not outlier_blobs({"area": np.full(5, 2.0)}).any()
    assert not outlier_blobs({"area": np.ones(1)}).any()
    mostly = {"area": np.array([4.0] * 20 + [400.0])}
    assert outlier_blobs(mostly).tolist() == [False] * 20 + [True]
    # Values that are common are none, though more than half lie at the median.
    assert not outlier_blobs({"area": np.array([4.0] * 20 + [5.0] * 15)}).any()
    # A single voxel among large equal blobs is odd, but not large.
    assert not outlier_blobs({"area": np.array([4.0] * 20 + [0.04])}).any()


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_bad_outliers_are_told(value):
    table = {"area": np.array([1.0, value])}
    with pytest.raises(InputError, match="by: got 'area'"):
        outlier_blobs(table)
    with pytest.raises(InputError, match="by: got 'volume', wants one of area"):
        outlier_blobs(table, by="volume")
    with pytest.raises(InputError, match="threshold: got"):
        outlier_blobs({"area": np.ones(3)}, threshold=-1.0)
