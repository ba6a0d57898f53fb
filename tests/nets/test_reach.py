"""Halo, multiple and local hold: what is far changes nothing, and tiles equal the whole."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from bimmjax.nets import Network, build

# Every purely convolutional network, and the axis that is looked along.
LOCAL: list[tuple[str, dict, int]] = [
    ("modular-unet", {"depth": 2}, 1),
    ("modular-unet", {"depth": 2, "rigid": True, "separable": True}, 0),
    ("modular-unet", {"depth": 1, "dims": 3}, 0),
    ("unet", {"depth": 3}, 1),
    ("unet", {"depth": 2, "residual": True, "learned_up": False, "norm": "layer"}, 0),
    ("unet", {"backbone": "resnet152", "layers": (1, 1, 1, 1)}, 1),
    ("unet3d", {"depth": 1}, 2),
    ("resunet3d", {"depth": 2}, 0),
    ("xy-unet3d", {"depth": 2}, 0),
    ("xy-unet3d", {"depth": 2}, 2),
    ("unet++", {"levels": 3}, 0),
    ("unet++", {"levels": 2, "backbone": "resnet152", "layers": (1, 1, 1, 1)}, 1),
    ("vnet", {"depth": 1}, 1),
    ("deeplabv3+", {"layers": (1,), "image_pooling": False, "rates": (1, 2)}, 1),
    ("fusion-intermediate", {"depth": 1}, 1),
    ("fusion-late", {"depth": 1, "context": 3}, 0),
]


class Line:
    """A network on images that are long along one axis and short along the others."""

    def __init__(self, name: str, settings: dict, axis: int) -> None:
        self.net: Network = build(name, channels=2, classes=2, width=2, **settings)
        self.net.eval()
        self.axis = axis
        self.halo, self.multiple = self.net.halo[axis], self.net.multiple[axis]
        self.shift = 2 * self.multiple
        # Room for one voxel whose neighbourhood is inside, in two images shifted against another.
        room = 2 * self.halo + 2 * self.shift + self.multiple
        self.length = -(-room // self.multiple) * self.multiple
        self._call = nnx.jit(lambda net, x: net(x))

    def images(self, length: int) -> np.ndarray:
        sizes = list(self.net.multiple)
        sizes[self.axis] = length
        shape = (1, *sizes, self.net.channels * self.net.context)
        return np.random.default_rng(0).standard_normal(shape, np.float32)

    def at(self, *where: int) -> tuple:
        index: list = [slice(None)] * (self.net.dims + 2)
        index[self.axis + 1] = slice(*where)
        return tuple(index)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self._call(self.net, jnp.asarray(images)))

    def changed(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        others = tuple(a for a in range(before.ndim) if a != self.axis + 1)
        return np.flatnonzero((before != after).any(others))


@pytest.mark.parametrize(("name", "settings", "axis"), LOCAL)
def test_outputs_depend_on_the_halo_and_tiles_equal_the_whole(name, settings, axis):
    line = Line(name, settings, axis)
    assert line.net.local
    halo, length = line.halo, line.length
    whole = line.images(length + line.shift)
    images = whole[line.at(0, length)]
    logits = line(images)

    farthest = 0
    start = (length - line.multiple) // 2
    for at in range(start, start + line.multiple):
        near = images.copy()
        near[line.at(at, at + 1)] += 100.0
        changed = line.changed(logits, line(near))
        assert changed.size
        farthest = max(farthest, at - changed.min(), changed.max() - at)
    # To the bit: not one output beyond.
    assert farthest <= halo
    # The bound is not an idle one.
    assert farthest >= halo - 2 * line.multiple

    # A tile that starts a multiple later shows the same where it has real neighbours.
    tile = line(whole[line.at(line.shift, length + line.shift)])
    inner = logits[line.at(line.shift + halo, length - halo)]
    assert inner.shape[axis + 1] >= line.multiple
    np.testing.assert_allclose(tile[line.at(halo, length - line.shift - halo)], inner, atol=1e-6)
    # Without neighbours it does not.
    assert (tile[line.at(0, halo)] != logits[line.at(line.shift, line.shift + halo)]).any()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("pspnet", {"layers": (1, 1, 1, 1), "width": 2}),
        ("deeplabv3+", {"layers": (1,), "width": 2}),
        ("unet", {"norm": "group", "width": 2, "depth": 1}),
    ],
)
def test_networks_that_see_the_whole_image_say_so(name, settings):
    net = build(name, channels=1, classes=2, **settings)
    net.eval()
    assert not net.local
    length = 2 * net.multiple[1] * (net.halo[1] // net.multiple[1] + 2)
    images = np.random.default_rng(0).standard_normal((1, 32, length, 1), np.float32)
    far = images.copy()
    far[:, :, -1] += 100.0
    call = nnx.jit(lambda net, x: net(x))
    before, after = call(net, jnp.asarray(images)), call(net, jnp.asarray(far))
    assert length - 1 > net.halo[1]
    assert bool((before[:, :, 0] != after[:, :, 0]).any())


def test_a_slice_in_tiles_equals_the_whole_slice():
    """As prediction does it: tiles of one size with a rounded halo, clipped at the borders."""
    net = build("modular-unet", channels=1, classes=3, width=4, depth=2)
    net.eval()
    call = nnx.jit(lambda net, x: net(x))
    images = np.random.default_rng(1).standard_normal((1, 96, 128, 1), np.float32)
    whole = np.asarray(call(net, jnp.asarray(images)))
    halo = [-(-h // m) * m for h, m in zip(net.halo, net.multiple, strict=True)]
    core = 32
    found = np.full_like(whole, np.nan)
    for y in range(0, 96, core):
        for x in range(0, 128, 2 * core):
            top, left = max(y - halo[0], 0), max(x - halo[1], 0)
            bottom, right = min(y + core + halo[0], 96), min(x + 2 * core + halo[1], 128)
            tile = np.asarray(call(net, jnp.asarray(images[:, top:bottom, left:right])))
            found[:, y : y + core, x : x + 2 * core] = tile[
                :, y - top : y - top + core, x - left : x - left + 2 * core
            ]
    np.testing.assert_allclose(found, whole, atol=1e-6)
