"""The Markov random field: against graph cuts, brute force, and the truth."""

import itertools

import jax
import jax.numpy as jnp
import maxflow
import numpy as np
import pytest

import bimmjax
from bimmjax import InputError, evaluate, fit, segment
from bimmjax.descriptors import crofton_areas, crossing_areas
from bimmjax.segmentation import (
    NO_LABEL,
    _smooth,
    label_costs,
    mrf_weight,
    neighbour_weights,
    phase_probability,
    potts_energy,
    potts_evidence,
    potts_labels,
    potts_probabilities,
)
from bimmjax.segmentation._potts import SWEEPS, _support, _swept


def two_phases(noise, key=1, edge=48):
    return bimmjax.sim.artificial_volume(
        jax.random.key(key),
        (edge, edge, edge),
        blur_std=1.5,
        noise_std=noise,
        feature_length=6.0,
        with_area=False,
    )


def costs_of(image, noise):
    """Of grey values 0 and 1 with noise, blur left aside."""
    image = np.asarray(image)
    return (np.stack([image**2, (image - 1.0) ** 2]) / (2.0 * noise**2)).astype(np.float32)


def graph_cut(costs, weight, spacing):
    graph = maxflow.Graph[float]()
    nodes = graph.add_grid_nodes(costs.shape[1:])
    face = float(np.prod(spacing)) ** (2.0 / 3.0)
    for step, area in crossing_areas(spacing).items():
        structure = np.zeros((3, 3, 3))
        structure[tuple(1 + k for k in step)] = 1.0
        graph.add_grid_edges(nodes, weight * area / face, structure=structure, symmetric=True)
    graph.add_grid_tedges(nodes, costs[1], costs[0])
    graph.maxflow()
    return graph.get_grid_segments(nodes).astype(int)


def solved(costs, weight, spacing=(1.0, 1.0, 1.0)):
    neighbours = jnp.asarray(neighbour_weights(spacing))
    return potts_labels(jnp.asarray(costs), weight, neighbours, jnp.ones(costs.shape[1:]))


@pytest.mark.parametrize(
    ("noise", "weight", "spacing"),
    [
        (0.1, 3.0, (1.0, 1.0, 1.0)),
        (0.3, 1.0, (1.0, 1.0, 1.0)),
        (0.3, 4.0, (1.0, 1.0, 1.0)),
        (0.6, 2.0, (1.0, 1.0, 1.0)),
        (0.3, 3.0, (2.0, 1.0, 1.0)),
    ],
)
def test_energy_is_within_a_per_cent_of_the_least(noise, weight, spacing):
    costs, weights = costs_of(two_phases(noise).image, noise), neighbour_weights(spacing)
    least = potts_energy(costs, graph_cut(costs, weight, spacing), weight, weights)
    found = potts_energy(costs, solved(costs, weight, spacing), weight, weights)
    likeliest = potts_energy(costs, costs.argmin(0), weight, weights)
    assert least * (1.0 - 1e-6) <= found <= 1.01 * least
    assert found < likeliest


@pytest.mark.numerics
def test_energy_is_that_of_each_pair_of_neighbours():
    rng = np.random.default_rng(0)
    costs, labels = rng.random((3, 4, 5, 6)), rng.integers(0, 3, (4, 5, 6))
    spacing = (2.0, 1.0, 0.5)
    areas = crossing_areas(spacing)
    expected = sum(costs[labels[p], *p] for p in np.ndindex(labels.shape))
    for here in np.ndindex(labels.shape):
        for step, area in areas.items():
            there = tuple(a + b for a, b in zip(here, step, strict=True))
            if all(0 <= k < n for k, n in zip(there, labels.shape, strict=True)):
                expected += 0.7 * area * (labels[here] != labels[there])
    # The volume of a voxel is 1, and so is its face.
    assert potts_energy(costs, labels, 0.7, neighbour_weights(spacing)) == pytest.approx(expected)


@pytest.mark.numerics
def test_support_is_the_sum_over_26_neighbours():
    rng = np.random.default_rng(1)
    held = rng.random((2, 5, 4, 6)).astype(np.float32)
    spacing = (1.5, 1.0, 0.8)
    areas = crossing_areas(spacing)
    padded = np.pad(held, [(0, 0)] + [(1, 1)] * 3)
    expected = np.zeros_like(held)
    for step in itertools.product((-1, 0, 1), repeat=3):
        area = areas.get(step, areas.get(tuple(-k for k in step), 0.0))
        z, y, x = (slice(1 + k, 1 + k + n) for k, n in zip(step, held.shape[1:], strict=True))
        expected += area / np.prod(spacing) ** (2 / 3) * padded[:, z, y, x]
    found = _support(jnp.asarray(held), jnp.asarray(neighbour_weights(spacing)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.numerics
def test_crossings_add_up_to_crofton_areas():
    z, y, x = np.indices((40, 40, 40)) - 19.5
    ball = (z**2 + y**2 + x**2 < 14.2**2).astype(int)
    energy = potts_energy(np.zeros((2, *ball.shape)), ball, 1.0, neighbour_weights())
    assert energy / ball.size == pytest.approx(crofton_areas(ball, 2)[0], rel=1e-6)
    assert energy == pytest.approx(4 * np.pi * 14.2**2, rel=0.01)


def test_without_weight_each_voxel_is_by_itself():
    costs = np.random.default_rng(2).random((4, 6, 7, 8)).astype(np.float32)
    np.testing.assert_array_equal(solved(costs, 0.0), costs.argmin(0))
    alone = potts_probabilities(
        jnp.asarray(costs), 0.0, jnp.asarray(neighbour_weights()), jnp.ones(costs.shape[1:])
    )
    np.testing.assert_allclose(alone, jax.nn.softmax(-costs, 0), rtol=1e-5)


def test_evidence_hears_nothing_of_held_out_voxels_but_what_neighbours_predict():
    """By hand: held-out voxels cost nothing in the sweeps, and are scored afterwards."""
    costs = np.random.default_rng(3).random((2, 7, 7, 7)).astype(np.float32)
    inside, neighbours = jnp.ones((7, 7, 7)), jnp.asarray(neighbour_weights())
    out = np.zeros((7, 7, 7), bool)
    out[1::3, 1::3, 1::3] = True
    held = potts_probabilities(jnp.asarray(np.where(out, 0, costs)), 1.5, neighbours, inside)
    prior = jax.nn.softmax(1.5 * _support(held, neighbours), 0)
    expected = np.log(np.sum(np.asarray(prior) * np.exp(-costs), 0))[out].mean()
    found = float(potts_evidence(jnp.asarray(costs), 1.5, neighbours, inside))
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.numerics
def test_evidence_peaks_for_noise_and_grows_for_flat_phases():
    costs = jnp.asarray(costs_of(two_phases(0.4).image, 0.4))
    inside, neighbours = jnp.ones(costs.shape[1:]), jnp.asarray(neighbour_weights())
    few, some, many = (float(potts_evidence(costs, w, neighbours, inside)) for w in (0.1, 2.0, 40))
    assert some > few
    assert some > many
    flat = jnp.stack([jnp.zeros((12, 12, 12)), jnp.full((12, 12, 12), 2.0)])
    grown = [float(potts_evidence(flat, w, neighbours, inside[:12, :12, :12])) for w in (0.5, 4.0)]
    assert grown[1] > grown[0]


def test_energy_of_a_models_own_costs_at_the_chosen_weight():
    made = two_phases(0.4)
    found = fit(made.image, 2, intervals=False, correct=False)
    costs, weight = label_costs(made.image, found), mrf_weight(made.image, found)
    assert costs.shape == (2, 48, 48, 48)
    assert costs.min(0).max() == 0.0
    weights = neighbour_weights()
    least = potts_energy(costs, graph_cut(costs, weight, (1.0, 1.0, 1.0)), weight, weights)
    labels = segment(made.image, found, mrf=weight).read(*(slice(None),) * 3)
    assert least <= potts_energy(costs, labels, weight, weights) <= 1.01 * least


@pytest.mark.parametrize("noise", [0.1, 0.2, 0.4])
def test_no_worse_than_maximum_likelihood_at_the_chosen_weight(noise):
    made = two_phases(noise)
    found = fit(made.image, 2, intervals=False, correct=False)
    plain = evaluate(segment(made.image, found), made.labels)
    field = evaluate(segment(made.image, found, mrf=True), made.labels)
    assert field.accuracy > plain.accuracy
    assert field.macro("iou") > plain.macro("iou")
    assert 1.0 < mrf_weight(made.image, found) < 8.0


@pytest.fixture(scope="module")
def three():
    made = bimmjax.sim.artificial_volume(
        jax.random.key(4),
        (40, 44, 52),
        fractions=(0.3, 0.4, 0.3),
        blur_std=1.5,
        noise_std=0.15,
        feature_length=5.0,
        with_area=False,
    )
    return made, fit(made.image, 3, intervals=False, correct=False)


def test_there_are_no_seams_between_tiles(three, monkeypatch):
    made, found = three
    whole = segment(made.image, found, mrf=2.0).read(*(slice(None),) * 3)
    monkeypatch.setattr(_smooth, "_TILE", 17)
    tiled = segment(made.image, found, mrf=2.0).read(*(slice(None),) * 3)
    # Sums in another order: a voxel on the brink may fall to the other side.
    assert np.mean(whole != tiled) < 1e-4


def test_nothing_is_heard_from_beyond_the_halo():
    """A voxel's label changes with one as far off as there are sweeps, and with none farther."""
    length = 2 * SWEEPS + 7
    costs = np.zeros((2, 1, 1, length), np.float32)
    costs[1] = 1e-3
    changed = costs.copy()
    changed[0, ..., :2] += 50.0
    inside, neighbours = jnp.ones((1, 1, length)), jnp.asarray(neighbour_weights())
    both = [
        np.asarray(_swept(jnp.asarray(c), 3.0, neighbours, inside, jnp.full(SWEEPS, 0.2)))
        for c in (costs, changed)
    ]
    far = np.flatnonzero(np.any(both[0] != both[1], (0, 1, 2)))
    assert far.max() <= 1 + SWEEPS
    assert far.max() > SWEEPS // 2
    assert _smooth._HALO == SWEEPS + 2  # one more for the last choice, one for the gradient


def test_probabilities_add_up_and_follow_the_labels(three):
    made, found = three
    box = (slice(4, 30), slice(3, 40), slice(5, 50))
    each = np.stack([phase_probability(made.image, found, k, mrf=2.0).read(*box) for k in range(3)])
    np.testing.assert_allclose(each.sum(0), 1.0, atol=1e-5)
    truth = np.asarray(made.labels)[box]
    # What is called 90 % likely is right about nine times in ten or more.
    sure = each.max(0) > 0.9
    assert np.mean(each.argmax(0)[sure] == truth[sure]) > 0.93


def test_gaps_get_no_label_and_say_nothing(three):
    made, found = three
    image = np.array(made.image)
    image[:, :10] = np.nan
    labels = segment(image, found, mrf=2.0).read(*(slice(None),) * 3)
    assert (labels[:, :10] == NO_LABEL).all()
    assert labels[:, 10:].max() == 2
    cut = segment(image[:, 10:], found, mrf=2.0).read(*(slice(None),) * 3)
    # Beside a gap there is no gradient; the rest is the same.
    assert np.mean(labels[:, 10:] != cut) < 0.02
    chance = phase_probability(image, found, 0, mrf=2.0).read(*(slice(None),) * 3)
    assert np.isnan(chance[:, :10]).all()
    assert np.isfinite(chance[:, 10:]).all()
    assert mrf_weight(np.full((8, 8, 8), np.nan), found) == 1.0


@pytest.mark.parametrize("mrf", [-1.0, np.nan, "much"])
def test_bad_weights_are_told(three, mrf):
    made, found = three
    with pytest.raises(InputError, match="mrf: got"):
        segment(made.image, found, mrf=mrf)


def test_a_single_slice_asks_for_a_weight_too():
    made = two_phases(0.4)
    found = fit(made.image, 2, model="gmm", intervals=False)
    image, truth = np.asarray(made.image)[:1], np.asarray(made.labels)[:1]
    assert 1.0 < mrf_weight(image, found) < 16.0
    field = evaluate(segment(image, found, mrf=True), truth)
    assert field.accuracy > evaluate(segment(image, found), truth).accuracy
