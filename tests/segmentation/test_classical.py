"""Otsu, k-means, CLAHE and depth maps: against the libraries on volumes that fit them."""

import itertools
from typing import Any

import jax
import numpy as np
import pytest
from skimage.exposure import equalize_adapthist
from skimage.filters import threshold_multiotsu, threshold_otsu
from sklearn.cluster import KMeans

import bimmjax
from bimmjax import InputError, evaluate
from bimmjax.segmentation import (
    NO_LABEL,
    _spatial_kmeans,
    clahe,
    clahe_otsu,
    depth_map,
    kmeans,
    otsu,
    otsu_thresholds,
    spatial_kmeans,
)
from bimmjax.segmentation._grey import coarser, grey_values
from bimmjax.volumes import open_volume

EVERYTHING = (slice(None),) * 3


@pytest.fixture(scope="module")
def three():
    return bimmjax.sim.artificial_volume(
        jax.random.key(2),
        (40, 48, 44),
        fractions=(0.3, 0.4, 0.3),
        blur_std=1.0,
        noise_std=0.08,
        feature_length=5.0,
        with_area=False,
    )


def integers(image, top, dtype):
    return np.clip(np.rint((np.asarray(image) + 0.5) / 2.0 * top), 0, top).astype(dtype)


def test_histogram_counts_every_voxel(three):
    image = integers(three.image, 255, np.uint8)
    found = grey_values(open_volume(image))
    values, counts = np.unique(image, return_counts=True)
    held = found.counts > 0
    np.testing.assert_array_equal(found.centres[held], values)
    np.testing.assert_array_equal(found.counts[held], counts)
    for dtype, top in ((np.uint16, 60_000), (np.int32, 10**6), (np.float32, 1.0)):
        made = (image / 255.0 * top).astype(dtype)
        found = grey_values(open_volume(made))
        assert found.counts.sum() == made.size
        mean = float(found.centres @ found.counts) / made.size
        assert mean == pytest.approx(made.mean(dtype=float), rel=1e-3)
        fewer = coarser(found, 100)
        assert fewer.counts.size <= 100
        assert fewer.counts.sum() == made.size
        assert float(fewer.centres @ fewer.counts) / made.size == pytest.approx(mean, rel=1e-2)


def test_a_hot_voxel_changes_nothing(three):
    image = np.array(three.image)
    before = otsu_thresholds(image, 3)
    image[0, 0, 0] = 1e9
    np.testing.assert_allclose(otsu_thresholds(image, 3), before, atol=1e-3)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_otsu_is_that_of_the_library(three, classes):
    image = integers(three.image, 255, np.uint8)
    expected = [threshold_otsu(image)] if classes == 2 else threshold_multiotsu(image, classes)
    # Half a grey level on: between the last of one class and the first of the next.
    np.testing.assert_allclose(otsu_thresholds(image, classes), np.add(expected, 0.5), atol=1e-9)
    cuts = otsu_thresholds(image, classes)
    labels = otsu(image, classes).read(*EVERYTHING)
    np.testing.assert_array_equal(labels, np.sum(image[..., None] > cuts, -1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.float32])
@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_flat_phases_are_cut_between_them(dtype, classes):
    truth = np.random.default_rng(0).integers(0, classes, (12, 12, 12))
    top = {np.uint8: 255, np.uint16: 65535, np.int64: 10**12, np.float32: 1.0}[dtype]
    image = (truth / (classes - 1) * top).astype(dtype)
    np.testing.assert_array_equal(otsu(image, classes).read(*EVERYTHING), truth)
    np.testing.assert_array_equal(kmeans(image, classes).read(*EVERYTHING), truth)
    bright = np.asarray(spatial_kmeans(image, 1).read(*EVERYTHING), int)
    np.testing.assert_array_equal(bright > 0, image > otsu_thresholds(image)[0])


def test_otsu_makes_variance_within_classes_least():
    values = np.array([0, 1, 2, 3, 9, 10, 12, 30, 31, 33], np.uint8).reshape(1, 2, 5)
    flat = np.sort(values.ravel()).astype(float)

    def within(cuts):
        parts = np.split(flat, cuts)
        return sum(((p - p.mean()) ** 2).sum() for p in parts)

    best = min(itertools.combinations(range(1, 10), 2), key=within)
    labels = otsu(values, 3).read(*EVERYTHING).ravel()
    np.testing.assert_array_equal(np.flatnonzero(np.diff(labels)) + 1, best)


def test_kmeans_of_the_histogram_is_kmeans_of_the_voxels(three):
    image = integers(three.image, 255, np.uint8)
    found: Any = KMeans(3, n_init=3, random_state=0).fit(image.reshape(-1, 1).astype(float))
    order = np.argsort(np.argsort(found.cluster_centers_[:, 0]))
    expected = order[found.labels_].reshape(image.shape)
    assert np.mean(kmeans(image, 3).read(*EVERYTHING) == expected) > 0.999


def test_spatial_kmeans_is_kmeans_of_standardised_features(three, monkeypatch):
    monkeypatch.setattr(_spatial_kmeans, "_BLOCK", 20_000)
    image = np.asarray(three.image)
    labels = spatial_kmeans(image, 3, threshold=0.3).read(*EVERYTHING)
    bright = image > 0.3
    np.testing.assert_array_equal(labels == 0, ~bright)
    features = np.stack([image[bright], *np.nonzero(bright)], 1).astype(float)
    features = (features - features.mean(0)) / features.std(0)
    centres = np.array([features[labels[bright] == k].mean(0) for k in (1, 2, 3)])
    # Every voxel lies with the nearest mean: where Lloyd's sweeps end.
    nearest = np.argmin(((features[:, None] - centres) ** 2).sum(-1), 1) + 1
    assert np.mean(nearest == labels[bright]) > 0.995
    best = float(KMeans(3, n_init=10, random_state=0).fit(features).inertia_ or 0.0)
    ours = float(np.sum((features - centres[np.asarray(labels[bright], int) - 1]) ** 2))
    assert ours < 1.01 * best
    assert (np.diff([image[labels == k].mean() for k in (1, 2, 3)]) > 0).all()


def test_spatial_kmeans_reads_boxes_like_the_whole(three):
    found = spatial_kmeans(three.image, 3)
    box = (slice(5, 20), slice(8, 40), slice(0, 30))
    np.testing.assert_array_equal(found.read(*box), found.read(*EVERYTHING)[box])


def test_clahe_is_that_of_the_library_slice_by_slice(three):
    image = np.asarray(three.image)
    found = clahe(image)
    for k in (0, 17):
        low, high = image[k].min(), image[k].max()
        expected = equalize_adapthist(((image[k] - low) / (high - low)).astype(float))
        got = found.read(slice(k, k + 1), slice(None), slice(None))[0]
        np.testing.assert_allclose(got, expected, atol=1e-6)
    box = (slice(3, 9), slice(4, 20), slice(10, 44))
    np.testing.assert_array_equal(found.read(*box), found.read(*EVERYTHING)[box])


def test_clahe_with_otsu_finds_phases_under_uneven_light():
    made = bimmjax.sim.artificial_volume(
        jax.random.key(5), (8, 128, 128), blur_std=1.0, noise_std=0.05, feature_length=4.0,
        with_area=False,
    )  # fmt: skip
    light = np.linspace(0.3, 2.0, 128)[:, None]
    image = (np.asarray(made.image) + 0.5) * light
    plain = evaluate(otsu(image), made.labels).accuracy
    even = evaluate(clahe_otsu(image, clip_limit=0.03), made.labels).accuracy
    assert even > plain + 0.02


def test_depth_map_shows_what_ends_along_z():
    volume = np.zeros((30, 60, 60), np.float32)
    volume[5:12, 10:20, 10:20] = 1.0
    volume[15:25, 35:50, 30:50] = 1.0
    volume[:, :, 57:] = 5.0  # no change along z
    found = depth_map(volume, blur=1.0)
    assert found.objects.max() == 2
    assert found.objects[:, 57:].max() == 0
    plain = depth_map(volume, blur=0.0, threshold=0.5)
    np.testing.assert_allclose(plain.depth, np.abs(np.gradient(volume, axis=0)).sum(0), atol=1e-5)
    np.testing.assert_array_equal(plain.objects > 0, plain.depth > 0.5)


def test_depth_map_streams(monkeypatch):
    from bimmjax.segmentation import _depth

    volume = np.random.default_rng(0).random((23, 12, 14)).astype(np.float32)
    whole = depth_map(volume, blur=0.0).depth
    monkeypatch.setattr(_depth, "_SLAB", 500)
    np.testing.assert_allclose(depth_map(volume, blur=0.0).depth, whole, rtol=1e-5)


def test_gaps_get_no_label(three):
    image = np.array(three.image)
    image[3, :, 5:9] = np.nan
    image[7] = np.nan
    gap = ~np.isfinite(image)
    for found in (
        otsu(image, 3),
        kmeans(image, 3),
        spatial_kmeans(image, 2),
        clahe_otsu(image),
    ):
        labels = found.read(*EVERYTHING)
        np.testing.assert_array_equal(labels == NO_LABEL, gap)
    assert np.isfinite(depth_map(image).depth).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: otsu(np.full((3, 4, 5), 7.0)), "volume: got the constant 7"),
        (lambda: otsu(np.full((3, 4, 5), 7, np.uint8)), "volume: got a constant"),
        (lambda: otsu(np.full((3, 4, 5), np.nan)), "volume: got no finite voxel"),
        (lambda: otsu(np.eye(3)[None], 9), "classes: got 9"),
        (lambda: otsu(np.eye(3)[None].astype(np.uint8), 3), "classes: got 3 for 2 grey values"),
        (lambda: kmeans(np.eye(3)[None].astype(np.uint8), 3), "clusters: got 3 for 2 grey values"),
        (lambda: kmeans(np.eye(3)[None], 1), "clusters: got 1"),
        (lambda: spatial_kmeans(np.eye(3)[None], 4, threshold=0.5), "clusters: got 4 for 3 voxels"),
        (lambda: spatial_kmeans(np.eye(3)[None], threshold="x"), "threshold: got 'x'"),
        (lambda: clahe(np.eye(3)[None], clip_limit=2.0), "clip_limit: got 2.0"),
        (lambda: depth_map(np.eye(3)[None]), "volume: got shape"),
        (lambda: depth_map(np.zeros((3, 3, 3))), "volume: got the same changes"),
        (lambda: otsu(np.zeros((3, 3))), "2 dimensions"),
    ],
)
def test_bad_input_is_told(call, message):
    with pytest.raises(InputError, match=message):
        call()
