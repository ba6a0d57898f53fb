"""Runs that begin with the weights of a file."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import tifffile
from flax import nnx
from safetensors.numpy import save_file

from bimmjax import InputError, nets
from bimmjax.cli import main
from bimmjax.nets._backbones.choose import make_backbone
from bimmjax.nets._backbones.pretrained import _RESNET, _names, _variables, backbones_of
from bimmjax.nets._train.recipe import recipe_of

OWN = {"backbone": "resnet152", "width": 2, "layers": (1, 1, 1, 1), "levels": 1}
RECIPE = {
    "network": "unet++", "settings": OWN, "classes": 3, "patch": (8, 8), "batch": 2, "epochs": 1,
    "steps": 1, "split": (0.6, 0.2, 0.2), "margin": 1, "learning_rate": 1e-6, "tiles": 2,
    "schedule": "constant",
}  # fmt: skip


def weights(path, seed=7):
    """A file with the names of torchvision, and the running mean and kernel of its second layer."""
    net = make_backbone("resnet152", 3, width=2, layers=(1, 1, 1, 1), rngs=nnx.Rngs(seed))
    rng = np.random.default_rng(seed)
    found = {}
    for name, variable in zip(_names(net, _RESNET[0]), _variables(net), strict=True):
        shape = variable.get_value().shape
        shape = (*shape[:-3:-1], *shape[:2]) if len(shape) == 4 else shape
        found[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    save_file(found, path)
    kernel = found["layer1.0.conv1.weight"].transpose(2, 3, 1, 0)
    return hashlib.sha256(path.read_bytes()).hexdigest(), found["layer1.0.bn1.running_mean"], kernel


def second_layer(net):
    (backbone,) = backbones_of(net)
    layer = backbone.stages[1].blocks[1].first
    return np.asarray(layer.norm.mean[...]), np.asarray(layer.conv.kernel[...])


def test_a_run_begins_with_them_and_goes_on_without_the_file(tmp_path, pair, capsys):
    path = tmp_path / "weights.safetensors"
    digest, mean, kernel = weights(path)
    recipe = RECIPE | {"pretrained": str(path), "frozen_norms": True}
    out = tmp_path / "net"
    trained = nets.train(recipe, *pair, out)
    assert trained.recipe.pretrained_hash == digest
    assert recipe_of(out / "recipe.toml") == trained.recipe
    found = second_layer(trained.net)
    np.testing.assert_array_equal(found[0], mean)  # frozen
    np.testing.assert_allclose(found[1], kernel, atol=1e-5)  # one tiny step
    assert (found[1] != kernel).any()
    # It has what it began with; only another file would make it another run.
    path.rename(tmp_path / "elsewhere.safetensors")
    assert nets.train(recipe | {"epochs": 2}, *pair, out).history[-1]["epoch"] == 2
    with pytest.raises(InputError, match=r"pretrained: got .* which cannot be read"):
        nets.train(recipe, *pair, tmp_path / "new")
    weights(path, seed=8)
    with pytest.raises(InputError, match=r"a run by another recipe \(pretrained_hash = "):
        nets.train(recipe | {"epochs": 2}, *pair, out)
    with pytest.raises(InputError, match=f"pretrained: got .* wants the recipe's {digest}"):
        nets.train(recipe | {"pretrained_hash": digest}, *pair, tmp_path / "new")


def test_the_command_line_and_running_averages_that_are_free(tmp_path, pair, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIMMJAX_CACHE", str(tmp_path / "cache"))
    for name, array in zip(("grey", "labels"), pair, strict=True):
        tifffile.imwrite(f"{name}.tif", array)
    digest, mean, _ = weights(tmp_path / "weights.safetensors")
    words = [
        "train", "grey.tif", "labels.tif", "--network", "unet++", "--set", "backbone=resnet152",
        "--set", "width=2", "--set", "layers=[1, 1, 1, 1]", "--set", "levels=1", "--patch", "8 8",
        "--batch", "2", "--steps", "1", "--epochs", "1", "--margin", "1", "--no-pictures",
        "--split", "0.6 0.2 0.2", "--pretrained",
    ]  # fmt: skip
    assert main([*words, "weights.safetensors", "--quiet", "--out", "net"]) == 0
    net, recipe = nets.load("net")
    # Wherever the recipe is used.
    assert recipe.pretrained == str(tmp_path / "weights.safetensors")
    assert recipe.pretrained_hash == digest
    found, _ = second_layer(net)
    assert (found != mean).all()
    capsys.readouterr()
    assert main([*words, "grey.tif", "--out", "other"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"pretrained: got {tmp_path / 'grey.tif'}, which is no safetensors file" in said


@pytest.mark.parametrize(("given", "said"), [
    ({"pretrained": 3}, "pretrained: got 3, wants words"),
    ({"frozen_norms": "yes"}, "frozen_norms: got 'yes', wants true or false"),
])  # fmt: skip
def test_impossible_settings_are_refused(given, said):
    with pytest.raises(InputError) as told:
        recipe_of({"network": "unet", "classes": 2} | given)
    assert str(told.value) == said
