"""Late fusion of networks that were trained before it, each on its own channel."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tifffile
from flax import nnx

from bimmjax import InputError, nets
from bimmjax.cli import main
from bimmjax.nets._train.branches import Branch, _settings, take_branches
from bimmjax.nets._train.checkpoint import hash_of, named_arrays, read
from bimmjax.nets._train.recipe import recipe_of

HOW = {
    "classes": 3, "patch": (8, 8), "batch": 2, "epochs": 1, "steps": 2, "margin": 1,
    "split": (0.6, 0.2, 0.2), "learning_rate": 0.01, "tiles": 4, "schedule": "constant",
}  # fmt: skip
SINGLE = HOW | {"network": "unet", "settings": {"width": 2, "depth": 1, "context": 3}}
LATE = HOW | {"network": "fusion-late"}


@pytest.fixture(scope="module")
def volumes(pair, tmp_path_factory):
    """Paths of two channels and of labels."""
    folder = tmp_path_factory.mktemp("volumes")
    grey, labels = pair
    noise = np.random.default_rng(1).normal(0, 60.0, grey.shape).astype(np.float32)
    for name, array in (("one", grey), ("two", grey + noise), ("labels", labels)):
        tifffile.imwrite(folder / f"{name}.tif", array)
    return [str(folder / f"{name}.tif") for name in ("one", "two", "labels")]


@pytest.fixture(scope="module")
def trained(volumes, tmp_path_factory):
    """Folders of two networks, one a channel."""
    folder = tmp_path_factory.mktemp("branches")
    *images, labels = volumes
    for number, image in enumerate(images):
        # With dropout: there is none where the network is kept.
        settings = SINGLE["settings"] | {"dropout": 0.2}
        how = SINGLE | {"seed": number, "settings": settings}
        nets.train(how, image, labels, folder / f"net{number}")
    return [str(folder / f"net{number}") for number in range(2)]


@pytest.fixture
def branches(trained, tmp_path):
    """Copies that may be spoiled."""
    return [shutil.copytree(one, tmp_path / f"net{at}") for at, one in enumerate(trained)]


def arrays(net):
    return named_arrays(nnx.state(net, nnx.Not(nnx.RngState)))


def fused(recipe, volumes, out):
    *images, labels = volumes
    return nets.train(recipe, [images], [labels], out)


def test_only_the_last_layer_learns_and_nothing_else_is_needed(volumes, branches, tmp_path):
    recipe = LATE | {"branches": branches}
    out = tmp_path / "fused"
    found = fused(recipe, volumes, out)
    begun = nets.build("fusion-late", channels=2, classes=3, seed=0, **found.recipe.settings)
    assert {name: found.recipe.settings[name] for name in ("context", "width", "residual")} == {
        "context": 3, "width": 2, "residual": False,
    }  # fmt: skip
    for own, folder in zip(found.net.branches, branches, strict=True):
        before = arrays(nets.load(folder)[0])
        assert any(name.endswith("mean") for name in before)
        for name, array in arrays(own).items():
            np.testing.assert_array_equal(array, before[name])
    assert (found.net.ensemble.kernel[...] != begun.ensemble.kernel[...]).any()
    learning = [name for name in read(out, 1)[0] if name.startswith(("params", "optimiser"))]
    assert any(name.endswith("ensemble/kernel") for name in learning)
    assert not any("branches" in name for name in learning)
    assert recipe_of(out / "recipe.toml") == found.recipe
    assert found.recipe.branches == tuple(map(str, branches))
    hashes = tuple(hash_of(nets.load(folder)[0]) for folder in branches)
    assert found.recipe.branches_hash == hashes

    # The recipe repeats the run, and a run that goes on is one that was not interrupted.
    longer = found.recipe.__dict__ | {"epochs": 2}
    whole = fused(longer, volumes, tmp_path / "whole")
    # Whatever became of the branches: another network, or nothing.
    shutil.rmtree(branches[0])
    shutil.copytree(branches[1], branches[0])
    on = fused(recipe | {"epochs": 2}, volumes, out)
    for folder in branches:
        shutil.rmtree(folder)
    assert fused(recipe | {"epochs": 2}, volumes, out).history == on.history
    assert hash_of(on.net) == hash_of(whole.net)
    assert len(on.net.heads(np.zeros((1, 8, 8, 6), np.float32))) == 1
    for name in ("training_loss", "validation_loss"):
        assert [row[name] for row in on.history] == [row[name] for row in whole.history]
    labels = nets.predict(out, volumes[:2])
    assert set(np.unique(labels.read(*(slice(None),) * 3))) <= {0, 1, 2}
    with pytest.raises(InputError, match=r"branches: got .*net0, wants the folder of a finished"):
        fused(recipe, volumes, tmp_path / "new")


def test_branches_that_do_not_fit_are_refused_in_a_line(volumes, branches, tmp_path):
    one, two = branches
    for name, was, now in (
        ("both", "channels = 1", "channels = 2"), ("plus", '"unet"', '"unet++"'),
    ):  # fmt: skip
        recipe = shutil.copytree(two, tmp_path / name) / "recipe.toml"
        recipe.write_text(recipe.read_text("utf-8").replace(was, now), "utf-8")
    refused = {
        "got 2 for unet, wants none but for fusion-late": {"network": "unet"},
        "got 1, wants one for each of 2 channels": {"branches": [one]},
        "both with channels 2, wants 1": {"branches": [one, tmp_path / "both"]},
        "net0 with classes 3, wants 4": {"classes": 4},
        "net0 with context 3, wants 5": {"settings": {"context": 5}},
        "net0 with normalise 'std', wants 'none'": {"normalise": "none"},
        "net0 with width 2, wants 3": {"settings": {"width": 3}},
        "plus, a run of unet++; wants one of unet": {"branches": [one, tmp_path / "plus"]},
        "net1 for channel 1, wants the one for channel 2": {"branches": [two, one]},
        "net0 with SHA-256 ": {"branches_hash": ["other", "others"]},
        "hash: got 1, wants none, or one for each of 2": {"branches_hash": ["one"]},
        "got 3, wants words": {"branches": [one, 3]},
        "none, wants the folder of a finished run": {"branches": [one, tmp_path / "none"]},
    }
    for said, change in refused.items():
        with pytest.raises(InputError) as told:
            fused(LATE | {"branches": [one, two]} | change, volumes, tmp_path / "fused")
        text = str(told.value)
        assert text.startswith(("branches: got ", "branches_hash: got "))
        assert said in text
        assert "\n" not in text
    assert not (tmp_path / "fused").exists()


@pytest.mark.parametrize("network", ["unet", "resunet3d"])
def test_the_settings_of_a_fusion_are_those_of_its_branches(network):
    own = {"width": 2, "depth": 1, "norm": "layer"}
    recipe = recipe_of({"network": network, "classes": 2, "settings": own})
    trained = nets.build(network, channels=1, classes=2, seed=1, **own)
    net = nets.build("fusion-late", channels=2, classes=2, **_settings(recipe))
    take_branches(net, [Branch("", trained)] * 2)
    for branch in net.branches:
        assert hash_of(branch) == hash_of(trained)
    net = nets.build("fusion-late", channels=2, classes=2, **_settings(recipe), dropout=0.5)
    net.fix_branches()
    net.train()
    off = [module.deterministic for _, module in nnx.iter_modules(net.branches)
           if isinstance(module, nnx.Dropout)]  # fmt: skip
    assert off
    assert all(off)
    wide = nets.build(network, channels=1, classes=2, **own | {"width": 3})
    with pytest.raises(InputError, match=r"branches: got up with .*: a plain U-Net of this size"):
        take_branches(net, [Branch("up", wide)])


def test_the_command_line_and_votes(volumes, branches, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIMMJAX_CACHE", str(tmp_path / "cache"))
    image, more, labels = volumes
    words = [
        "train", image, labels, "--channel", more, "--branch", "net0", "--branch", "net1",
        "--patch", "8 8", "--batch", "2", "--steps", "2", "--epochs", "1", "--margin", "1",
        "--split", "0.6 0.2 0.2", "--no-pictures", "--quiet", "--out", "fused",
    ]  # fmt: skip
    late = [*words, "--network", "fusion-late", "--set", "combine=voting"]
    assert main(late) == 0
    net, recipe = nets.load("fused")
    assert recipe.branches == tuple(map(str, branches))
    votes = np.asarray(net.voting_weights)
    assert votes.sum() == pytest.approx(1.0)
    assert (votes != 0.5).all()
    # Other branches than the recipe's, on purpose: no hash is in the way.
    again = ["train", "--recipe", "fused/recipe.toml", "--no-pictures", "--quiet", "--out", "fused"]
    assert main([*again, "--branch", "net0", "--branch", "none", "--overwrite"]) == 2
    assert "none, wants the folder of a finished run" in capsys.readouterr().err
    assert main(again) == 0
    nets.train(SINGLE | {"seed": 2}, image, labels, "other")
    assert main([*again, "--branch", "other", "--branch", "net1", "--overwrite"]) == 0
    hashes = [hash_of(nets.load(folder)[0]) for folder in ("net0", "other", "net1")]
    assert recipe.branches_hash == (hashes[0], hashes[2])
    assert nets.load("fused")[1].branches_hash == tuple(hashes[1:])
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said == (
        "bimmjax: error: branches: got 2 for modular-unet, wants none but for fusion-late\n"
    )
