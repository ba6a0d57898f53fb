"""The networks against torch re-implementations: the same weights, logits and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from bimmjax.nets import build
from bimmjax.nets._backbones.choose import make_backbone

pytest.importorskip("torch", reason="torch comes with the extra [bench] only")

from benchmarks.rivals.torch_nets import (
    both,
    torch_deeplab,
    torch_modular_unet,
    torch_pspnet,
    torch_resnet,
    torch_unet,
    torch_unetpp,
)

pytestmark = pytest.mark.numerics


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "settings", "torch_net", "shape"),
    [
        ("unet", {"width": 4, "depth": 2}, torch_unet, (2, 8, 12, 2)),
        ("modular-unet", {"width": 4, "depth": 2}, torch_modular_unet, (2, 8, 12, 2)),
        ("modular-unet", {"width": 4, "depth": 1, "dims": 3}, torch_modular_unet, (2, 2, 4, 6, 2)),
    ],
)
def test_logits_and_gradients_equal_those_of_torch(name, settings, torch_net, shape):
    if name == "modular-unet":
        settings = {**settings, "dropout": 0.0, "noise": 0.0}
    net = build(name, channels=2, classes=3, **settings)
    found, wanted, pairs = both(net, lambda net, x: net(x), torch_net, random(*shape))
    assert np.abs(found - wanted).max() <= 1e-5
    largest = max(np.abs(slope).max() for _, _, slope in pairs)
    for where, slope, theirs in pairs:
        assert np.abs(slope - theirs).max() <= 1e-5 * largest, where
        # Biases before a batch normalisation are the only ones without effect.
        assert np.abs(theirs).max() > 1e-4 * largest or where.endswith("['conv']['bias']")


RESNET = {"backbone": "resnet152", "width": 2, "layers": (1, 1, 1, 1), "dropout": 0.0}


@pytest.mark.parametrize(
    ("name", "settings", "torch_net", "size"),
    [
        ("unet++", {"width": 4, "levels": 2}, torch_unetpp, (8, 12)),
        ("pspnet", {**RESNET, "bins": (1, 2)}, lambda p, x: torch_pspnet(p, x, (1, 2)), (32, 48)),
        (
            "deeplabv3+",
            {**RESNET, "rates": (1, 2), "low_level": 3, "separable": False},
            lambda p, x: torch_deeplab(p, x, (1, 2)),
            (32, 48),
        ),
    ],
)
def test_all_heads_in_double_precision_equal_those_of_torch(name, settings, torch_net, size):
    with jax.enable_x64(True):
        net = build(name, channels=1, classes=2, **settings)
        double = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), nnx.state(net))
        nnx.update(net, double)
        found, wanted, pairs = both(
            net,
            lambda net, x: jnp.concatenate(net.heads(x), -1),
            torch_net,
            random(2, *size, 1).astype(np.float64),
            jit=True,
        )
        assert found.dtype == np.float64
        assert found.shape[1:3] == size
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
        largest = max(np.abs(slope).max() for _, _, slope in pairs)
        for where, slope, theirs in pairs:
            assert np.abs(slope - theirs).max() <= 1e-6 * largest, where


@pytest.mark.parametrize(("output_stride", "layers"), [(32, (2, 2, 3, 2)), (8, (1, 1, 2, 2))])
def test_resnet152_in_double_precision_equals_torch(output_stride, layers):
    with jax.enable_x64(True):
        net = make_backbone(
            "resnet152", 3, width=2, layers=layers, output_stride=output_stride, rngs=nnx.Rngs(0)
        )
        double = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), nnx.state(net))
        nnx.update(net, double)
        images = random(2, 32, 32, 3).astype(np.float64)
        dilated = () if output_stride == 32 else (3, 4)
        found, wanted, pairs = both(
            net,
            lambda net, x: net(x)[-1],
            lambda p, x: torch_resnet(p, x, dilated),
            images,
        )
        assert found.dtype == np.float64
        assert found.shape[1] == 32 // output_stride
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
        largest = max(np.abs(slope).max() for _, _, slope in pairs)
        for where, slope, theirs in pairs:
            assert np.abs(slope - theirs).max() <= 1e-5 * largest, where
