"""Phases cut from fields: fractions, order, who touches whom."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bimmjax import InputError
from bimmjax.sim import Structure, gaussian_structure, image_of, label_structure, structure_labels
from bimmjax.sim._structures.structure import order_statistic

pytestmark = pytest.mark.numerics

SHAPE = (24, 20, 28)
VOXELS = int(np.prod(SHAPE))

finite = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.float32, 16, elements=finite), st.integers(0, 15))
def test_order_statistic_is_what_a_sort_finds(values: np.ndarray, rank: int) -> None:
    assert float(order_statistic(jnp.asarray(values), jnp.int32(rank))) == np.sort(values)[rank]


def test_order_statistic_past_the_finite_values():
    values = jnp.array([-1.0, 2.0, jnp.inf, jnp.inf], jnp.float32)
    assert float(order_statistic(values, jnp.int32(2))) == np.inf


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=4),
    st.sampled_from(["mixed", "nested"]),
    st.integers(0, 2**31 - 1),
)
def test_volume_fractions_are_exact_to_a_voxel(parts: list[int], arrangement: str, seed: int):
    fractions = np.array(parts) / sum(parts)
    body = gaussian_structure(
        jax.random.key(seed), SHAPE, fractions.tolist(), 3.0, arrangement=arrangement
    )
    counts = np.bincount(np.asarray(structure_labels(body)).ravel(), minlength=len(parts))
    assert counts.size == len(parts)
    np.testing.assert_allclose(counts, fractions * VOXELS, atol=1.01)


def touching(labels: jax.Array) -> set[tuple[int, int]]:
    """Pairs of different labels that share a face."""
    found = set()
    for axis in range(3):
        one = np.asarray(labels).astype(int)
        other = np.roll(one, 1, axis)
        low, high = np.minimum(one, other), np.maximum(one, other)
        found |= set(zip(low[low != high].tolist(), high[low != high].tolist(), strict=True))
    return found


def test_mixed_phases_all_touch():
    body = gaussian_structure(jax.random.key(0), SHAPE, (0.3, 0.2, 0.3, 0.2), 3.0)
    pairs = {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
    assert body.fields.shape == (3, *SHAPE)
    assert touching(structure_labels(body)) == pairs


def test_nested_phases_touch_in_order():
    body = gaussian_structure(jax.random.key(0), SHAPE, (0.3, 0.4, 0.3), 6.0, arrangement="nested")
    assert body.fields.shape == (1, *SHAPE)
    assert touching(structure_labels(body)) == {(0, 1), (1, 2)}


@pytest.mark.parametrize("arrangement", ["mixed", "nested"])
def test_ensemble_levels_give_the_fractions_on_average(arrangement: str):
    fractions = (0.2, 0.5, 0.3)
    found = []
    for i in range(24):
        body = gaussian_structure(
            jax.random.key(i), SHAPE, fractions, 0.7, arrangement=arrangement, levels="ensemble"
        )
        found.append(np.bincount(np.asarray(structure_labels(body)).ravel(), minlength=3))
    np.testing.assert_allclose(np.mean(found, axis=0) / VOXELS, fractions, atol=0.01)


def test_labels_of_a_structure_built_by_hand():
    field = jnp.arange(8.0).reshape(1, 2, 2, 2)
    labels = structure_labels(Structure(field, jnp.array([2.0, 6.0])))
    assert labels.dtype == jnp.uint8
    assert labels.ravel().tolist() == [0, 0, 1, 1, 1, 1, 2, 2]


def test_supersampling_averages_partial_volumes():
    body = gaussian_structure(jax.random.key(1), SHAPE, (0.4, 0.6), 4.0)
    sharp = image_of(body, (0.0, 1.0))
    soft = image_of(body, (0.0, 1.0), supersample=4)
    assert set(np.unique(sharp).tolist()) == {0.0, 1.0}
    assert np.unique(soft).size > 10
    assert float(soft.mean()) == pytest.approx(0.6, abs=0.005)
    # Half of the points of a voxel is about where its centre changes sides.
    assert np.mean((np.asarray(soft) >= 0.5) == (np.asarray(sharp) == 1)) > 0.99


def test_supersampling_a_plane_gives_its_partial_volume():
    # A wave along x crosses zero a quarter voxel after the centre of voxel 0.
    x = jnp.arange(16.0)
    wave = jnp.sin(2 * jnp.pi * (x - 0.25) / 16)
    field = jnp.broadcast_to(wave, (1, 4, 4, 16)).astype(jnp.float32)
    soft = image_of(Structure(field, jnp.array([0.0])), (0.0, 1.0), supersample=8)
    np.testing.assert_allclose(soft[0, 0, :3], [0.25, 1.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(soft[0, 0, 7:10], [1.0, 0.75, 0.0], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fractions": (0.5, 0.4)}, r"fractions: got \(0.5, 0.4\) with sum 0.9, wants one pos"),
        ({"fractions": (1.5, -0.5)}, r"fractions: got \(1.5, -0.5\)"),
        ({"fractions": ()}, "fractions: got"),
        ({"fractions": "half"}, "fractions: got 'half'"),
        ({"fractions": 0.5}, "fractions: got 0.5"),
        ({"shape": (8, 8)}, "shape: got"),
        ({"length": 0.0}, "length: got 0, wants a finite number above 0"),
        ({"arrangement": "stacked"}, "arrangement: got 'stacked', wants one of mixed, nested"),
        ({"levels": "exact"}, "levels: got 'exact', wants one of volume, ensemble"),
    ],
)
def test_refusals(change: dict[str, Any], message: str):
    good = {"key": jax.random.key(0), "shape": (8, 8, 8), "fractions": (0.5, 0.5), "length": 2.0}
    with pytest.raises(InputError, match=message) as told:
        gaussian_structure(**(good | change))
    assert "\n" not in str(told.value)


def test_refuses_levels_that_do_not_match_the_fields():
    with pytest.raises(InputError, match="structure: got fields of shape"):
        structure_labels(Structure(jnp.zeros((2, 4, 4, 4)), jnp.zeros(3)))


def test_refuses_what_is_no_structure():
    body = gaussian_structure(jax.random.key(0), (8, 8, 8), (0.5, 0.5), 2.0)
    with pytest.raises(InputError, match=r"got Labelled, which has labels already \(\.labels\)"):
        structure_labels(label_structure(body))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="structure: got ndarray; wants a Structure"):
        structure_labels(np.zeros((2, 4, 4, 4)))  # type: ignore[arg-type]


def test_refuses_a_wrong_number_of_values():
    body = gaussian_structure(jax.random.key(0), (8, 8, 8), (0.5, 0.5), 2.0)
    with pytest.raises(InputError, match=r"values: got shape \(3,\), wants \(2,\)"):
        image_of(body, (0.0, 0.5, 1.0))
    with pytest.raises(InputError, match="supersample: got 0"):
        image_of(body, (0.0, 1.0), supersample=0)
