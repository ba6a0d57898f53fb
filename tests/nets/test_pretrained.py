"""Weights of backbones from files: names, layout, and refusals."""

from __future__ import annotations

import hashlib

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from bimmjax import InputError
from bimmjax.nets import build, load_pretrained
from bimmjax.nets._backbones.choose import make_backbone
from bimmjax.nets._backbones.pretrained import (
    _RESNET,
    _XCEPTION,
    _names,
    _variables,
    backbones_of,
)
from bimmjax.nets._blocks.norms import BatchNorm
from bimmjax.nets._train.load import built
from bimmjax.nets._train.recipe import recipe_of

NAMINGS = {
    "torchvision": ("resnet152", _RESNET[0]),
    "transformers": ("resnet152", _RESNET[1]),
    "timm": ("xception71", _XCEPTION[0]),
}
OURS = {
    "resnet152": {"width": 4, "layers": (2, 1, 1, 1)},
    "xception71": {"width": 4, "layers": (1,)},
}


def tensors_of(naming):
    """Random weights of a whole backbone for colours, named and laid out as a library has them."""
    backbone, names = NAMINGS[naming]
    net = made(backbone)
    rng = np.random.default_rng(0)
    found = {}
    for name, variable in zip(_names(net, names), _variables(net), strict=True):
        shape = variable.get_value().shape
        shape = (*shape[:-3:-1], *shape[:2]) if len(shape) == 4 else shape
        found[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return found | {"fc.weight": np.zeros((7, 3), np.float32)}


def made(backbone, inputs=3):
    return make_backbone(backbone, inputs, rngs=nnx.Rngs(0), **OURS[backbone])


def saved(tmp_path, tensors):
    path = tmp_path / "weights.safetensors"
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("inputs", [1, 5])
def test_grey_inputs_see_what_colours_would(inputs, tmp_path):
    path = saved(tmp_path, tensors_of("torchvision"))
    grey = np.random.default_rng(0).standard_normal((1, 32, 32, 1)).astype(np.float32)
    features = []
    for count in (inputs, 3):
        net = made("resnet152", count)
        net.keep(1)
        net.eval()
        load_pretrained(net, path)
        features.append(net(jnp.asarray(np.repeat(grey, count, -1)))[0])
    assert float(features[1].std()) > 1.0
    np.testing.assert_allclose(*features, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("network", "naming"), [
    ("unet", "torchvision"), ("unet++", "timm"), ("pspnet", "transformers"), ("deeplabv3+", "timm"),
])  # fmt: skip
def test_networks_take_what_they_have(network, naming, tmp_path):
    tensors = tensors_of(naming)
    backbone = NAMINGS[naming][0]
    settings = {"backbone": backbone, **OURS[backbone]}
    if network == "unet++":
        settings["levels"] = 2  # its backbone ends after stride 8
    net = build(network, channels=1, classes=2, **settings)
    path = saved(tmp_path, tensors)
    assert load_pretrained(net, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    (found,) = backbones_of(net)
    last = {
        "torchvision": "layer1.0.conv2.weight",
        "transformers": "encoder.stages.0.layers.0.layer.1.convolution.weight",
        "timm": "blocks.0.stack.conv3.conv_pw.weight",
    }
    block = found.stages[1].blocks[0 if naming == "timm" else 1]
    conv = block.convs[2].pointwise.conv if naming == "timm" else block.second.conv
    np.testing.assert_array_equal(conv.kernel[...], tensors[last[naming]].transpose(2, 3, 1, 0))


def refused(tmp_path, tensors):
    net = made("resnet152")
    before = np.asarray(net.stages[0].blocks[0].conv.kernel[...])
    with pytest.raises(InputError) as told:
        load_pretrained(net, saved(tmp_path, tensors))
    # Nothing has been changed.
    np.testing.assert_array_equal(before, net.stages[0].blocks[0].conv.kernel[...])
    text = str(told.value).replace(str(tmp_path / "weights.safetensors"), "FILE")
    assert "\n" not in text
    return text


def test_files_that_do_not_fit_are_refused(tmp_path):
    tensors = tensors_of("torchvision")
    kernel = "layer1.0.conv2.weight"
    less = {name: value for name, value in tensors.items() if name != kernel}
    assert refused(tmp_path, less) == (
        "pretrained: got FILE without 1 tensors (layer1.0.conv2.weight), wants the 100 of "
        "torchvision or microsoft/resnet-152"
    )
    wrong = tensors | {kernel: np.zeros((4, 4, 5, 5), np.float32)}
    assert refused(tmp_path, wrong) == (
        "pretrained: got FILE with layer1.0.conv2.weight of shape (4, 4, 5, 5), wants (4, 4, 3, 3)"
    )
    damaged = tensors | {"bn1.running_var": np.full(4, np.nan, np.float32)}
    assert "bn1.running_var that are no numbers" in refused(tmp_path, damaged)


def test_missing_and_unknown_tensors_are_listed(tmp_path):
    tensors = tensors_of("torchvision")
    more = [f"layer5.{i}.conv1.weight" for i in range(5)]
    found = refused(tmp_path, tensors | dict.fromkeys(more, np.zeros(1, np.float32)))
    assert f"FILE with unknown 5 tensors ({', '.join(more)}), wants the" in found
    other = tensors_of("timm")
    found = refused(tmp_path, other)
    assert " without 100 tensors (conv1.weight, bn1.weight, bn1.bias, " in found
    assert " and 80 more) and with unknown " in found
    assert len(found) < 2000


def test_what_is_no_such_file_or_network_is_refused(tmp_path):
    net = made("resnet152")
    with pytest.raises(InputError, match=r"which cannot be read \(No such file"):
        load_pretrained(net, tmp_path / "none.safetensors")
    path = tmp_path / "words.safetensors"
    path.write_text("no weights at all")
    with pytest.raises(InputError, match="which is no safetensors file"):
        load_pretrained(net, path)
    # With nothing that a network without a backbone would lack.
    path = saved(tmp_path, {"fc.weight": np.zeros((7, 3), np.float32)})
    for network, kind, settings in (("unet", "UNet", {"depth": 1}), (
        "unet++", "UNetPlusPlus", {"levels": 1}
    )):  # fmt: skip
        plain = build(network, channels=1, classes=2, width=2, **settings)
        with pytest.raises(InputError, match=rf"got a network without a backbone \({kind}\)"):
            load_pretrained(plain, path)
    net.keep(0)
    with pytest.raises(InputError, match="for a backbone without stages, wants one with some"):
        load_pretrained(net, path)


def test_frozen_norms_are_those_of_the_backbone_or_all_without_one():
    def frozen(**settings):
        recipe = {"network": "unet++", "channels": 1, "classes": 2, "frozen_norms": True,
                  "settings": {"width": 2, "levels": 1, **settings}}  # fmt: skip
        net = built(recipe_of(recipe))
        norms = [each for _, each in nnx.iter_modules(net) if isinstance(each, BatchNorm)]
        return [each.frozen for each in norms]

    assert frozen() == [True] * 6
    with_backbone = frozen(backbone="resnet152", layers=(1, 1, 1, 1))
    assert with_backbone.count(False) == 2
    assert with_backbone.count(True) == 5
