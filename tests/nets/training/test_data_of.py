"""What a run learns from: opened, checked, divided, and known again. Nothing is compiled here."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from bimmjax import InputError
from bimmjax.nets._train.data import Data, data_of, opened, with_patch
from bimmjax.nets._train.recipe import Recipe, recipe_of

FLAT = SimpleNamespace(dims=2, multiple=(2, 2), context=1)
SOLID = SimpleNamespace(dims=3, multiple=(2, 2, 2), context=1)


def body(depth: int = 24, side: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and labels of two classes that have nothing to do with it."""
    rng = np.random.default_rng(0)
    shape = depth, side, side
    return rng.random(shape, np.float32), rng.integers(2, size=shape).astype(np.uint8)


def data(images, labels, weight=None, net=FLAT, **how) -> tuple[Recipe, Data]:
    recipe, found = opened(
        recipe_of({"network": "tiny", "classes": 2} | how), images, labels, weight
    )
    recipe = with_patch(recipe, net, found)
    return recipe, data_of(recipe, found, net.context)


def test_a_patch_in_3d_need_not_fit_into_the_thin_blocks():
    recipe, found = data(*body(100, 40), net=SOLID)
    assert recipe.patch == (32, 32, 32)
    assert [len(block) for block in found.splits[0]] == [65, 18, 9]
    for tiles, block in ((found.validation, 18), (found.test, 9)):
        held = sum((tiles.batch(n, 1).labels != 255).sum() for n in range(tiles.batches(1)))
        assert held == block * 40 * 40


def test_blocks_without_a_voxel_that_counts():
    grey, labels = body()
    labels[20:] = 255
    assert len(data(grey, labels, split=(0.6, 0.2, 0.2), margin=1)[1].test) == 0
    weight = np.ones(labels.shape)
    weight[15:20] = 0.0
    with pytest.raises(InputError, match="labels: got none within the validation block"):
        data(grey, labels, weight, split=(0.6, 0.2, 0.2), margin=1)
