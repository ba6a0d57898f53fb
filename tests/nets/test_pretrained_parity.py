"""Weights of backbones from files: features equal to those of torch.

The torch networks are written from the tables of the papers and of the libraries' documentation;
their modules bear the names by which the libraries save them.
"""

from __future__ import annotations

import hashlib
import re

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from bimmjax.nets import load_pretrained
from bimmjax.nets._backbones.choose import make_backbone

torch = pytest.importorskip("torch")
nn = torch.nn

LAYERS = (2, 1, 1, 1)
WIDTH = 4


def convolved(inputs, outputs, kernel, stride=1, dilation=1, groups=1):
    pad = dilation * (kernel - 1) // 2
    return nn.Conv2d(inputs, outputs, kernel, stride, pad, dilation, groups, bias=False)


def relu_of(*layers, relu=True):
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)


class TorchvisionBottleneck(nn.Module):
    def __init__(self, inputs, middle, stride):
        super().__init__()
        self.conv1, self.bn1 = convolved(inputs, middle, 1), nn.BatchNorm2d(middle)
        self.conv2, self.bn2 = convolved(middle, middle, 3, stride), nn.BatchNorm2d(middle)
        self.conv3, self.bn3 = convolved(middle, 4 * middle, 1), nn.BatchNorm2d(4 * middle)
        self.downsample = None
        if stride != 1 or inputs != 4 * middle:
            self.downsample = nn.Sequential(
                convolved(inputs, 4 * middle, 1, stride), nn.BatchNorm2d(4 * middle)
            )

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class TorchvisionResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = convolved(3, WIDTH, 7, 2), nn.BatchNorm2d(WIDTH)
        inputs = WIDTH
        for stage, count in enumerate(LAYERS):
            middle, blocks = WIDTH * 2**stage, []
            for block in range(count):
                blocks.append(
                    TorchvisionBottleneck(inputs, middle, 2 if stage and block == 0 else 1)
                )
                inputs = 4 * middle
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, 7)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        found = [x]
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
            found.append(x)
        return found


class Renamed(nn.Module):
    """The same network under the names of the other library."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def tensors(self):
        found = {}
        for name, value in self.net.state_dict().items():
            name = re.sub(
                r"layer(\d)\.(\d+)\.",
                lambda m: f"resnet.encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.",
                name,
            )
            name = re.sub(
                r"\.(conv|bn)(\d)\.",
                lambda m: f".layer.{int(m[2]) - 1}.{m[1]}.",
                name,
            )
            name = name.replace("downsample.0", "shortcut.conv")
            name = name.replace("downsample.1", "shortcut.bn")
            name = re.sub(r"^(conv|bn)1\.", r"resnet.embedder.embedder.\1.", name)
            name = name.replace(".conv.", ".convolution.").replace(".bn.", ".normalization.")
            found[name.replace("fc.", "classifier.1.")] = value
        return found

    def forward(self, x):
        return self.net(x)


class ConvBn(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1, relu=True):
        super().__init__()
        self.conv = convolved(inputs, outputs, kernel, stride)
        self.bn, self.relu = nn.BatchNorm2d(outputs, 1e-3), relu

    def forward(self, x):
        x = self.bn(self.conv(x))
        return torch.relu(x) if self.relu else x


class TimmSeparable(nn.Module):
    def __init__(self, inputs, outputs, stride, dilation, relu):
        super().__init__()
        self.conv_dw = convolved(inputs, inputs, 3, stride, dilation, inputs)
        self.bn_dw, self.relu = nn.BatchNorm2d(inputs, 1e-3), relu
        self.conv_pw, self.bn_pw = convolved(inputs, outputs, 1), nn.BatchNorm2d(outputs, 1e-3)

    def forward(self, x):
        x = self.bn_dw(self.conv_dw(x))
        x = self.bn_pw(self.conv_pw(torch.relu(x) if self.relu else x))
        return torch.relu(x) if self.relu else x


class TimmBlock(nn.Module):
    def __init__(self, inputs, outputs, stride, dilation, last):
        super().__init__()
        self.last = last
        self.stack = nn.Module()
        for i, features in enumerate((inputs, *outputs[:2])):
            step = stride if i == 2 else 1
            layer = TimmSeparable(features, outputs[i], step, dilation, last)
            self.stack.add_module(f"conv{i + 1}", layer)
        self.shortcut = None
        if not last and (inputs != outputs[2] or stride != 1):
            self.shortcut = ConvBn(inputs, outputs[2], 1, stride, relu=False)

    def forward(self, x):
        y = x
        for i in (1, 2, 3):
            y = getattr(self.stack, f"conv{i}")(y if self.last else torch.relu(y))
        if self.last:
            return y
        return y + (x if self.shortcut is None else self.shortcut(x))


class TimmXception(nn.Module):
    """The table of the Xception paper as modified for DeepLab v3+, two more blocks at entry."""

    def __init__(self, width, middle, output_stride):
        super().__init__()

        def wide(features):
            return features * width // 64

        self.stem = nn.Sequential(ConvBn(3, wide(32), 3, 2), ConvBn(wide(32), wide(64), 3))
        plan = [((128,) * 3, 2), ((256,) * 3, 1), ((256,) * 3, 2), ((728,) * 3, 1), ((728,) * 3, 2)]
        plan += [((728,) * 3, 1)] * middle + [((728, 1024, 1024), 2), ((1536, 1536, 2048), 1)]
        self.blocks, inputs, total, dilation = nn.Sequential(), wide(64), 2, 1
        self.strided = []
        for number, (outputs, stride) in enumerate(plan):
            outputs = [wide(features) for features in outputs]
            rate, step = dilation, stride
            if stride == 2:
                self.strided.append(number)
                if 2 * total > output_stride:
                    dilation, step = 2 * dilation, 1
                else:
                    total *= 2
            last = number == len(plan) - 1
            self.blocks.append(TimmBlock(inputs, outputs, step, rate, last))
            inputs = outputs[-1]
        self.head = nn.Module()
        self.head.fc = nn.Linear(inputs, 7)

    def forward(self, x):
        x, found = self.stem(x), []
        for number, block in enumerate(self.blocks):
            if number in self.strided:
                found.append(x)
            x = block(x)
        return [*found, x]


def shaken(net):
    """Random weights and running averages that keep the size of what passes."""
    source = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=source)
            module.bias.data.uniform_(-0.5, 0.5, generator=source)
            for averages, low in ((module.running_mean, -0.5), (module.running_var, 0.5)):
                assert averages is not None
                averages.uniform_(low, low + 1.0, generator=source)
    return net.eval()


NETS = {
    "torchvision": ("resnet152", lambda stride: TorchvisionResNet()),
    "transformers": ("resnet152", lambda stride: Renamed(TorchvisionResNet())),
    "timm": ("xception71", lambda stride: TimmXception(4, 1, stride)),
}
OURS = {
    "resnet152": {"width": WIDTH, "layers": LAYERS},
    "xception71": {"width": 4, "layers": (1,)},
}


def tensors_of(naming, stride=32):
    torch.manual_seed(1)
    net = shaken(NETS[naming][1](stride))
    named = net.tensors() if isinstance(net, Renamed) else net.state_dict()
    return net, {name: value.numpy().copy() for name, value in named.items()}


@pytest.mark.parametrize(
    ("naming", "stride"), [("torchvision", 32), ("transformers", 32), ("timm", 32), ("timm", 8)]
)
def test_features_equal_those_of_torch(naming, stride, tmp_path):
    theirs, tensors = tensors_of(naming, stride)
    path = tmp_path / "weights.safetensors"
    save_file(tensors, path)
    name = NETS[naming][0]
    net = make_backbone(name, 3, output_stride=stride, rngs=nnx.Rngs(3), **OURS[name])
    net.eval()
    images = np.random.default_rng(0).standard_normal((1, 64, 96, 3)).astype(np.float32)
    features = nnx.jit(lambda net: net(jnp.asarray(images)))
    before = features(net)
    assert load_pretrained(net, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    found = features(net)
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(images).movedim(-1, 1))
    assert len(found) == len(wanted) == 5
    for a, b, c in zip(found, wanted, before, strict=True):
        b = b.movedim(1, -1).numpy()
        scale = np.abs(b).max()
        assert np.abs(np.asarray(a) - b).max() <= 1e-5 * scale
        assert np.abs(np.asarray(c) - b).max() > 1e-2 * scale


def saved(tmp_path, tensors):
    path = tmp_path / "weights.safetensors"
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("inputs", [1, 3, 5])
def test_grey_inputs_see_what_colours_would(inputs, tmp_path):
    theirs, tensors = tensors_of("torchvision")
    net = make_backbone("resnet152", inputs, rngs=nnx.Rngs(0), **OURS["resnet152"])
    net.keep(1)
    net.eval()
    load_pretrained(net, saved(tmp_path, tensors))
    grey = np.random.default_rng(0).standard_normal((1, 32, 32, 1)).astype(np.float32)
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(np.repeat(grey, 3, -1)).movedim(-1, 1))[0]
    found = net(jnp.asarray(np.repeat(grey, inputs, -1)))[0]
    np.testing.assert_allclose(found, wanted.movedim(1, -1).numpy(), atol=1e-5)
