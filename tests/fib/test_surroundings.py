"""What a network sees that labels every layer: values, ends, boxes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from bimmjax import InputError, open_volume
from bimmjax.fib import plan_of, reconstruct, surroundings
from bimmjax.nets import train

PLACES = np.array([0, 3, 4, 9])


@pytest.fixture
def stacks():
    rng = np.random.default_rng(0)
    return [rng.normal(5.0, 2.0, (4, 6, 7)), rng.integers(0, 255, (4, 6, 7)).astype(np.uint8)]


def test_a_layer_is_seen_as_the_slices_around_it(stacks):
    found = surroundings(stacks, PLACES, reach=2)
    assert len(found) == 12
    assert {v.shape for v in found} == {(10, 6, 7)}
    scaled = [(s - s.mean()) / s.std() for s in stacks]
    for layer in range(10):
        before = int(np.flatnonzero(layer >= PLACES)[-1])
        for k, offset in enumerate((-1, 0, 1, 2)):
            number = min(max(before + offset, 0), 3)
            for channel in range(2):
                got = found[2 * k + channel].read(slice(layer, layer + 1), *[slice(None)] * 2)
                np.testing.assert_allclose(got[0], scaled[channel][number], atol=1e-5)
            away = np.asarray(found[8 + k])[layer]
            np.testing.assert_allclose(away, (PLACES[number] - layer) / 8.0)


def test_any_box_is_part_of_the_whole(stacks):
    for volume in surroundings(stacks, PLACES):
        whole = np.asarray(volume)
        box = (slice(2, 7), slice(1, 4), slice(3, 7))
        np.testing.assert_array_equal(volume.read(*box), whole[box])


def test_distances_are_in_pixels_whatever_the_grid():
    stack = open_volume(np.arange(8.0).reshape(2, 2, 2), spacing=(10.0, 4.0, 4.0), unit="nm")
    fine = surroundings([stack], [0, 4], reach=1, spacing=2.0)
    assert fine[0].spacing == (2.0, 4.0, 4.0)
    away = fine[3].read(slice(None), slice(0, 1), slice(0, 1)).ravel()
    np.testing.assert_allclose(away, np.array([2.0, 1.5, 1.0, 0.5, 0.0]) / 8.0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"stacks": []}, "stacks: got none"),
        ({"places": [0, 3, 3, 9]}, "places: got"),
        ({"places": [0, 3, 4]}, "places: got 3"),
        ({"reach": 0}, "reach: got 0"),
        ({"stacks": [np.ones((4, 6, 7)), np.ones((4, 6, 8))]}, "stacks: got shapes"),
        ({"stacks": [np.ones((4, 6, 7))]}, "which is constant"),
    ],
)
def test_bad_input_is_told(stacks, change, match):
    with pytest.raises(InputError, match=match):
        surroundings(**{"stacks": stacks, "places": PLACES, **change})


def test_a_network_labels_every_layer_in_a_reconstruction(tmp_path):
    """Whatever it has learned in two steps: which layers, which channels, and what is refused."""
    rng = np.random.default_rng(0)
    body = (rng.random((31, 32, 32)) > 0.5).astype(np.uint8)
    stacks = {name: (100.0 * body[::3] + rng.normal(0, 9, (11, 32, 32))) for name in ("1", "2")}
    around = surroundings(list(stacks.values()), np.arange(0, 31, 3))
    recipe = {
        "network": "unet", "settings": {"width": 2, "depth": 1}, "classes": 2, "patch": (16, 16),
        "batch": 2, "epochs": 1, "steps": 2, "normalise": "none", "split": (0.7, 0.3, 0.0),
        "margin": 0, "tiles": 2,
    }  # fmt: skip
    train(recipe, [around], [body], tmp_path / "net")
    plan = {
        "pixel": 5.0, "unit": "nm", "order": "layers", "register": {"skip": True},
        "clean": {"brightness": False}, "depth": {"source": "even", "mean": 15.0},
        "label": {"network": str(tmp_path / "net")},
    }  # fmt: skip
    made = reconstruct(stacks, tmp_path / "made", plan)
    assert list(made.steps) == ["register", "clean", "thickness", "place", "label", "describe"]
    assert (made.labels.shape, made.labels.spacing) == ((31, 32, 32), (5.0, 5.0, 5.0))
    with pytest.raises(InputError, match=r"label\.network: got a network of 12 channels"):
        reconstruct({"1": stacks["1"]}, tmp_path / "other", plan_of(plan))
    with pytest.raises(InputError, match=r"label\.network: got none"):
        reconstruct(stacks, tmp_path / "other", plan | {"label": {"method": "otsu"}})
