"""Rivals that begin with what was learned before: branches of a fusion, weights of a file."""

from __future__ import annotations

import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from bimmjax import InputError, nets
from bimmjax.nets._backbones.choose import make_backbone
from bimmjax.nets._backbones.pretrained import _RESNET, _names, _variables
from bimmjax.nets._compare import compare as loop

HOW = {
    "classes": 3, "batch": 2, "epochs": 1, "steps": 1, "margin": 1, "split": (0.6, 0.2, 0.2),
    "tiles": 2, "schedule": "constant",
}  # fmt: skip
SMALL = {"width": 2, "depth": 1, "norm": "layer"}


def no_training(*_, **__):
    raise AssertionError("trained")


@pytest.fixture
def channels(pair):
    """Images of one specimen with two channels, and labels."""
    grey, labels = pair
    return [[grey, 255 - grey]], [labels]


def test_a_fusion_of_trained_branches_is_found_again(pair, channels, tmp_path, monkeypatch):
    single = HOW | {"network": "unet", "settings": SMALL, "patch": (8, 8)}
    branch = str(tmp_path / "net")
    nets.train(single, *pair, branch)
    # A patch that suits these branches, and not those of usual depth.
    late = HOW | {"network": "fusion-late", "branches": [branch, branch], "patch": (8, 8)}
    out = tmp_path / "out"
    found = nets.compare(late, *channels, out)
    recipe = nets.load(out / "fusion-late")[1]
    assert found.rows[0].recipe == recipe
    assert recipe.settings["depth"] == 1
    assert len(recipe.branches_hash) == 2
    again = nets.compare(late, *channels, out)
    assert again.to_dict() == found.to_dict()
    monkeypatch.setattr(loop, "train", no_training)
    for change, said in (
        ({"branches": [branch, "none"]}, "branches: got .*none, wants the folder"),
        ({"settings": {"depth": 2}}, "branches: got .*net with depth 1, wants 2"),
    ):
        with pytest.raises(InputError, match=rf"{said}.* \(fusion-late\)"):
            nets.compare(late | change, *channels, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_branches_of_volumes_get_a_patch_of_volumes(pair, channels, tmp_path, monkeypatch):
    solid = HOW | {"network": "unet3d", "settings": SMALL, "patch": (4, 8, 8)}
    branch = str(tmp_path / "net")
    nets.train(solid, *pair, branch)
    seen = []

    def stops(recipe, *_, **__):
        seen.append(recipe)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train", stops)
    late = HOW | {"network": "fusion-late", "branches": [branch, branch]}
    with pytest.raises(KeyboardInterrupt):
        nets.compare(late, *channels, tmp_path / "out")
    assert seen[0].patch == (16, 16, 16)


def test_a_pretrained_rival_goes_on(pair, tmp_path, monkeypatch):
    sizes = {"width": 2, "layers": (1, 1, 1, 1)}
    net = make_backbone("resnet152", 3, **sizes, rngs=nnx.Rngs(7))
    found, rng = {}, np.random.default_rng(7)
    for name, variable in zip(_names(net, _RESNET[0]), _variables(net), strict=True):
        shape = variable.get_value().shape
        shape = (*shape[:-3:-1], *shape[:2]) if len(shape) == 4 else shape
        found[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    path = tmp_path / "weights.safetensors"
    save_file(found, path)
    settings = sizes | {"backbone": "resnet152", "levels": 1}
    recipe = HOW | {
        "network": "unet++", "settings": settings, "patch": (8, 8), "pretrained": str(path),
        "frozen_norms": True, "learning_rate": 1e-6,
    }  # fmt: skip
    out = tmp_path / "out"
    whole = nets.compare(recipe, *pair, out)
    assert whole.rows[0].recipe is not None
    assert len(whole.rows[0].recipe.pretrained_hash) == 64
    # It has them already.
    path.rename(tmp_path / "elsewhere.safetensors")
    assert nets.compare(recipe, *pair, out).to_dict() == whole.to_dict()
    monkeypatch.setattr(loop, "train", no_training)
    with pytest.raises(InputError, match=r"pretrained: got .* which cannot be read.* \(unet\+\+\)"):
        nets.compare(recipe, *pair, tmp_path / "new")
    assert not (tmp_path / "new").exists()
