"""The networks: parameter counts, what they take and refuse, heads, pruning, fusion."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from bimmjax import InputError
from bimmjax.nets import NETWORKS, Network, build, count_parameters
from bimmjax.nets._backbones.choose import make_backbone
from bimmjax.nets._blocks.norms import BatchNorm

# Settings that make each network small.
SMALL: dict[str, dict] = {
    "modular-unet": {"width": 2, "depth": 2},
    "unet": {"width": 2, "depth": 2},
    "unet3d": {"width": 2, "depth": 1},
    "resunet3d": {"width": 2, "depth": 1},
    "xy-unet3d": {"width": 2, "depth": 2},
    "unet++": {"width": 2, "levels": 2},
    "pspnet": {"width": 2, "layers": (1, 1, 1, 1)},
    "deeplabv3+": {"width": 2, "layers": (1,)},
    "vnet": {"width": 2, "depth": 1},
    "fusion-early": {"width": 2, "depth": 1},
    "fusion-intermediate": {"width": 2, "depth": 1},
    "fusion-late": {"width": 2, "depth": 1},
}


def random(*shape: int, seed: int = 0) -> jnp.ndarray:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def count(name: str, **settings) -> int:
    return count_parameters(build(name, **settings))


def conv(taps: int, inputs: int, outputs: int, *, bias: bool = True, norm: bool = True) -> int:
    """Parameters of a convolution and of the scales and shifts after it."""
    return taps * inputs * outputs + outputs * (int(bias) + 2 * int(norm))


def test_every_network_is_tried() -> None:
    assert set(SMALL) == set(NETWORKS)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [({}, 3_302_883), ({"context": 5}, 3_304_611), ({"dims": 3}, 9_893_187)],
)
def test_modular_unet_has_as_many_parameters_as_the_authors(settings, wanted):
    assert count("modular-unet", channels=1, classes=3, **settings) == wanted


def unet_count(taps: int, widths: list[int], up: bool, norm: bool) -> int:
    """Two convolutions a level on the way down and up; 1 channel, 2 classes."""
    total, features = 0, 1
    for width in widths:
        total += conv(taps, features, width, norm=norm) + conv(taps, width, width, norm=norm)
        features = width
    for width in reversed(widths[:-1]):
        if up:
            total += 4 * features * width + width
            joined = 2 * width
        else:
            joined = features + width
        total += conv(taps, joined, width, norm=norm) + conv(taps, width, width, norm=norm)
        features = width
    return total + 2 * features + 2


def test_unet_counts():
    # 31,030,658 is the number that circulates for the network of 2015 padded.
    assert count("unet", channels=1, classes=2, norm="none") == 31_030_658
    widths = [64, 128, 256, 512, 1024]
    assert unet_count(9, widths, True, False) == 31_030_658
    assert count("unet", channels=1, classes=2) == unet_count(9, widths, True, True) == 31_042_434


def test_unet3d_has_as_many_parameters_as_published():
    # Çiçek et al. 2016, section 2: 19,069,955, which leaves out the batch normalisations.
    assert count("unet3d", channels=3, classes=3, norm="none") == 19_069_955


def test_xy_unet3d_counts():
    wanted = unet_count(27, [32, 64, 128, 256, 512], False, True)
    assert count("xy-unet3d", channels=1, classes=2) == wanted == 23_538_210
    wanted = unet_count(27, [32, 64, 128, 256], False, True)
    assert count("xy-unet3d", channels=1, classes=2, pool_z=True) == wanted == 5_838_882


def test_unetpp_counts():
    widths = [32, 64, 128, 256, 512]
    total, features = 0, 1
    for width in widths:
        total += conv(9, features, width) + conv(9, width, width)
        features = width
    for j in range(1, 5):
        for i in range(5 - j):
            total += 4 * widths[i + 1] * widths[i] + widths[i]
            total += conv(9, (j + 1) * widths[i], widths[i]) + conv(9, widths[i], widths[i])
    total += 4 * (32 * 2 + 2)
    # The paper's table: 9.04 million.
    assert count("unet++", channels=1, classes=2) == total == 9_049_128


def resnet_count(channels: int) -> int:
    total, features = conv(49, channels, 64, bias=False), 64
    for middle, blocks in zip((64, 128, 256, 512), (3, 8, 36, 3), strict=True):
        for block in range(blocks):
            total += conv(1, features, middle, bias=False) + conv(9, middle, middle, bias=False)
            total += conv(1, middle, 4 * middle, bias=False)
            if block == 0:
                total += conv(1, features, 4 * middle, bias=False)
            features = 4 * middle
    return total


def test_resnet152_has_as_many_parameters_as_published():
    # 60,192,808 with its classifier of 2048 features to 1000 classes.
    backbone = make_backbone("resnet152", 3, rngs=nnx.Rngs(0))
    assert count_parameters(backbone) == resnet_count(3) == 60_192_808 - 2049 * 1000


def test_pspnet_counts():
    pyramid = 4 * conv(1, 2048, 512, bias=False)
    main = conv(9, 4096, 512, bias=False) + 512 * 2 + 2
    auxiliary = conv(9, 1024, 256, bias=False) + 256 * 2 + 2
    wanted = resnet_count(1) + pyramid + main + auxiliary
    assert count("pspnet", channels=1, classes=2) == wanted == 83_572_676


def separable(inputs: int, outputs: int) -> int:
    return 9 * inputs + 2 * inputs + conv(1, inputs, outputs, bias=False)


def test_deeplab_counts():
    # Chen et al. 2018, Figure 4, with Xception-71's two more blocks in the entry flow.
    wanted = conv(9, 1, 32, bias=False) + conv(9, 32, 64, bias=False)
    features = 64
    plan = [(128,) * 3, (256,) * 3, (256,) * 3, (728,) * 3, (728,) * 3]
    strided = (0, 2, 4)
    for at, outputs in enumerate([*plan, *[(728,) * 3] * 16, (728, 1024, 1024)]):
        if features != outputs[-1] or at in strided:
            wanted += conv(1, features, outputs[-1], bias=False)
        for output in outputs:
            wanted += separable(features, output)
            features = output
    for output in (1536, 1536, 2048):
        wanted += separable(features, output)
        features = output
    # timm/xception71: 42.34 million with its classifier of 2048 features to 1000 classes and a
    # three-channel stem.
    assert round((wanted + 2 * 9 * 32 + 2049 * 1000) / 1e6, 2) == 42.34
    wanted += 2 * conv(1, 2048, 256, bias=False) + 3 * separable(2048, 256)
    wanted += conv(1, 5 * 256, 256, bias=False) + conv(1, 256, 48, bias=False)
    wanted += separable(304, 256) + separable(256, 256) + 256 * 2 + 2
    assert count("deeplabv3+", channels=1, classes=2) == wanted == 43_472_378


def test_vnet_counts():
    def stage(inputs: int, outputs: int, convs: int) -> int:
        features = [inputs] + [outputs] * (convs - 1)
        return sum(conv(125, f, outputs) + outputs for f in features)

    widths, counts = [16, 32, 64, 128, 256], [1, 2, 3, 3, 3]
    total = stage(1, 16, 1)
    for at in range(1, 5):
        total += conv(8, widths[at - 1], widths[at]) + widths[at]
        total += stage(widths[at], widths[at], counts[at])
    features = 256
    for at in (3, 2, 1, 0):
        total += conv(8, features, widths[at]) + widths[at]
        features = 2 * widths[at]
        total += stage(features, features, counts[at])
    total += 32 * 2 + 2
    assert count("vnet", channels=1, classes=2) == total == 65_182_226


def images_for(net: Network, batch: int = 1) -> jnp.ndarray:
    sizes = [2 * m for m in net.multiple]
    return random(batch, *sizes, net.channels * net.context)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_have_the_size_of_the_images(name):
    net = build(name, channels=2, classes=3, **SMALL[name])
    net.eval()
    images = images_for(net)
    heads = nnx.jit(lambda net, images: net.heads(images))(net, images)
    for head in heads:
        assert head.shape == (*images.shape[:-1], 3)
        assert head.dtype == jnp.float32
        assert bool(jnp.isfinite(head).all())
    assert net.dims == images.ndim - 2 == len(net.multiple) == len(net.halo)
    if len(heads) > 1:
        # Separate heads, not one repeated.
        assert bool((heads[0] != heads[1]).any())


@pytest.mark.parametrize("name", NETWORKS)
def test_images_that_do_not_fit_are_refused(name):
    net = build(name, channels=2, classes=3, **SMALL[name])
    images = images_for(net)
    with pytest.raises(InputError, match=r"images: got shape .*, wants \(batch, "):
        net(images[..., :1])
    with pytest.raises(InputError, match="images: got shape"):
        net(images[0])
    with pytest.raises(InputError, match=r"images: got size .*, wants multiples of"):
        net(images[:, :, :-1])
    with pytest.raises(InputError, match="images: got dtype uint8"):
        net(images.astype(jnp.uint8))


@pytest.mark.parametrize("name", NETWORKS)
def test_impossible_settings_are_refused(name):
    settings = SMALL[name]
    for wrong, message in [
        ({"channels": 0}, "channels: got 0"),
        ({"classes": 256}, "classes: got 256"),
        ({"width": 0}, "width: got 0"),
        ({"norm": "instance"}, "norm: got 'instance', wants one of batch, group"),
        ({"dropout": 1.5}, "dropout: got 1.5"),
        ({"colour": 1}, f"colour: no setting of {name}".replace("+", r"\+")),
    ]:
        with pytest.raises(InputError, match=message):
            build(name, **{"channels": 2, "classes": 2, **settings, **wrong})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet", {}, "network: got 'resnet', wants one of modular-unet, unet"),
        ("unet", {"seed": -1}, "seed: got -1"),
        ("unet", {"context": 4}, "context: got 4, wants an odd number"),
        ("unet", {"depth": 0}, "depth: got 0"),
        ("unet", {"backbone": "vgg16"}, "backbone: got 'vgg16', wants one of resnet152"),
        ("unet", {"layers": (1, 1, 1, 1)}, "layers: .* wants a backbone"),
        ("unet", {"backbone": "resnet152", "layers": (1, 1)}, "layers: got .*, wants 4 numbers"),
        ("unet", {"backbone": "resnet152", "depth": 3}, "depth: got 3 beside a backbone, wants 4,"),
        ("unet", {"backbone": "resnet152", "residual": True}, "residual: got True .*, wants False"),
        ("unet", {"backbone": "resnet152", "learned_up": False}, "learned_up: got False .*, wants"),
        ("unet++", {"depth": 3}, "depth: no setting of unet"),
        ("modular-unet", {"dims": 4}, "dims: got 4"),
        ("modular-unet", {"noise": -1.0}, "noise: got -1"),
        ("unet++", {"levels": 5}, "levels: got 5, wants a whole number from 1 to 4"),
        ("pspnet", {"bins": ()}, "bins: got none"),
        ("pspnet", {"output_stride": 4}, "output_stride: got 4, wants 8, 16 or 32"),
        ("deeplabv3+", {"rates": (0,)}, "rates: got 0"),
        ("fusion-late", {}, "channels: got 1, wants one for each of 2 voltages"),
        ("fusion-late", {"channels": 2, "combine": "mean"}, "combine: got 'mean'"),
        ("fusion-early", {"channels": 2, "dims": 3, "context": 3}, "dims, context: got 3, 3"),
    ],
)
def test_what_cannot_be_is_told_by_name(name, settings, message):
    with pytest.raises(InputError, match=message):
        build(name, **{"channels": 1, "classes": 2, **settings})


def test_the_seed_alone_makes_the_network():
    nets = [build("modular-unet", channels=1, classes=2, width=2, seed=s) for s in (1, 1, 2)]
    first, again, other = (jax.tree.leaves(nnx.state(net, nnx.Param)) for net in nets)
    assert all(bool((a == b).all()) for a, b in zip(first, again, strict=True))
    assert any(bool((a != b).any()) for a, b in zip(first, other, strict=True))


def test_a_network_can_be_built_as_shapes_only():
    shapes = nnx.eval_shape(lambda: build("modular-unet", channels=1, classes=2, width=2))
    net = build("modular-unet", channels=1, classes=2, width=2)
    found = jax.tree.map(lambda x: (x.shape, x.dtype), nnx.state(shapes, nnx.Param))
    assert found == jax.tree.map(lambda x: (x.shape, x.dtype), nnx.state(net, nnx.Param))


def test_statistics_update_in_jitted_training_and_rest_in_use():
    net = build("modular-unet", channels=1, classes=2, width=2, depth=1)
    images = images_for(net, batch=2)

    @nnx.jit
    def call(net, images):
        return net(images)

    def statistics() -> list[np.ndarray]:
        return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(net, nnx.BatchStat))]

    before = statistics()
    first, second = call(net, images), call(net, images)
    after = statistics()
    assert all((a != b).any() for a, b in zip(before, after, strict=True))
    # Dropout and noise differ from call to call.
    assert bool((first != second).any())
    net.eval()
    first, second = call(net, images), call(net, images)
    assert bool((first == second).all())
    assert all((a == b).all() for a, b in zip(after, statistics(), strict=True))


def test_unetpp_pruned_is_the_head_of_the_whole_and_knows_no_deeper_nodes():
    net = build("unet++", channels=1, classes=2, width=2)
    net.eval()
    images = random(1, 16, 32, 1)
    heads = nnx.jit(lambda net, images: net.heads(images))(net, images)
    assert len(heads) == 4
    sizes = [count_parameters(net)]
    for level in (3, 2, 1):
        pruned = net.pruned(level)
        found = pruned(images)
        np.testing.assert_allclose(found, heads[4 - level], atol=1e-6)
        assert len(pruned.heads(images)) == level
        assert pruned.multiple == (2**level,) * 2
        sizes.append(count_parameters(pruned))
        # It is the network built that deep.
        built = build("unet++", channels=1, classes=2, width=2, levels=level)
        assert sizes[-1] == count_parameters(built)
        assert pruned.halo == built.halo
    assert sizes == sorted(sizes, reverse=True)
    # The whole one is untouched, whatever becomes of what was cut from it.
    pruned.classifiers[0].blocks[0].bias[...] += 1.0
    assert bool((net.heads(images)[3] != pruned(images)).any())
    assert len(net.heads(images)) == 4
    with pytest.raises(InputError, match="levels: got 4, wants a whole number from 1 to 3"):
        net.pruned(3).pruned(4)


def test_unetpp_average_is_the_mean_of_its_heads():
    net = build("unet++", channels=1, classes=2, width=2, levels=2, average=True)
    net.eval()
    images = random(1, 8, 8, 1)
    heads = net.heads(images)
    np.testing.assert_allclose(net(images), (heads[0] + heads[1]) / 2, atol=1e-6)


def test_voting_adds_probabilities_by_weights_that_tell_what_a_voltage_counts():
    net = build("fusion-late", channels=3, classes=2, width=2, depth=1, combine="voting")
    net.eval()
    net.votes[...] = jnp.log(jnp.asarray([0.5, 0.3, 0.2], jnp.float32))
    images = random(1, 4, 4, 3)
    final, *branches = net.heads(images)
    np.testing.assert_allclose(net.voting_weights, [0.5, 0.3, 0.2], rtol=1e-6)
    parts = [jax.nn.softmax(branch) for branch in branches]
    wanted = 0.5 * parts[0] + 0.3 * parts[1] + 0.2 * parts[2]
    np.testing.assert_allclose(jnp.exp(final), wanted, atol=1e-6)
    with pytest.raises(InputError, match='combine: got "ensemble"'):
        build("fusion-late", channels=2, classes=2, width=2, depth=1).voting_weights  # noqa: B018


def test_an_ensemble_begins_as_the_mean_of_its_branches():
    net = build("fusion-late", channels=3, classes=2, width=2, depth=1)
    net.eval()
    final, *branches = net.heads(random(1, 8, 8, 3))
    mean = sum(jax.nn.softmax(branch) for branch in branches) / 3
    np.testing.assert_array_equal(final.argmax(-1), mean.argmax(-1))
    np.testing.assert_allclose(final, 4.0 * mean, atol=1e-5)


def test_each_branch_of_a_fusion_sees_one_voltage_on_all_slices():
    net = build("fusion-late", channels=2, classes=2, context=3, width=2, depth=1)
    net.eval()
    images = np.array(random(1, 4, 4, 6))
    before = net.heads(jnp.asarray(images))
    # Slices are stacked one after the other, each with both voltages.
    images[..., [1, 3, 5]] += 1.0
    after = net.heads(jnp.asarray(images))
    np.testing.assert_array_equal(before[1], after[1])
    assert bool((before[2] != after[2]).any())
    assert bool((before[0] != after[0]).any())
    alone = net.branches[0](jnp.asarray(images[..., ::2]))
    np.testing.assert_allclose(alone, after[1], atol=1e-6)


@pytest.mark.parametrize("name", ["resnet152", "xception71"])
def test_backbones_serve_unet_and_unetpp(name):
    layers = {"resnet152": (1, 1, 1, 1), "xception71": (1,)}[name]
    settings = {"width": 2, "backbone": name, "layers": layers}
    unet = build("unet", channels=1, classes=2, **settings)
    nested = build("unet++", channels=1, classes=2, levels=2, **settings)
    images = random(1, 32, 32, 1)
    for net in (unet, nested):
        net.eval()
        assert net(images).shape == (1, 32, 32, 2)
    # What is deeper than its two levels is gone.
    assert (unet.multiple, nested.multiple) == ((32, 32), (8, 8))
    assert len(nested.encoder.stages) == 3


@pytest.mark.parametrize(("name", "deep"), [("resnet152", (1, 1, 1, 2)), ("xception71", (1,))])
def test_dilated_backbones_keep_the_grid_asked_for(name, deep):
    images = random(1, 64, 64, 1)
    for stride in (8, 16, 32):
        net = make_backbone(name, 1, width=2, layers=deep, output_stride=stride, rngs=nnx.Rngs(0))
        net.eval()
        features = net(images)
        wanted = [64 // min(s, stride) for s in (2, 4, 8, 16, 32)]
        assert [feature.shape[1] for feature in features] == wanted
        assert tuple(feature.shape[-1] for feature in features) == net.widths


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("modular-unet", {"residual": "False"}, "residual: got 'False', wants true or false"),
        ("pspnet", {"bins": 3}, "bins: got 3, wants several numbers"),
        ("deeplabv3+", {"rates": 6}, "rates: got 6, wants several numbers"),
        ("unet", {"backbone": "resnet152", "layers": 1}, "layers: got 1, wants several"),
        ("fusion-intermediate", {"features": 0}, "features: got 0"),
    ],
)
def test_settings_of_a_wrong_kind_are_refused(name, settings, told):
    with pytest.raises(InputError, match=told):
        build(name, channels=2, classes=2, **settings)


def test_what_is_meant_over_an_image_is_the_same_in_training_for_a_batch_of_one():
    images = random(1, 32, 32, 1)
    norm = BatchNorm(3, rngs=nnx.Rngs(0))
    before = nnx.state(norm, nnx.BatchStat)
    found = norm(jnp.full((1, 1, 1, 3), 5.0))
    np.testing.assert_allclose(found, 5.0, rtol=1e-4)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, before, nnx.state(norm, nnx.BatchStat)))
    net = build("deeplabv3+", channels=1, classes=2, width=2, layers=(1,), dropout=0.0)
    net.train()
    net(images)
    image = net.pyramid.image.norm
    assert np.all(np.asarray(image.var[...]) == 1.0)


def test_the_auxiliary_loss_counts_less():
    net = build("pspnet", channels=1, classes=2, width=2, layers=(1, 1, 1, 1))
    assert net.head_weights == (1.0, 0.4)


def test_ablations_of_the_modular_unet_are_other_networks():
    images = random(1, 8, 8, 1)
    sizes = set()
    for settings in (
        {},
        {"rigid": True},
        {"residual": False},
        {"separable": True},
        {"norm": "layer"},
    ):
        net = build("modular-unet", channels=1, classes=2, width=4, depth=2, **settings)
        net.eval()
        assert net(images).shape == (1, 8, 8, 2)
        sizes.add(count_parameters(net))
    # A layer normalisation has as many parameters as a batch normalisation.
    assert len(sizes) == 4
