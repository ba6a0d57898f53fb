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
    with pytest.raises(InputError, match="labels: got 255, which is no label, in all voxels"):
        data(grey, np.full_like(labels, 255))


def test_specimens_of_which_some_have_a_weight():
    grey, labels = body()
    recipe, found = data([grey, grey], [labels, labels], [None, 3.0 * np.ones(labels.shape)])
    assert recipe.weight == ()  # arrays
    batch = found.sampler.batch(0, 20)
    assert set(batch.weight.max((1, 2))) == set(batch.weight.min((1, 2))) == {1.0, 3.0}


def test_paths_hold_wherever_the_recipe_is_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, array in zip(("grey", "labels"), body(), strict=True):
        np.save(f"{name}.npy", array)
    np.save("weight.npy", np.ones((24, 16, 16)))
    two = ["grey.npy"] * 2, ["labels.npy"] * 2, [None, "weight.npy"]
    recipe = data(*two)[0]
    assert recipe.images[0] == (str(tmp_path / "grey.npy"),)
    assert recipe.weight == ("", str(tmp_path / "weight.npy"))
    monkeypatch.chdir("/")
    again, found = opened(recipe, None, None, None)
    assert again == recipe
    assert [one.weight and one.weight.name for one in found] == ["ones", "weight.npy"]


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_weights_are_numbers_from_0_on(wrong):
    grey, labels = body()
    weight = np.ones(labels.shape)
    weight[3, 4, 5] = wrong
    with pytest.raises(InputError, match=rf"weight: got {wrong} at \(z, y, x\) = \(3, 4, 5\)"):
        data(grey, labels, weight)


def test_one_class_is_nothing_to_learn():
    grey, labels = body()
    with pytest.raises(InputError, match=r"labels: got class 0 alone in .* \(255 is no class"):
        data(grey, np.where(labels, 255, 0))


def test_classes_are_those_of_the_slices_that_are_learned_from():
    grey, labels = body()
    labels[12] = 0  # the only one in the middle
    how = {"split": (1.0, 0.0, 0.0)}
    assert data(grey, labels, slices=2, **how)[1].sampler.counts.all()
    with pytest.raises(InputError, match="labels: got class 0 alone in the slices"):
        data(grey, labels, slices=1, **how)
    with pytest.warns(UserWarning, match="labels: got no voxel of class 2, 3 in the slices"):
        assert (data(grey, labels, classes=4, **how)[1].sampler.counts > 0).sum() == 2


def test_voxels_of_weight_0_are_neither_counted_nor_aimed_at():
    grey, labels = body()
    labels[:] = 0
    labels[:, 2:6, 2:6] = labels[:, 10, 10] = 1
    weight = np.ones(labels.shape)
    weight[:, :8, :8] = weight[3] = 0.0
    how = {"split": (0.6, 0.2, 0.2), "margin": 1, "patch": (2, 2), "foreground": 1.0}
    found = data(grey, labels, weight, **how)[1]
    block = found.splits[0].train
    assert found.sampler.counts.tolist() == [(len(block) - 1) * (16 * 16 - 64 - 1), len(block) - 1]
    for number in range(40):
        _, told, counts = found.sampler.sample(number)
        assert (counts[told == 1] > 0.0).any()
    weight[block.start : block.stop] = 0.0
    with pytest.raises(InputError, match="labels: got none within the training block whose weight"):
        data(grey, labels, weight, **how)


@pytest.mark.parametrize("dtype", ["int8", "int64"])
def test_labels_beside_weights_may_be_of_any_kind(dtype):
    grey, labels = body()
    plain = data(grey, labels)[1].sampler.counts
    found = data(grey, labels.astype(dtype), np.ones(labels.shape))[1].sampler.counts
    np.testing.assert_array_equal(found, plain)


def test_a_margin_that_patches_see_across_is_told():
    wide = SimpleNamespace(dims=2, multiple=(2, 2), context=9)
    grey, labels = body()
    with pytest.warns(UserWarning, match="margin: got 3 with a context of 9, .*; 4 or more keep"):
        found = data(grey, labels, net=wide, margin=3, normalise="none")[1]
    # The bound is that of what is shown.
    blocks = found.splits[0]
    assert blocks.train.stop - 1 + 9 // 2 >= blocks.validation.start
    blocks = data(grey, labels, net=wide, margin=4)[1].splits[0]
    assert blocks.train.stop - 1 + 9 // 2 < blocks.validation.start
    data(grey, labels, net=wide, margin=0, split=(1.0, 0.0, 0.0))


def test_data_are_known_by_all_labels_and_weights():
    grey, labels = body()
    weight = np.random.default_rng(1).random(labels.shape)

    def known(*volumes, **how):
        return data(*volumes, **how)[1].identity

    same = known(grey, labels, weight)
    assert known(grey, labels.astype(np.int64), weight.astype(np.float32)) == same
    assert known(grey, labels[:, ::-1], weight) != same
    assert known(grey, labels, weight[:, ::-1]) != same
    assert known(grey, labels) != same
    assert known(grey, labels) == known(grey, labels, np.ones(labels.shape))
    plain = {"normalise": "none"}
    assert known(grey, labels, **plain) != known(grey[:, ::-1], labels, **plain)
