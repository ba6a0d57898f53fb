"""Labelled structures: fractions to the voxel, areas against other counts, what is refused."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import center_of_mass, distance_transform_edt, label
from scipy.spatial.distance import pdist

from bimmjax import InputError
from bimmjax.descriptors import crofton_areas, line_counts
from bimmjax.sim import (
    fibre_composite,
    gaussian_structure,
    hierarchical_wave,
    interface_areas,
    label_structure,
    levelled_wave,
    levelled_wave_volume,
    packed_spheres,
    random_pores,
    self_similar,
    structure_labels,
)
from bimmjax.sim._structures.labelled import highest
from bimmjax.sim._structures.lines import stamp_line
from bimmjax.sim._structures.self_similar import _squares
from bimmjax.sim._structures.stamps import MARGIN, empty, stamp

KEY = jax.random.key(5)
SHAPE = (64, 60, 56)
MAKERS = {
    "hierarchical": lambda key, share: hierarchical_wave(key, SHAPE, share, (40.0, 10.0)),
    "pores": lambda key, share: random_pores(key, SHAPE, share, 9.0, 1.5),
    "spheres": lambda key, share: packed_spheres(key, SHAPE, share, (11.0, 14.0)),
    "fibres": lambda key, share: fibre_composite(key, SHAPE, share, 0.1, 6.0),
    "self": lambda key, share: self_similar(key, _given(), share),
}


@functools.cache
def _given() -> np.ndarray:
    return np.asarray(structure_labels(levelled_wave(jax.random.key(0), SHAPE, 0.6, 40.0)))


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.float32, 40, elements=st.sampled_from([0.0, 1.0, 2.0])), st.integers(1, 39))
def test_highest_takes_as_many_as_asked_for_among_equals(values: np.ndarray, count: int):
    taken, level = highest(values, count)
    assert taken.sum() == count
    assert values[taken].min() == level >= values[~taken].max()


@pytest.mark.numerics
@pytest.mark.parametrize("kind", MAKERS)
def test_fractions_are_met_to_the_voxel_and_seeds_tell(kind: str):
    make = MAKERS[kind]
    first, again, other = make(KEY, 0.31), make(KEY, 0.31), make(jax.random.key(6), 0.31)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.labels != other.labels).any()
    phases = len(first.fractions)
    counts = np.bincount(first.labels.ravel(), minlength=phases)
    assert (first.labels.dtype, counts.size) == (np.uint8, phases)
    assert counts[-1] == round(0.31 * first.labels.size)
    np.testing.assert_array_equal(first.fractions, counts / first.labels.size)
    if phases == 3:
        assert counts[0] == round(0.1 * first.labels.size)
    assert first.interface_areas.shape == (phases * (phases - 1) // 2,)


@pytest.mark.parametrize(
    ("kind", "within"),
    [("hierarchical", 0.06), ("pores", 0.08), ("spheres", 0.04), ("fibres", 0.1), ("self", 0.06)],
)
def test_areas_agree_with_crossings_counted_on_the_labels(kind: str, within: float):
    # Crossings of lines take no surface for granted, but miss what is thinner than a voxel:
    # the edges between balls that overlap (4 % at a radius of 10, 2 % at 20).
    found = [MAKERS[kind](jax.random.key(seed), 0.4) for seed in range(3)]
    truth = np.mean([made.interface_areas for made in found], 0)
    counted = np.mean([crofton_areas(made.labels, len(made.fractions)) for made in found], 0)
    np.testing.assert_allclose(counted, truth, rtol=within, atol=0.001)


def test_a_structure_labelled_is_its_labels_and_areas():
    body = gaussian_structure(KEY, (24, 24, 24), (0.2, 0.3, 0.5), 3.0)
    found = label_structure(body, periodic=True)
    np.testing.assert_array_equal(found.labels, structure_labels(body))
    np.testing.assert_allclose(found.interface_areas, interface_areas(body))
    np.testing.assert_allclose(found.fractions, (0.2, 0.3, 0.5), atol=1e-4)


def test_both_levels_of_a_hierarchy_are_alike_in_all_directions():
    curves = []
    for seed in range(6):
        made = hierarchical_wave(jax.random.key(seed), (48, 48, 48), 0.3, (32.0, 8.0))
        lines = line_counts(made.labels, 1, lags=20)
        curves.append([lines[1, axis].two_point for axis in "zyx"])
    each = np.array(curves)
    scatter = each.std(0).mean(0) / np.sqrt(len(each))
    middle = each.mean(0)
    assert (np.abs(middle - middle.mean(0)) < 4.0 * scatter + 1e-3).all()


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_packed_spheres_do_not_overlap(share: float):
    made = packed_spheres(KEY, SHAPE, share, 12.0, gap=3.0)
    # Tiled, so that spheres that leave through a face are whole somewhere.
    found: Any = label(np.tile(made.labels, (2, 2, 2)))
    parts, count = found
    sizes = np.bincount(parts.ravel())[1:]
    whole = np.flatnonzero(sizes == np.median(sizes)) + 1
    each = np.pi / 6.0 * 12.0**3
    assert count >= 8 * round(share * made.labels.size / each)
    assert sizes.max() < 1.1 * each
    centres = np.array(center_of_mass(parts > 0, parts, whole))
    assert pdist(centres).min() > 14.5


def test_stamps_are_distances():
    shape = (20, 24, 22)
    rng = np.random.default_rng(0)
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).astype(float)
    size = np.array(shape, float)
    depth, expected = empty(shape), np.full(shape, -MARGIN)
    for _ in range(5):
        centre, radius = rng.uniform(size=3) * size, rng.uniform(1.5, 6.0)
        stamp(depth, centre, radius)
        apart = places - centre
        apart -= size * np.rint(apart / size)
        np.maximum(expected, radius - np.linalg.norm(apart, axis=-1), out=expected)
    np.testing.assert_allclose(depth, expected, atol=1e-5)
    depth, expected = empty(shape), np.full(shape, -MARGIN)
    for _ in range(5):
        along = rng.normal(size=3)
        along /= np.linalg.norm(along)
        place = rng.uniform(size=3) * size
        stamp_line(depth, place, along, 3.0)
        apart = places - place
        across = np.linalg.norm(np.cross(apart, along), axis=-1)
        np.maximum(expected, 3.0 - across, out=expected)
    np.testing.assert_allclose(depth, expected, atol=1e-5)


def test_distances_are_those_of_scipy_as_far_as_they_are_told():
    side = np.random.default_rng(0).random((70, 30, 90)) < 0.9995
    expected = distance_transform_edt(side)
    np.testing.assert_allclose(np.sqrt(_squares(side)), np.minimum(expected, 33.0))
    empty_half = np.zeros((100, 3, 3), bool)
    empty_half[20:] = True
    assert _squares(empty_half)[:, 1, 1].tolist() == [
        min(max(z - 19, 0), 33) ** 2 for z in range(100)
    ]


def test_one_copy_of_a_volume_is_the_volume():
    given_volume = _given()
    made = self_similar(KEY, given_volume, float(given_volume.mean()), scales=(1.0,))
    assert np.mean(made.labels != given_volume) < 0.01
    true_area = interface_areas(levelled_wave(jax.random.key(0), SHAPE, 0.6, 40.0), periodic=False)
    np.testing.assert_allclose(made.interface_areas, true_area, rtol=0.03)


def test_fibres_point_where_they_are_told():
    made = fibre_composite(KEY, SHAPE, 0.3, 0.05, 4.0, direction=(0, 2, 0), spread=0.0)
    fibre = made.labels == 2
    # Parallel to y: each section is like the first, to the voxels that the count is met with.
    assert np.mean(fibre != fibre[:, :1]) < 0.01
    tilted = fibre_composite(KEY, SHAPE, 0.3, 0.05, 4.0, direction=(0, 2, 0), spread=20.0)
    moved = tilted.labels == 2
    assert np.mean(moved != moved[:, :1]) > 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hierarchical_wave(KEY, SHAPE, 1.0, (40.0, 10.0)), "solid_fraction: got 1"),
        (lambda: hierarchical_wave(KEY, SHAPE, np.nan, (40.0, 10.0)), "solid_fraction: got nan"),
        (lambda: hierarchical_wave(KEY, SHAPE, 0.3, (10.0, 40.0)), "wavelengths: got"),
        (lambda: hierarchical_wave(KEY, SHAPE, 0.3, (40.0, 1.0)), "wavelengths: got 1.0, wants"),
        (lambda: hierarchical_wave(KEY, SHAPE, 0.3, (80.0, 4.0)), "wavelengths: got 80, wants at"),
        (
            lambda: hierarchical_wave(KEY, SHAPE, 0.3, (40.0, 9.0), upper_fraction=0.2),
            "upper_fraction: got 0.2, wants more than the solid",
        ),
        (lambda: random_pores(KEY, SHAPE, 0.0, 4.0), "solid_fraction: got 0"),
        (lambda: random_pores(KEY, SHAPE, 0.5, 1.0), "radius: got 1"),
        (lambda: random_pores(KEY, SHAPE, 0.5, 90.0), "radius: got 90, wants at most"),
        (lambda: random_pores(KEY, SHAPE, 0.5, 6.0, 5.0), "radius_std: got 5"),
        (lambda: packed_spheres(KEY, SHAPE, 0.8, 12.0), "solid_fraction: got 0.8, wants at most"),
        (lambda: packed_spheres(KEY, SHAPE, 0.7, 12.0), "solid_fraction: got 0.7, for which no"),
        (lambda: packed_spheres(KEY, SHAPE, 0.3, (14.0, 12.0)), "diameter: got"),
        (lambda: packed_spheres(KEY, SHAPE, 0.3, "wide"), "diameter: got"),
        (lambda: packed_spheres(KEY, SHAPE, 0.3, 12.0, gap=0.0), "gap: got 0"),
        (lambda: packed_spheres(KEY, SHAPE, 0.0001, 30.0), "solid_fraction: got .* cannot fill"),
        (lambda: fibre_composite(KEY, SHAPE, 0.6, 0.4, 4.0), "pore_fraction: got 0.4 beside"),
        (lambda: fibre_composite(KEY, SHAPE, 0.3, 0.1, 4.0, direction=(0, 0, 0)), "direction: got"),
        (lambda: fibre_composite(KEY, SHAPE, 0.3, 0.1, 4.0, spread=90.0), "spread: got 90"),
        (lambda: fibre_composite(KEY, SHAPE, 0.3, 0.1, np.inf), "radius: got inf"),
        (lambda: self_similar(KEY, np.ones(SHAPE, int), 0.3), "volume: got no pores"),
        (
            lambda: self_similar(KEY, np.arange(64).reshape(4, 4, 4) % 3, 0.3),
            "volume: got 0 and values from 1 to 2, wants two values",
        ),
        (lambda: self_similar(KEY, np.zeros((4, 4), int), 0.3), "volume: got an array of shape"),
        (lambda: self_similar(KEY, np.zeros(SHAPE), 0.3), "volume: got an array of shape"),
        (lambda: self_similar(KEY, _given(), 0.3, scales=(1.0, 0.0)), "scales: got"),
        (lambda: self_similar(3, _given(), 0.3), "key: got"),
    ],
)
def test_bad_input_is_told(call, message: str):
    with pytest.raises(InputError, match=message) as told:
        call()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap])
@pytest.mark.parametrize("kind", [*MAKERS, "volume"])
def test_traced_keys_are_refused_by_what_runs_on_the_host(kind: str, transform):
    makers = {**MAKERS, "volume": lambda key, share: levelled_wave_volume(key, SHAPE, share, 9.0)}
    _given()
    with pytest.raises(InputError, match="key: got a traced key, wants one outside jit and vmap"):
        transform(lambda key: makers[kind](key, 0.3).fractions)(
            KEY if transform is jax.jit else jax.random.split(KEY)
        )
